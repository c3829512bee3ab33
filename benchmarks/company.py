"""A company simulated on a virtual clock.

People work in sessions with their assistants, on one portal with the real limit and two replicas that share it. Each
person has one session in the morning, most of them soon after nine, of 20 to 120 calls half a minute apart. The calls
are those of assistants that check and fill in records, most of them on the same directories, one record in five first
in a user's words. One person in a hundred imports 500 rows.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
from figures import HERE, Figure

from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import WEBHOOKS, LeakyBucket
from bitrix24_directories.portal.calls import User
from bitrix24_directories.rest import Webhook, in_process
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import Inside, Reserved
from bitrix24_directories.team.people import People, Person
from bitrix24_directories.team.team import Team

sys.path.append(str(HERE.parent / "tests"))
from support import PortalHost, RunningPortal, VirtualClockLoop, serve_http
from team_support import ACCEPT, TeamServer, call_tool_as, tool_call

DIRECTORIES = ["DEAL_STAGE", "SOURCE", "STATUS", "DEAL_TYPE", "INDUSTRY", "CONTACT_TYPE", "COMPANY_TYPE", "HONORIFIC"]
RARE = ["DEAL_STAGE_1", "DEAL_STAGE_2", "QUOTE_STATUS", "EMPLOYEES", "DYNAMIC_177_STAGE_7", "SMART_INVOICE_STAGE_3"]
RIGHT = {"entity": "deal", "fields": ["CATEGORY_ID=1", "STAGE_ID=C1:WON", "SOURCE_ID=CALL", "TYPE_ID=SALE"]}
WORDS = {"entity": "deal", "fields": ["CATEGORY_ID=1", "STAGE_ID=Deal Won", "SOURCE_ID=CALL", "TYPE_ID=SALE"]}
MORNING = 3 * 3600.0
AT_ONCE = 64


class SharedInside(Inside):
    """State shared by two replicas in one process, on the virtual clock."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self._drained = 0.0
        self._closed = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def reserve(self, portal: str, burst: float, per_second: float, patience: float) -> Reserved | None:
        del portal
        now = anyio.current_time()
        drained = max(self._drained, now)
        opens = max(drained - (burst - 1) / per_second, self._closed, now)
        if opens - now > patience:
            return Reserved(False, opens - now, opens - now, 2)
        self._drained = max(drained, opens) + 1 / per_second
        return Reserved(True, opens - now, max(self._drained - (burst - 1) / per_second - now, 0), 2)

    async def close(self, portal: str, seconds: float) -> None:
        del portal
        self._closed = max(self._closed, anyio.current_time() + seconds)


class Everybody(People):
    """People without a file: the cost of reading one is not measured here."""

    def __init__(self, people: dict[str, Person]) -> None:
        super().__init__(Path("nowhere"))
        self._people = people

    def with_name(self, name: str) -> Person | None:
        return self._people.get(name)

    def all(self) -> list[Person]:
        return []


@dataclass
class Morning:
    """Seconds of each call outside imports, numbers of calls, errors, requests and refusals."""

    waits: list[float] = field(default_factory=list)
    calls: int = 0
    errors: int = 0
    requests: int = 0
    refusals: int = 0


def company() -> Iterator[Figure]:
    """Figures of companies of several sizes; the bars are those for a thousand people."""
    for people, seconds in ((10, MORNING), (100, MORNING), (1000, MORNING), (10_000, 600.0)):
        morning = anyio.run(simulated, people, seconds, backend_options={"loop_factory": VirtualClockLoop})
        late = statistics.quantiles(morning.waits, n=100)[98]
        judged, whole = people == 1000, "a morning" if seconds == MORNING else "the first ten minutes"
        requests = 100 * morning.requests / morning.calls
        failed = morning.refusals + morning.errors
        yield Figure(f"{people} people, {whole}: portal requests for 100 calls", requests, 2.1 if judged else 100)
        yield Figure("the same: 99th percentile of a call outside imports", late, 2 if judged else 30, " s")
        yield Figure("the same: requests refused, and calls that failed", failed, 0 if judged else morning.calls)
    host = PortalHost()
    with tempfile.TemporaryDirectory() as folder, serve_http(host) as address:
        team = TeamServer(RunningPortal(host.portal, address), Path(folder), access_log="off")
        waits, refused = anyio.run(at_once, team)
    yield Figure(f"{AT_ONCE} calls at once by one person, over HTTP: refused", refused, 0)
    yield Figure("the same: the last of them answered after", max(waits), 5, " s")


