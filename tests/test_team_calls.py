"""Many calls at once: each person waits only for their own, and refusals have a text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent

from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.team import call_slots, gate
from bitrix24_directories.team.call_slots import CallSlots
from support import READER_SECRET, RunningPortal
from team_support import ACCEPT, TeamServer, call_tool, tool_call

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])
STAGES = {"entityId": "DEAL_STAGE"}


@pytest.fixture
def team(portal: RunningPortal, tmp_path: Path) -> TeamServer:
    return TeamServer(portal, tmp_path)


@MODES
async def test_64_calls_of_one_person_at_once_are_all_answered(team: TeamServer, mode: str) -> None:
    anna = team.add("anna")
    team.portal.order(method="batch", delay=0.3)
    totals: list[int] = []
    async with team.running(), team.client(anna, mode) as client, anyio.create_task_group() as tasks:

        async def ask() -> None:
            totals.append((await call_tool(client, "get_directory_items", **STAGES))["total"])

        for _ in range(64):
            tasks.start_soon(ask)
    assert totals == [8] * 64


@MODES
async def test_what_is_too_much_is_refused_in_words(
    team: TeamServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_slots, "AT_WORK_OF_ONE", 1)
    monkeypatch.setattr(call_slots, "WAITING_OF_ONE", 2)
    anna, bert = team.add("anna"), team.add("bert", READER_SECRET)
    team.portal.order(method="batch", delay=0.6)
    results: dict[str, list[CallToolResult]] = {"anna": [], "bert": []}
    async with team.running(), team.client(anna, mode) as annas, team.client(bert, mode) as berts:

        async def ask(name: str, client: Client) -> None:
            result = await client.call_tool("get_directory_items", STAGES)
            assert isinstance(result, CallToolResult)
            results[name].append(result)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, "anna", annas)
            await anyio.sleep(0.2)
            tasks.start_soon(ask, "bert", berts)
    assert [result.is_error for result in results["bert"]] == [False]
    refused = [result for result in results["anna"] if result.is_error]
    assert (len(results["anna"]), len(refused)) == (5, 2)
    for result in refused:
        assert result.structured_content is not None
        error = result.structured_content["error"]
        assert (error["code"], error["category"]) == ("TOO_MANY_CALLS", "limit")
        assert (error["retryable"], error["retryAfterSeconds"]) == (True, 5)
        assert isinstance(result.content[0], TextContent)
        assert "Trying again can help after 5 seconds." in result.content[0].text


@pytest.mark.parametrize("tool", ["get_directory_usage", "add_directory_item"])
async def test_a_call_waits_for_its_turn_no_longer_than_it_may_take(
    portal: RunningPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.setattr(call_slots, "AT_WORK_OF_ONE", 1)
    team = TeamServer(portal, tmp_path, timeout=1)
    anna = team.add("anna")
    async with team.running(), team.client(anna) as client, anyio.create_task_group() as tasks:
        await call_tool(client, "get_directory_items", **STAGES)
        seat = team.team._call_slots.slot("anna")  # noqa: SLF001 - a call that takes long
        async with seat:
            arguments = {"entityId": "SOURCE"} | ({"name": "Fax"} if tool == "add_directory_item" else {})
            with anyio.fail_after(3):
                result = await call_tool(client, tool, **arguments)
        tasks.cancel_scope.cancel()
    assert result["error"]["code"] == "TIMEOUT"
    assert "waited 1 s for other calls of the same person to end" in result["error"]["message"]
    assert result["error"]["retryable"]
    assert "crm.status.add" not in portal.methods_called


async def test_a_header_that_lies_changes_nothing(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body decides: a call that claims to listen, or the reverse, is counted as what it is."""
    monkeypatch.setattr(call_slots, "AT_WORK_OF_ONE", 1)
    monkeypatch.setattr(call_slots, "WAITING_OF_ONE", 1)
    monkeypatch.setattr(gate, "LISTENING_OF_ONE", 0)
    anna = team.add("anna")
    team.portal.order(method="batch", delay=0.5)
    answers: list[str] = []
    async with team.running(), httpx.AsyncClient(headers={"authorization": f"Bearer {anna}"} | ACCEPT) as http:

        async def ask(body: dict[str, Any], **headers: str) -> httpx.Response:
            answer = await http.post(f"{team.url}/mcp", headers=headers, json=body)
            answers.append(answer.text)
            return answer

        lies = {"mcp-method": "subscriptions/listen"}
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(lambda: ask(tool_call("get_directory_items", **STAGES), **lies))
        listening = {"jsonrpc": "2.0", "id": 5, "method": "subscriptions/listen", "params": {}}
        refused = (await ask(listening, **{"mcp-method": "tools/call"})).json()
        odd = json.dumps(listening | {"id": "\ud800"})
        assert (await http.post(f"{team.url}/mcp", content=odd)).status_code == 400
    assert sum("TOO_MANY_CALLS" in answer for answer in answers) == 1
    assert (refused["id"], "listen already" in refused["error"]["message"]) == (5, True)


