"""Strangers who connect to a team's server: silent connections, and contradictory requests."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream
from mcp.shared.exceptions import MCPError

from bitrix24_directories.logs import refusals_limited
from bitrix24_directories.rest import PortalConnection
from bitrix24_directories.team import door
from bitrix24_directories.team.people import People
from bitrix24_directories.team.serving import HttpServer
from support import RunningPortal, clean_environment
from team_support import ACCEPT, TeamServer, call_tool, tool_call

STAGES = {"entityId": "DEAL_STAGE"}


@pytest.fixture
def team(portal: RunningPortal, tmp_path: Path) -> TeamServer:
    return TeamServer(portal, tmp_path)


@contextlib.asynccontextmanager
async def connected(team: TeamServer, first_bytes: bytes = b"") -> AsyncIterator[SocketStream]:
    host, port = team.url.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        if first_bytes:
            await stream.send(first_bytes.replace(b"HOST", f"{host}:{port}".encode()))
        yield stream


async def read_to_end(stream: SocketStream) -> bytes:
    """All bytes until the other side closes."""
    received = b""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            received += await stream.receive()
    return received


HALF = b"POST /mcp HTTP/1.1\r\nhost: HOST\r\nx-more: "
LISTED = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}'
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: HOST\r\n\r\n"


@pytest.mark.parametrize("first_bytes", [b"", HALF, HEALTH])
async def test_connections_that_say_no_more_are_closed(
    team: TeamServer, monkeypatch: pytest.MonkeyPatch, first_bytes: bytes
) -> None:
    monkeypatch.setattr(door, "SECONDS", 0.3)
    async with team.running(), connected(team, first_bytes) as stream:
        with anyio.fail_after(3):
            received = await read_to_end(stream)
    assert received.endswith(b"ok" if first_bytes == HEALTH else b"")


async def drip(stream: SocketStream) -> None:
    """Send a byte every so often, as long as the connection is open."""
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.05)


async def test_a_head_that_comes_in_drops_has_no_more_time(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "SECONDS", 0.4)
    async with team.running(), connected(team, HALF) as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(drip, stream)
        with anyio.fail_after(3):
            await read_to_end(stream)
        tasks.cancel_scope.cancel()


async def test_a_body_in_drops_after_a_refusal_has_no_more_time(
    team: TeamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SECONDS", 0.4)
    team.add("anna")
    head = b"POST /mcp HTTP/1.1\r\nhost: HOST\r\ncontent-length: 1000\r\n\r\n"
    async with team.running(), connected(team, head) as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(drip, stream)
        with anyio.fail_after(3):
            assert b" 401 " in await read_to_end(stream)
        tasks.cancel_scope.cancel()


async def test_work_has_the_time_that_it_takes(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "SECONDS", 0.2)
    anna = team.add("anna")
    team.portal.order(method="batch", delay=0.8)
    async with team.running(), team.client(anna) as client:
        assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8


DEAF = {
    "a stranger": (b"content-length: 0\r\n\r\n", 20_000),
    "a person": (b"authorization: Bearer TOKEN\r\ncontent-length: LENGTH\r\ncontent-type: application/json\r\n"
    b"accept: application/json, text/event-stream\r\n\r\n" + LISTED, 500),
}  # fmt: skip


@pytest.mark.parametrize("caller", DEAF)
async def test_who_does_not_read_the_answers_is_not_waited_for(
    team: TeamServer, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    monkeypatch.setattr(door, "SECONDS", 0.3)
    token, length = team.add("anna").encode(), str(len(LISTED)).encode()
    rest, times = DEAF[caller]
    request = b"POST /mcp HTTP/1.1\r\nhost: HOST\r\n" + rest.replace(b"TOKEN", token).replace(b"LENGTH", length)
    async with team.running(), anyio.create_task_group() as tasks:
        assert team.http is not None
        connections = team.http.server_state.connections

        async def shout() -> None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                async with connected(team, times * request):  # it receives nothing before all of it is sent
                    await anyio.sleep_forever()

        tasks.start_soon(shout)
        with anyio.fail_after(2):
            while not connections:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(0.01)
        with anyio.fail_after(60):
            while connections:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()


LENGTHS = [
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
]


@pytest.mark.parametrize("path", [b"POST /mcp", b"GET /healthz"])
@pytest.mark.parametrize("lengths", LENGTHS)
async def test_two_lengths_close_the_connection(team: TeamServer, path: bytes, lengths: bytes) -> None:
    """Nothing after the request is answered, wherever a proxy has ended it."""
    anna = team.add("anna").encode()
    head = path + b" HTTP/1.1\r\nhost: HOST\r\nauthorization: Bearer " + anna + b"\r\n" + lengths + b"\r\n"
    async with team.running(), connected(team, head + b"0\r\n\r\n" + HEALTH) as stream:
        with anyio.fail_after(3):
            received = await read_to_end(stream)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1") == 1


async def test_where_no_more_connections_fit_the_longest_unused_gives_way(
    team: TeamServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bitrix24_directories.team.serving.descriptors", lambda: 40)
    anna = team.add("anna")
    team.portal.order(method="batch", delay=1)
    async with (
        team.running(),
        contextlib.AsyncExitStack() as idle,
        team.client(anna) as client,
        anyio.create_task_group() as tasks,
    ):

        async def ask() -> None:
            assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8

        tasks.start_soon(ask)  # a working connection is not closed, however long it lasts
        await anyio.sleep(0.2)
        first = await idle.enter_async_context(connected(team, HALF))
        for _ in range(60):
            await idle.enter_async_context(connected(team, HALF))
        with anyio.fail_after(3):
            assert await read_to_end(first) == b""
        assert team.http is not None
        assert len(team.http.server_state.connections) <= 20
    full = [record for record in caplog.records if "no more fit" in record.getMessage()]
    assert len(full) == 1  # one line for 40 times


async def test_the_work_for_strangers_leaves_room_for_the_others(
    team: TeamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = anyio.Event()

    async def probe(_connection: PortalConnection, _address: str) -> None:
        await enough.wait()

    monkeypatch.setattr("bitrix24_directories.team.serving.descriptors", lambda: 40)
    monkeypatch.setattr(PortalConnection, "probe", probe)
    anna = team.add("anna")
    async with team.running(), contextlib.AsyncExitStack() as strangers:
        async with team.client(anna) as client:
            await call_tool(client, "get_directory_items", **STAGES)
        (connection,) = team.team.connections().values()
        connection.reached_at, connection.failed_at = None, anyio.current_time() - 6
        for _ in range(20):
            await strangers.enter_async_context(connected(team, HEALTH.replace(b"healthz", b"readyz")))
        await anyio.sleep(0.5)
        async with team.client(anna) as client:
            assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8
        enough.set()


async def test_those_who_listen_leave_room_for_the_others(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitrix24_directories.team.serving.descriptors", lambda: 80)
    tokens = [team.add(f"person{number}") for number in range(5)]
    async with team.running(), contextlib.AsyncExitStack() as streams:
        refused: list[str] = []
        for token in tokens:
            client = await streams.enter_async_context(team.client(token))
            for _ in range(10):
                try:
                    listening = client.listen(resource_subscriptions=["bitrix24://directories"])
                    await streams.enter_async_context(listening)
                except MCPError as exc:
                    refused.append(str(exc))
        assert ["too many streams" in reason for reason in refused] == 30 * [True]
        async with team.client(team.add("anna")) as client:
            assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8


def test_of_what_is_logged_of_strangers_there_is_one_line_in_ten_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    logger = logging.getLogger("uvicorn.error")

    def refuse() -> None:
        logger.warning("Invalid HTTP request received.")

    with refusals_limited():
        for _ in range(1000):
            refuse()
        logger.warning("Something else.")
        clock[0] += 11
        refuse()
    refuse()
    invalid = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Invalid")]
    assert invalid == [
        "Invalid HTTP request received.",
        "Invalid HTTP request received. (and 999 more lines like this)",
        "Invalid HTTP request received.",
    ]
    assert len(caplog.records) == 4


@contextlib.contextmanager
def serve_with_few_descriptors(portal: RunningPortal, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Run the command with 256 descriptors; yields its address, a person's token, and its log."""
    from bitrix24_directories.rest import Webhook

    token = People(folder / "people.jsonl").add("anna", ("directories:read",), Webhook.parse(portal.webhook_url()))
    environment = clean_environment(BITRIX24_PEOPLE=str(folder / "people.jsonl"), BITRIX24_ACCESS_LOG="off")
    log = folder / "log.txt"
    command = [sys.executable, "-m", "bitrix24_directories", "serve", "--http", "0"]
    limited = ["/bin/sh", "-c", 'ulimit -n 256 && exec "$@"', "sh", *command]
    with log.open("wb") as errors, subprocess.Popen(limited, env=environment, stderr=errors, cwd=folder) as process:
        try:
            until = time.monotonic() + 20
            while not (match := re.search(r"http://\S+/mcp", log.read_text())):
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield match[0], token, log
        finally:
            process.terminate()


