"""Standard input and output, taken from all others in the process, as text in the event loop.

Pipes and sockets, as clients give them, are read and written by the event loop itself: a thread's turn for each read,
write and flush takes longer than a tool whose answer is kept. Files and terminals take threads, and so does all on
Windows, whose event loop waits for none of them. Nothing is made non-blocking: other processes, and our own stderr, may
have the same pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

import anyio
from mcp.os.win32.utilities import rebind_std_handle_to_fd

_AT_ONCE = 2**16
_ABOVE_STANDARD = 3
_NOT_UTF_8 = "surrogateescape"


class TextWriter(Protocol):
    """A text file in the event loop."""

    async def write(self, text: str, /) -> object: ...

    async def flush(self) -> None: ...


class Incoming:
    """The lines of a pipe or socket, as UTF-8; other bytes become lone surrogates. The last line may have no end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[str]:
        held = bytearray()
        while True:
            await anyio.wait_readable(self._fd)
            try:
                more = os.read(self._fd, _AT_ONCE)
            except BlockingIOError:  # the client's choice, and somebody else was faster
                continue
            if not more:
                break
            searched = len(held)
            held += more
            while (end := held.find(b"\n", searched) + 1) > 0:
                line = held[:end].decode(errors=_NOT_UTF_8)
                del held[:end]
                searched = 0
                yield line
        if held:
            yield held.decode(errors=_NOT_UTF_8)


class Outgoing:
    """Text for a pipe or socket, as UTF-8. Raises OSError where nobody reads it any more."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def write(self, text: str) -> None:
        left = memoryview(text.encode())
        while left:
            await anyio.wait_writable(self._fd)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._fd, left[: select.PIPE_BUF]) :]  # as much as cannot block then

    async def flush(self) -> None:
        """Nothing is held back."""


def incoming() -> AsyncIterable[str]:
    """Lines of standard input, as Incoming has them; it is empty for all others from then on."""
    fd = _taken(0, os.devnull)
    if _in_event_loop(fd):
        return Incoming(fd)
    return anyio.wrap_file(open(fd, encoding="utf-8", errors=_NOT_UTF_8, newline="\n", closefd=False))


def outgoing() -> TextWriter:
    """Standard output; what others write to it goes to standard error from then on."""
    fd = _taken(1, None)
    if _in_event_loop(fd):
        return Outgoing(fd)
    return anyio.wrap_file(open(fd, "w", encoding="utf-8", newline="\n", closefd=False))


def _in_event_loop(fd: int) -> bool:
    kind = os.fstat(fd).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind))


def _taken(fd: int, instead: str | None) -> int:
    """A duplicate of a standard stream that nobody else comes upon by chance, or itself if it cannot be duplicated."""
    try:
        own = _duplicate(fd)
    except OSError:
        return fd
    try:
        other = os.open(instead, os.O_RDWR) if instead else os.dup(2)
    except OSError:  # standard error is closed
        other = os.open(os.devnull, os.O_RDWR)
    os.dup2(other, fd)
    os.close(other)
    with contextlib.suppress(OSError):  # Windows has a second table, from which child processes inherit
        rebind_std_handle_to_fd(fd)
    return own


def _duplicate(fd: int) -> int:
    if sys.platform == "win32":
        return os.dup(fd)
    import fcntl  # Windows has none

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD)