async def at_once(team: TeamServer) -> tuple[list[float], int]:
    """Seconds of each call, half of which read the portal, and the number of refused calls."""
    token, waits, refused = team.add("anna"), [], 0
    http = httpx.AsyncClient(headers={"authorization": f"Bearer {token}"} | ACCEPT, timeout=60)
    async with team.running(), http, anyio.create_task_group() as tasks:

        async def ask(number: int) -> None:
            nonlocal refused
            arguments = {"entityId": DIRECTORIES[number % len(DIRECTORIES)], "fresh": bool(number % 2)}
            started = anyio.current_time()
            answer = await http.post(f"{team.url}/mcp", json=tool_call("get_directory_items", **arguments))
            refused += answer.status_code != 200 or '"isError":false' not in answer.text
            waits.append(anyio.current_time() - started)

        for number in range(AT_ONCE):
            tasks.start_soon(ask, number)
    return waits, refused


async def simulated(number: int, seconds: float = MORNING) -> Morning:
    chance, morning = random.Random(number), Morning()
    portal = DemoPortal(clock=anyio.current_time)
    portal.bucket = LeakyBucket(50, 2, anyio.current_time)
    names = [f"person{index}" for index in range(number)]
    people = {}
    for index, name in enumerate(names):
        secret = f"person{index:08}"
        WEBHOOKS[secret] = User(index + 100, name)
        people[name] = Person(name, "", READING, Webhook.parse(f"http://localhost/rest/{index + 100}/{secret}/"))
    state, settings = SharedInside(), Settings.model_construct(timeout=30, log_level="ERROR")
    everybody = Everybody(people)
    teams = [Team(everybody, settings, None, transport=in_process(portal.app), state=state) for _ in range(2)]
    servers = [DirectoriesServer(team, settings) for team in teams]
    async with AsyncExitStack() as running:
        for team in teams:
            await running.enter_async_context(team.running())
        async with anyio.create_task_group() as tasks:
            tasks.cancel_scope.deadline = anyio.current_time() + seconds
            for name in names:
                tasks.start_soon(session, people[name], servers, random.Random(chance.random()), morning)
    morning.requests = sum(connection.requests for team in teams for connection in team.connections().values())
    morning.refusals = sum(connection.refusals for team in teams for connection in team.connections().values())
    return morning


async def session(person: Person, servers: list[DirectoriesServer], chance: random.Random, morning: Morning) -> None:
    """One person's session: half of all begin within half an hour of nine."""
    await anyio.sleep(chance.expovariate(1 / 1800) if chance.random() < 0.5 else chance.uniform(0, MORNING))
    imports = chance.random() < 0.01
    for _ in range(chance.randint(20, 120)):
        tool, arguments = kind(chance)
        await call(chance.choice(servers), person, tool, arguments, morning.waits, morning)
        await anyio.sleep(chance.expovariate(1 / 30))
    for start in range(0, 500 if imports else 0, 50):
        queries = [f"source {start + index}" for index in range(50)]
        await call(chance.choice(servers), person, "find_directory_items", {"queries": queries}, None, morning)


def kind(chance: random.Random) -> tuple[str, dict[str, Any]]:
    number = chance.random()
    if number < 0.5:
        return "check_record", WORDS if chance.random() < 0.2 else RIGHT
    if number < 0.8:
        directory = chance.choice(DIRECTORIES) if chance.random() < 0.9 else chance.choice(RARE)
        return "get_directory_items", {"entityId": directory}
    if number < 0.998:
        return "find_directory_items", {"queries": ["won", "cold call"], "entityIds": ["DEAL_STAGE", "SOURCE"]}
    return "get_directory_usage", {"entityId": chance.choice(DIRECTORIES)}


async def call(
    server: DirectoriesServer,
    person: Person,
    tool: str,
    arguments: dict[str, Any],
    waits: list[float] | None,
    morning: Morning,
) -> None:
    started = anyio.current_time()
    result = await call_tool_as(server, person, tool, **arguments)
    morning.calls += 1
    morning.errors += bool(result.is_error)
    if waits is not None:
        waits.append(anyio.current_time() - started)
