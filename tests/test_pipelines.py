"""Names of pipelines, start and final stages, and stages that are switched off.

The portal's list leaves these out.
"""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.store import Age, PortalError
from support import PortalInProcess, ToolAnswer, connect

pytestmark = pytest.mark.virtual_clock

AGES: tuple[Age, ...] = ("today", "older", "oldest")


def portal_of(age: Age) -> PortalInProcess:
    return PortalInProcess(DemoPortal(age=age))


async def call(portal: PortalInProcess, tool: str, **arguments: Any) -> ToolAnswer:
    """Call a tool once, without a cache."""
    async with connect(portal, fields_kept=False) as assistant:
        return await assistant.call(tool, **arguments)


def row(result: ToolAnswer, entity_id: str) -> dict[str, Any]:
    return next(dict(directory) for directory in result.structured["directories"] if directory["entityId"] == entity_id)


@pytest.mark.parametrize("age", AGES)
async def test_pipelines_have_their_plain_names(age: Age) -> None:
    portal = portal_of(age)
    result = await call(portal, "list_directories")
    names = {
        directory["entityId"]: directory["pipeline"]
        for directory in result.structured["directories"]
        if "pipeline" in directory
    }
    assert names == {
        "DEAL_STAGE": "General",
        "DEAL_STAGE_1": "Wholesale",
        "DEAL_STAGE_2": "Service contracts",
        "SMART_INVOICE_STAGE_3": "General",
        "DYNAMIC_177_STAGE_7": "General",
        "DYNAMIC_177_STAGE_8": "Abroad",
    }
    assert "stages for deal.STAGE_ID, pipeline 1 Wholesale, start C1:NEW" in result.text
    assert len(portal.portal.calls) == 2


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize(
    ("entity", "pipeline", "number"), [("deal", "Wholesale", 1), ("177", "abroad", 8), ("invoice", "General", 3)]
)
async def test_a_record_is_put_into_a_pipeline_by_its_name(age: Age, entity: str, pipeline: str, number: int) -> None:
    portal = portal_of(age)
    result = await call(portal, "check_record", entity=entity, fields={"categoryId": pipeline})
    assert result.structured["write"] == {"categoryId": number}
    assert len(portal.portal.calls) <= 2


@pytest.mark.parametrize("age", AGES)
async def test_a_search_knows_pipelines_by_name(age: Age) -> None:
    result = await call(portal_of(age), "list_directories", query="abroad")
    assert [directory["entityId"] for directory in result.structured["directories"]] == ["DYNAMIC_177_STAGE_8"]


@pytest.mark.parametrize("age", AGES)
async def test_what_is_known_is_not_asked_for_again(age: Age) -> None:
    portal = portal_of(age)
    async with connect(portal, fields_kept=False) as assistant:
        await assistant.call("list_directories")
        before = len(portal.portal.calls)
        await assistant.call("check_record", entity="177", fields={"title": "One"})
        assert len(portal.portal.calls) - before <= 1


async def test_a_change_before_the_first_list_costs_the_list_nothing() -> None:
    portal = portal_of("today")
    change = {"entityId": "DYNAMIC_177_STAGE_7", "statusId": "DT177_7:NEW", "name": "Beginning"}
    async with connect(portal, fields_kept=False, allow_writes=True) as assistant:
        await assistant.call("get_directory_items", entityId="DEAL_STAGE")
        assert not (await assistant.call("update_directory_item", **change)).is_error
        before = len(portal.portal.calls)
        await assistant.call("list_directories")
        assert len(portal.portal.calls) - before == 1


async def test_a_portal_without_batches_is_not_asked_for_each_pipeline() -> None:
    portal = portal_of("today")
    portal.order(method="batch", code="ERROR_METHOD_NOT_FOUND")
    async with connect(portal, fields_kept=False) as assistant:
        await assistant.call("list_directories")
        before = len(portal.portal.calls)
        result = await assistant.call("list_directories")
    assert len(portal.portal.calls) == before
    assert row(result, "DEAL_STAGE_1")["pipeline"] == "Wholesale"


async def test_what_comes_too_late_is_not_waited_for_again() -> None:
    portal = portal_of("today")
    async with connect(portal, fields_kept=False) as assistant:
        portal.order(method="batch", delay=7)
        started = anyio.current_time()
        for _ in range(5):
            await assistant.call("list_directories")
    assert anyio.current_time() - started < 20


