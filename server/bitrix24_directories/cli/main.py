# PYTHON_ARGCOMPLETE_OK
"""The command line's commands: serve (the default), call, check, login, setup, portal, report, merge, undo,
person."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import anyio

from bitrix24_directories import __version__

from .arguments import Commands, UsageError, parser
from .configured import DEMO_WEBHOOK, a_person_sits_there, complain, configured, fault, redactor
from .interruption import EndedBySignalError, Interruption, at_once, so_far

if TYPE_CHECKING:
    from bitrix24_directories.changing.audit import Audit

# What writing to a stdout that is closed, full or gone fails with.
_UNWRITABLE = {errno.EPIPE, errno.ENOSPC, errno.EBADF, errno.EIO, errno.ECONNRESET}
_WRONG_USAGE = {"UNKNOWN_TOOL", "INVALID_ARGUMENTS"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 for success, 1 for failure, 2 for wrong usage."""
    for stream in (sys.stdout, sys.stderr):  # UTF-8 whatever the locale says, and nothing fails to be printed
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    whole = parser(COMMANDS)
    if "_ARGCOMPLETE" in os.environ:  # set by the shell when it completes a line
        import argcomplete

        argcomplete.autocomplete(whole)
    args = whole.parse_args([_readable(arg) for arg in (sys.argv[1:] if argv is None else argv)])
    try:
        with (
            nullcontext() if args.run in _WITH_RICH else _without_rich(),
            at_once() if args.run in _INTERRUPTED else nullcontext(),
        ):
            code: int = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except EndedBySignalError as exc:
        return exc.code
    except KeyboardInterrupt:
        return 130
    except UsageError as exc:
        from .language import say

        complain(say(str(exc)))
        return 2
    except OSError as exc:
        if exc.errno not in _UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python itself would try once more, and fail aloud
        if exc.errno != errno.EPIPE:  # else whoever read our output has gone, and knows
            complain(f"Standard output cannot be written to: {exc.strerror}")
        return 1
    return code


@contextmanager
def _without_rich() -> Iterator[None]:
    """Tables and bars need it; httpx and the SDK import it where it is installed, a fifth of a second at each start."""
    modules: dict[str, Any] = sys.modules
    if "rich" in modules:
        yield
        return
    modules["rich"] = None  # as Python itself marks what cannot be imported
    try:
        yield
    finally:
        del modules["rich"]