class Worked:
    """Calls by person and number, in the order in which they began."""

    def __init__(self) -> None:
        self.slots = CallSlots()
        self.began: list[str] = []
        self.refused: list[str] = []
        self.end = anyio.Event()

    async def call(self, name: str, number: int) -> None:
        try:
            async with self.slots.slot(name):
                self.began.append(f"{name}{number}")
                await self.end.wait()
        except Bitrix24Error:
            self.refused.append(f"{name}{number}")

    @property
    def is_idle(self) -> bool:
        return not self.slots._waiting and not self.slots._at_work  # noqa: SLF001


@contextmanager
def limits(monkeypatch: pytest.MonkeyPatch, at_work: int, of_one: int, of_all: int) -> Iterator[Worked]:
    monkeypatch.setattr(call_slots, "AT_WORK_OF_ONE", at_work)
    monkeypatch.setattr(call_slots, "WAITING_OF_ONE", of_one)
    monkeypatch.setattr(call_slots, "WAITING", of_all)
    worked = Worked()
    yield worked
    assert worked.is_idle


async def test_each_persons_calls_wait_for_their_own_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with limits(monkeypatch, 2, 10, 20) as worked:
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(worked.call, "anna", number)
            await anyio.sleep(0.01)
            tasks.start_soon(worked.call, "bert", 0)
            await anyio.sleep(0.01)
            assert worked.began == ["anna0", "anna1", "bert0"]
            worked.end.set()
    assert worked.began[3:] == ["anna2", "anna3", "anna4"]


async def test_where_all_wait_that_may_the_newest_of_whoever_has_most_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with limits(monkeypatch, 1, 4, 5) as worked:
        async with anyio.create_task_group() as tasks:
            for name, calls in (("anna", 5), ("bert", 2), ("carl", 2), ("bert", 2)):
                for number in range(calls):
                    tasks.start_soon(worked.call, name, number)
                    await anyio.sleep(0.001)
            assert worked.refused == ["anna4", "anna3", "bert1"]  # he would have more than anna then
            worked.end.set()


async def test_a_call_that_is_given_up_leaves_its_place_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with limits(monkeypatch, 1, 10, 10) as worked:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worked.call, "anna", 0)
            await anyio.sleep(0.01)
            with anyio.move_on_after(0.01):
                await worked.call("anna", 1)
            async with anyio.create_task_group() as given_up:
                given_up.start_soon(worked.call, "anna", 2)
                await anyio.sleep(0.01)
                tasks.start_soon(worked.call, "anna", 3)
                await anyio.sleep(0.01)
                worked.end.set()
                given_up.cancel_scope.cancel()
    assert worked.began[0] == "anna0"
    assert worked.began[-1] == "anna3"
    assert json.dumps(worked.began).count("anna1") == 0


def test_the_document_says_how_many() -> None:
    text = (Path(__file__).parent.parent / "docs" / "TEAM.md").read_text(encoding="utf-8")
    for number, words in (
        (call_slots.AT_WORK_OF_ONE, "calls are worked on"),
        (call_slots.WAITING_OF_ONE, "more wait"),
        (call_slots.WAITING, "calls wait;"),
        (gate.LISTENING_OF_ONE, "listening streams"),
    ):
        assert f"{number} {words}" in text
