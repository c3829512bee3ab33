"""Ctrl+C and SIGTERM in a terminal: wait for requests that were sent, and send no more.

asyncio answers Ctrl+C by cancelling tasks past every shield, and SIGTERM kills at once. Here the first signal cancels
through anyio, whose shields hold; a second one ends the process at once. Handlers are Python's, not the event loop's:
Windows has these too, and they run while the loop is blocked.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from .configured import print_error
from .language import say

if TYPE_CHECKING:
    from bitrix24_directories.changing.audit import Audit

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"  # which a bar hides


class EndedBySignalError(KeyboardInterrupt):
    """A signal has ended a command; `code` is its exit code."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


class Interruption:
    """Signals that came during a command; `audit` has what the command has sent."""

    def __init__(self, audit: Audit | None = None) -> None:
        self._number = 0
        self._audit = audit
        self.cancelled = False
        """True if something was cancelled, False if it finished in spite of the signal."""

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Cancel the block with the first signal. Call `reraise` afterwards, outside the event loop."""
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:

            def cancel() -> None:
                scope.cancel()
                _print(say("Interrupted: waiting for answers to what was sent. A second time ends it at once."))

            with _handled_by(partial(self._receive, lambda: loop.call_soon_threadsafe(cancel))):
                yield
        self.cancelled = scope.cancelled_caught

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Let the block finish in spite of a signal. Call `reraise` afterwards."""
        message = say("Interrupted: waiting for the answer, which holds the tokens. A second time ends it at once.")
        with _handled_by(partial(self._receive, lambda: _print(message))):
            yield

    def reraise(self) -> None:
        """Raise EndedBySignalError if a signal came."""
        if self._number:
            raise EndedBySignalError(self._number)

    def _receive(self, begin: Callable[[], object], number: int, _frame: Any) -> None:
        if not self._number:
            self._number = number
            begin()
            return
        try:  # a second time: end without waiting for anything, not for the loop, and not for threads
            if self._audit is not None:
                self._audit.cut_off()
            prefix = _SHOW_CURSOR if sys.stderr is not None and sys.stderr.isatty() else ""
            message = say("Ended at once: of what was sent and not answered it is unknown what became of it.")
            os.write(2, f"{prefix}{message}\n".encode())  # print may be in the middle of something
        finally:  # even if printing fails: a stream that is interrupted while it writes raises RuntimeError
            os._exit(128 + number)


@contextmanager
def at_once() -> Iterator[None]:
    """Let a signal raise EndedBySignalError in a block that sends nothing, such as a question."""

    def end(number: int, _frame: Any) -> NoReturn:
        raise EndedBySignalError(number)

    with _handled_by(end):
        yield


def _print(text: str) -> None:
    """Print to stderr; its reader may be gone, which is ignored."""
    with suppress(OSError):
        print_error(text)


@contextmanager
def _handled_by(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """Handle signals in the main thread; ignored ones stay ignored, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: was for number in _NUMBERS if (was := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def so_far(audit: Audit | None) -> str:
    """Return a sentence on the changes that an interrupted command has made."""
    counts = audit.said if audit is not None else {}
    made = sum(counts.get(outcome, 0) for outcome in ("moved", "done", "done otherwise"))
    if unknown := counts.get("unknown", 0):
        return say(f"Interrupted. Changes made by then: {made}; changes of which it is not known: {unknown}.")
    if made:
        return say(f"Interrupted. Changes made by then: {made}.")
    return say("Interrupted: nothing was changed.")