@contextmanager
def _kept_for_good() -> Iterator[None]:
    """Let the garbage collector pass by what is imported and built here: looking through it takes a tenth of the
    start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _serve(args: argparse.Namespace) -> int:
    if getattr(args, "http", None):
        from .team import serve_http

        return serve_http(args)
    if sys.stdin is None or sys.stdout is None:
        complain("Standard input or output is closed: there is no MCP client to serve.")
        return 1
    from .lifetime import end_with_client

    end_with_client()
    with _kept_for_good():
        from bitrix24_directories.mcp_server.server import DirectoriesServer

        portal, settings, transport = configured(args)
        server = DirectoriesServer(portal, settings, transport=transport)
    if sys.stdin.isatty():
        from bitrix24_directories.rest import Bitrix24Error

        state = "no portal is set up" if isinstance(portal, Bitrix24Error) else portal.description
        complain(
            f"bitrix24-directories-mcp {__version__}, an MCP server: a client starts it and speaks to it here "
            f"({state}). To look at the configuration run it with `check`, for all commands with --help; "
            "Ctrl+C ends it."
        )
    try:
        anyio.run(server.run_stdio_async)
    except BaseExceptionGroup as group:
        gone, others = group.split(lambda exc: isinstance(exc, OSError) and exc.errno in _UNWRITABLE)
        if others is not None:
            raise others from None
        first: BaseException | None = gone
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        assert first is not None, "the group was not empty"
        raise first from None  # the client went while it was being answered
    return 0


def _call(args: argparse.Namespace) -> int:
    from mcp import Client
    from mcp_types import CallToolRequestParams, CallToolResult, InputRequiredResult

    from bitrix24_directories.mcp_server.server import DirectoriesServer
    from bitrix24_directories.mcp_server.session import Request
    from bitrix24_directories.text import quoted

    from .language import say

    if args.tool is None and not args.list:
        raise UsageError("Name a tool, or --list to see them.")
    arguments: dict[str, str] = {}
    for argument in args.arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(f"{argument!r} is not key=value")
        if key in arguments:
            raise UsageError(f"{key} is given twice; a list is JSON, or one text a line")
        arguments[key] = value
    portal, settings, transport = configured(args)
    audit: Audit | None = None
    if settings.allow_writes:
        from bitrix24_directories.changing.audit import Audit

        audit = Audit(settings.audit_log)
    interruption = Interruption(audit)

    class Server(DirectoriesServer):
        """Cancels the call in its own task, and waits for what it does then, before anything else is closed."""

        async def on_call_tool(
            self, request: Request, params: CallToolRequestParams
        ) -> CallToolResult | InputRequiredResult:
            with interruption.cancels():
                return await super().on_call_tool(request, params)
            return CallToolResult(content=[], is_error=True)

    async def run() -> int:
        async with Client(Server(portal, settings, transport=transport, audit=audit).mcp) as client:
            if args.list:
                for tool in (await client.list_tools()).tools:
                    print(f"{tool.name}: {tool.title}")
                    required = tool.input_schema.get("required", [])
                    for name, schema in tool.input_schema["properties"].items():
                        print(f"  {name}{'' if name in required else '?'}: {schema['description']}")
                return 0
            result = await client.call_tool(args.tool, arguments)
        if interruption.cancelled:
            return 1
        to = sys.stderr if result.is_error else sys.stdout
        if args.json:
            print(quoted(result.structured_content, indent=2), file=to)
        else:
            print(*(block.text for block in result.content if block.type == "text"), sep="\n", file=to)
        code = ((result.structured_content or {}).get("error") or {}).get("code")
        return 2 if code in _WRONG_USAGE else int(result.is_error)

    try:
        code = anyio.run(run)
        interruption.reraise()
    except EndedBySignalError:
        complain(so_far(audit))
        if audit is not None and audit.said["unknown"]:
            complain(say("Look in a minute or two what became of these before you go on."))
        raise
    return code


def _check(args: argparse.Namespace) -> int:
    from bitrix24_directories.rest import Bitrix24Error

    from .check import Step, check
    from .language import say
    from .setup import ask_for_webhook

    portal, settings, transport = configured(args)
    if isinstance(portal, Bitrix24Error) and portal.kind == "NOT_CONFIGURED" and a_person_sits_there():
        settings = ask_for_webhook(settings)
        try:
            portal = settings.credentials()
        except Bitrix24Error as exc:
            portal = exc
    redact = redactor(portal)

    def tell(step: Step) -> None:
        print(f"{'✓' if step.ok else '✗'} {say(step.name)}: {redact(step.says).replace(chr(10), chr(10) + '  ')}")

    well = anyio.run(partial(check, portal, settings, tell, transport=transport))
    if well and not args.demo and a_person_sits_there():
        print(say("To tell an MCP client: `bitrix24-directories-mcp setup --help`."))
    return int(not well)


def _login(args: argparse.Namespace) -> int:
    from bitrix24_directories.logs import configure_logging
    from bitrix24_directories.rest import Bitrix24Error
    from bitrix24_directories.settings import load_settings

    from .check import to_a_person
    from .language import choose, say
    from .login import login

    try:
        settings = load_settings(args.env_file or "")
        choose(settings.lang)
        application = settings.application(args.person)
    except Bitrix24Error as exc:
        complain(to_a_person(exc))
        return 1
    redact = redactor(application)
    configure_logging(settings.log_level, redact)
    interruption = Interruption()
    try:
        login(application, interruption, for_a_team=bool(args.person))
    except Bitrix24Error as exc:
        complain(redact(to_a_person(exc)))
        interruption.reraise()
        return 1
    except EndedBySignalError:
        complain(say("Interrupted: no tokens were asked for. To go on, run the same command again."))
        raise
    interruption.reraise()
    return 0


def _setup(args: argparse.Namespace) -> int:
    from bitrix24_directories.rest import Bitrix24Error
    from bitrix24_directories.settings import ENV_FILE, load_settings

    from .check import to_a_person
    from .language import choose
    from .setup import ask_for_webhook, setup

    env_file = args.env_file or os.environ.get(ENV_FILE, "")
    try:
        settings = load_settings(env_file)
        choose(settings.lang)
        nothing_set = not (settings.webhook_url.get_secret_value() or settings.portal_url or settings.client_id)
        if args.write and nothing_set and a_person_sits_there():
            settings = ask_for_webhook(settings)
        setup(args.client, settings, env_file, into_file=args.write)
    except Bitrix24Error as exc:
        complain(to_a_person(exc))
        return 1
    return 0


def _portal(args: argparse.Namespace) -> int:
    from bitrix24_directories.portal import DemoPortal, listen, server

    portal = DemoPortal(args.lang, limit=(50, 2) if args.limit else None, age=args.age)
    if args.fault:
        portal.faults.order(fault(args.fault))
    try:
        running = server(portal.app, certfile=args.certfile, keyfile=args.keyfile)
        listening = listen(args.port)
    except OSError as exc:
        complain(f"The demo portal cannot run on port {args.port}: {exc}")
        return 1
    scheme = "https" if args.certfile else "http"
    print(f"Demo portal ({args.lang}) until Ctrl+C. Point a server at it with", flush=True)
    print(f"BITRIX24_WEBHOOK_URL={scheme}://127.0.0.1:{listening.getsockname()[1]}{DEMO_WEBHOOK}", flush=True)
    running.run(sockets=[listening])
    return 0


def _report(args: argparse.Namespace) -> int:
    from .report import report

    return report(args)


def _merge(args: argparse.Namespace) -> int:
    from .merge import merge

    return merge(args)


def _person(args: argparse.Namespace) -> int:
    from .person import person

    return person(args)


def _undo(args: argparse.Namespace) -> int:
    from .merge import undo

    return undo(args)


COMMANDS: Commands = {
    "serve": _serve,
    "call": _call,
    "check": _check,
    "login": _login,
    "setup": _setup,
    "portal": _portal,
    "report": _report,
    "merge": _merge,
    "undo": _undo,
    "person": _person,
}
_INTERRUPTED = (_call, _login, _merge, _undo)
"""What says itself what a signal has come to; all others end with Python's own ways, or with `lifetime`'s."""
_WITH_RICH = (_report, _merge, _undo)


def _readable(argument: str) -> str:
    """An argument that the locale's encoding could not read, read as UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", errors="replace")
    return argument
