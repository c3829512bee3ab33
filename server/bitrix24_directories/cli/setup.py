"""Makes the configuration of an MCP client: the full path of this program, and the settings of this environment."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bitrix24_directories.rest import Bitrix24Error, Entry
from bitrix24_directories.settings import ENV_FILE, Settings

from .client_files import CLIENTS, SERVER, write
from .language import say

_PROGRAM = "bitrix24-directories-mcp"
_PLACEHOLDERS = {
    "webhook_url": "<the webhook's URL>",
    "client_secret": "<the application's secret>",
    "access_token": "<the access token>",
    "refresh_token": "<the refresh token>",
}


def command() -> tuple[str, list[str]]:
    """The program and its arguments, whatever folder and PATH a client starts it with."""
    beside = Path(sys.executable).with_name(f"{_PROGRAM}.exe" if os.name == "nt" else _PROGRAM)
    found = str(beside) if beside.exists() else shutil.which(_PROGRAM)
    if found is None:
        return sys.executable, ["-P", "-m", "bitrix24_directories"]
    return str(Path(found).absolute()), []


def ask_for_webhook(settings: Settings) -> Settings:
    """The settings with the webhook that the person at the terminal types, which is not shown."""
    typed = getpass.getpass(say("The inbound webhook's URL (it is not shown):") + " ")
    return settings.model_copy(update={"webhook_url": SecretStr(typed.strip())})


def setup(name: str, settings: Settings, env_file: str, *, into_file: bool) -> None:
    """Print the client's configuration, or put it into the client's file.

    A file of settings is named instead of being copied. Printed, the secrets are left out. Raises Bitrix24Error: what
    is wrong with the settings, and SETUP_FAILED where the client's file cannot be read or written.
    """
    client = CLIENTS[name]
    program, arguments = command()
    if env_file:
        environment = {ENV_FILE: str(Path(env_file).expanduser().absolute())}
    else:
        environment = _environment(settings, shown=not into_file)
    entry: dict[str, Any] = {"command": program} | ({"args": arguments} if arguments else {}) | {"env": environment}
    if not into_file:
        print(client.text(entry), end="")
        print(say(f"For {client.title} this belongs into {client.path}."), file=sys.stderr)
        print(say(f"`{_PROGRAM} setup {name} --write` puts it there, with the secret."), file=sys.stderr)
        return
    settings.credentials()
    try:
        backup = write(client, entry)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not plain JSON or TOML, or holds comments"
        raise Bitrix24Error(
            "SETUP_FAILED",
            Entry(
                f"{client.path} was left as it is: {why}",
                f"Run `{_PROGRAM} setup {name}` and put what it prints into the file by hand.",
                "configuration",
            ),
        ) from None
    print(say(f"{client.title}: {SERVER} is in {client.path} now. Restart the client."))
    if backup is not None:
        print(say(f"What was there before is in {backup}."))


def _environment(settings: Settings, *, shown: bool) -> dict[str, str]:
    """The settings that are set, as variables; with placeholders for secrets where they are `shown`."""
    environment: dict[str, str] = {}
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if field not in settings.model_fields_set:
            continue
        if isinstance(value, SecretStr):
            if not value.get_secret_value():
                continue
            value = _PLACEHOLDERS[field] if shown else value.get_secret_value()
        environment[f"BITRIX24_{field.upper()}"] = str(value).lower() if isinstance(value, bool) else str(value)
    if shown and not {"BITRIX24_WEBHOOK_URL", "BITRIX24_CLIENT_ID"} & environment.keys():
        environment["BITRIX24_WEBHOOK_URL"] = _PLACEHOLDERS["webhook_url"]
    return environment
