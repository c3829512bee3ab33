"""Reading ahead: soon enough, few requests, and no delay for calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache, Cached
from bitrix24_directories.portal.store import Directory
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Webhook, in_process
from support import PortalInProcess, RunningPortal
from test_stdio import RawServer


def read_ahead(portal: RunningPortal, cwd: Path, **environment: str) -> RawServer:
    """A server on the portal that reads ahead, as it does by default."""
    return RawServer(cwd, **{"BITRIX24_WEBHOOK_URL": portal.webhook_url(), "BITRIX24_WARM_UP": ""} | environment)


def until_called(portal: RunningPortal, server: RawServer, times: int) -> None:
    while len(portal.portal.calls) < times:
        assert server.process.poll() is None


def test_the_first_answers_need_no_request(portal: RunningPortal, tmp_path: Path) -> None:
    server = read_ahead(portal, tmp_path)
    until_called(portal, server, 2)
    result = server.call("find_directory_items", queries=["cold call", "technician assigned", "won"])
    assert result["structuredContent"]["results"][0]["status"] == "exact"
    server.call("get_directory_items", entityId="DEAL_STAGE_1")
    server.call("get_directory_items", entityId="INDUSTRY")
    server.close()
    assert portal.methods_called == ["batch", "batch"]


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"BITRIX24_WARM_UP": "false"}, {"BITRIX24_WEBHOOK_URL": ""}])
def test_nothing_is_sent_where_it_is_switched_off_or_nobody_is_set_up(
    portal: RunningPortal, tmp_path: Path, environment: dict[str, str]
) -> None:
    server = read_ahead(portal, tmp_path, **environment)
    server.send({"id": 2, "method": "ping"})
    assert server.read()["id"] == 2
    assert server.close() == 0
    assert not portal.portal.calls


@pytest.mark.slow
def test_a_portal_that_hangs_holds_up_neither_hello_nor_end(portal: RunningPortal, tmp_path: Path) -> None:
    portal.order(delay=60)
    server = read_ahead(portal, tmp_path)
    until_called(portal, server, 1)
    server.send({"id": 2, "method": "tools/list"})
    assert server.read()["id"] == 2
    assert server.close() == 0
    assert server.errors.read_bytes() == b""


@pytest.mark.slow
def test_a_portal_that_refuses_is_a_calls_to_tell(portal: RunningPortal, tmp_path: Path) -> None:
    portal.order(method="batch", status=401, code="INVALID_CREDENTIALS", description="no", times=1)
    server = read_ahead(portal, tmp_path)
    until_called(portal, server, 1)
    result = server.call("get_directory_items", entityId="DEAL_STAGE")
    assert not result["isError"]
    server.close()
    assert server.errors.read_bytes() == b""


@pytest.mark.virtual_clock
async def test_two_requests_at_most_however_large_the_portal_is(portal: PortalInProcess) -> None:
    for number in range(500):
        portal.portal.store.directories[f"LIST_{number}"] = Directory(f"LIST_{number}", f"List {number}")
    async with Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app)) as client:
        directories = Directories(client, Cache(300))
        await directories.read_ahead()
        await directories.search()
        await directories.items("SOURCE")
    assert portal.methods_called == ["batch", "batch"]


@pytest.mark.virtual_clock
@pytest.mark.parametrize(
    "fault",
    [
        {"code": "ACCESS_DENIED", "status": 403},
        {"code": "ERROR_METHOD_NOT_FOUND", "status": 404},
        {"status": 502},
        {"body": "<html>"},
        {"code": "INTERNAL_SERVER_ERROR", "status": 500},
    ],
)
async def test_a_portal_that_does_not_want_it_gets_one_request(portal: PortalInProcess, fault: dict[str, Any]) -> None:
    portal.order(method="batch", **fault)
    async with Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app)) as client:
        with pytest.raises(Bitrix24Error):
            await Directories(client, Cache(300)).read_ahead()
    assert portal.methods_called == ["batch"]


@pytest.mark.virtual_clock
async def test_what_somebody_has_asked_for_meanwhile_stays_as_it_is(portal: PortalInProcess) -> None:
    """Otherwise the objects made from it, as by finding, would be made again."""
    async with Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app)) as client:
        directories = Directories(client, Cache(300))
        before = (await directories.many(["SOURCE"]))["SOURCE"]
        portal.order(method="batch", delay=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(directories.read_ahead)
            await anyio.sleep(0.5)
            meanwhile = (await directories.many(["INDUSTRY"]))["INDUSTRY"]
        after = await directories.many(["SOURCE", "INDUSTRY"])
    assert isinstance(before, Cached)
    assert isinstance(meanwhile, Cached)
    assert after["SOURCE"] is before
    assert after["INDUSTRY"] is meanwhile


@pytest.mark.virtual_clock
async def test_where_nothing_is_kept_the_fields_alone_are_read(portal: PortalInProcess) -> None:
    async with Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app)) as client:
        directories = Directories(client, Cache(0))
        await directories.read_ahead()
        assert (await directories.items("SOURCE")).used_in
    assert portal.methods_called == ["batch", "batch", "crm.status.entity.items"]


@pytest.mark.virtual_clock
async def test_what_is_read_ahead_grows_old_like_anything_else(portal: PortalInProcess) -> None:
    async with Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app)) as client:
        directories = Directories(client, Cache(300))
        await directories.read_ahead()
        await anyio.sleep(42)
        assert (await directories.items("SOURCE")).age_seconds == 42
        portal.portal.store.add("SOURCE", "PODCAST", "Podcast")
        await anyio.sleep(259)
        assert "PODCAST" in [item.status_id for item in (await directories.items("SOURCE")).items]
