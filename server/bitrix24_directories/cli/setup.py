"""Command that configures an MCP client with this program's full path and its settings."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.settings import ENV_FILE, Settings, load_settings

from .check import format_for_terminal
from .client_files import CLIENTS, SERVER, write
from .configured import ask_for_webhook, is_interactive, print_error
from .language import choose, say

_PROGRAM = "bitrix24-directories-mcp"
_PLACEHOLDERS = {
    "webhook_url": "<the webhook's URL>",
    "client_secret": "<the application's secret>",
    "access_token": "<the access token>",
    "refresh_token": "<the refresh token>",
}


def setup(args: argparse.Namespace) -> int:
    """Print the client's configuration, or write it into its file; return the exit code.

    A file of settings is named instead of being copied. Printed output holds no secrets.
    """
    client = CLIENTS[args.client]
    env_file = args.env_file or os.environ.get(ENV_FILE, "")
    try:
        settings = load_settings(env_file)
        choose(settings.lang)
        nothing_set = not (settings.webhook_url.get_secret_value() or settings.portal_url or settings.client_id)
        if args.write and nothing_set and is_interactive():
            settings = ask_for_webhook(settings)
        entry = _entry(settings, env_file, masked=not args.write)
        if not args.write:
            print(client.text(entry), end="")
            print(say(f"For {client.title} this belongs into {client.path}."), file=sys.stderr)
            print(say(f"`{_PROGRAM} setup {args.client} --write` puts it there, with the secret."), file=sys.stderr)
            return 0
        settings.credentials()
        try:
            backup = write(client, entry)
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not plain JSON or TOML, or holds comments"
            happened = f"{client.path} was left as it is: {why}"
            hint = f"Run `{_PROGRAM} setup {args.client}` and put what it prints into the file by hand."
            raise Bitrix24Error("SETUP_FAILED", ErrorKind(happened, hint, "configuration")) from None
    except Bitrix24Error as exc:
        print_error(format_for_terminal(exc))
        return 1
    print(say(f"{client.title}: {SERVER} is in {client.path} now. Restart the client."))
    if backup is not None:
        print(say(f"What was there before is in {backup}."))
    return 0


def _entry(settings: Settings, env_file: str, *, masked: bool) -> dict[str, Any]:
    """Return the program's command, for any folder and PATH, and its variables.

    If `masked`, placeholders replace the secrets.
    """
    beside = Path(sys.executable).with_name(f"{_PROGRAM}.exe" if os.name == "nt" else _PROGRAM)
    executable = str(beside) if beside.exists() else shutil.which(_PROGRAM)
    entry: dict[str, Any] = {"command": sys.executable, "args": ["-P", "-m", "bitrix24_directories"]}
    if executable is not None:
        entry = {"command": str(Path(executable).absolute())}
    if env_file:
        return entry | {"env": {ENV_FILE: str(Path(env_file).expanduser().absolute())}}
    environment: dict[str, str] = {}
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if field not in settings.model_fields_set:
            continue
        if isinstance(value, SecretStr):
            if not value.get_secret_value():
                continue
            value = _PLACEHOLDERS[field] if masked else value.get_secret_value()
        environment[f"BITRIX24_{field.upper()}"] = str(value).lower() if isinstance(value, bool) else str(value)
    if masked and not {"BITRIX24_WEBHOOK_URL", "BITRIX24_CLIENT_ID"} & environment.keys():
        environment["BITRIX24_WEBHOOK_URL"] = _PLACEHOLDERS["webhook_url"]
    return entry | {"env": environment}
