"""The picture of a directory: its recipients, the data to draw, and the call's real result."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp_types import TextResourceContents

from bitrix24_directories.mcp_server.picture.data import PAGE, PICTURE
from bitrix24_directories.mcp_server.picture.page import page as whole_page
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.rest import Webhook, in_process
from bitrix24_directories.settings import Settings
from support import PortalInProcess, examples

APPS = [advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})]


@contextlib.asynccontextmanager
async def client_of(portal: PortalInProcess, extensions: Any = APPS, mode: str = "auto") -> AsyncIterator[Client]:
    server = DirectoriesServer(
        Webhook.parse(portal.webhook_url()),
        Settings.model_construct(allow_writes=True, log_level="ERROR"),
        transport=in_process(portal.portal.app),
    )
    async with Client(server.mcp, mode=mode, extensions=extensions) as client:
        yield client


async def picture_data(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert result.meta is not None
    picture: dict[str, Any] = result.meta[PICTURE]
    return picture


@pytest.mark.parametrize("extensions", [None, [advertise(EXTENSION_ID, {"mimeTypes": ["text/html"]})]])
async def test_who_shows_no_apps_hears_nothing_of_it(portal_in_process: PortalInProcess, extensions: Any) -> None:
    async with client_of(portal_in_process, extensions) as client:
        tools = await client.list_tools()
        resources = await client.list_resources()
        counted = await client.call_tool("get_directory_usage", {"entityId": "DEAL_STAGE"})
        planned = await client.call_tool("apply_directory", {"entityId": "SOURCE", "items": ["CALL: Call"]})
    result = "".join(result.model_dump_json(by_alias=True) for result in (tools, resources, counted, planned))
    assert "ui://" not in result
    assert PICTURE not in result
    assert "crm.status.list" not in [
        method for method, params in portal_in_process.portal.calls if "DEAL_STAGE" in str(params)
    ]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_who_shows_apps_is_told_which_tools_have_a_picture(portal_in_process: PortalInProcess, mode: str) -> None:
    async with client_of(portal_in_process, mode=mode) as client:
        assert await picture_data(client, "get_directory_usage", entityId="HONORIFIC")
        tools = {tool.name: tool.meta for tool in (await client.list_tools()).tools if tool.meta}
        assert tools.keys() == {"get_directory_usage", "apply_directory"}
        assert all(meta == {"ui": {"resourceUri": PAGE}} for meta in tools.values())
        assert PAGE in [str(resource.uri) for resource in (await client.list_resources()).resources]
        (page,) = (await client.read_resource(PAGE)).contents
    assert page.mime_type == APP_MIME_TYPE
    assert isinstance(page, TextResourceContents)
    assert page.text == whole_page()


def test_the_page_is_one_file_that_loads_nothing_and_writes_no_markup() -> None:
    page = whole_page()
    assert len(page) < 16_384
    assert "picture.css */" not in page
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|src=|fetch\(|innerHTML|outerHTML|insertAdjacent", page)
    assert not re.search(r"document\.write|eval\(|Function\(|\bon[a-z]+=", page)


async def test_usage_is_drawn_in_order_with_colours_and_records(portal_in_process: PortalInProcess) -> None:
    async with client_of(portal_in_process) as client:
        result = await client.call_tool("get_directory_usage", {"entityId": "DEAL_STAGE"})
        picture = await picture_data(client, "get_directory_usage", entityId="DEAL_STAGE")
        details = await client.call_tool("get_directory_items", {"entityId": "DEAL_STAGE", "details": True})
    assert result.structured_content is not None
    assert details.structured_content is not None
    counts = [{key: item[key] for key in ("statusId", "name", "count")} for item in picture["items"]]
    rows = [{key: item[key] for key in counts[0]} for item in result.structured_content["items"]]
    assert sorted(counts, key=str) == sorted(rows, key=str)
    assert [item["statusId"] for item in picture["items"]] == [
        item["statusId"] for item in details.structured_content["items"]
    ]
    looks = [(item["color"], item["semantics"]) for item in picture["items"]]
    assert looks == [(item["color"], item["semantics"]) for item in details.structured_content["items"]]
    store = portal_in_process.portal.store.records
    for item in picture["items"]:
        carried = [deal["id"] for deal in store.of(2) if deal["stageId"] == item["statusId"]]
        assert item.get("ids", {}).get("deal.STAGE_ID", []) == carried[:20]
    assert PICTURE not in json.dumps(result.structured_content)


@pytest.mark.virtual_clock
async def test_a_picture_does_without_colours_where_they_cannot_be_had(portal_in_process: PortalInProcess) -> None:
    portal_in_process.order(method="crm.status.list", status=500)
    async with client_of(portal_in_process) as client:
        with anyio.fail_after(20):
            picture = await picture_data(client, "get_directory_usage", entityId="DEAL_STAGE")
    assert [item["name"] for item in picture["items"]][:2] == ["New", "Document Preparation"]


async def test_a_plan_is_drawn_before_and_after(portal_in_process: PortalInProcess) -> None:
    async with client_of(portal_in_process) as client:
        lines = [
            "NEW: New",
            "EXECUTING: In Progress",
            "PREPARATION: Papers",
            "Contract review #112233",
            "PREPAYMENT_INVOICE: Prepayment Invoice",
            "WON: Deal Won",
            "LOSE: Deal Lost",
            "NOPE!: no such code",
        ]
        picture = await picture_data(client, "apply_directory", entityId="DEAL_STAGE", items=lines)
    marks = {item["statusId"]: item.get("marks", []) for item in picture["after"]}
    assert marks["PREPARATION"] == ["renamed"]
    assert marks["EXECUTING"] == ["moved"]
    assert [item["was"] for item in picture["after"] if item["statusId"] == "PREPARATION"] == ["Document Preparation"]
    (new,) = (item for item in picture["after"] if item.get("marks") == ["added"] and item["name"] == "Contract review")
    assert (new["color"], new["semantics"]) == ("#112233", "process")
    assert picture["refused"]


names = st.sampled_from(["Web shop", "Partner", "Fair", "Радио", "Call", "E-Mail"])


@settings(max_examples=examples(30))
@given(st.data())
def test_what_is_drawn_is_what_then_stands_there(data: st.DataObject) -> None:
    async def run() -> None:
        portal = PortalInProcess(DemoPortal(clock=anyio.current_time))
        entity_id = data.draw(st.sampled_from(["SOURCE", "DEAL_STAGE", "INDUSTRY"]))
        async with client_of(portal) as client:
            answer = await client.call_tool("get_directory_items", {"entityId": entity_id})
            assert answer.structured_content is not None
            lines = [f"{item['statusId']}: {item['name']}" for item in answer.structured_content["items"]]
            lines = data.draw(st.permutations(lines[:-2]))[: data.draw(st.integers(3, 11))]
            lines += data.draw(st.lists(names, max_size=4))
            arguments = {"entityId": entity_id, "items": lines}
            planned = await client.call_tool("apply_directory", arguments)
            assert planned.structured_content is not None
            if planned.structured_content["status"] != "planned":
                return
            plan_id = planned.structured_content["planId"]
            await client.call_tool("apply_directory", {"entityId": entity_id, "planId": plan_id})
            now = await client.call_tool("get_directory_items", {"entityId": entity_id, "details": True, "fresh": True})
        assert planned.meta is not None
        assert now.structured_content is not None
        keys = ("statusId", "name", "semantics")
        stands = [{key: item[key] for key in keys if key in item} for item in now.structured_content["items"]]
        after = planned.meta[PICTURE]["after"]
        assert [{key: item[key] for key in keys if key in item} for item in after] == stands
        before = {item["statusId"] for item in planned.meta[PICTURE]["before"]}
        assert {item["statusId"] for item in after if "added" in item.get("marks", [])} == {
            item["statusId"] for item in after
        } - before

    anyio.run(run)
