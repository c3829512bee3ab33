"""Lines between a client and the SDK.

Each invalid message is answered once, and no line is split on its way out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import INVALID_REQUEST, PARSE_ERROR, JSONRPCNotification, JSONRPCRequest, jsonrpc_message_adapter

from bitrix24_directories.mcp_server.stdio import Output, messages
from support import examples
from test_stdio import RawServer

BOM = b"\xef\xbb\xbf"
PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
SECRET = "topsecret"

NOT_MESSAGES: list[tuple[bytes, int, str | int | None]] = [
    (b"no JSON", PARSE_ERROR, None),
    (b"\xff", PARSE_ERROR, None),
    (b"\x00\x1b[2J", PARSE_ERROR, None),
    ("\u00a0".encode(), PARSE_ERROR, None),
    (PING[:-1], PARSE_ERROR, None),
    (b"[" * 100_000, PARSE_ERROR, None),
    (b'{"id":7,"params":' + b"[" * 300 + b"]" * 300 + b"}", PARSE_ERROR, 7),
    (BOM, PARSE_ERROR, None),
    (BOM + PING, PARSE_ERROR, 7),
    (b'{"jsonrpc":"2.0","id":7,"method":"\\ud800"}', PARSE_ERROR, 7),
    (b'{"jsonrpc":"2.0","id":7,"method":"\xed\xa0\x80"}', PARSE_ERROR, 7),
    (b'{"jsonrpc":"2.0","id":"a","method":"\xff"}', PARSE_ERROR, "a"),
    (b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', PARSE_ERROR, None),
    (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', PARSE_ERROR, None),
    (b"null", INVALID_REQUEST, None),
    (b"7", INVALID_REQUEST, None),
    (b"[" + PING + b"]", INVALID_REQUEST, None),
    (b"{}", INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":7}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":7,"method":7}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', INVALID_REQUEST, 7),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":7.5,"method":"ping"}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":7}', INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":7,"result":7}', INVALID_REQUEST, None),  # 7 is the id of a request of ours
    (b'{"jsonrpc":"2.0","id":7,"error":7}', INVALID_REQUEST, None),
    (f'{{"jsonrpc":"{SECRET}","id":"\u2028","{SECRET}\x7f":"\u202e"}}'.encode(), INVALID_REQUEST, "\u2028"),
]
UNANSWERED = [
    b"",
    b" \t\r",
    b'{"jsonrpc":"2.0","method":"no/such/method"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1000}}',
    b'{"jsonrpc":"2.0","id":7,"result":{}}',
    b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"}}',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}',
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
LIKE_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.sampled_from([7, "a", None, True, 1.0, "\ud800", "\u2028"]) | JSON,
        "method": st.just("ping") | st.text(max_size=5) | JSON,
        "params": st.just({}) | JSON,
        "result": st.just({}) | JSON,
        "error": st.just({"code": 1, "message": "x"}) | JSON,
    },
)
LINES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([PING, *UNANSWERED, *(line for line, *_ in NOT_MESSAGES)]),
    st.builds(lambda text, at, byte: text[:at] + byte + text[at:], st.just(PING), st.integers(0, 40), st.binary()),
    st.builds(json.dumps, LIKE_MESSAGES, ensure_ascii=st.booleans()).map(
        lambda text: text.encode(errors="surrogatepass")
    ),
).map(lambda line: line.replace(b"\n", b""))


class Written:
    """A file in memory that takes one character at a time, and lets other tasks run in between."""

    def __init__(self) -> None:
        self.text = ""

    async def write(self, text: str) -> None:
        for char in text:
            self.text += char
            await anyio.lowlevel.checkpoint()

    async def flush(self) -> None: ...


async def exchange(lines: Sequence[bytes]) -> tuple[list[str], list[dict[str, Any]]]:
    """Lines that are passed on to the SDK, and errors that answer the others."""

    async def sent() -> AsyncIterator[str]:
        for line in lines:
            yield line.decode(errors="surrogateescape") + "\n"

    written = Written()
    passed = [line async for line in messages(sent(), Output(written))]
    return passed, [json.loads(line) for line in written.text.splitlines()]


async def test_lines_that_are_written_at_once_leave_whole() -> None:
    written = Written()
    output = Output(written)
    lines = ["a\u2028b\n", "c\u2029\u0085d\n", "жé🚚\n"]
    async with anyio.create_task_group() as tasks:
        for line in lines:
            tasks.start_soon(output.write, line)
    assert sorted(written.text.splitlines()) == ["a\\u2028b", "c\\u2029\\u0085d", "жé🚚"]


@pytest.mark.parametrize(("line", "code", "request_id"), NOT_MESSAGES)
async def test_what_is_no_message_is_answered(line: bytes, code: int, request_id: str | int | None) -> None:
    passed, (answer,) = await exchange([line])
    assert not passed
    assert (answer["jsonrpc"], answer["id"], answer["error"]["code"]) == ("2.0", request_id, code)
    assert answer["error"]["message"].isprintable()
    assert SECRET not in answer["error"]["message"]


@pytest.mark.parametrize("line", UNANSWERED)
async def test_what_needs_no_answer_gets_none(line: bytes) -> None:
    passed, answers = await exchange([line])
    assert not answers
    assert len(passed) == bool(line.strip())


@settings(max_examples=examples(300))
@given(st.lists(LINES, max_size=4))
def test_any_line_is_passed_on_or_answered_and_the_next_one_is_passed_on(lines: list[bytes]) -> None:
    passed, answers = anyio.run(exchange, [*lines, PING])
    assert passed[-1].encode() == PING + b"\n"
    assert len(passed) + len(answers) == 1 + sum(bool(line.strip(b" \t\r")) for line in lines)
    assert {answer["error"]["code"] for answer in answers} <= {PARSE_ERROR, INVALID_REQUEST}


def is_answered(line: bytes) -> bool:
    """True if MCP requires an answer to a line.

    These are all lines but blank ones, valid notifications and valid responses.
    """
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return bool(line.strip(b" \t\r"))
    return isinstance(message, JSONRPCRequest) or (
        isinstance(message, JSONRPCNotification) and "id" in json.loads(line)
    )


def test_a_server_answers_any_line_once_and_goes_on(tmp_path: Path) -> None:
    server = RawServer(tmp_path, "--demo", BITRIX24_LOG_LEVEL="DEBUG")

    def answers_to(line: bytes) -> list[dict[str, Any]]:
        server.stdin.write(line + b"\n")
        server.send({"id": "after it", "method": "ping"})
        answers = [server.read() for _ in range(1 + is_answered(line))]
        return [answer for answer in answers if answer["id"] != "after it"]

    @settings(max_examples=examples(80))
    @given(LINES)
    def answered(line: bytes) -> None:
        assert len(answers_to(line)) == is_answered(line)

    answered()
    for line, code, request_id in NOT_MESSAGES:
        (answer,) = answers_to(line)
        assert (answer["id"], answer["error"]["code"]) == (request_id, code)
    assert server.call("get_directory_items", entityId="SOURCE")["content"]
    assert server.close() == 0
    assert SECRET not in server.errors.read_text(encoding="utf-8")
