"""Deleting checks the records first: the portal itself deletes a source that is in use.

The records are then left with a raw code.
"""

from __future__ import annotations

from typing import Any

import pytest

from support import PortalInProcess, ToolAnswer, connect

pytestmark = pytest.mark.virtual_clock

Values = dict[str, Any]


@pytest.fixture
def portal_without_sources(portal: PortalInProcess) -> PortalInProcess:
    """A portal with a lead and a deal, both without a source."""
    records = portal.portal.store.records
    lead, deal = records.of(1)[0], records.of(2)[0]
    records.all = {(1, lead["id"]): lead | {"sourceId": None}, (2, deal["id"]): deal | {"sourceId": None}}
    deal = records.all[2, deal["id"]]
    deal["ufCrm_1724077760"], deal["ufCrm_1724077761"] = None, []
    return portal


def record(portal: PortalInProcess, number: int) -> Values:
    return portal.portal.store.records.of(number)[0]


def codes(portal: PortalInProcess, entity_id: str) -> list[str]:
    return [item.status_id for item in portal.portal.store.of(entity_id)]


async def delete(portal: PortalInProcess, entity_id: str, code: str) -> ToolAnswer:
    """Delete in both steps, as a client that cannot ask a person; a refused plan is the answer."""
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", entityId=entity_id, statusId=code)
        if "planId" not in planned.structured:
            return planned
        plan_id = planned.structured["planId"]
        return await assistant.call("delete_directory_item", entityId=entity_id, statusId=code, planId=plan_id)


@pytest.mark.parametrize(
    ("number", "field", "value", "where"),
    [
        (1, "sourceId", "WEB", "1 in lead.SOURCE_ID"),
        (2, "sourceId", "web", "1 in deal.SOURCE_ID"),
        (2, "ufCrm_1724077760", "WEB", "1 in deal.UF_CRM_1724077760"),
    ],
)
async def test_what_records_carry_is_not_deleted(
    portal_without_sources: PortalInProcess, number: int, field: str, value: str, where: str
) -> None:
    record(portal_without_sources, number)[field] = value
    result = await delete(portal_without_sources, "SOURCE", "WEB")
    assert result.error["code"] == "CHANGE_REFUSED"
    assert f"records carry it ({where})" in result.text
    assert "WEB" in codes(portal_without_sources, "SOURCE")
    assert "crm.status.delete" not in str(portal_without_sources.portal.calls)


async def test_codes_in_multiple_fields_and_in_several_fields(portal_without_sources: PortalInProcess) -> None:
    record(portal_without_sources, 2)["ufCrm_1724077761"] = ["IT", "FINANCE"]
    result = await delete(portal_without_sources, "INDUSTRY", "FINANCE")
    assert "1 in deal.UF_CRM_1724077761" in result.text
    record(portal_without_sources, 1)["sourceId"] = record(portal_without_sources, 2)["sourceId"] = "WEB"
    both = await delete(portal_without_sources, "SOURCE", "WEB")
    assert "records carry it (1 in deal.SOURCE_ID, 1 in lead.SOURCE_ID)" in both.text


async def test_what_no_record_carries_is_deleted(portal_without_sources: PortalInProcess) -> None:
    record(portal_without_sources, 1)["sourceId"] = "CALL"
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="WEB")
    assert "- remove WEB: Website - no record that this user may read carries it" in planned.text
    result = await delete(portal_without_sources, "SOURCE", "WEB")
    assert result.structured["status"] == "done"
    assert "WEB" not in codes(portal_without_sources, "SOURCE")


async def test_a_record_that_comes_between_plan_and_deletion(portal_without_sources: PortalInProcess) -> None:
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        arguments = {"entityId": "SOURCE", "statusId": "WEB"}
        planned = await assistant.call("delete_directory_item", **arguments)
        record(portal_without_sources, 1)["sourceId"] = "WEB"
        result = await assistant.call("delete_directory_item", **arguments, planId=planned.structured["planId"])
    assert result.error["code"] == "CHANGE_REFUSED"
    assert "WEB" in codes(portal_without_sources, "SOURCE")


async def test_apply_keeps_what_records_carry(portal_without_sources: PortalInProcess) -> None:
    record(portal_without_sources, 1)["sourceId"] = "WEB"
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        items = [code for code in codes(portal_without_sources, "SOURCE") if code not in ("WEB", "EMAIL")]
        planned = await assistant.call("apply_directory", entityId="SOURCE", items=items)
        steps = {step["statusId"]: step for step in planned.structured["steps"]}
        assert steps["WEB"]["action"] == "refused"
        assert "1 in lead.SOURCE_ID" in steps["WEB"]["why"]
        assert steps["EMAIL"]["action"] == "remove"
        plan_id = planned.structured["planId"]
        done = await assistant.call("apply_directory", entityId="SOURCE", items=items, planId=plan_id)
    assert done.structured["status"] == "done"
    assert "WEB" in codes(portal_without_sources, "SOURCE")
    assert "EMAIL" not in codes(portal_without_sources, "SOURCE")


