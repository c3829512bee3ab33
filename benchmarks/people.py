"""Cost of the number of a team's people to a call.

Two servers run in one process, one with ten people and one with 5,000.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from figures import HERE, Figure

from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import WEBHOOKS
from bitrix24_directories.portal.calls import User
from bitrix24_directories.rest import in_process
from bitrix24_directories.settings import Settings
from bitrix24_directories.team.people import People, Person
from bitrix24_directories.team.team import Team

sys.path.append(str(HERE.parent / "tests"))
from team_support import call_tool_as

FEW, MANY = 10, 5_000
ROUNDS = 100
TEXTS = {"queries": [f"won in wholesale & retail, {percent} %" for percent in range(40)], "entityIds": ["DEAL_STAGE"]}


def people() -> Iterator[Figure]:
    few, many = anyio.run(measure)
    label = "5,000 people's secrets: a call of 40 texts"
    yield Figure(f"{label}, against one with ten people's", statistics.median(many) / statistics.median(few), 1.25)
    more = statistics.median(many) - statistics.median(few)
    yield Figure("the same: milliseconds of the processor more", 1000 * more, 2, " ms")


async def measure() -> tuple[list[float], list[float]]:
    """Processor seconds of each call of both servers, taken in turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    async with AsyncExitStack() as running:
        servers = [await running.enter_async_context(serving(number)) for number in (FEW, MANY)]
        for round_ in range(ROUNDS + 5):
            for (server, person), seconds in zip(servers, taken, strict=True):
                started = time.process_time()
                result = await call_tool_as(server, person, "find_directory_items", **TEXTS)
                assert not result.is_error
                if round_ >= 5:
                    seconds.append(time.process_time() - started)
    return taken


@asynccontextmanager
async def serving(number: int) -> AsyncIterator[tuple[DirectoriesServer, Person]]:
    """Start a server of `number` people on a portal in the process; yields the first person too."""
    settings = Settings.model_construct(timeout=30, log_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        everybody = write_people(Path(folder), number)
        everybody.look()
        team = Team(everybody, settings, None, transport=in_process(DemoPortal().app))
        async with team.running():
            yield DirectoriesServer(team, settings), next(iter(everybody.all()))


def write_people(folder: Path, number: int) -> People:
    path = folder / "people.jsonl"
    path.touch(0o600)
    path.write_text("".join(f"{json.dumps(line(index))}\n" for index in range(number)))
    return People(path)


def line(number: int) -> dict[str, Any]:
    """A person of the file; the portal knows the person's webhook."""
    name, secret = f"person{number}", f"{number:04}person{number:06}"
    WEBHOOKS[secret] = User(number + 100, name)
    return {"name": name, "scopes": READING, "webhook": f"http://localhost/rest/{number + 100}/{secret}/"}
