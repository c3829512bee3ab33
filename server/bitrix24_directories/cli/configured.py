"""Used by every command: settings, credentials, and messages for the person at the terminal."""

from __future__ import annotations

import argparse
import errno
import getpass
import sys
from typing import TYPE_CHECKING, Any, Literal

from .arguments import UsageError
from .language import choose, say

if TYPE_CHECKING:
    from bitrix24_directories.portal import DemoPortal
    from bitrix24_directories.redaction import Redactor
    from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Credentials, Transport
    from bitrix24_directories.settings import Settings

# Errors of writing to a stdout that is closed, full or gone.
UNWRITABLE = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO, errno.ECONNRESET}
DEMO_WEBHOOK = "/rest/1/demoadmin0000001/"


def configured(args: argparse.Namespace) -> tuple[Credentials | Bitrix24Error, Settings, Transport | None]:
    """Return the credentials (or the error for none), the settings, and the demo's transport.

    Also sets logging up, before anything that holds the secret can be logged.
    """
    from bitrix24_directories.logs import configure_logging
    from bitrix24_directories.rest import Bitrix24Error, Webhook, in_process
    from bitrix24_directories.settings import Settings, load_settings

    if (args.fault or args.lang) and not args.demo:
        raise UsageError("--fault and --lang are for the demo portal: add --demo.")
    portal: Credentials | Bitrix24Error
    settings, transport = Settings.model_construct(), None
    try:
        settings = load_settings(args.env_file or "")
        choose(settings.lang)
        portal = Webhook.parse(f"https://demo.bitrix24.example{DEMO_WEBHOOK}") if args.demo else settings.credentials()
    except Bitrix24Error as exc:
        portal = exc
    configure_logging(settings.log_level, redactor(portal))
    if args.demo:
        transport = in_process(demo_portal(args.lang or "en", args.fault).app)
    return portal, settings, transport


def client_of(portal: Credentials, settings: Settings, transport: Transport | None) -> Bitrix24Client:
    """Return a client of the portal for one command, as the settings configure it."""
    from bitrix24_directories.rest import Bitrix24Client

    return Bitrix24Client(
        portal, timeout=settings.timeout, limits=settings.limits, transport=transport, ca_file=settings.ca_file
    )


def ask_for_webhook(settings: Settings) -> Settings:
    """Return the settings with the webhook that the person types; the input is not shown."""
    from pydantic import SecretStr

    from bitrix24_directories.rest import Bitrix24Error

    while True:
        typed = getpass.getpass(say("The inbound webhook's URL (it is not shown):") + " ")
        settings = settings.model_copy(update={"webhook_url": SecretStr(typed.strip())})
        try:
            settings.credentials()
        except Bitrix24Error as exc:
            print_error(format_for_terminal(exc))
        else:
            return settings


def redactor(portal: Credentials | Bitrix24Error) -> Redactor:
    """Return a redactor of the secrets of `portal`."""
    from bitrix24_directories.redaction import Redactor
    from bitrix24_directories.rest import Bitrix24Error

    return Redactor(lambda: () if isinstance(portal, Bitrix24Error) else portal.secrets)


def demo_portal(lang: Literal["en", "ru"], fault: str | None, **more: Any) -> DemoPortal:
    """Return a demo portal with a `fault` as --fault names it. Raises UsageError if unknown."""
    from bitrix24_directories.portal import DemoPortal, Fault

    portal = DemoPortal(lang, **more)
    if fault:
        try:
            portal.faults.order(Fault.parse(fault))
        except ValueError as exc:
            raise UsageError(f"--fault {fault}: {exc}") from None
    return portal


def is_interactive() -> bool:
    """Return true if a person sits at the terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def print_error(message: object) -> None:
    """Print a message on stderr."""
    if sys.stderr is not None:
        print(message, file=sys.stderr)


def format_for_terminal(error: Bitrix24Error) -> str:
    """Return what happened and what to do, for a person at a terminal."""
    return f"{message_of(error)}\n→ {say(error.user_hint)}"


def message_of(error: Bitrix24Error) -> str:
    """Return the error's message in the language of the terminal."""
    happened = say(error.happened.removesuffix(f": {error.detail}"))
    detail = f": {say(error.detail)}" if error.detail else ""
    return f"{happened}{detail} ({say(error.status_text)}). {say(error.quoted)}".rstrip()
