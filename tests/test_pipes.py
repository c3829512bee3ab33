"""Standard streams in the event loop: any pieces, unread output, and any kind of stream."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import PARSE_ERROR

from bitrix24_directories.mcp_server.stdio import Incoming, Outgoing
from support import clean_environment
from test_stdio import HANDSHAKE

LAST_ID = 3
DEMO = [sys.executable, "-m", "bitrix24_directories", "--demo"]
MESSAGES = b"".join(
    json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n"
    for message in [*HANDSHAKE, {"id": 2, "method": "tools/list"}, {"id": LAST_ID, "method": "ping"}]
)


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\n", b"{}\n", "ж\n".encode(), b"\r\n"]), max_size=12))
def test_lines_are_the_same_in_whatever_pieces_they_come(pieces: list[bytes]) -> None:
    async def read() -> list[str]:
        reading, writing = os.pipe()
        lines: list[str] = []

        async def collect() -> None:
            lines.extend([line async for line in Incoming(reading)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect)
            for piece in pieces:
                os.write(writing, piece)
                await anyio.lowlevel.checkpoint()
            os.close(writing)
        os.close(reading)
        return lines

    whole = b"".join(pieces)
    expected = [line.decode(errors="surrogateescape") for line in whole.split(b"\n")]
    assert [line.removesuffix("\n") for line in anyio.run(read)] == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_line_far_longer_than_a_pipe_holds_passes_both_ways(blocking: bool) -> None:
    text = "".join(f"{number} жé🚚 " for number in range(100_000)) + "\n"
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, blocking)
    lines: list[str] = []

    async def collect() -> None:
        lines.extend([line async for line in Incoming(reading)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect)
        await Outgoing(writing).write(text)
        os.close(writing)
    os.close(reading)
    assert lines == [text]


async def test_what_nobody_reads_holds_up_nothing_else() -> None:
    reading, writing = os.pipe()
    with anyio.move_on_after(0.05) as limit:  # not reached if the loop is blocked
        await Outgoing(writing).write("x" * 2**20)
    assert limit.cancelled_caught
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        await Outgoing(writing).write("x")
    os.close(writing)


@contextlib.contextmanager
def _serving(
    cwd: Path, command: Sequence[str] = DEMO, *, stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has been sent MESSAGES, with its input still open.

    Requests that it has not answered are dropped at its end.
    """
    environment = clean_environment(BITRIX24_LOG_LEVEL="DEBUG")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, cwd=cwd, env=environment
    ) as process:
        assert process.stdin is not None
        process.stdin.write(MESSAGES)
        process.stdin.flush()
        yield process


def _follow(file: IO[bytes]) -> Iterator[bytes]:
    """Lines of a file that another process writes."""
    line = b""
    while True:
        line += file.readline()
        if line.endswith(b"\n"):
            yield line
            line = b""


def _read_until_answered(lines: Iterator[bytes]) -> list[bytes]:
    """Lines written until the last of MESSAGES was answered; asserts whole answers in order."""
    written: list[bytes] = []
    ids: list[int] = []
    while not ids or ids[-1] != LAST_ID:
        written.append(next(lines))
        if written[-1].startswith(b'{"jsonrpc"'):
            ids.append(json.loads(written[-1])["id"])
    assert ids == [0, 2, LAST_ID]
    return written


@pytest.mark.slow
def test_a_file_does_for_a_pipe_of_output(tmp_path: Path) -> None:
    with (
        (tmp_path / "out").open("wb") as taken,
        (tmp_path / "out").open("rb") as written,
        _serving(tmp_path, stdout=taken, stderr=subprocess.DEVNULL),
    ):
        _read_until_answered(_follow(written))


@pytest.mark.slow
def test_a_file_does_for_a_pipe_of_input(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(MESSAGES)
    with (tmp_path / "in").open("rb") as stdin:
        ended = subprocess.run(DEMO, stdin=stdin, capture_output=True, env=clean_environment(), check=True)
    assert ended.stderr == b""


READ_BY_THREADS = """
import sys
from bitrix24_directories.mcp_server import stdio
stdio._is_pollable = lambda fd: False
from bitrix24_directories.cli.main import main
main(["--demo"])
"""


@pytest.mark.parametrize("command", [DEMO, [sys.executable, "-c", READ_BY_THREADS]], ids=["event loop", "threads"])
def test_line_separators_leave_as_escapes_and_lines_that_are_no_messages_are_answered(
    tmp_path: Path, command: Sequence[str]
) -> None:
    """Also by threads, as on Windows and with files and terminals."""
    with _serving(tmp_path, command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        _read_until_answered(iter(server.stdout.readline, b""))
        separators = "\u2028 \u2029 \u0085"
        for sent in (f'{{"jsonrpc":"2.0","id":"{separators}","method":"ping"}}'.encode(), b"\xff"):
            server.stdin.write(sent + b"\n")
        server.stdin.flush()
        lines = [server.stdout.readline() for _ in range(2)]
        server.stdin.close()
    assert all(line == line.decode().splitlines()[0].encode() + b"\n" for line in lines)
    answers = {answer["id"]: answer for answer in map(json.loads, lines)}
    assert answers[separators]["result"] == {}
    assert answers[None]["error"]["code"] == PARSE_ERROR


@pytest.mark.slow
def test_sockets_do_for_pipes(tmp_path: Path) -> None:
    """Node gives its children sockets."""
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    with ours, subprocess.Popen(DEMO, stdin=fd, stdout=fd, cwd=tmp_path, env=clean_environment()) as server:
        theirs.close()
        ours.sendall(MESSAGES)
        with ours.makefile("rb") as lines:
            _read_until_answered(iter(lines.readline, b""))
        ours.shutdown(socket.SHUT_WR)
        assert server.wait(timeout=30) == 0


@pytest.mark.slow
def test_one_pipe_for_output_and_errors(tmp_path: Path) -> None:
    """Output as with `2>&1`: log lines stand between the answers, and no answer is lost."""
    with _serving(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        assert server.stdout is not None
        written = _read_until_answered(iter(server.stdout.readline, b""))
    assert len(written) > len([0, 2, LAST_ID])


@pytest.mark.slow
def test_what_others_print_or_read_is_not_the_protocols(tmp_path: Path) -> None:
    """A library, or a child process, that uses the standard streams itself."""
    (tmp_path / "noisy.py").write_text(
        "import os, subprocess, sys\n"
        "from bitrix24_directories.cli.main import main\n"
        "from bitrix24_directories.mcp_server.server import DirectoriesServer\n"
        "list_tools = DirectoriesServer.on_list_tools\n"
        "async def noisy(self, request, params):\n"
        "    print('printed', flush=True)\n"
        "    os.write(1, b'written\\n')\n"
        "    subprocess.run([sys.executable, '-c', 'import sys; print(repr(sys.stdin.read()))'])\n"
        "    return await list_tools(self, request, params)\n"
        "DirectoriesServer.on_list_tools = noisy\n"
        "main(['--demo'])\n"
    )
    with (
        (tmp_path / "errors").open("wb") as errors,
        _serving(tmp_path, [sys.executable, "noisy.py"], stdout=subprocess.PIPE, stderr=errors) as server,
    ):
        assert server.stdout is not None
        assert len(_read_until_answered(iter(server.stdout.readline, b""))) == len([0, 2, LAST_ID])
    printed = (tmp_path / "errors").read_text().splitlines()
    assert {"printed", "written", "''"} <= set(printed)
