# PYTHON_ARGCOMPLETE_OK
"""Entry point of the command line: runs a command, and returns its exit code."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from io import TextIOWrapper
from typing import Any

from .arguments import UsageError, parser
from .configured import UNWRITABLE, print_error
from .interruption import EndedBySignalError, at_once

# Commands that report an interruption themselves; all others end as Python does, or as `serve` does.
_INTERRUPTED = ("call", "login", "merge", "undo")
_WITH_RICH = ("report", "merge", "undo")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 for success, 1 for failure, 2 for wrong usage."""
    for stream in (sys.stdout, sys.stderr):  # UTF-8 in every locale, and no character fails to print
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    whole = parser()
    if "_ARGCOMPLETE" in os.environ:  # set by the shell when it completes a line
        import argcomplete

        argcomplete.autocomplete(whole)
    arguments = list(sys.argv[1:] if argv is None else argv)
    for index, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:  # the locale's encoding could not read it
            arguments[index] = os.fsencode(argument).decode("utf-8", errors="replace")
    args = whole.parse_args(arguments)
    modules: dict[str, Any] = sys.modules
    try:
        with ExitStack() as stack:
            if args.command not in _WITH_RICH and "rich" not in modules:
                # httpx and the SDK import it if it is installed, which takes a fifth of a second at each start.
                modules["rich"] = None  # as Python marks a module that cannot be imported
                stack.callback(modules.pop, "rich")
            if args.command in _INTERRUPTED:
                stack.enter_context(at_once())
            code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except EndedBySignalError as exc:
        return exc.code
    except KeyboardInterrupt:
        return 130
    except UsageError as exc:
        from .language import say

        print_error(say(str(exc)))
        return 2
    except OSError as exc:
        if exc.errno not in UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python itself would try once more, and fail aloud
        if exc.errno != errno.EPIPE:  # else the reader of the output has gone, and knows
            print_error(f"Standard output cannot be written to: {exc.strerror}")
        return 1
    return code


def _run(args: argparse.Namespace) -> int:
    """Import only what the command needs, so that it starts fast, and run it."""
    match args.command:
        case "call":
            from .call import call as run
        case "check":
            from .check import check as run
        case "login":
            from .login import login as run
        case "setup":
            from .setup import setup as run
        case "portal":
            from .serve import portal as run
        case "report":
            from .report import report as run
        case "merge":
            from .merge import merge as run
        case "undo":
            from .merge import undo as run
        case "person":
            from .person import person as run
        case _ if args.http:
            from .team import serve_http as run
        case _:
            from .serve import serve as run
    return run(args)
