"""Standard input and output read and written in the event loop: the SDK's way, a thread's turn for each read, write and
flush, takes longer than a tool whose answer is kept.

Pipes and sockets only, as clients give them; not on Windows, whose event loop waits for neither. Nothing is made
non-blocking: other processes, and our own stderr, may have the same pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from collections.abc import AsyncIterator

import anyio

_AT_ONCE = 2**16
_ABOVE_STANDARD = 3


class Incoming:
    """The lines of a pipe or socket, as UTF-8; what is none is replaced. The last one may have no end."""

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
                line = held[:end].decode(errors="replace")
                del held[:end]
                searched = 0
                yield line
        if held:
            yield held.decode(errors="replace")


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


def incoming() -> Incoming | None:
    """Standard input, which is empty for all others from then on; None where the SDK has to read it."""
    own = _taken(0, os.devnull)
    return None if own is None else Incoming(own)


def outgoing() -> Outgoing | None:
    """Standard output; what others write to it goes to standard error from then on. None where it is the SDK's."""
    own = _taken(1, None)
    return None if own is None else Outgoing(own)


def _taken(fd: int, instead: str | None) -> int | None:
    """A duplicate of a standard stream that nobody else comes upon by chance."""
    if sys.platform == "win32":
        return None
    import fcntl  # Windows has none

    try:
        kind = os.fstat(fd).st_mode
        if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
            return None
        own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD)
        try:
            other = os.open(instead, os.O_RDWR) if instead else os.dup(2)
        except OSError:  # standard error is closed
            other = os.open(os.devnull, os.O_RDWR)
        os.dup2(other, fd)
        os.close(other)
    except OSError:
        return None
    return own
