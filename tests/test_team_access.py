"""The access log: a line for each request, refused ones included, without values and names."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.settings import Settings
from bitrix24_directories.team.access import OFF, STDERR, Access, request_fields
from bitrix24_directories.team.serving import ServingError
from support import ADMIN_SECRET, RunningPortal
from team_support import ACCEPT, TeamServer, call_tool, tool_call

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


class Logged:
    def __init__(self, portal: RunningPortal, folder: Path, **settings: Any) -> None:
        self.path = folder / "access.jsonl"
        self.team = TeamServer(portal, folder, access_log=str(self.path), **settings)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def logged(portal: RunningPortal, tmp_path: Path) -> Logged:
    return Logged(portal, tmp_path)


@MODES
async def test_a_line_for_each_call(logged: Logged, mode: str) -> None:
    anna, reader = logged.team.add("anna"), logged.team.add("reader", scopes=READING)
    async with logged.team.running():
        async with logged.team.client(anna, mode) as client:
            await call_tool(client, "get_directory_items", entityId="DEAL_STAGE")
            await call_tool(
                client, "check_record", entity="deal", fields=["TITLE=Secret deal", "STAGE_ID=NEW"], recordId="5"
            )
            await call_tool(client, "get_directory_items", entityId="NO_SUCH")
            await client.read_resource("bitrix24://directories/SOURCE")
            with pytest.raises(Exception, match="no directory"):
                await client.read_resource("bitrix24://directories/NO_SUCH")
        async with logged.team.client(reader, mode) as client:
            await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax machine")
    lines = logged.lines()
    calls = [line for line in lines if line["method"] in ("tools/call", "resources/read")]
    facts = [
        [line.get(key) for key in ("person", "tool", "entityId", "entity", "recordIds", "outcome")] for line in calls
    ]
    assert facts == [
        ["anna", "get_directory_items", "DEAL_STAGE", None, None, "ok"],
        ["anna", "check_record", None, "deal", [5], "RECORD_NOT_FOUND"],
        ["anna", "get_directory_items", "NO_SUCH", None, None, "UNKNOWN_DIRECTORY"],
        ["anna", None, "SOURCE", None, None, "ok"],
        ["anna", None, "NO_SUCH", None, None, "UNKNOWN_DIRECTORY"],
        ["reader", "add_directory_item", "SOURCE", None, None, "INSUFFICIENT_SCOPE"],
    ]
    assert all(line["ms"] > 0 and str(os.getpid()) in line["replica"] and line["when"] for line in lines)
    whole = logged.path.read_text()
    for value in ("Secret deal", "TITLE", "Fax", ADMIN_SECRET, anna, reader):
        assert value not in whole
    assert logged.path.stat().st_mode & 0o777 == 0o600


async def test_refusals_are_in_it(portal: RunningPortal, tmp_path: Path) -> None:
    provider = {"jwt_issuer": "https://id.example", "jwt_audience": "api", "public_url": "http://127.0.0.1/mcp"}
    logged = Logged(portal, tmp_path, **provider)
    reader = logged.team.add("reader", scopes=READING)
    async with logged.team.running(), httpx.AsyncClient(headers=ACCEPT) as http:
        url, headers = f"{logged.team.url}/mcp", {"authorization": f"Bearer {reader}"}
        await http.post(url, headers={"authorization": "Bearer wrong"}, json=tool_call("list_directories"))
        await http.post(url, headers=headers, json=tool_call("apply_directory", entityId="SOURCE"))
        await http.get(url, headers=headers)
        await http.post(url, headers=headers, content=b"x" * (2**20 + 1))
        await http.post(url, headers=headers | {"host": "evil.example"}, json=tool_call("list_directories"))
        await http.post(url, headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {}})
        both = {"content-length": "1", "transfer-encoding": "chunked"}
        for path in ("mcp", "healthz"):
            await http.post(f"{logged.team.url}/{path}", headers=both, content=b"x")
        await http.get(f"{logged.team.url}/healthz")
    facts = [(line.get("person"), line.get("method"), line["outcome"]) for line in logged.lines()]
    assert facts == [
        (None, None, "401"),
        ("reader", "tools/call", "403"),
        (None, None, "405"),
        ("reader", None, "413"),
        ("reader", "tools/call", "421"),
        ("reader", "no/such", "-32601"),
        (None, None, "400"),
    ]


async def test_a_call_that_is_given_up(logged: Logged) -> None:
    anna = logged.team.add("anna")
    async with logged.team.running(), logged.team.client(anna) as client:
        await call_tool(client, "list_directories")
        logged.team.portal.order(method="batch", delay=5)
        with anyio.move_on_after(0.3):
            await client.call_tool("get_directory_usage", {"entityId": "SOURCE", "fresh": True})
        with anyio.fail_after(3):
            while logged.lines()[-1].get("tool") != "get_directory_usage":  # noqa: ASYNC110 - it is a file
                await anyio.sleep(0.05)
    assert logged.lines()[-1]["outcome"] == "cancelled"


async def test_an_earlier_clients_call_that_is_given_up(logged: Logged) -> None:
    """The answer has begun by then, with status 200."""
    headers = ACCEPT | {"authorization": f"Bearer {logged.team.add('anna')}"}
    async with logged.team.running(), httpx.AsyncClient(headers=headers) as http:
        logged.team.portal.order(method="batch", delay=2)
        with anyio.move_on_after(0.5):
            await http.post(f"{logged.team.url}/mcp", json=tool_call("list_directories"))
        with anyio.fail_after(3):
            while not logged.lines():  # noqa: ASYNC110 - it is a file
                await anyio.sleep(0.05)
    assert [(line["tool"], line["outcome"]) for line in logged.lines()] == [("list_directories", "cancelled")]


async def test_a_file_that_was_renamed_is_begun_anew(logged: Logged) -> None:
    anna = logged.team.add("anna")
    async with logged.team.running(), logged.team.client(anna) as client:
        await call_tool(client, "list_directories")
        logged.path.rename(logged.path.with_suffix(".1"))
        await call_tool(client, "get_directory_items", entityId="SOURCE")
    assert [line["tool"] for line in logged.lines()] == ["get_directory_items"]
    assert logged.path.stat().st_mode & 0o777 == 0o600


async def test_what_cannot_be_written_costs_lines_and_no_answers(
    logged: Logged, caplog: pytest.LogCaptureFixture
) -> None:
    anna = logged.team.add("anna")
    async with logged.team.running(), logged.team.client(anna) as client:
        logged.path.unlink()
        logged.path.mkdir()
        for _ in range(3):
            assert (await call_tool(client, "get_directory_items", entityId="SOURCE"))["total"]
    assert [record.getMessage() for record in caplog.records] == ["A line of the access log could not be written"]


async def test_it_is_on_by_default(portal: RunningPortal, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert Settings.model_fields["access_log"].default == "stderr"
    for where, lines in (("stderr", 1), ("off", 0)):
        team = TeamServer(portal, tmp_path / where, access_log=where)
        (tmp_path / where).mkdir()
        team.add("anna")
        async with team.running(), httpx.AsyncClient() as http:
            await http.post(f"{team.url}/mcp", json={})
        written = [line for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
        assert [json.loads(line)["outcome"] for line in written] == ["401"] * lines


@pytest.mark.parametrize("name", ["no such folder/access.jsonl", "."])
async def test_a_file_that_cannot_be_written_is_said_at_start(portal: RunningPortal, tmp_path: Path, name: str) -> None:
    team = TeamServer(portal, tmp_path, access_log=str(tmp_path / name))
    with pytest.raises(ServingError, match="BITRIX24_ACCESS_LOG"):
        async with team.running():
            pass


SECRET = {"entityId": "webhook0secret01", "entity": "https://portal/rest/1/x/", "recordId": "five"}


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        (tool_call("get_directory_items", entityId="deal.UF_CRM_17"), {"entityId": "deal.UF_CRM_17"}),
        (tool_call("get_directory_items", entityId="item(31).sourceId"), {"entityId": "item(31).sourceId"}),
        (tool_call("get_directory_items", entityId="smart_invoice"), {"entityId": "smart_invoice"}),
        (tool_call("get_directory_items", entityId="Стадии Ивана Петрова"), {}),
        (tool_call("get_directory_items", entityId="Stages of Anna"), {}),
        (tool_call("get_directory_items", entityId="A" * 101), {}),
        (tool_call("get_directory_items", **SECRET), {}),
        (tool_call("check_record", fields=["ID=7", "id = 8", "TITLE=9", 3]), {"recordIds": [7, 8]}),
        (tool_call("check_record", fields="ID=7", recordId=7), {"recordIds": [7]}),
        (tool_call("Tool of mine"), {"tool": None}),
        ({"method": "b24d_Token", "params": []}, {"method": None, "tool": None}),
        ({"method": 5, "params": {"arguments": []}}, {"method": None, "tool": None}),
    ],
)
def test_only_what_is_spelt_like_an_id_is_logged(message: dict[str, Any], logged: dict[str, Any]) -> None:
    params = message["params"]
    name = params.get("name") if isinstance(params, dict) else None
    expected = {"method": "tools/call", "tool": name, **logged}
    assert request_fields(message) == {key: value for key, value in expected.items() if value is not None}


async def test_the_document_shows_such_a_line_and_says_where_it_goes() -> None:
    text = (Path(__file__).parent.parent / "docs" / "TEAM.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"```json\n(\{\"when\".+)\n```", text)
    access = Access(
        person="anna", fields=request_fields(tool_call("check_record", entity="deal", recordId="5")), status=200
    )
    assert list(json.loads(line)) == [key for key, _ in access.log_fields()]
    assert len(line) < 250
    for word in ("**Rotation**", "**Retention**", f"`{OFF}`", STDERR, "`INSUFFICIENT_SCOPE`", "`cancelled`"):
        assert word in text