@pytest.mark.skipif(os.name == "nt", reason="descriptors are not limited there")
async def test_300_half_open_connections_leave_everybody_served(portal: RunningPortal, tmp_path: Path) -> None:
    with serve_with_few_descriptors(portal, tmp_path) as (url, token, log):
        host, port = re.findall(r"http://(.+):(\d+)/", url)[0]
        async with contextlib.AsyncExitStack() as half_open:
            for _ in range(300):
                stream = await half_open.enter_async_context(await anyio.connect_tcp(host, int(port)))
                await stream.send(HALF)
            async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"} | ACCEPT, timeout=5) as http:
                for _ in range(3):
                    answer = await http.post(url, json=tool_call("get_directory_items", **STAGES))
                    assert '"isError":false' in answer.text
        lines = log.read_text().splitlines()
    assert len(lines) < 10, lines


async def test_requests_that_are_on_their_way_when_the_server_ends_are_answered(team: TeamServer) -> None:
    async with team.running():
        host, port = team.url.removeprefix("http://").split(":")
        request = HEALTH.replace(b"HOST", f"{host}:{port}".encode())
        async with connected(team) as open_before, connected(team) as silent, connected(team, HEALTH) as keep_alive:
            while b"ok" not in await keep_alive.receive():
                pass
            with socket.create_connection((host, int(port))) as not_accepted:
                not_accepted.sendall(request)
                async with anyio.create_task_group() as ending:
                    ending.start_soon(team.end)  # connections made without the event loop cannot be accepted by now
                    await anyio.wait_all_tasks_blocked()
                    for stream in (open_before, keep_alive):
                        await stream.send(request)
                        answer = await read_to_end(stream)
                        assert answer.startswith(b"HTTP/1.1 200")
                        assert b"connection: close" in answer
                    assert await read_to_end(silent) == b""
                not_accepted.settimeout(5)
                assert not_accepted.recv(65536).startswith(b"HTTP/1.1 200")


def test_half_of_the_descriptors_are_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    assert door.descriptors() > 0
    monkeypatch.setattr("bitrix24_directories.team.serving.descriptors", lambda: 256)
    nothing: Any = None  # the application to serve
    server = HttpServer(nothing, nothing)
    assert server.config.backlog == 32
