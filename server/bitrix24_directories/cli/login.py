"""Command that gets an application's first tokens through a browser; it shows no secret."""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import sys
from urllib.parse import parse_qs, urlsplit

from bitrix24_directories.logs import configure_logging
from bitrix24_directories.rest import Application, Bitrix24Error, ErrorKind, authorise
from bitrix24_directories.settings import load_settings

from .configured import format_for_terminal, print_error, redactor
from .interruption import EndedBySignalError, Interruption
from .language import choose, say


def login(args: argparse.Namespace) -> int:
    """Let a person authorise the application, and store its tokens; return the exit code.

    The code can be exchanged only once: an interruption during the exchange waits for the tokens.
    """
    try:
        settings = load_settings(args.env_file or "")
        choose(settings.lang)
        application = settings.application(args.person)
    except Bitrix24Error as exc:
        print_error(format_for_terminal(exc))
        return 1
    redact = redactor(application)
    configure_logging(settings.log_level, redact)
    interruption = Interruption()
    try:
        code = _code_by_browser(application)
        with interruption.waits():
            authorise(application, code)
        file = application.file.path
        print(say(f"Authorised. The tokens are in {file}, readable by you only, and renew themselves."))
        if not args.person:
            print(say("Put this into your MCP client's configuration; access and refresh tokens are not needed there:"))
            environment = {
                "BITRIX24_PORTAL_URL": application.portal,
                "BITRIX24_CLIENT_ID": application.client_id,
                "BITRIX24_CLIENT_SECRET": "<the application's secret>",
            }
            print(json.dumps({"env": environment}, indent=2))
    except Bitrix24Error as exc:
        print_error(redact(format_for_terminal(exc)))
        interruption.reraise()
        return 1
    except EndedBySignalError:
        print_error(say("Interrupted: no tokens were asked for. To go on, run the same command again."))
        raise
    interruption.reraise()
    return 0


def _code_by_browser(application: Application) -> str:
    """Print the address to open, and return the code from the address that the person pastes.

    Raises Bitrix24Error (LOGIN_FAILED) if the pasted text holds no code, or belongs to another login.
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
    prompt = say("Address or code:")
    pasted: str = getpass.getpass(f"{prompt} ") if sys.stdin.isatty() else sys.stdin.readline()
    pasted = pasted.strip()
    if not pasted:
        raise _failed("Nothing was pasted")
    if "://" not in pasted and "=" not in pasted:
        return pasted
    query = parse_qs(urlsplit(pasted).query or pasted)
    if query.get("state") != [state]:
        raise _failed("The address is from another login: its state differs")
    if "code" not in query:
        raise _failed("The address holds no code: the application was not let in")
    return query["code"][0]


def _failed(happened: str) -> Bitrix24Error:
    return Bitrix24Error("LOGIN_FAILED", ErrorKind(happened, "Run login again and paste the new address.", "input"))
