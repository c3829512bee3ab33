"""Command that configures an MCP client with this program's full path and its settings."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from pydantic import SecretStr

from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.settings import ENV_FILE, Settings, load_settings

from .check import run_steps
from .client_files import CLIENTS, SERVER, Client, write
from .configured import ask_for_webhook, format_for_terminal, is_interactive, print_error
from .language import choose, say

_PROGRAM = "bitrix24-directories-mcp"
_PLACEHOLDERS = {
    "webhook_url": "<the webhook's URL>",
    "client_secret": "<the application's secret>",
    "access_token": "<the access token>",
    "refresh_token": "<the refresh token>",
}


def setup(args: argparse.Namespace) -> int:
    """Print a client's configuration, or change it in the client's file; return the exit code.

    A file of settings is named instead of being copied. Printed output holds no secrets. Nothing is written if the
    check of the portal fails.
    """
    client = CLIENTS[args.client]
    env_file = args.env_file or os.environ.get(ENV_FILE, "")
    try:
        settings = load_settings(env_file)
        choose(settings.lang)
        if args.remove:
            return _remove(client)
        nothing_set = not (settings.webhook_url.get_secret_value() or settings.portal_url or settings.client_id)
        if args.write and nothing_set and not args.demo and is_interactive():
            settings = ask_for_webhook(settings)
        entry = _program()
        if args.demo:
            entry["args"] = [*entry.get("args", ()), "--demo"]
        else:
            entry["env"] = _environment(settings, env_file, masked=not args.write)
        if not args.write:
            print(client.text(entry), end="")
            print(say(f"For {client.title} this belongs in {client.path}."), file=sys.stderr)
            if args.demo:
                print(say(f"`{_PROGRAM} setup {args.client} --demo --write` puts it there."), file=sys.stderr)
            else:
                print(say(f"`{_PROGRAM} setup {args.client} --write` puts it there, with the secret."), file=sys.stderr)
            return 0
        if not args.demo and not anyio.run(run_steps, settings.credentials(), settings, None):
            print_error(say("Nothing was written, because the check failed."))
            return 1
        backup = _write(client, lambda text: client.merged(text, entry))
    except Bitrix24Error as exc:
        print_error(format_for_terminal(exc))
        return 1
    print(say(f"Added {SERVER} to {client.path}. Restart {client.title}."))
    if backup is not None:
        print(say(f"What was there before is in {backup}."))
    return 0


def _remove(client: Client) -> int:
    """Remove the server from the client's file. Raises Bitrix24Error (SETUP_FAILED)."""
    backup = _write(client, client.without)
    if backup is None:
        print(say(f"{SERVER} is not in {client.path}."))
    else:
        print(say(f"Removed {SERVER} from {client.path}. Restart {client.title}."))
        print(say(f"What was there before is in {backup}."))
    return 0


def _write(client: Client, change: Callable[[str], str]) -> Path | None:
    """Change the client's file; return its backup. Raises Bitrix24Error (SETUP_FAILED)."""
    try:
        return write(client, change)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not plain JSON or TOML, or holds comments"
        happened = f"{client.path} was left as it is: {why}"
        hint = "Change the file by hand; `setup` without --write prints the entry."
        raise Bitrix24Error("SETUP_FAILED", ErrorKind(happened, hint, "configuration")) from None


def _program() -> dict[str, Any]:
    """Return the program's command, for any folder and PATH."""
    beside = Path(sys.executable).with_name(f"{_PROGRAM}.exe" if os.name == "nt" else _PROGRAM)
    executable = str(beside) if beside.exists() else shutil.which(_PROGRAM)
    if executable is None:
        return {"command": sys.executable, "args": ["-P", "-m", "bitrix24_directories"]}
    return {"command": str(Path(executable).absolute())}


def _environment(settings: Settings, env_file: str, *, masked: bool) -> dict[str, str]:
    """Return the variables of the entry; if `masked`, placeholders replace the secrets."""
    if env_file:
        return {ENV_FILE: str(Path(env_file).expanduser().absolute())}
    environment: dict[str, str] = {}
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if field not in settings.model_fields_set:
            continue
        if isinstance(value, SecretStr):
            if not value.get_secret_value():
                continue
            value = _PLACEHOLDERS.get(field, "<a secret>") if masked else value.get_secret_value()
        environment[f"BITRIX24_{field.upper()}"] = str(value).lower() if isinstance(value, bool) else str(value)
    if masked and not {"BITRIX24_WEBHOOK_URL", "BITRIX24_CLIENT_ID"} & environment.keys():
        environment["BITRIX24_WEBHOOK_URL"] = _PLACEHOLDERS["webhook_url"]
    return environment
