"""Gets an application's first tokens with a person and a browser. No secret is shown on the way."""

from __future__ import annotations

import getpass
import json
import secrets
import sys
from urllib.parse import parse_qs, urlsplit

from bitrix24_directories.rest import Application, Bitrix24Error, Entry, authorise

from .interruption import Interruption
from .language import say


def login(application: Application, interruption: Interruption, *, for_a_team: bool = False) -> None:
    """Print the address to open, take what the browser landed on, exchange it and store the tokens.

    The code can be exchanged once: an `interruption` while that is under way waits for the tokens.

    Raises Bitrix24Error: LOGIN_FAILED when what was pasted holds no code, or belongs to another login; and what the
    authorization server or the disk fails with.
    """
    state = secrets.token_urlsafe(16)
    print(say("1. Open this address in a browser and let the application in:"))
    print(f"   {application.authorize_url(state)}")
    print(
        say(
            "2. Within 30 seconds after that, paste here the whole address that the browser landed on (or just the code"
        )
    )
    print("  ", say("in it). What you paste is not shown."), flush=True)
    asked = say("Address or code:")
    pasted = getpass.getpass(f"{asked} ") if sys.stdin.isatty() else sys.stdin.readline()
    code = _code(pasted.strip(), state)
    with interruption.waits():
        authorise(application, code)
    print(say(f"Authorised. The tokens are in {application.file.path}, readable by you only, and renew themselves."))
    if for_a_team:
        return
    print(say("Put this into your MCP client's configuration; access and refresh tokens are not needed there:"))
    environment = {
        "BITRIX24_PORTAL_URL": application.portal,
        "BITRIX24_CLIENT_ID": application.client_id,
        "BITRIX24_CLIENT_SECRET": "<the application's secret>",
    }
    print(json.dumps({"env": environment}, indent=2))


def _code(pasted: str, state: str) -> str:
    if "://" not in pasted and "=" not in pasted:
        if not pasted:
            raise _failed("Nothing was pasted")
        return pasted
    query = parse_qs(urlsplit(pasted).query or pasted)
    if query.get("state") != [state]:
        raise _failed("The address belongs to another login than this one: its state differs")
    if "code" not in query:
        raise _failed("The address holds no code: the application was not let in")
    return query["code"][0]


def _failed(happened: str) -> Bitrix24Error:
    return Bitrix24Error("LOGIN_FAILED", Entry(happened, "Run login again and paste the new address.", "input"))
