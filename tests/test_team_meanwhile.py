"""Changes and rights of several people at the same time: nobody's change is lost, and nobody keeps lost rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, CompleteRequestParams, GetPromptRequestParams

from bitrix24_directories.mcp_server.scopes import READ_DIRECTORIES, SCOPES
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal, Fault
from bitrix24_directories.rest import Bitrix24Error, Webhook, in_process
from bitrix24_directories.settings import Settings
from bitrix24_directories.team.people import People, Person
from bitrix24_directories.team.team import Team
from support import ADMIN_SECRET
from team_support import call_tool_as, request_of

PEOPLE = {
    name: Person(name, name, SCOPES, Webhook.parse(f"https://one.example/rest/1/{ADMIN_SECRET}/"))
    for name in ("anna", "bert")
}


class Everybody(People):
    def __init__(self) -> None:
        """Anna and Bert, without a file."""

    def with_name(self, name: str) -> Person | None:
        return PEOPLE.get(name)

    def all(self) -> list[Person]:
        return list(PEOPLE.values())


class Office(httpx.AsyncBaseTransport):
    """A team's server on a demo portal; `before` and `after` are awaited around each request to the portal."""

    def __init__(self) -> None:
        self.portal = DemoPortal()
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.after: Callable[[str], Awaitable[None]] | None = None
        self._app = in_process(self.portal.app)
        settings = Settings.model_construct(timeout=20, log_level="ERROR", allow_writes=True)
        self.team = Team(Everybody(), settings, None, transport=self)
        self.server = DirectoriesServer(self.team, settings)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = f"{request.url.path} {(await request.aread()).decode()}"
        if self.before is not None:
            await self.before(sent)
        response = await self._app.handle_async_request(request)
        if self.after is not None:
            await self.after(sent)
        return response

    async def call(self, person: str, tool: str, /, **arguments: Any) -> CallToolResult:
        return await call_tool_as(self.server, PEOPLE[person], tool, **arguments)

    def name_of(self, code: str) -> str | None:
        return next((item.name for item in self.portal.store.of("SOURCE") if item.status_id == code), None)


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    async with office.team.running():
        yield office


def code_of(result: CallToolResult) -> str:
    assert result.structured_content is not None
    return str(result.structured_content["error"]["code"])


async def test_a_colleagues_change_is_seen_by_whoever_waited_behind_it(office: Office) -> None:
    await office.call("anna", "add_directory_item", entityId="SOURCE", name="Fair")
    planned = await office.call("bert", "delete_directory_item", entityId="SOURCE", statusId="FAIR")
    assert planned.structured_content is not None
    is_sending = anyio.Event()

    async def slowly(sent: str) -> None:
        if "crm.status.update" in sent:
            is_sending.set()
            await anyio.sleep(0.2)

    office.before = slowly
    results: dict[str, CallToolResult] = {}

    async def rename() -> None:
        results["anna"] = await office.call(
            "anna", "update_directory_item", entityId="SOURCE", statusId="FAIR", name="Main source"
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rename)
        await is_sending.wait()
        plan_id = planned.structured_content["planId"]
        results["bert"] = await office.call(
            "bert", "delete_directory_item", entityId="SOURCE", statusId="FAIR", planId=plan_id
        )
    assert not results["anna"].is_error
    assert code_of(results["bert"]) == "CHANGE_REFUSED"
    assert office.name_of("FAIR") == "Main source"


async def test_a_change_that_ends_while_a_plan_is_read_is_seen(office: Office) -> None:
    await office.call("anna", "add_directory_item", entityId="SOURCE", name="Fair")
    was_read, is_changed = anyio.Event(), anyio.Event()

    async def late(sent: str) -> None:
        if "crm.status.list" in sent and not was_read.is_set():
            was_read.set()
            await is_changed.wait()

    office.after = late
    results: list[CallToolResult] = []

    async def rename() -> None:
        results.append(await office.call("anna", "update_directory_item", entityId="SOURCE", statusId="FAIR", name="A"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rename)
        await was_read.wait()
        other = await office.call("bert", "update_directory_item", entityId="SOURCE", statusId="FAIR", name="B")
        is_changed.set()
    assert not other.is_error
    assert code_of(results[0]) == "CHANGE_REFUSED"
    assert office.name_of("FAIR") == "B"


async def test_a_plan_is_of_one_directory(office: Office) -> None:
    planned = await office.call("anna", "apply_directory", entityId="INDUSTRY", items=["IT: IT", "Newest"])
    assert planned.structured_content is not None
    plan_id = planned.structured_content["planId"]
    other = await office.call("anna", "apply_directory", entityId="CONTACT_TYPE", planId=plan_id)
    assert code_of(other) == "CHANGE_REFUSED"
    assert "INDUSTRY" in str(other.structured_content)


async def test_a_prompt_that_counts_records_takes_the_right_to_read_them(office: Office) -> None:
    request = request_of(PEOPLE["anna"], [READ_DIRECTORIES])
    with pytest.raises(MCPError, match="records:read"):
        await office.server.on_get_prompt(request, GetPromptRequestParams(name="review_directories", arguments={}))
    explained = await office.server.on_get_prompt(
        request, GetPromptRequestParams(name="explain_pipeline", arguments={"entityId": "DEAL_STAGE"})
    )
    assert explained.messages


async def test_a_completion_that_is_refused_is_recorded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[str] = []
    monkeypatch.setattr(office.team, "record_outcome", lambda _request, outcome, *_: outcomes.append(outcome))
    params = CompleteRequestParams.model_validate(
        {"ref": {"type": "ref/resource", "uri": "x"}, "argument": {"name": "entityId", "value": "DEAL"}}
    )
    completed = await office.server.on_completion(request_of(PEOPLE["anna"], []), params)
    assert completed.completion.values == []
    assert outcomes == ["INSUFFICIENT_SCOPE"]


@pytest.mark.parametrize(
    ("fault", "ends"),
    [(Fault(body="<html>maintenance</html>", times=9), False), (Fault(code="NO_AUTH_FOUND", times=9), True)],
    ids=["a page of maintenance", "a webhook that is gone"],
)
async def test_streams_end_with_rights_and_not_with_trouble(fault: Fault, ends: bool) -> None:
    office = Office()
    refused: list[object] = []
    office.team.on_refused = refused.append
    office.portal.faults.order(fault)
    async with office.team.running():
        with pytest.raises(Bitrix24Error):
            async with office.team.session(request_of(PEOPLE["anna"]), "test", ()):
                pass
    assert bool(refused) == ends
