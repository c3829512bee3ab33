"""Any calls at once: nobody gets an answer of another portal, or counts of other rights."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp_types import CallToolResult

from bitrix24_directories.directories.reading.cached_reader import FAILURE_SECONDS
from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.rest import Webhook, in_process
from bitrix24_directories.settings import Settings
from bitrix24_directories.team.people import People, Person
from bitrix24_directories.team.team import Team
from support import ADMIN_SECRET, READER_SECRET, VirtualClockLoop, examples
from team_support import call_tool_as

WHERE = {
    "anna": ("one.example", 1, ADMIN_SECRET),
    "bert": ("one.example", 7, READER_SECRET),
    "eva": ("two.example", 1, ADMIN_SECRET),
}
CALLS = [
    ("get_directory_items", {"entityId": "SOURCE"}),
    ("get_directory_items", {"entityId": "SOURCE", "fresh": True}),
    ("list_directories", {"query": "own"}),
    ("find_directory_items", {"queries": ["own"], "entityIds": ["SOURCE"]}),
    ("get_directory_usage", {"entityId": "STATUS"}),
    ("check_record", {"entity": "deal", "fields": ["SOURCE_ID=OWN_ONE", "TITLE=x"]}),
]


class Portals(httpx.AsyncBaseTransport):
    """Two portals by host; the second user of the first reads every other lead alone."""

    def __init__(self) -> None:
        self.all = {host: DemoPortal(clock=anyio.current_time) for host in ("one.example", "two.example")}
        for host, portal in self.all.items():
            code = f"OWN_{host[:3].upper()}"
            portal.store.add("SOURCE", code, f"Own of {host}", sort=500)
        self._apps = {host: in_process(portal.app) for host, portal in self.all.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        portal = self.all[request.url.host]
        whole = portal.store.records.all
        if READER_SECRET in request.url.path:
            portal.store.records.all = {key: values for key, values in whole.items() if key[1] % 2}
        try:
            return await self._apps[request.url.host].handle_async_request(request)
        finally:
            portal.store.records.all = whole


class Everybody(People):
    def __init__(self) -> None:
        self._people = {
            name: Person(name, "", READING, Webhook.parse(f"https://{host}/rest/{user}/{secret}/"))
            for name, (host, user, secret) in WHERE.items()
        }

    def with_name(self, name: str) -> Person | None:
        return self._people.get(name)

    def all(self) -> list[Person]:
        return list(self._people.values())


async def _as_person(server: DirectoriesServer, name: str, tool: str, **arguments: Any) -> CallToolResult:
    host, user, secret = WHERE[name]
    person = Person(name, "", READING, Webhook.parse(f"https://{host}/rest/{user}/{secret}/"))
    result = await call_tool_as(server, person, tool, **arguments)
    assert not result.is_error, result.structured_content
    return result


@settings(max_examples=examples(40))
@example([("anna", CALLS[4], 0), ("bert", CALLS[4], 5), ("anna", CALLS[4], 6)])
@example([("eva", CALLS[0], 0), ("anna", CALLS[0], 0), ("bert", CALLS[3], 0.1), ("eva", CALLS[3], 30)])
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(WHERE)), st.sampled_from(CALLS), st.sampled_from([0, 0, 0.1, 30, 400])),
        min_size=4,
        max_size=16,
    )
)
def test_no_answer_crosses_over(planned: list[tuple[str, tuple[str, dict[str, Any]], float]]) -> None:
    anyio.run(_called, planned, backend_options={"loop_factory": VirtualClockLoop})


async def _called(planned: list[tuple[str, tuple[str, dict[str, Any]], float]]) -> None:
    portals = Portals()
    configured = Settings.model_construct(timeout=20, log_level="ERROR")
    team = Team(Everybody(), configured, None, transport=portals)
    server = DirectoriesServer(team, configured)

    async def call(name: str, tool: str, arguments: dict[str, Any], pause: float) -> None:
        await anyio.sleep(pause)
        result = await _as_person(server, name, tool, **arguments)
        text = str(result.structured_content)
        own, other = ("one", "two") if name != "eva" else ("two", "one")
        assert f"OWN_{other.upper()}" not in text or tool == "check_record"
        assert f"Own of {other}.example" not in text or tool == "check_record"
        if tool == "get_directory_items":
            assert f"OWN_{own.upper()}" in text
        if tool == "check_record":
            assert result.structured_content is not None
            assert result.structured_content["ok"] == (own == "one")
        if tool == "get_directory_usage":
            assert result.structured_content is not None
            leads = [key[1] for key in portals.all[WHERE[name][0]].store.records.all if key[0] == 1]
            expected = len(leads) if name != "bert" else sum(number % 2 for number in leads)
            assert result.structured_content["records"] == expected

    async with team.running(), anyio.create_task_group() as tasks:
        for name, (tool, arguments), pause in planned:
            tasks.start_soon(call, name, tool, arguments, pause)


def test_lists_in_use_are_read_again_in_one_request() -> None:
    anyio.run(_read_again, backend_options={"loop_factory": VirtualClockLoop})


async def _read_again() -> None:
    portals = Portals()
    portal = portals.all["one.example"]
    configured = Settings.model_construct(timeout=20, log_level="ERROR")
    team = Team(Everybody(), configured, None, transport=portals)
    server = DirectoriesServer(team, configured)

    async def ask(*directories: str) -> list[str]:
        """Requests to the portal during a call, one text each."""
        portal.calls.clear()
        for directory in directories:
            await _as_person(server, "anna", "get_directory_items", entityId=directory)
        return [str(params.get("cmd", params)) for _, params in portal.calls]

    async with team.running():
        await ask("SOURCE", "INDUSTRY", "HONORIFIC", "EMPLOYEES")
        await anyio.sleep(100)
        assert await ask("SOURCE", "INDUSTRY", "HONORIFIC") == []
        await anyio.sleep(210)
        portal.refuse_in_batch = {"HONORIFIC": "no"}
        request, *rest = await ask("SOURCE", "INDUSTRY")
        assert all(name in request for name in ("SOURCE", "INDUSTRY", "HONORIFIC"))
        assert "EMPLOYEES" not in request  # nobody has asked for it again
        assert not any("SOURCE" in other or "INDUSTRY" in other for other in rest)  # except for fields
        portal.refuse_in_batch = {}
        await anyio.sleep(FAILURE_SECONDS)
        assert await ask("HONORIFIC") == ["{'entityId': 'HONORIFIC'}"]
