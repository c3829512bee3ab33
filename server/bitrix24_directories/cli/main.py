"""The command line: serve (the default), call, check, login, portal."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from io import TextIOWrapper
from typing import TYPE_CHECKING

import anyio

from bitrix24_directories import __version__

if TYPE_CHECKING:
    from bitrix24_directories.portal import Fault
    from bitrix24_directories.redaction import Redactor
    from bitrix24_directories.rest import Bitrix24Error, Credentials, Transport
    from bitrix24_directories.settings import Settings

DEMO_ADDRESS = "https://demo.bitrix24.example"
DEMO_WEBHOOK = "/rest/1/demoadmin0000001/"

_FAULTS = (
    "answer this error code or HTTP status; lost:502, lost:cut, ... make changes and lose the answer; bomb, drip, "
    "echo, wait, moved:ADDRESS mean harm"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 for success, 1 for failure, 2 for wrong usage."""
    _speak_utf8()
    args = _parser().parse_args([_readable(arg) for arg in (sys.argv[1:] if argv is None else argv)])
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except _UsageError as exc:
        print(exc, file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    # A subcommand's defaults would undo what stood before it, so subcommands have none.
    settings = _settings_option(argument_default=argparse.SUPPRESS)
    demo = [settings, _demo_options(argument_default=argparse.SUPPRESS)]
    parser = argparse.ArgumentParser(
        prog="bitrix24-directories-mcp",
        description="MCP server for the directories of a Bitrix24 CRM. Without a command it serves MCP over stdio.",
        parents=[_settings_option(), _demo_options()],
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(metavar="command")

    serve = commands.add_parser("serve", parents=demo, help="serve MCP over stdio (the default)")
    serve.set_defaults(run=_serve)

    call = commands.add_parser("call", parents=demo, help="call a tool and print what an assistant would get")
    call.add_argument("tool")
    call.add_argument("arguments", nargs="*", metavar="key=value")
    call.add_argument("--json", action="store_true", help="print the structured result instead of the text")
    call.set_defaults(run=_call)

    check = commands.add_parser("check", parents=demo, help="say whether the configuration works")
    check.set_defaults(run=_check)

    login = commands.add_parser(
        "login", parents=[settings], help="authorise an application (OAuth) in a browser and keep its tokens"
    )
    login.set_defaults(run=_login)

    portal = commands.add_parser("portal", help="run the demo portal for others to develop against")
    portal.add_argument("--port", type=_port_number, default=8024, help="0: a free one (%(default)s)")
    portal.add_argument("--lang", choices=["en", "ru"], default="en")
    portal.add_argument(
        "--fault",
        metavar="CODE",
        help=_FAULTS,
    )
    portal.add_argument("--limit", action="store_true", help="enforce the request limit (burst 50, 2 a second)")
    portal.add_argument("--certfile", help="serve TLS with this certificate")
    portal.add_argument("--keyfile")
    portal.set_defaults(run=_portal)
    return parser


def _settings_option(argument_default: str | None = None) -> argparse.ArgumentParser:
    option = argparse.ArgumentParser(add_help=False, argument_default=argument_default)
    option.add_argument(
        "--env-file",
        metavar="FILE",
        help="read BITRIX24_ settings from this file too (or name it in BITRIX24_ENV_FILE); no other is ever read",
    )
    return option


def _demo_options(argument_default: str | None = None) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False, argument_default=argument_default)
    options.add_argument("--demo", action="store_true", help="use the demo portal inside this process: no network")
    options.add_argument("--lang", choices=["en", "ru"], help="language of the demo portal (en)")
    options.add_argument(
        "--fault",
        metavar="CODE",
        help=f"for the demo portal: {_FAULTS}",
    )
    return options


def _fault(text: str) -> Fault:
    from bitrix24_directories.portal import Fault

    try:
        return Fault.parse(text)
    except ValueError as exc:
        raise _UsageError(f"--fault {text}: {exc}") from None


class _UsageError(Exception):
    """The command line asks for something that there is not."""


def _port_number(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("it must be a number from 0 to 65535")
    return int(text)


def _serve(args: argparse.Namespace) -> int:
    from .lifetime import end_with_client

    end_with_client()
    from bitrix24_directories.mcp_server.server import DirectoriesServer

    portal, settings, transport = _configured(args)
    try:
        anyio.run(DirectoriesServer(portal, settings, transport=transport).run_stdio_async)
    except BaseExceptionGroup as group:
        _, others = group.split(BrokenPipeError)  # the client went while it was being answered
        if others is not None:
            raise others from None
    return 0


def _call(args: argparse.Namespace) -> int:
    from mcp import Client

    from bitrix24_directories.mcp_server.server import DirectoriesServer

    arguments: dict[str, str] = {}
    for argument in args.arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            print(f"{argument!r} is not key=value", file=sys.stderr)
            return 2
        arguments[key] = value
    portal, settings, transport = _configured(args)

    async def run() -> int:
        async with Client(DirectoriesServer(portal, settings, transport=transport)) as client:
            result = await client.call_tool(args.tool, arguments)
        if args.json:
            print(json.dumps(result.structured_content, ensure_ascii=False, indent=2))
        else:
            print(*(block.text for block in result.content if block.type == "text"), sep="\n")
        return int(result.is_error)

    return anyio.run(run)


def _check(args: argparse.Namespace) -> int:
    from .check import Step, check

    portal, settings, transport = _configured(args)
    redact = _redactor(portal)

    def tell(step: Step) -> None:
        print(f"{'✓' if step.ok else '✗'} {step.name}: {redact(step.says).replace(chr(10), chr(10) + '  ')}")

    return int(not anyio.run(partial(check, portal, settings, tell, transport=transport)))


def _login(args: argparse.Namespace) -> int:
    from bitrix24_directories.logs import configure_logging
    from bitrix24_directories.rest import Bitrix24Error
    from bitrix24_directories.settings import load_settings

    from .login import login

    try:
        settings = load_settings(args.env_file or "")
        application = settings.application()
    except Bitrix24Error as exc:
        print(exc, file=sys.stderr)
        return 1
    redact = _redactor(application)
    configure_logging(settings.log_level, redact)
    try:
        login(application)
    except Bitrix24Error as exc:
        print(redact(str(exc)), file=sys.stderr)
        return 1
    return 0


def _redactor(portal: Credentials | Bitrix24Error) -> Redactor:
    from bitrix24_directories.redaction import Redactor
    from bitrix24_directories.rest import Bitrix24Error

    return Redactor(lambda: () if isinstance(portal, Bitrix24Error) else portal.secrets)


def _portal(args: argparse.Namespace) -> int:
    from bitrix24_directories.portal import DemoPortal, listen, server

    portal = DemoPortal(args.lang, limit=(50, 2) if args.limit else None)
    if args.fault:
        portal.faults.order(_fault(args.fault))
    try:
        running = server(portal.app, certfile=args.certfile, keyfile=args.keyfile)
        listening = listen(args.port)
    except OSError as exc:
        print(f"The demo portal cannot run on port {args.port}: {exc}", file=sys.stderr)
        return 1
    scheme = "https" if args.certfile else "http"
    print(f"Demo portal ({args.lang}) until Ctrl+C. Point a server at it with", flush=True)
    print(f"BITRIX24_WEBHOOK_URL={scheme}://127.0.0.1:{listening.getsockname()[1]}{DEMO_WEBHOOK}", flush=True)
    running.run(sockets=[listening])
    return 0


def _configured(args: argparse.Namespace) -> tuple[Credentials | Bitrix24Error, Settings, Transport | None]:
    """What to call with (or why there is nothing to call with), the settings, and the demo's transport.

    Logging is set up on the way, before anything can be logged that holds the secret.
    """
    from bitrix24_directories.logs import configure_logging
    from bitrix24_directories.rest import Bitrix24Error, Webhook, in_process
    from bitrix24_directories.settings import Settings, load_settings

    portal: Credentials | Bitrix24Error
    transport = None
    try:
        settings = load_settings(args.env_file or "")
        portal = Webhook.parse(DEMO_ADDRESS + DEMO_WEBHOOK) if args.demo else settings.credentials()
    except Bitrix24Error as exc:
        settings, portal = Settings.model_construct(), exc
    configure_logging(settings.log_level, _redactor(portal))
    if args.demo:
        from bitrix24_directories.portal import DemoPortal

        demo = DemoPortal(args.lang or "en")
        if args.fault:
            demo.faults.order(_fault(args.fault))
        transport = in_process(demo.app)
    return portal, settings, transport


def _speak_utf8() -> None:
    """Print UTF-8 whatever the locale says, and let nothing fail to be printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _readable(argument: str) -> str:
    """An argument that the locale's encoding could not read, read as UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", errors="replace")
    return argument
