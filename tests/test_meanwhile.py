"""Changes by others while ours, or a read, is under way.

They are not reported as ours, and outdated answers are not cached.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bitrix24_directories.portal.store import Item, PortalError
from support import Assistant, PortalInProcess, ToolAnswer, connect

pytestmark = pytest.mark.virtual_clock

RENAME: dict[str, Any] = {"entityId": "SOURCE", "statusId": "WEB", "name": "Site"}


@pytest.fixture(autouse=True)
def _without_records(portal: PortalInProcess) -> None:
    portal.portal.store.records.all.clear()


def item(portal: PortalInProcess, code: str) -> Item:
    return next(item for item in portal.portal.store.of("SOURCE") if item.status_id == code)


def before_call(portal: PortalInProcess, method: str, does: Callable[[Mapping[str, Any]], None]) -> None:
    """Call a function on the portal just before it carries out a method."""

    def meanwhile(called: str, params: Mapping[str, Any]) -> None:
        if called == method:
            does(params)

    portal.portal.meanwhile = meanwhile


def refuse() -> None:
    raise PortalError("Access denied.")


def steps(result: ToolAnswer) -> list[tuple[str, Any]]:
    return [(step["outcome"], step.get("stored")) for step in result.structured["steps"]]


async def test_a_refused_update_of_an_item_that_somebody_moves(portal: PortalInProcess) -> None:
    def move(_params: Mapping[str, Any]) -> None:
        portal.portal.store.put(replace(item(portal, "WEB"), sort=35))
        refuse()

    before_call(portal, "crm.status.update", move)
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", **RENAME)
    assert steps(result) == [("not done", None)]
    assert result.error["code"] == "NOT_ALLOWED_TO_CHANGE"


async def test_an_update_whose_answer_is_lost_while_somebody_moves_the_item(portal: PortalInProcess) -> None:
    def move(_params: Mapping[str, Any]) -> None:
        portal.portal.store.put(replace(item(portal, "WEB"), sort=35))
        raise PortalError("", code="", status=504)

    before_call(portal, "crm.status.update", move)
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", **RENAME)
    assert steps(result) == [("unknown", None)]
    assert result.error["code"] == "CHANGE_UNKNOWN"


async def test_a_refused_deletion_of_an_item_that_somebody_renames(portal: PortalInProcess) -> None:
    def rename(_params: Mapping[str, Any]) -> None:
        portal.portal.store.put(replace(item(portal, "EMAIL"), name="Letters"))
        refuse()

    before_call(portal, "crm.status.delete", rename)
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="EMAIL")
        plan_id = planned.structured["planId"]
        result = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="EMAIL", planId=plan_id)
    assert steps(result) == [("not done", None)]


async def test_a_code_that_somebody_takes_right_before(portal: PortalInProcess) -> None:
    def take(params: Mapping[str, Any]) -> None:
        store = portal.portal.store
        store.put(replace(item(portal, "WEB"), id=900, status_id=params["fields"]["STATUS_ID"], name="Radio"))

    before_call(portal, "crm.status.add", take)
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
    assert steps(result) == [("not done", None)]


async def test_an_item_that_somebody_deletes_and_adds_again(portal: PortalInProcess) -> None:
    """Our item is deleted, and its number refused: the new item of its code is another one."""

    def replaced(_params: Mapping[str, Any]) -> None:
        web = item(portal, "WEB")
        portal.portal.store.items.pop(web.id)
        portal.portal.store.put(replace(web, id=901, name="Website of theirs"))

    before_call(portal, "crm.status.update", replaced)
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", **RENAME)
    assert steps(result) == [("not done", None)]


def answer_late(portal: PortalInProcess, which: Callable[[str], bool], seconds: float) -> None:
    """Make the portal compute some of its answers at once and deliver them late."""
    app = portal.portal.app

    async def late(scope: Any, receive: Any, send: Any) -> None:
        if not which(scope["path"]):
            await app(scope, receive, send)
            return
        held: list[Any] = []

        async def hold(message: Any) -> None:
            held.append(message)

        await app(scope, receive, hold)
        await anyio.sleep(seconds)
        for message in held:
            await send(message)

    portal.portal.app = late  # type: ignore[assignment]


async def name_of(assistant: Assistant, code: str, entity_id: str = "SOURCE") -> str:
    result = await assistant.call("get_directory_items", entityId=entity_id, query=code)
    return next(str(item["name"]) for item in result.structured["items"] if item["statusId"] == code)


async def test_what_was_read_before_a_change_is_not_kept_after_it(portal: PortalInProcess) -> None:
    requests = 0

    def first(_path: str) -> bool:
        nonlocal requests
        requests += 1
        return requests == 1

    async with anyio.create_task_group() as tasks:
        answer_late(portal, first, 6)
        async with connect(portal, allow_writes=True) as assistant:
            tasks.start_soon(name_of, assistant, "WEB")
            await anyio.sleep(1)
            assert not (await assistant.call("update_directory_item", **RENAME)).is_error
            await anyio.sleep(6)
            assert await name_of(assistant, "WEB") == "Site"


async def test_all_pages_are_read_again_after_a_change(portal: PortalInProcess) -> None:
    """Also if another call is reading the same pages, whose answers are older than the change."""
    store = portal.portal.store
    for index in range(150):
        store.put(replace(item(portal, "WEB"), id=1000 + index, status_id=f"L{index}", name=f"L{index}", sort=1000))
    portal.order(method="crm.status.update", delay=3)
    late = iter([False, True])  # the second page, which another call reads
    answer_late(portal, lambda path: "/batch" in path and next(late, False), 8)
    async with connect(portal, allow_writes=True) as assistant, anyio.create_task_group() as tasks:

        async def read() -> None:
            await anyio.sleep(1)
            await assistant.call("get_directory_items", entityId="SOURCE", details=True, fresh=True)

        tasks.start_soon(read)
        result = await assistant.call("update_directory_item", entityId="SOURCE", statusId="L120", name="Renamed")
        assert steps(result) == [("done", None)], result.text


async def test_a_refusal_ends_when_it_is_as_old_as_what_is_kept(portal: PortalInProcess) -> None:
    before_call(portal, "crm.category.list", lambda _params: refuse())
    async with connect(portal, allow_writes=True, fields_kept=False) as assistant:
        await assistant.call("list_directories")
        portal.portal.meanwhile = lambda _method, _params: None
        for minute in range(8):
            await anyio.sleep(60)
            name = "Site" if minute % 2 else "Website"
            await assistant.call("update_directory_item", entityId="SOURCE", statusId="WEB", name=name)
            result = await assistant.call("list_directories")
    row = next(directory for directory in result.structured["directories"] if directory["entityId"] == "DEAL_STAGE_1")
    assert row["pipeline"] == "Wholesale"


async def test_the_last_item_of_a_directory_that_is_not_listed(portal: PortalInProcess) -> None:
    """An empty answer proves the deletion, although an unknown directory gets the same."""
    store = portal.portal.store
    store.directories["TONES"] = replace(store.directories["SOURCE"], id="TONES", name="Tones")
    store.put(replace(item(portal, "WEB"), id=950, entity_id="TONES", status_id="ONE", name="One", system=False))
    portal.order(method="crm.status.entity.types", body='{"result": [{"ID": "SOURCE", "NAME": "Sources"}]}')
    arguments = {"entityId": "TONES", "statusId": "ONE"}
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", **arguments)
        result = await assistant.call("delete_directory_item", **arguments, planId=planned.structured["planId"])
    assert steps(result) == [("done", None)], result.text


async def test_names_of_pipelines_that_cannot_be_read(portal: PortalInProcess) -> None:
    before_call(portal, "crm.category.list", lambda _params: refuse())
    fields = {"CATEGORY_ID": "Wholesale"}
    async with connect(portal, fields_kept=False) as assistant:
        result = await assistant.call("check_record", entity="deal", fields=fields)
        assert "the names of pipelines cannot be read, only their numbers" in result.text
        portal.portal.meanwhile = lambda _method, _params: None
        await anyio.sleep(20)
        result = await assistant.call("check_record", entity="deal", fields=fields)
    assert result.structured["write"] == {"CATEGORY_ID": 1}


@pytest.mark.parametrize("there", ["A+", "🔥", "Café"])
async def test_names_that_differ_in_more_than_letter_case_are_others(portal: PortalInProcess, there: str) -> None:
    other = {"A+": "A-", "🔥": "❄", "Café": "Cafe"}[there]
    portal.portal.store.put(replace(item(portal, "WEB"), id=960, status_id="UC_1", name=there, sort=9000))
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name=other)
    assert [step["action"] for step in result.structured["steps"]] == ["add"]
    assert {there, other} <= {item.name for item in portal.portal.store.of("SOURCE")}


@pytest.mark.parametrize("added", [["Podcast: 🔥"], ["Podcast", "PODCAST: Other"], ["Podcast: one: two"]])
async def test_a_second_declaration_changes_nothing(portal: PortalInProcess, added: list[str]) -> None:
    items = [*(item.status_id for item in portal.portal.store.of("SOURCE")), *added]
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("apply_directory", entityId="SOURCE", items=items)
        plan_id = planned.structured["planId"]
        done = await assistant.call("apply_directory", entityId="SOURCE", items=items, planId=plan_id)
        assert not done.is_error, done.text
        again = await assistant.call("apply_directory", entityId="SOURCE", items=items)
    assert again.structured["status"] == "unchanged", again.text


async def test_codes_with_blanks_are_the_same_codes(portal: PortalInProcess) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Another", statusId="WEB ")
    assert "the code WEB is taken" in result.text


async def test_two_merges_of_the_same_codes_at_once(portal: PortalInProcess, tmp_path: Path) -> None:
    arguments = {"entityId": "SOURCE", "codes": ["EMAIL"], "into": "WEB"}
    async with connect(portal, allow_writes=True, audit_log=str(tmp_path / "log")) as assistant:
        plan_id = (await assistant.call("merge_directory_items", **arguments)).structured["planId"]
        results: list[ToolAnswer] = []

        async def merge() -> None:
            results.append(await assistant.call("merge_directory_items", **arguments, planId=plan_id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(merge)
            tasks.start_soon(merge)
    assert not any("records still use it" in answer.text for answer in results)
    assert [result.structured["status"] for result in results if not result.is_error].count("done") >= 1
    assert not any("INTERNAL_ERROR" in answer.text for answer in results)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_mistake_of_ours_while_a_change_is_under_way(
    portal: PortalInProcess, tmp_path: Path, carried_out: bool
) -> None:
    """The audit log never says "not done" if the change may be done."""
    app, log = portal.portal.app, tmp_path / "log"

    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].endswith("crm.status.update"):
            await app(scope, receive, send)
            return
        if carried_out:
            await app(scope, receive, _send_nothing)
        raise RuntimeError

    portal.portal.app = breaking  # type: ignore[assignment]
    async with connect(portal, allow_writes=True, audit_log=str(log)) as assistant:
        result = await assistant.call("update_directory_item", **RENAME)
    assert result.error["code"] == "INTERNAL_ERROR"
    outcome = json.loads(log.read_text("utf-8").splitlines()[-1])["outcome"]
    assert outcome.startswith("done" if carried_out else "unknown")


async def _send_nothing(_message: Any) -> None:
    """Send nothing."""
