"""Lines of JSON-RPC between a client and the SDK, over standard input and output.

The SDK drops a line that it cannot read, and its sender waits for ever: here the line is answered with an error. The
SDK writes U+2028 as it is, and many clients end a line there: here it leaves as a JSON escape.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import anyio
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic_core import from_json

from .stdio import TextWriter

_BLANKS = " \t\r\n"  # JSON's own: any other character needs an answer
_BYTE_ORDER_MARK = "\ufeff"
_LINE_ENDS = {end: json.dumps(end)[1:-1] for end in "\u0085\u2028\u2029"}  # JSON escapes the other ones by itself
_INVALID_REQUEST = (
    "Invalid Request: a line must be one message of JSON-RPC 2.0, an object whose params are an object and whose id is "
    "a string or an integer"
)


class Output:
    """Lines of JSON for the client. Each is written whole: the SDK writes, and `messages` does."""

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
    """Pass on the lines that are messages, and answer each other line with an error; blank lines are ignored.

    Bytes that are not UTF-8 must be lone surrogates in `lines`, as the error handler "surrogateescape" makes them.
    """
    async for line in lines:
        if _is_message(line):
            yield line
        elif line.strip(_BLANKS):
            await output.write(_refusal(line).model_dump_json(exclude_unset=True) + "\n")


def _is_message(line: str) -> bool:
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return False
    # The SDK takes a request whose id is neither string nor integer for a notification, which nobody answers.
    return not isinstance(message, JSONRPCNotification) or "id" not in from_json(line)


def _refusal(line: str) -> JSONRPCError:
    """The error that answers a line. It repeats nothing of it but the request's id."""
    request_id = _request_id(_parsed(line.removeprefix(_BYTE_ORDER_MARK)))
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=_error(line))


def _error(line: str) -> ErrorData:
    if line.startswith(_BYTE_ORDER_MARK):
        why = "the line begins with a byte order mark"
    elif not _is_unicode(line):
        why = "the line is not UTF-8"
    elif not _is_json(line):
        why = "the line is not JSON, or it holds a lone surrogate or is nested too deeply"
    else:
        return ErrorData(code=INVALID_REQUEST, message=_INVALID_REQUEST)
    return ErrorData(code=PARSE_ERROR, message=f"Parse error: {why}")


def _parsed(line: str) -> Any:
    """JSON as Python reads it, which takes lone surrogates; None if it cannot be read."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_json(line: str) -> bool:
    try:
        from_json(line)
    except ValueError:
        return False
    return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _request_id(parsed: Any) -> str | int | None:
    """The id of a request, which its sender waits for. A response has the id of a request of ours."""
    if not isinstance(parsed, dict) or ("method" not in parsed and parsed.keys() & {"result", "error"}):
        return None
    request_id = parsed.get("id")
    if isinstance(request_id, str):
        return request_id if _is_unicode(request_id) else None
    return request_id if isinstance(request_id, int) and not isinstance(request_id, bool) else None
