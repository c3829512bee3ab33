"""The server as a process, as Claude Desktop starts it: protocol, logs, secrets, exit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from mcp import Client
from mcp.client.stdio import stdio_client
from mcp_types import ElicitResult

from support import ADMIN_SECRET, Assistant, RunningPortal, clean_environment, spawn_parameters

ENDS_WITHIN_SECONDS = 2  # as the README promises
HANDSHAKE: list[dict[str, Any]] = [
    {
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    },
    {"method": "notifications/initialized"},
]


class RawServer:
    """A spawned server, used line by line, so that each byte of its output can be checked."""

    def __init__(self, cwd: Path, *arguments: str, **environment: str) -> None:
        self.errors = cwd / "stderr.txt"
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bitrix24_directories", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=cwd,
                env=clean_environment(**environment),
            )
        self.written = b""
        self.send(*HANDSHAKE)
        self.read()

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.stdin.write(json.dumps({"jsonrpc": "2.0"} | message, ensure_ascii=False).encode() + b"\n")
        self.stdin.flush()

    def read(self) -> dict[str, Any]:
        line = self.stdout.readline()
        self.written += line
        answer: dict[str, Any] = json.loads(line)
        return answer

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self.send({"id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        answer = next(answer for answer in iter(self.read, None) if answer.get("id") == 1)
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> int:
        self.stdin.close()
        code = self.process.wait(timeout=ENDS_WITHIN_SECONDS)
        self.written += self.stdout.read()
        self.stdout.close()
        return code


async def test_the_sdks_client_over_stdio(portal: RunningPortal, tmp_path: Path) -> None:
    async with Client(spawn_parameters(tmp_path, BITRIX24_WEBHOOK_URL=portal.webhook_url())) as client:
        result = await Assistant(client).call("get_directory_items", entityId="deal_stage")
    assert "WON: Deal Won" in result.text
    assert ("crm.status.entity.items", {"entityId": "DEAL_STAGE"}) in portal.portal.calls


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, "BITRIX24_WEBHOOK_URL is not set"),
        ({"BITRIX24_WEBHOOK_URL": f"https://portal.example/{ADMIN_SECRET}"}, "is not an inbound webhook's URL"),
        ({"BITRIX24_TIMEOUT": ADMIN_SECRET}, "BITRIX24_TIMEOUT must be a number"),
    ],
)
async def test_misconfigured_it_still_starts_and_says_what_to_set(
    tmp_path: Path, environment: dict[str, str], part: str
) -> None:
    with (tmp_path / "stderr.txt").open("w+") as errors:
        async with Client(stdio_client(spawn_parameters(tmp_path, **environment), errors)) as client:
            result = await Assistant(client).call("get_directory_items", entityId="DEAL_STAGE")
            assert len((await client.list_tools()).tools) == 5
        errors.seek(0)
        assert ADMIN_SECRET not in errors.read()
    assert result.error["category"] == "configuration"
    assert part in result.text
    assert "claude_desktop_config.json" in result.text
    assert ADMIN_SECRET not in result.everything


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_person_is_asked_over_stdio(portal: RunningPortal, tmp_path: Path, mode: str) -> None:
    questions: list[str] = []

    async def answer(context: Any, params: Any) -> ElicitResult:
        del context
        questions.append(params.message)
        return ElicitResult(action="accept", content={"confirm": True})

    writes = {"BITRIX24_WEBHOOK_URL": portal.webhook_url(), "BITRIX24_ALLOW_WRITES": "true"}
    log = tmp_path / "audit.jsonl"
    server = spawn_parameters(tmp_path, **writes, BITRIX24_AUDIT_LOG=str(log))
    with (tmp_path / "stderr.txt").open("w+") as errors:
        async with Client(stdio_client(server, errors), mode=mode, elicitation_callback=answer) as client:
            arguments = {"entityId": "SOURCE", "name": "Podcast"}
            assert not (await client.call_tool("add_directory_item", arguments)).is_error
        errors.seek(0)
        lines = log.read_text(encoding="utf-8").splitlines()
        written = errors.read()
    assert all(line in written for line in lines)
    intent, outcome = map(json.loads, lines)
    assert (intent["event"], outcome["id"], outcome["outcome"]) == ("intent", intent["id"], "done")
    assert "add PODCAST: Podcast" in questions[0]
    assert portal.portal.store.of("SOURCE")[-1].status_id == "PODCAST"


def test_no_secret_is_written_anywhere_even_at_debug_level(portal: RunningPortal, tmp_path: Path) -> None:
    server = RawServer(
        tmp_path, BITRIX24_WEBHOOK_URL=portal.webhook_url(), BITRIX24_LOG_LEVEL="debug", BITRIX24_CACHE_TTL="0"
    )
    assert not server.call("get_directory_items", entityId="DEAL_STAGE")["isError"]
    assert not server.call("list_directories")["isError"]
    portal.order(
        times=1, method="batch", status=302, headers={"location": f"{portal.webhook_url()}crm.status.entity.types"}
    )
    server.call("list_directories")
    portal.order(times=1, status=404, body=f"The URL {portal.webhook_url()} was not found")
    assert server.call("list_directories")["isError"]
    portal.order(times=1, code="ODD", description=f"no {portal.webhook_url()}")
    assert server.call("list_directories")["isError"]
    assert server.call("get_directory_items", entityId=portal.webhook_url())["isError"]
    assert server.call("get_directory_items", **{portal.webhook_url(): 1})["isError"]
    server.close()

    logged = server.errors.read_text(encoding="utf-8")
    assert "HTTP Request: POST http://127.0.0.1" in logged  # the log has the lines that could have leaked
    assert ADMIN_SECRET not in logged
    assert ADMIN_SECRET.encode() not in server.written


def test_stdout_carries_nothing_but_the_protocol(tmp_path: Path) -> None:
    server = RawServer(tmp_path, "--demo", BITRIX24_LOG_LEVEL="DEBUG")
    server.stdin.write("this is no JSON\n{}\n[1]\n\n\xff\n".encode("latin-1"))
    server.send({"id": 7, "method": "no/such/method"})
    server.call("get_directory_items", entityId="NOPE")
    assert server.close() == 0
    answers = [json.loads(line) for line in server.written.splitlines()]
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    assert {answer.get("id") for answer in answers} >= {0, 7, 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "locale",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1251", "PYTHONUTF8": "0"},
    ],
)
def test_cyrillic_passes_both_ways_whatever_the_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    server = RawServer(tmp_path, "--demo", "--lang", "ru", **locale)
    result = server.call("list_directories", query="источники")
    assert result["structuredContent"]["directories"][0]["name"] == "Источники"
    assert "🚚" in server.call("get_directory_items", entityId="DEAL_STAGE_1")["content"][0]["text"]
    server.close()


def hang_in_a_call(portal: RunningPortal, cwd: Path) -> RawServer:
    portal.order(delay=60)
    server = RawServer(cwd, BITRIX24_WEBHOOK_URL=portal.webhook_url())
    server.send({"id": 1, "method": "tools/call", "params": {"name": "list_directories", "arguments": {}}})
    while not portal.portal.calls:
        server.process.poll()
    return server


def test_ends_when_stdin_ends_although_a_call_hangs(portal: RunningPortal, tmp_path: Path) -> None:
    assert hang_in_a_call(portal, tmp_path).close() == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_on_signals_although_a_call_hangs(portal: RunningPortal, tmp_path: Path, number: signal.Signals) -> None:
    server = hang_in_a_call(portal, tmp_path)
    server.process.send_signal(number)
    assert server.process.wait(timeout=ENDS_WITHIN_SECONDS) == -number
    server.close()


def test_ends_although_nobody_reads_its_answers(tmp_path: Path) -> None:
    """A full pipe blocks the thread that writes to it, and no cancellation reaches that thread."""
    server = RawServer(tmp_path, "--demo")
    os.set_blocking(server.stdin.fileno(), False)
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode() + b"\n"
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(server.stdin.fileno(), line)
    server.stdin.close()
    server.process.wait(timeout=ENDS_WITHIN_SECONDS)
    server.stdout.close()


PARENT = """
import subprocess, sys
server = subprocess.Popen([sys.executable, "-m", "bitrix24_directories", "--demo"], stdin=sys.stdin)
print(server.pid, flush=True)
server.wait()
"""


@pytest.mark.skipif(not hasattr(os, "getppid") or sys.platform == "win32", reason="POSIX tells who the parent is")
def test_ends_when_its_client_is_killed_while_a_sibling_holds_the_pipe(
    tmp_path: Path, process_exits: Callable[[int], bool]
) -> None:
    """Orphaned servers come from pipes that other children inherited: stdin never ends."""
    reader, writer = os.pipe()  # this process is the sibling that keeps `writer` open
    client = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=reader, stdout=subprocess.PIPE, cwd=tmp_path, env=clean_environment()
    )
    assert client.stdout is not None
    server = int(client.stdout.readline())
    os.write(writer, json.dumps({"jsonrpc": "2.0"} | HANDSHAKE[0]).encode() + b"\n")
    assert b"serverInfo" in client.stdout.readline()
    client.kill()
    client.wait()
    assert process_exits(server)
    os.close(reader)
    os.close(writer)
    client.stdout.close()
