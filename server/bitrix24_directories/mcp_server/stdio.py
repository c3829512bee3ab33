"""Lines of JSON-RPC between client and SDK over standard input and output.

They run in the event loop. The SDK drops a line that it cannot read, and its sender waits forever: here it gets an
error as the answer. The SDK writes U+2028 unescaped, and many clients end a line there: here it is written as a JSON
escape.

The event loop itself reads and writes pipes and sockets, which clients use: a thread for each read, write and flush
takes longer than a tool with a cached answer. Files and terminals use threads, and so does everything on Windows, whose
event loop can wait for none of them. Nothing is made non-blocking: other processes, and our own stderr, may have the
same pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import sys
from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

import anyio
from mcp.os.win32.utilities import rebind_std_handle_to_fd
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic_core import from_json

_AT_ONCE = 2**16
_ABOVE_STANDARD = 3
_NOT_UTF_8 = "surrogateescape"
_BLANKS = " \t\r\n"  # those of JSON: any other character needs an answer
_BYTE_ORDER_MARK = "\ufeff"
_LINE_ENDS = {end: json.dumps(end)[1:-1] for end in "\u0085\u2028\u2029"}  # JSON escapes all others by itself
_INVALID_REQUEST = (
    "Invalid Request: a line must be one message of JSON-RPC 2.0, an object whose params are an object and whose id is "
    "a string or an integer"
)


class TextWriter(Protocol):
    """A text file in the event loop."""

    async def write(self, text: str, /) -> object: ...

    async def flush(self) -> None: ...


class Incoming:
    """Lines of a pipe or socket as UTF-8; other bytes become lone surrogates.
    The last line may have no end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[str]:
        held = bytearray()
        while True:
            await anyio.wait_readable(self._fd)
            try:
                more = os.read(self._fd, _AT_ONCE)
            except BlockingIOError:  # the client made it non-blocking, and another reader was faster
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
    """Text for a pipe or socket as UTF-8. Raises OSError if nobody reads it any more."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def write(self, text: str) -> None:
        """Write a text whole."""
        left = memoryview(text.encode())
        while left:
            await anyio.wait_writable(self._fd)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._fd, left[: select.PIPE_BUF]) :]  # never blocks when writable

    async def flush(self) -> None:
        """Do nothing: no text is buffered."""


def incoming() -> AsyncIterable[str]:
    """Return the lines of standard input; from then on it is empty for all others."""
    fd = _detach_stream(0, os.devnull)
    if _is_pollable(fd):
        return Incoming(fd)
    return anyio.wrap_file(open(fd, encoding="utf-8", errors=_NOT_UTF_8, newline="\n", closefd=False))


def outgoing() -> TextWriter:
    """Return standard output; from then on, other writes to it go to standard error."""
    fd = _detach_stream(1, None)
    if _is_pollable(fd):
        return Outgoing(fd)
    return anyio.wrap_file(open(fd, "w", encoding="utf-8", newline="\n", closefd=False))


def _is_pollable(fd: int) -> bool:
    kind = os.fstat(fd).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind))


def _detach_stream(fd: int, instead: str | None) -> int:
    """Return a private duplicate of a standard stream, or the stream if it has no duplicate."""
    try:
        if sys.platform == "win32":
            own = os.dup(fd)
        else:
            import fcntl  # not on Windows

            own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD)
    except OSError:
        return fd
    try:
        other = os.open(instead, os.O_RDWR) if instead else os.dup(2)
    except OSError:  # standard error is closed
        other = os.open(os.devnull, os.O_RDWR)
    os.dup2(other, fd)
    os.close(other)
    with contextlib.suppress(OSError):  # child processes inherit from a second table of Windows
        rebind_std_handle_to_fd(fd)
    return own


class Output:
    """Lines of JSON for the client. Each is written whole: the SDK and `messages` both write."""

    def __init__(self, file: TextWriter) -> None:
        self._file = file
        self._lock = anyio.Lock(fast_acquire=True)

    async def write(self, text: str) -> None:
        """Write one line of JSON, and flush it. Raises OSError if nobody reads it any more."""
        for end, escape in _LINE_ENDS.items():
            text = text.replace(end, escape)
        async with self._lock:
            await self._file.write(text)
            await self._file.flush()

    async def flush(self) -> None:
        """Do nothing: each write has flushed already."""


async def messages(lines: AsyncIterable[str], output: Output) -> AsyncIterator[str]:
    """Yield the lines that are messages; answer all others, but blank ones, with an error.

    Bytes that are not UTF-8 must be lone surrogates in `lines`, as the error handler "surrogateescape" makes them.
    """
    async for line in lines:
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            # To the SDK, a request whose id is neither string nor integer is a notification: it gets no answer.
            is_message = not isinstance(message, JSONRPCNotification) or "id" not in from_json(line)
        except ValueError:
            is_message = False
        if is_message:
            yield line
        elif line.strip(_BLANKS):
            error = JSONRPCError(jsonrpc="2.0", id=_request_id(line), error=_error(line))
            await output.write(error.model_dump_json(exclude_unset=True) + "\n")


def _request_id(line: str) -> str | int | None:
    """Return the id of a request: its sender waits for it. A response has the id of our request."""
    try:
        parsed = json.loads(line.removeprefix(_BYTE_ORDER_MARK))  # accepts lone surrogates
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict) or ("method" not in parsed and parsed.keys() & {"result", "error"}):
        return None
    request_id = parsed.get("id")
    if isinstance(request_id, str):
        return request_id if _is_unicode(request_id) else None
    return request_id if isinstance(request_id, int) and not isinstance(request_id, bool) else None


def _error(line: str) -> ErrorData:
    """Return the reason why a line is no message. It repeats nothing of the line."""
    if line.startswith(_BYTE_ORDER_MARK):
        why = "the line begins with a byte order mark"
    elif not _is_unicode(line):
        why = "the line is not UTF-8"
    else:
        try:
            from_json(line)
        except ValueError:
            why = "the line is not JSON, or it holds a lone surrogate or is nested too deeply"
        else:
            return ErrorData(code=INVALID_REQUEST, message=_INVALID_REQUEST)
    return ErrorData(code=PARSE_ERROR, message=f"Parse error: {why}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
