"""Changes are reported as stored: the directory is read again after the portal's answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.faults import INSIDE
from bitrix24_directories.portal.store import Item, PortalError
from support import Assistant, PortalInProcess, ToolAnswer, connect

pytestmark = pytest.mark.virtual_clock

ADD: dict[str, Any] = {"entityId": "SOURCE", "name": "Podcast", "after": "WEB"}
RENAME: dict[str, Any] = {"entityId": "SOURCE", "statusId": "WEB", "name": "Site"}
DELETE: dict[str, Any] = {"entityId": "SOURCE", "statusId": "EMAIL"}


@pytest.fixture(autouse=True)
def _without_records(portal: PortalInProcess) -> None:
    portal.portal.store.records.all.clear()


def storing(portal: PortalInProcess, **otherwise: Any) -> None:
    """Make the portal store something else than it is sent."""
    store = portal.portal.store
    put = store.put
    store.put = lambda item: put(replace(item, **otherwise))  # type: ignore[method-assign]


def codes(portal: PortalInProcess, entity_id: str = "SOURCE") -> list[str]:
    return [item.status_id for item in portal.portal.store.of(entity_id)]


async def delete(assistant: Assistant, **arguments: Any) -> ToolAnswer:
    planned = await assistant.call("delete_directory_item", **arguments)
    return await assistant.call("delete_directory_item", **arguments, planId=planned.structured["planId"])


def outcomes(result: ToolAnswer) -> list[str]:
    return [step["outcome"] for step in result.structured["steps"]]


@pytest.mark.parametrize("fault", ["error-after", "sql-error-after"])
@pytest.mark.parametrize("tool", ["add", "rename", "delete"])
async def test_an_error_after_the_change_was_made(portal: PortalInProcess, fault: str, tool: str) -> None:
    portal.order(**INSIDE[fault], times=1)
    async with connect(portal, allow_writes=True) as assistant:
        if tool == "delete":
            result = await delete(assistant, **DELETE)
        else:
            called, arguments = ("add_directory_item", ADD) if tool == "add" else ("update_directory_item", RENAME)
            result = await assistant.call(called, **arguments)
    assert (result.structured["status"], outcomes(result)) == ("done", ["done"]), result.text


@pytest.mark.parametrize("fault", ["error-after", "sql-error-after"])
async def test_an_error_after_the_first_of_several_changes(portal: PortalInProcess, fault: str) -> None:
    """The batch stops there, though the change is made: later steps are left, and can be redone."""
    portal.order(**INSIDE[fault], times=1)
    items = [*codes(portal), "One", "Two"]
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("apply_directory", entityId="SOURCE", items=items)
        result = await assistant.call(
            "apply_directory", entityId="SOURCE", items=items, planId=planned.structured["planId"]
        )
        assert result.error["code"] == "ERROR_CORE"
        assert "although the directory shows that change, so the steps after it were not sent" in result.text
        assert outcomes(result) == ["done", "not done"]
        again = await assistant.call("apply_directory", entityId="SOURCE", items=items)
        plan_id = again.structured["planId"]
        done = await assistant.call("apply_directory", entityId="SOURCE", items=items, planId=plan_id)
    assert outcomes(done) == ["done"]
    assert codes(portal)[-2:] == ["ONE", "TWO"]


async def test_what_the_portal_stores_otherwise_is_said(portal: PortalInProcess, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    storing(portal, name="PODCAST!", sort=500)
    async with connect(portal, allow_writes=True, audit_log=str(log)) as assistant:
        result = await assistant.call("add_directory_item", **ADD)
    assert (result.structured["status"], outcomes(result)) == ("done otherwise", ["done otherwise"])
    assert result.structured["steps"][0]["stored"] == ["name PODCAST!", "SORT 500"]
    assert result.text.splitlines()[:2] == [
        "SOURCE was changed, but not quite as asked:",
        "- add PODCAST: Podcast (after WEB) - done otherwise: stored with name PODCAST!, SORT 500",
    ]
    outcome = json.loads(log.read_text().splitlines()[-1])
    assert (outcome["outcome"], outcome["stored"]) == ("done otherwise", ["name PODCAST!", "SORT 500"])


async def test_a_code_that_the_portal_stores_otherwise(portal: PortalInProcess) -> None:
    storing(portal, status_id="POD")
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", **ADD)
    assert result.structured["steps"][0]["stored"] == ["code POD"]


async def test_a_confirmed_change_that_does_not_stand_there_is_not_done(portal: PortalInProcess) -> None:
    portal.portal.store.update = lambda *_, **__: None  # type: ignore[method-assign]
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", **RENAME)
    assert result.error["code"] == "CHANGE_NOT_STORED"
    assert outcomes(result) == ["not done"]
    assert "Bitrix24 confirmed it, but the directory does not show it" in result.text
    assert "WEB is as it was to be (Site: renamed from Website)" in result.text


async def test_a_directory_that_cannot_be_read_again_leaves_it_unknown(portal: PortalInProcess) -> None:
    def meanwhile(method: str, _params: object) -> None:
        if method == "crm.status.update":
            portal.order(method="crm.status.list", code="ACCESS_DENIED")

    portal.portal.meanwhile = meanwhile
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", **RENAME)
    assert result.error["code"] == "CHANGE_UNKNOWN"
    assert outcomes(result) == ["unknown"]
    assert "the directory could not be read again" in result.text


async def test_an_open_channels_source_that_comes_back(portal: PortalInProcess) -> None:
    store = portal.portal.store
    store.put(Item(store.next_id(), "SOURCE", "16|WZ_CHAT", "Chat", 115))
    portal.order(**INSIDE["channel"])
    arguments = {"entityId": "SOURCE", "statusId": "16|WZ_CHAT"}
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", **arguments)
        assert "it is an open channel's source: the channel adds it again with its next chat" in planned.text
        result = await delete(assistant, **arguments)
    assert outcomes(result) == ["done otherwise"]
    assert "16|WZ_CHAT was added again (id 107)" in result.text


LONG = "n" * 101


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("add_directory_item", {"entityId": "SOURCE", "name": "Chat", "statusId": "WZ:LINE1"}, "would store LINE1"),
        ("add_directory_item", {"entityId": "SOURCE", "name": LONG}, "a name has 100 characters at most"),
        ("add_directory_item", {"entityId": "SOURCE", "name": "0"}, 'no name that is empty or "0"'),
        ("update_directory_item", {"entityId": "SOURCE", "statusId": "WEB", "name": LONG}, "a name has 100 characters"),
        ("update_directory_item", {"entityId": "SOURCE", "statusId": "WEB", "name": "0"}, 'empty or "0"'),
        ("add_directory_item", {"entityId": "SOURCE", "name": "x", "statusId": "X" * 51}, "1 to 50 characters"),
        ("add_directory_item", {"entityId": "DYNAMIC_177_STAGE_7", "name": "x", "statusId": "X" * 43}, "1 to 42 char"),
        ("apply_directory", {"entityId": "PARTNER_LEVEL", "items": [LONG]}, "a name has 100 characters at most"),
    ],
)
async def test_what_the_portal_would_alter_is_not_sent(
    portal: PortalInProcess, tool: str, arguments: dict[str, Any], why: str
) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(tool, **arguments)
    assert why in result.text
    assert not any(method.endswith((".add", ".update")) for method in portal.methods_called)


@pytest.mark.parametrize("entity_id", ["STATUS", "DEAL_STAGE_1", "DYNAMIC_177_STAGE_7", "SOURCE"])
async def test_a_code_made_from_a_name_fits(portal: PortalInProcess, entity_id: str) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        for number in range(12):
            result = await assistant.call(
                "add_directory_item", entityId=entity_id, name=f"{'Very long ' * 9}: {number}"
            )
            assert result.structured["status"] == "done", result.text


async def test_the_same_declaration_twice_finds_nothing_to_do(portal: PortalInProcess) -> None:
    items = ["Nbsp\u00a0name ", "  Two  blanks", "x" * 100, LONG, "Ёлка: с двоеточием"]
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("apply_directory", entityId="PARTNER_LEVEL", items=items)
        plan_id = planned.structured["planId"]
        done = await assistant.call("apply_directory", entityId="PARTNER_LEVEL", items=items, planId=plan_id)
        assert done.structured["status"] == "done"
        again = await assistant.call("apply_directory", entityId="PARTNER_LEVEL", items=items)
    assert again.structured["status"] == "unchanged"
    assert len(codes(portal, "PARTNER_LEVEL")) == 4


async def test_a_refusal_in_the_portals_language_is_not_done_and_keeps_its_words() -> None:
    portal = PortalInProcess(DemoPortal("ru"))

    def meanwhile(method: str, _params: object) -> None:
        if method == "crm.status.add":  # somebody moves the winning stage to the front
            store = portal.portal.store
            winning = next(item for item in store.of("DEAL_STAGE") if item.status_id == "WON")
            store.put(replace(winning, sort=1))

    portal.portal.meanwhile = meanwhile
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="DEAL_STAGE", name="Проверка", after="NEW")
    assert result.error["code"] == "REFUSED"
    assert outcomes(result) == ["not done"]
    assert "Нельзя создать стадию после финальной" in result.text


async def test_a_new_failed_stage_comes_after_the_winning_one(portal: PortalInProcess) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(
            "add_directory_item", entityId="DEAL_STAGE", name="Spam", after="NEW", semantics="failure"
        )
    (step,) = result.structured["steps"]
    assert step["why"] == "placed after WON instead: a failed stage has to stand after the winning one"
    assert step["outcome"] == "done"
    assert codes(portal, "DEAL_STAGE")[5:7] == ["WON", "SPAM"]


async def test_a_stage_placed_elsewhere_is_one_step(portal: PortalInProcess) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", entityId="DEAL_STAGE", statusId="NEW", after="WON")
        (step,) = result.structured["steps"]
        assert step["why"] == "placed before WON instead: only failed stages may stand after the winning one"
        assert codes(portal, "DEAL_STAGE")[4:6] == ["NEW", "WON"]
        there = await assistant.call("update_directory_item", entityId="DEAL_STAGE", statusId="NEW", after="WON")
        assert "it stays before WON: only failed stages may stand after the winning one" in there.text
        declared = [item.status_id for item in portal.portal.store.of("DEAL_STAGE")]
        declared.remove("PREPARATION")
        planned = await assistant.call("apply_directory", entityId="DEAL_STAGE", items=[*declared, "PREPARATION"])
    steps = [step for step in planned.structured["steps"] if step.get("statusId") == "PREPARATION"]
    assert [(step["action"], step["why"].partition(":")[0]) for step in steps] == [
        ("update", "placed before WON instead")
    ]


async def test_values_that_a_batch_would_alter_go_by_themselves(portal: PortalInProcess) -> None:
    items = ["Plain", "Costs $result[cost]", "Later"]
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("apply_directory", entityId="PARTNER_LEVEL", items=items)
        plan_id = planned.structured["planId"]
        done = await assistant.call("apply_directory", entityId="PARTNER_LEVEL", items=items, planId=plan_id)
    assert done.structured["status"] == "done"
    assert [item.name for item in portal.portal.store.of("PARTNER_LEVEL")] == items


def put_record(portal: PortalInProcess, number: int, **fields: Any) -> dict[str, Any]:
    kind = portal.portal.store.records.types[number]
    record = {field.name: None for field in kind.fields} | {"id": 7, "title": "x", "opened": "N"} | fields
    portal.portal.store.records.all[number, 7] = record
    return record


async def test_usage_and_merging_with_fields_of_hexadecimal_names(portal: PortalInProcess, tmp_path: Path) -> None:
    put_record(portal, 1, stageId="NEW", ufCrm_5f3a2b1c4d6e7="EMPLOYEES_3")
    async with connect(portal, allow_writes=True, audit_log=str(tmp_path / "log")) as assistant:
        usage = await assistant.call("get_directory_usage", entityId="EMPLOYEES")
        assert {item["statusId"]: item["count"] for item in usage.structured["items"]}["EMPLOYEES_3"] == 1
        result = await assistant.call("delete_directory_item", entityId="EMPLOYEES", statusId="EMPLOYEES_3")
        assert "records carry it (1 in lead.UF_CRM_5F3A2B1C4D6E7)" in result.text
        arguments = {"entityId": "EMPLOYEES", "codes": ["EMPLOYEES_3"], "into": "EMPLOYEES_4"}
        planned = await assistant.call("merge_directory_items", **arguments)
        merged = await assistant.call("merge_directory_items", **arguments, planId=planned.structured["planId"])
    assert merged.structured["status"] == "done", merged.text
    assert portal.portal.store.records.all[1, 7]["ufCrm_5f3a2b1c4d6e7"] == "EMPLOYEES_4"


async def test_if_one_field_cannot_be_counted_the_others_are(portal: PortalInProcess) -> None:
    def refuse(method: str, params: object) -> None:
        if method == "crm.item.list" and "UF_CRM_5F3A2B1C4D6E7" in str(params):
            raise PortalError("Invalid filter", code="INVALID_ARG_VALUE")

    portal.portal.meanwhile = refuse
    put_record(portal, 4, employees="EMPLOYEES_1")
    async with connect(portal) as assistant:
        result = await assistant.call("get_directory_usage", entityId="EMPLOYEES")
    assert result.structured["items"][0]["fields"] == {"company.EMPLOYEES": 1}
    assert any("lead.UF_CRM_5F3A2B1C4D6E7" in note for note in result.structured["partial"])