async def test_the_number_alone_if_the_user_may_not_see_the_names() -> None:
    def deny(method: str, _params: object) -> None:
        if method == "crm.category.list":
            raise PortalError("Access denied.", code="ACCESS_DENIED")

    portal = portal_of("today")
    portal.portal.meanwhile = deny
    async with connect(portal, fields_kept=False) as assistant:
        result = await assistant.call("list_directories")
        assert "pipeline" not in row(result, "DEAL_STAGE_1")
        assert "stages for deal.STAGE_ID, pipeline 1, start C1:NEW" in result.text
        requests = len(portal.portal.calls)
        await assistant.call("list_directories")
        assert len(portal.portal.calls) == requests  # a refusal is cached like a good answer
        checked = await assistant.call("check_record", entity="deal", fields={"CATEGORY_ID": 1, "STAGE_ID": "C1:NEW"})
        assert checked.text.startswith("deal in pipeline 1")


@pytest.mark.parametrize("age", AGES)
async def test_start_and_final_stages_come_from_the_items_meanings(age: Age) -> None:
    portal = portal_of(age)
    store = portal.portal.store
    success = next(item for item in store.of("DYNAMIC_177_STAGE_7") if item.semantics == "S")
    store.put(type(success)(**{**vars(success), "status_id": "DT177_7:UC_DONE"}))
    result = await call(portal, "list_directories")
    stages = {key: row(result, "DYNAMIC_177_STAGE_7").get(key) for key in ("start", "success", "failure")}
    assert stages == {"start": "DT177_7:NEW", "success": "DT177_7:UC_DONE", "failure": "DT177_7:FAIL"}
    invoice = row(result, "SMART_INVOICE_STAGE_3")
    assert (invoice["start"], invoice["success"], invoice["failure"]) == ("DT31_3:N", "DT31_3:P", "DT31_3:D")


async def test_final_stages_follow_a_change() -> None:
    portal = portal_of("today")
    portal.portal.store.records.all.clear()
    async with connect(portal, allow_writes=True, fields_kept=False) as assistant:
        await assistant.call("list_directories")
        items = ["DT177_8:NEW", "DT177_8:SUCCESS", "Lost [failure]", "DT177_8:FAIL"]
        planned = await assistant.call("apply_directory", entityId="DYNAMIC_177_STAGE_8", items=items)
        plan_id = planned.structured["planId"]
        done = await assistant.call("apply_directory", entityId="DYNAMIC_177_STAGE_8", planId=plan_id)
        assert done.structured["status"] == "done", done.text
        result = await assistant.call("list_directories")
    assert row(result, "DYNAMIC_177_STAGE_8")["failure"] == "DT177_8:LOST"


async def test_stages_that_are_switched_off_are_marked() -> None:
    portal = portal_of("today")
    async with connect(portal, fields_kept=False) as assistant:
        listing = await assistant.call("list_directories")
        assert listing.structured["directories"][-1] == {
            "entityId": "SMART_DOCUMENT_STAGE_5",
            "name": "Document stages",
            "kind": "stages",
            "categoryId": 5,
            "switchedOff": True,
        }
        of_no_use = "switched off: the codes are of no use in records"
        assert listing.text.splitlines()[-1].endswith(of_no_use)
        items = await assistant.call("get_directory_items", entityId="SMART_DOCUMENT_STAGE_5")
        assert (items.structured["switchedOff"], items.structured.get("usedIn")) == (True, None)
        assert items.text.splitlines()[-1] == f"Stages of this type are {of_no_use}"
        search = await assistant.call("find_directory_items", queries=["SEMISIGNED"])
        assert of_no_use in search.text
        checked = await assistant.call("check_record", entity="document", fields={"stageId": "DT36_5:SIGNED"})
        assert checked.structured["fields"][0]["outcome"] == "dropped"


async def test_items_alone_are_marked_too() -> None:
    result = await call(portal_of("today"), "get_directory_items", entityId="SMART_DOCUMENT_STAGE_5")
    assert result.structured["switchedOff"]


@pytest.mark.parametrize("enabled", [True, "Y", 1, None])
async def test_what_is_not_said_to_be_off_is_on(enabled: Any) -> None:
    portal = portal_of("today")
    portal.order(
        method="crm.status.entity.types",
        body=f'{{"result": [{{"ID": "SMART_DOCUMENT_STAGE_5", "NAME": "x", "IS_ENABLED": {json.dumps(enabled)}}}]}}',
        headers={"content-type": "application/json"},
    )
    async with connect(portal) as assistant:
        result = await assistant.call("list_directories")
    assert "switchedOff" not in row(result, "SMART_DOCUMENT_STAGE_5")
