"""The cache and shared requests, on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from bitrix24_directories.directories.reading.cache import ROWS_LIMIT, Cache
from bitrix24_directories.portal.store import PortalError
from support import READER_SECRET, SOURCE_FIELDS, STRANGER_SECRET, Assistant, PortalInProcess, connect

pytestmark = pytest.mark.virtual_clock


@pytest.fixture
async def assistant(portal: PortalInProcess) -> AsyncIterator[Assistant]:
    async with connect(portal) as opened:
        yield opened


async def test_what_was_read_is_kept_and_says_how_old_it_is(assistant: Assistant, portal: PortalInProcess) -> None:
    first = await assistant.call("get_directory_items", entityId="SOURCE")
    assert "ageSeconds" not in first.structured
    await anyio.sleep(42)
    second = await assistant.call("get_directory_items", entityId=" source")
    assert second.structured == first.structured | {"ageSeconds": 42}
    assert second.text.splitlines()[0] == "SOURCE: 15 items, in order (code: name), read 42 s ago"
    assert second.text.splitlines()[1:] == first.text.splitlines()[1:]
    assert len(portal.portal.calls) == 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_directory_items", {"entityId": "SOURCE", "details": True}),
        ("get_directory_items", {"entityId": "PARTNER_LEVEL"}),
        ("list_directories", {"query": "deal"}),
    ],
)
async def test_all_kinds_of_answers_are_kept(
    assistant: Assistant, portal: PortalInProcess, tool: str, arguments: dict[str, Any]
) -> None:
    first = await assistant.call(tool, **arguments)
    called = len(portal.portal.calls)
    await anyio.sleep(9)
    second = await assistant.call(tool, **arguments)
    assert second.structured == first.structured | {"ageSeconds": 9}
    assert "read 9 s ago" in second.text
    assert len(portal.portal.calls) == called


async def test_it_is_read_again_when_its_time_is_over(assistant: Assistant, portal: PortalInProcess) -> None:
    await assistant.call("get_directory_items", entityId="SOURCE")
    portal.portal.store.add("SOURCE", "PODCAST", "Podcast")
    await anyio.sleep(299)
    assert "PODCAST" not in (await assistant.call("get_directory_items", entityId="SOURCE")).text
    await anyio.sleep(2)
    assert "PODCAST" in (await assistant.call("get_directory_items", entityId="SOURCE")).text


async def test_fresh_reads_now_and_keeps_what_it_read(assistant: Assistant, portal: PortalInProcess) -> None:
    await assistant.call("get_directory_items", entityId="SOURCE")
    portal.portal.store.add("SOURCE", "PODCAST", "Podcast")
    result = await assistant.call("get_directory_items", entityId="SOURCE", fresh=True)
    assert "PODCAST" in result.text
    assert "ago" not in result.text
    assert (await assistant.call("get_directory_items", entityId="SOURCE")).structured == result.structured
    assert len(portal.portal.calls) == 2


async def test_a_ttl_of_zero_turns_it_off(portal: PortalInProcess) -> None:
    async with connect(portal, cache_ttl=0) as assistant:
        for _ in range(3):
            await assistant.call("list_directories")
    assert len(portal.methods_called) == 6


async def test_with_the_cache_off_an_answer_costs_one_request_all_the_same(portal: PortalInProcess) -> None:
    """Fields that take the codes are no part of the question; read every five minutes at most."""
    async with connect(portal, cache_ttl=0) as assistant:
        for _ in range(3):
            result = await assistant.call("get_directory_items", entityId="SOURCE")
            assert result.structured["usedIn"] == SOURCE_FIELDS
        assert portal.methods_called.count("crm.status.entity.items") == 3
        assert len(portal.portal.calls) == 5
        await anyio.sleep(300)
        await assistant.call("get_directory_items", entityId="SOURCE")
        assert len(portal.portal.calls) == 8


@pytest.mark.parametrize(("code", "seconds"), [("ACCESS_DENIED", 10), ("INTERNAL_SERVER_ERROR", 2)])
async def test_a_failure_is_remembered_for_some_seconds(portal: PortalInProcess, code: str, seconds: float) -> None:
    async with connect(portal, timeout=1) as assistant:
        portal.order(code=code)
        failed_at = anyio.current_time()
        assert (await assistant.call("list_directories")).error["code"] == code
        portal.portal.faults.clear()
        requests = len(portal.portal.calls)
        assert (await assistant.call("list_directories")).error["code"] == code
        assert len(portal.portal.calls) == requests
        await anyio.sleep(seconds + anyio.current_time() - failed_at)
        assert not (await assistant.call("list_directories")).is_error


async def test_fresh_asks_again_after_a_failure(assistant: Assistant, portal: PortalInProcess) -> None:
    portal.order(times=1, code="ACCESS_DENIED")
    assert (await assistant.call("get_directory_items", entityId="SOURCE")).is_error
    assert not (await assistant.call("get_directory_items", entityId="SOURCE", fresh=True)).is_error


@pytest.mark.parametrize("fault", [{"code": "ERROR_METHOD_NOT_FOUND"}, {"code": "", "description": "Access denied."}])
async def test_what_fails_is_not_asked_for_anew_by_each_caller(portal: PortalInProcess, fault: dict[str, str]) -> None:
    """On a portal without `crm.enum.ownertype`, or one that denies it."""

    def deny(method: str, _params: object) -> None:
        if method == "crm.enum.ownertype":
            raise PortalError(fault.get("description", "Method not found!"), code=fault["code"])

    portal.portal.meanwhile = deny
    async with connect(portal, fields_kept=False) as assistant, anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(lambda: assistant.call("list_directories"))
    assert str(portal.portal.calls).count("crm.enum.ownertype") == 1
    assert len(portal.portal.calls) <= 2


async def test_a_directory_that_was_missing_and_then_made(assistant: Assistant, portal: PortalInProcess) -> None:
    assert (await assistant.call("get_directory_items", entityId="DEAL_STAGE_9")).error["code"] == "UNKNOWN_DIRECTORY"
    await anyio.sleep(1)
    directories = portal.portal.store.directories
    directories["DEAL_STAGE_9"] = type(directories["SOURCE"])("DEAL_STAGE_9", "New pipeline")
    assert not (await assistant.call("get_directory_items", entityId="DEAL_STAGE_9")).is_error


async def test_a_directory_that_disappears_is_not_taken_for_empty(
    assistant: Assistant, portal: PortalInProcess
) -> None:
    await assistant.call("list_directories")
    await anyio.sleep(1)
    store = portal.portal.store
    del store.directories["DEAL_STAGE_2"]
    store.items = {key: item for key, item in store.items.items() if item.entity_id != "DEAL_STAGE_2"}
    assert (await assistant.call("get_directory_items", entityId="DEAL_STAGE_2")).error["code"] == "UNKNOWN_DIRECTORY"


@pytest.mark.parametrize("cache_ttl", [0, 300])
async def test_equal_calls_at_once_share_one_request(portal: PortalInProcess, cache_ttl: float) -> None:
    portal.order(delay=1)
    results = []
    async with connect(portal, cache_ttl=cache_ttl) as assistant:

        async def ask() -> None:
            results.append(await assistant.call("get_directory_items", entityId="DEAL_STAGE"))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask)
    assert [answer.structured["total"] for answer in results] == [8] * 100
    assert portal.methods_called.count("crm.status.entity.items") == 1


async def test_a_shared_request_outlives_the_one_who_began_it(assistant: Assistant, portal: PortalInProcess) -> None:
    portal.order(delay=2)
    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            with anyio.move_on_after(1):
                await assistant.call("list_directories")

        tasks.start_soon(give_up)
        await anyio.sleep(0.5)
        assert not (await assistant.call("list_directories")).is_error
    assert len(portal.portal.calls) == 1


async def test_fresh_does_not_share_a_request_that_began_before(assistant: Assistant, portal: PortalInProcess) -> None:
    portal.order(delay=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: assistant.call("get_directory_items", entityId="SOURCE"))
        await anyio.sleep(1)
        await assistant.call("get_directory_items", entityId="SOURCE", fresh=True)
    assert len(portal.portal.calls) == 2


async def test_an_error_reaches_all_who_share_the_request(assistant: Assistant, portal: PortalInProcess) -> None:
    portal.order(delay=1, code="ACCESS_DENIED")
    codes = []

    async def ask() -> None:
        codes.append((await assistant.call("list_directories")).error["code"])

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert codes == ["ACCESS_DENIED"] * 5
    assert len(portal.portal.calls) == 1


async def test_one_callers_answers_are_never_anothers(portal: PortalInProcess) -> None:
    """True even if several servers share one cache."""
    shared = Cache(300)
    for secret, refused in (("demoadmin0000001", False), (READER_SECRET, False), (STRANGER_SECRET, True)):
        async with connect(portal, cache=shared, secret=secret) as assistant:
            assert (await assistant.call("get_directory_items", entityId="SOURCE")).is_error == refused
    assert len(portal.portal.calls) == 3


async def test_memory_is_bounded_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(300)
    cache.store(("small",), [None] * (ROWS_LIMIT // 2))
    await anyio.sleep(301)
    cache.store(("small",), [None] * (ROWS_LIMIT // 2))  # old entries are dropped silently
    cache.clear()
    assert cache.get(("small",)) is None
    assert not caplog.messages
    for number in range(30):
        cache.store((number,), [None] * (ROWS_LIMIT // 10))
    assert sum(cache.get((number,)) is not None for number in range(30)) < 10
    assert cache.store(("huge",), [None] * ROWS_LIMIT).rows
    assert cache.get(("huge",)) is None
    assert cache.get((29,)) is not None
    assert [f"more than the {ROWS_LIMIT} rows" in message for message in caplog.messages] == [True]


def test_a_list_too_long_to_be_kept_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def keep() -> None:
        Cache(300).store(("huge",), [None] * ROWS_LIMIT)

    anyio.run(keep)
    assert len(caplog.messages) == 1


async def test_what_begins_alike_is_invalidated_together() -> None:
    cache = Cache(300)
    keys = [("anna", "counts", "1"), ("anna", "counts", "2"), ("anna", "items"), ("boris", "counts", "1")]
    for key in keys:
        cache.store(key, [])
    began = anyio.current_time()
    await anyio.sleep(1)
    cache.invalidate(("anna", "counts"))
    assert [cache.get(key) is not None for key in keys] == [False, False, True, True]
    assert [cache.is_outdated(key, began) for key in keys] == [True, True, False, False]
    assert not cache.is_outdated(keys[0], anyio.current_time())
