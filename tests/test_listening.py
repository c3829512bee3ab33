"""News of changes over HTTP: recipients, contents, bounds, and the end of a stream."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from bitrix24_directories.mcp_server import listening
from support import STRANGER_SECRET, RunningPortal
from team_support import TeamServer, call_tool

ALL = "bitrix24://directories"
SOURCE = f"{ALL}/SOURCE"


@pytest.fixture
def team(portal: RunningPortal, tmp_path: Path) -> TeamServer:
    return TeamServer(portal, tmp_path)


async def test_listening_takes_the_scope_and_the_portals_leave(team: TeamServer) -> None:
    for token, result in (
        (team.add("bert", scopes=("records:read",)), "directories:read"),
        (team.add("stranger", STRANGER_SECRET), "CRM"),
    ):
        async with team.running(), team.client(token) as client:
            with pytest.raises(MCPError, match=result):
                async with client.listen(resource_subscriptions=[ALL]):
                    pass


async def test_only_resources_that_there_are(team: TeamServer) -> None:
    async with team.running(), team.client(team.add("anna")) as client:
        with pytest.raises(MCPError, match="no such resource"):
            async with client.listen(resource_subscriptions=["file:///etc/passwd", f"{ALL}/NOPE"]):
                pass
        with pytest.raises(MCPError, match="more than 100"):
            async with client.listen(resource_subscriptions=[f"{ALL}/{number}" for number in range(101)]):
                pass
        async with client.listen(resource_subscriptions=[SOURCE, f"{ALL}/NOPE", SOURCE]) as events:
            assert events.honored.resource_subscriptions == [SOURCE]


async def test_one_person_has_so_many_streams(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "STREAMS_OF_ONE", 1)
    anna, bert = team.add("anna"), team.add("bert")
    async with (
        team.running(),
        team.client(anna) as client,
        team.client(bert) as other,
        client.listen(resource_subscriptions=[ALL]),
        other.listen(resource_subscriptions=[ALL]),
    ):
        with pytest.raises(MCPError, match="too many streams"):
            async with client.listen(resource_subscriptions=[ALL]):
                pass


@pytest.mark.parametrize("why", ["removed", "another token", "refused"])
async def test_a_stream_ends_with_its_persons_rights(
    portal: RunningPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(listening, "_SHORTEST_LOOK", 0.05)
    team = TeamServer(portal, tmp_path, access_ttl=0.5)
    anna = team.add("anna")
    async with team.running(), team.client(anna) as client, client.listen(resource_subscriptions=[ALL]) as events:
        await anyio.sleep(1)  # it goes on as long as nothing is read
        if why == "removed":
            team.people.remove("anna")
        elif why == "another token":
            team.people.rotate("anna")
        else:
            portal.order(method="batch", code="NO_AUTH_FOUND")
            portal.order(method="crm.status.entity.types", code="NO_AUTH_FOUND")
        with anyio.fail_after(2):
            assert [event async for event in events] == []


async def test_a_stream_ends_with_the_next_call_of_who_is_refused(
    portal: RunningPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_SHORTEST_LOOK", 60)
    team = TeamServer(portal, tmp_path, access_ttl=1)
    anna = team.add("anna")
    async with team.running(), team.client(anna) as client, client.listen(resource_subscriptions=[ALL]) as events:
        await anyio.sleep(1.1)
        portal.order(method="batch", code="NO_AUTH_FOUND")
        portal.order(method="crm.status.entity.types", code="NO_AUTH_FOUND")
        result = await call_tool(client, "get_directory_items", entityId="SOURCE")
        assert result["error"]["code"] == "NO_AUTH_FOUND"
        with anyio.fail_after(2):
            assert [event async for event in events] == []


async def test_a_change_of_who_is_taken_out_meanwhile_is_told_as_it_is(team: TeamServer) -> None:
    anna, bert = team.add("anna"), team.add("bert")
    state = team.state
    changed = state.changed

    async def taken_out(portal: str) -> None:
        team.people.remove("anna")
        await changed(portal)

    async with team.running(), team.client(anna) as client, team.client(bert) as other:
        await client.list_tools()  # or it would later, to check the result
        async with other.listen(resource_subscriptions=[SOURCE]) as events:
            state.changed = taken_out  # type: ignore[method-assign, assignment]
            result = await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            assert (result["status"], "error" in result) == ("done", False)
            with anyio.fail_after(5):
                await anext(aiter(events))
        state.changed = changed  # type: ignore[method-assign]
        items = await call_tool(other, "get_directory_items", entityId="SOURCE")
    assert "Fax" in [item["name"] for item in items["items"]]


async def test_a_change_that_stopped_on_its_way_is_told_to_those_who_listen(team: TeamServer) -> None:
    anna, bert = team.add("anna"), team.add("bert")
    async with team.running(), team.client(anna) as client, team.client(bert) as other:
        there = await call_tool(client, "get_directory_items", entityId="SOURCE")
        lines = [*(item["statusId"] for item in there["items"]), "Fax", "Telex"]
        async with other.listen(resource_subscriptions=[SOURCE]) as events:
            team.portal.portal.fail_write = (1, "refused")
            result = await call_tool(client, "apply_directory", entityId="SOURCE", items=lines)
            if result["status"] == "planned":
                result = await call_tool(client, "apply_directory", entityId="SOURCE", planId=result["planId"])
            assert result["status"] == "stopped"
            assert [step["outcome"] for step in result["steps"]] == ["done", "not done"]
            with anyio.fail_after(5):
                await anext(aiter(events))


@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_an_earlier_clients_subscription_is_not_kept(team: TeamServer) -> None:
    anna, bert = team.add("anna"), team.add("bert", scopes=("records:read",))
    async with team.running():
        async with team.client(anna, "legacy") as client:
            await client.subscribe_resource(SOURCE)
            assert team.http is not None
            assert not team.http._mcp.listeners._subscribed  # noqa: SLF001 - where it would be kept
            with pytest.raises(MCPError, match="no such resource"):
                await client.subscribe_resource(f"{ALL}/NOPE")
        async with team.client(bert, "legacy") as client:
            with pytest.raises(MCPError, match="directories:read"):
                await client.subscribe_resource(SOURCE)