async def test_who_cannot_count_is_told_so_and_decides(portal_without_sources: PortalInProcess) -> None:
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        await assistant.call("list_directories")
        portal_without_sources.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")
        portal_without_sources.order(method="crm.item.list", code="", description="Access denied.")
        planned = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="WEB")
    assert "whether records carry it is not known for certain: The webhook's user has no right" in planned.text
    result = await delete(portal_without_sources, "SOURCE", "WEB")
    assert result.structured["status"] == "done"


async def test_a_plan_that_was_counted_is_not_carried_out_uncounted(portal_without_sources: PortalInProcess) -> None:
    arguments = {"entityId": "SOURCE", "statusId": "WEB"}
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", **arguments)
        portal_without_sources.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")
        portal_without_sources.order(method="crm.item.list", code="", description="Access denied.")
        result = await assistant.call("delete_directory_item", **arguments, planId=planned.structured["planId"])
        assert result.error["code"] == "CHANGE_REFUSED"
        assert "before the removal whether records carry it is not known for certain" in result.text
        again = await assistant.call("delete_directory_item", **arguments, planId=planned.structured["planId"])
    assert again.structured["status"] == "planned"
    assert "not known for certain" in again.text
    assert "whether records could be counted, is not as in that plan" in again.text
    assert "WEB" in codes(portal_without_sources, "SOURCE")


@pytest.mark.parametrize(
    ("tool", "planning"),
    [("apply_directory", {"items": ["CALL", "New one"]}), ("delete_directory_item", {"statusId": "WEB"})],
)
async def test_a_plan_is_made_once(
    portal_without_sources: PortalInProcess, tool: str, planning: dict[str, Any]
) -> None:
    """The execution reads the directory, counts uses of the items, writes, and reads again."""
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        planned = await assistant.call(tool, entityId="SOURCE", **planning)
        arguments = {} if tool == "apply_directory" else planning
        portal_without_sources.portal.calls.clear()
        done = await assistant.call(tool, entityId="SOURCE", **arguments, planId=planned.structured["planId"])
        assert done.structured["status"] == "done"
        assert len(portal_without_sources.portal.calls) <= 8
        portal_without_sources.portal.calls.clear()
        again = await assistant.call(tool, entityId="SOURCE", **arguments, planId=planned.structured["planId"])
    assert again.is_error if tool == "delete_directory_item" else again.structured["status"] == "unchanged"


async def test_who_carries_what_is_to_go_is_counted_right_before(portal_without_sources: PortalInProcess) -> None:
    arguments = {"entityId": "SOURCE", "statusId": "WEB"}
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", **arguments)
        record(portal_without_sources, 1)["sourceId"] = "WEB"
        for _ in range(2):
            result = await assistant.call("delete_directory_item", **arguments, planId=planned.structured["planId"])
            assert result.error["code"] == "CHANGE_REFUSED"
            assert "1 in lead.SOURCE_ID" in result.text
    assert "WEB" in codes(portal_without_sources, "SOURCE")


async def test_a_directory_whose_fields_no_method_knows(portal_without_sources: PortalInProcess) -> None:
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", entityId="INVOICE_STATUS", statusId="S")
    assert "not known for certain: invoice.STATUS_ID cannot be counted" in planned.text


async def test_stages_are_looked_at_too(portal: PortalInProcess) -> None:
    stage = next(deal["stageId"] for deal in portal.portal.store.records.of(2) if deal["stageId"] == "PREPARATION")
    result = await delete(portal, "DEAL_STAGE", stage)
    assert result.error["code"] == "CHANGE_REFUSED"
    assert " in deal.STAGE_ID)" in result.text


async def test_counting_many_codes_costs_a_count_for_each_field(portal_without_sources: PortalInProcess) -> None:
    record(portal_without_sources, 1)["sourceId"] = "CALL"
    async with connect(portal_without_sources, allow_writes=True) as assistant:
        portal_without_sources.portal.calls.clear()
        await assistant.call("apply_directory", entityId="SOURCE", items=["CALL"])
    assert str(portal_without_sources.portal.calls).count("crm.item.list") == 6
