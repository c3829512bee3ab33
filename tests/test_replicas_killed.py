"""A replica is killed in the middle of a change: the other continues, and repeats nothing."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.rest import Webhook
from bitrix24_directories.team.people import People
from support import RunningPortal, clean_environment
from team_support import call_tool
from test_replicas import Valkey, valkey

__all__ = ["valkey"]

pytestmark = pytest.mark.slow

# The program, with a lock that is free sooner after its holder's death, so that the test is fast.
_SERVE = """
from bitrix24_directories.state import in_redis
in_redis._LOCK_SECONDS = 2.0
from bitrix24_directories.cli.main import main
main(["serve", "--http", "0"])
"""


@contextlib.contextmanager
def replica(folder: Path, valkey: Valkey) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = clean_environment(
        BITRIX24_PEOPLE=str(folder / "people.jsonl"),
        BITRIX24_REDIS_URL=valkey.url,
        BITRIX24_ALLOW_WRITES="true",
        BITRIX24_AUDIT_LOG=str(folder / "audit.jsonl"),
    )
    command = [sys.executable, "-c", _SERVE]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        match = next(filter(None, (re.search(r"Serving MCP on (\S+)", line) for line in process.stderr)))
        try:
            yield process, match[1]
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def client(url: str, token: str) -> Any:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=40) as http,
        Client(streamable_http_client(url, http_client=http)) as connected,
    ):
        yield connected


def kill_at(portal: RunningPortal, process: subprocess.Popen[str], method: str, number: int) -> list[str]:
    """Kill the replica when the portal is about to make its nth change, counted from 1.

    Returns the parameters of all such changes, those of the other replica included.
    """
    made: list[str] = []

    def meanwhile(called_method: str, params: Mapping[str, Any]) -> None:
        if called_method != method:
            return
        made.append(str(params))
        if len(made) == number:
            process.kill()
            process.wait()

    portal.portal.meanwhile = meanwhile
    return made


async def call_until_killed(url: str, token: str, tool: str, **arguments: Any) -> None:
    """Make a call whose answer never comes, because its replica dies."""
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    async with httpx.AsyncClient(headers=headers, timeout=40) as http:
        with pytest.raises(httpx.TransportError):
            pytest.fail(f"it lives, and answers {(await http.post(url, json=call)).text}")


async def test_a_plan_whose_replica_dies_is_finished_by_the_other(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    token = People(tmp_path / "people.jsonl").add("anna", SCOPES, Webhook.parse(portal.webhook_url()))
    names = [f"NEW_{number:03}" for number in range(160)]
    arguments = {"entityId": "HONORIFIC", "items": [f"{name}: {name.title()}" for name in names]}
    portal.portal.store.records.all = {}
    with replica(tmp_path, valkey) as (dying, first), replica(tmp_path, valkey) as (_, second):
        async with client(second, token) as there:
            plan = await call_tool(there, "apply_directory", **arguments)
            made = kill_at(portal, dying, "crm.status.add", 55)  # in the second request of the change
            await call_until_killed(first, token, "apply_directory", **arguments, planId=plan["planId"])
            plan = await call_tool(there, "apply_directory", **arguments)
            assert plan["status"] == "planned"
            done = await call_tool(there, "apply_directory", **arguments, planId=plan["planId"])
            assert done["status"] == "done"
            again = await call_tool(there, "apply_directory", **arguments)
            assert again["status"] == "unchanged"
    codes = [item.status_id for item in portal.portal.store.of("HONORIFIC")]
    assert codes == names
    assert len(made) == len(set(made)) == len(names)


async def test_a_merge_whose_replica_dies_is_finished_by_the_other(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    token = People(tmp_path / "people.jsonl").add("anna", SCOPES, Webhook.parse(portal.webhook_url()))
    records = portal.portal.store.records
    lead = records.of(1)[0]
    records.all = {(1, number): lead | {"id": number, "sourceId": "EMAIL"} for number in range(1, 121)}
    merge = {"entityId": "SOURCE", "codes": ["EMAIL"], "into": "WEB"}
    with replica(tmp_path, valkey) as (dying, first), replica(tmp_path, valkey) as (_, second):
        async with client(second, token) as there:
            plan = await call_tool(there, "merge_directory_items", **merge)
            made = kill_at(portal, dying, "crm.item.update", 60)
            await call_until_killed(first, token, "merge_directory_items", **merge, planId=plan["planId"])
            plan = await call_tool(there, "merge_directory_items", **merge)
            assert 0 < plan["left"] < 120
            done = await call_tool(there, "merge_directory_items", **merge, planId=plan["planId"])
            assert (done["status"], done["left"]) == ("done", 0)
            assert plan["left"] < done["moved"] <= 120  # including the last report before the other died
    assert len(made) == len(set(made)) == 120
    assert {record["sourceId"] for record in records.of(1)} == {"WEB"}
    assert "EMAIL" not in [item.status_id for item in portal.portal.store.of("SOURCE")]
