"""Commands that serve one client over stdio, or run the demo portal for others.

The process ends when its client goes, even if something else hangs. The SDK reads stdin to its end, which is enough as
long as everything can be cancelled. A look-up of a host name cannot, nor can a write to a pipe that nobody reads; and
stdin does not end if a sibling process inherited the pipe. So a thread watches stdin from outside.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import sys
import threading
import time

import anyio

from bitrix24_directories import __version__

from .configured import DEMO_WEBHOOK, UNWRITABLE, configured, demo_portal, print_error

GRACE_SECONDS = 0.5
_LOOK_SECONDS = 0.25


def serve(args: argparse.Namespace) -> int:
    """Serve the client that started this process; return the exit code."""
    if sys.stdin is None or sys.stdout is None:
        print_error("Standard input or output is closed: there is no MCP client to serve.")
        return 1
    # Python's own SIGINT handling waits for the thread that reads stdin, that is for the next line of input.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(select, "poll"):  # Windows has none; there the end of stdin has to do
        threading.Thread(target=_watch, args=(os.dup(0), os.getppid()), daemon=True).start()
    gc.disable()  # scanning the objects of imports and set-up, which all stay, takes a tenth of the start
    try:
        from bitrix24_directories.mcp_server.server import DirectoriesServer

        portal, settings, transport = configured(args)
        server = DirectoriesServer(portal, settings, transport=transport)
    finally:
        gc.freeze()
        gc.enable()
    if sys.stdin.isatty():
        from bitrix24_directories.rest import Bitrix24Error

        state = "no portal is set up" if isinstance(portal, Bitrix24Error) else portal.description
        print_error(
            f"bitrix24-directories-mcp {__version__}, an MCP server: a client starts it and speaks to it here "
            f"({state}). To look at the configuration run it with `check`, for all commands with --help; "
            "Ctrl+C ends it."
        )
    try:
        anyio.run(server.run_stdio_async)
    except BaseExceptionGroup as group:
        disconnects, rest = group.split(lambda exc: isinstance(exc, OSError) and exc.errno in UNWRITABLE)
        if rest is not None:
            raise rest from None
        first: BaseException | None = disconnects
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        assert first is not None, "the group was not empty"
        raise first from None  # the client went while it was being answered
    return 0


def _watch(stdin: int, parent: int) -> None:
    """Exit GRACE_SECONDS after `stdin` is hung up or the `parent` process is gone."""
    poller = select.poll()
    poller.register(stdin, getattr(select, "POLLRDHUP", 0))
    while os.getppid() == parent:
        events = [event for _, event in poller.poll(_LOOK_SECONDS * 1000)]
        if any(event & ~select.POLLNVAL for event in events):
            break
        if events:  # macOS cannot poll some kinds of stdin, and says so at once each time
            time.sleep(_LOOK_SECONDS)
    time.sleep(GRACE_SECONDS)
    os._exit(0)


def portal(args: argparse.Namespace) -> int:
    """Run the demo portal for others; return the exit code."""
    from bitrix24_directories.portal import listen, server

    demo = demo_portal(args.lang, args.fault, limit=(50, 2) if args.limit else None, age=args.age)
    try:
        running = server(demo.app, certfile=args.certfile, keyfile=args.keyfile)
        listening = listen(args.port)
    except OSError as exc:
        print_error(f"The demo portal cannot run on port {args.port}: {exc}")
        return 1
    scheme = "https" if args.certfile else "http"
    print(f"Demo portal ({args.lang}) until Ctrl+C. Point a server at it with", flush=True)
    print(f"BITRIX24_WEBHOOK_URL={scheme}://127.0.0.1:{listening.getsockname()[1]}{DEMO_WEBHOOK}", flush=True)
    running.run(sockets=[listening])
    return 0
