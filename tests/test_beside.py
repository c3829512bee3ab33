"""Use beside another server that writes: answers of a check go into its calls unchanged.

The other server is a stand-in for Bitrix24's own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from bitrix24_directories.mcp_server.prompts import BEFORE_YOU_WRITE
from support import RunningPortal, connect

ROOT = Path(__file__).parent.parent


def other_server(webhook: str) -> MCPServer[None]:
    """A server that writes its input unchecked, as the vendor's does.

    Old names go to the methods of each type, new ones to `crm.item`.
    """
    server: MCPServer[None] = MCPServer("another server")

    async def call(method: str, params: dict[str, Any]) -> Any:
        async with httpx.AsyncClient() as http:
            answer = (await http.post(f"{webhook}{method}", json=params)).json()
        assert "error" not in answer, answer
        return answer["result"]

    @server.tool()
    async def create_deal(fields: dict[str, Any]) -> str:
        return str(await call("crm.deal.add", {"fields": fields}))

    @server.tool()
    async def update_deal(id: int, fields: dict[str, Any]) -> str:  # noqa: A002 - as the vendor spells it
        return str(await call("crm.deal.update", {"id": id, "fields": fields}))

    @server.tool()
    async def create_item(entityTypeId: int, fields: dict[str, Any]) -> str:  # noqa: N803 - as REST spells it
        return str((await call("crm.item.add", {"entityTypeId": entityTypeId, "fields": fields}))["item"]["id"])

    return server


OLD = {
    "CATEGORY_ID": 1,
    "STAGE_ID": "Deal Won",
    "SOURCE_ID": "cold call",
    "OPENED": "yes",
    "UF_CRM_1724": "Large customers",
}
NEW = {
    "categoryId": 1,
    "stageId": "Deal Won",
    "sourceId": "cold call",
    "opened": "yes",
    "ufCrm_1724": "Large customers",
}


@pytest.mark.parametrize(
    ("tool", "fields", "more"), [("create_deal", OLD, {}), ("create_item", NEW, {"entityTypeId": 2})]
)
async def test_a_new_record_goes_there_as_it_was_answered_here(
    portal: RunningPortal, tool: str, fields: dict[str, Any], more: dict[str, Any]
) -> None:
    async with connect(portal) as ours, Client(other_server(portal.webhook_url())) as theirs:
        result = await ours.call("check_record", entity="deal", fields=fields)
        written = await theirs.call_tool(tool, {"fields": result.structured["write"], **more})
        assert not written.is_error
        assert json.dumps(result.structured["write"], ensure_ascii=False) in result.text
    record_id = int(re.findall(r"\d+", str(written.content))[0])
    record = portal.portal.store.records.all[2, record_id]
    assert record["categoryId"] == 1
    assert record["stageId"] == "C1:WON"
    assert record["sourceId"] == "UC_C0LD01"
    assert record["opened"] == "Y"
    assert record["ufCrm_1724"] == 79


async def test_without_the_check_the_other_server_stores_what_was_guessed(portal: RunningPortal) -> None:
    """The page gives this as the reason for the project."""
    async with Client(other_server(portal.webhook_url())) as theirs:
        written = await theirs.call_tool("create_deal", {"fields": OLD})
    record_id = int(re.findall(r"\d+", str(written.content))[0])
    record = portal.portal.store.records.all[2, record_id]
    assert record["stageId"] != "C1:WON"
    assert record["sourceId"] == "cold call"


async def test_a_record_that_exists_is_changed_within_its_pipeline(portal: RunningPortal) -> None:
    deal = next(deal for deal in portal.portal.store.records.of(2) if deal["categoryId"] == 2)
    async with connect(portal) as ours, Client(other_server(portal.webhook_url())) as theirs:
        result = await ours.call("check_record", entity="deal", fields={"STAGE_ID": "WON"}, recordId=str(deal["id"]))
        await theirs.call_tool("update_deal", {"id": deal["id"], "fields": result.structured["write"]})
    assert portal.portal.store.records.all[2, deal["id"]]["stageId"] == "C2:WON"


async def test_the_prompt_and_the_pages_say_the_same(portal: RunningPortal) -> None:
    async with connect(portal) as assistant:
        prompt = await assistant.client.get_prompt("before_you_write", {})
    assert str(getattr(prompt.messages[0].content, "text", "")).startswith(BEFORE_YOU_WRITE)
    for page in ("README.md", "docs/BESIDE.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        quoted = [
            " ".join(re.sub(r"^> ?", "", block, flags=re.MULTILINE).split())
            for block in re.findall(r"(?:^> .*\n)+", text, re.MULTILINE)
        ]
        assert BEFORE_YOU_WRITE in quoted
