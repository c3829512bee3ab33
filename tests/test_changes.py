"""Changes of directories by MCP: tools, rules, confirmation, partial failures, audit log."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import ElicitResult, ResourceUpdatedNotification

from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.mcp_server.tools.registry import changing_tools
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.rest import Webhook, in_process
from bitrix24_directories.settings import Settings
from support import READER_SECRET, Assistant, PortalInProcess, RunningPortal, ask, connect, connect_person

pytestmark = pytest.mark.virtual_clock

WRITES = {"crm.status.add", "crm.status.update", "crm.status.delete"}


@pytest.fixture(params=["en", "ru"])
def portal(request: pytest.FixtureRequest) -> PortalInProcess:
    """A portal without records, which would use the items to delete; test_removals.py has some."""
    portal = DemoPortal(request.param, clock=anyio.current_time)
    portal.store.records.all.clear()
    return PortalInProcess(portal)


@pytest.fixture
async def assistant(portal: PortalInProcess) -> AsyncIterator[Assistant]:
    """An assistant whose client cannot ask a person."""
    async with connect(portal, allow_writes=True) as opened:
        yield opened


def codes(portal: RunningPortal, entity_id: str) -> list[str]:
    return [item.status_id for item in portal.portal.store.of(entity_id)]


def item(portal: RunningPortal, entity_id: str, code: str) -> Any:
    (record,) = (item for item in portal.portal.store.of(entity_id) if item.status_id == code)
    return record


async def plan_and_apply(assistant: Assistant, tool: str, **arguments: Any) -> Any:
    """Make a change in both steps, plan and execution, as if nobody can be asked."""
    planned = await assistant.call(tool, **arguments)
    assert planned.structured["status"] == "planned", planned.text
    return await assistant.call(tool, **arguments, planId=planned.structured["planId"])


async def test_add_makes_a_code_and_finds_the_place(assistant: Assistant, portal: PortalInProcess) -> None:
    result = await assistant.call(
        "add_directory_item", entityId="deal_stage", name="Contract review", after="FINAL_INVOICE"
    )
    assert result.structured["status"] == "done"
    assert codes(portal, "DEAL_STAGE")[4:7] == ["FINAL_INVOICE", "CONTRACT_REVIEW", "WON"]
    assert [item["statusId"] for item in result.structured["items"]] == codes(portal, "DEAL_STAGE")[4:7]
    assert result.structured["total"] == len(codes(portal, "DEAL_STAGE"))
    assert "CONTRACT_REVIEW: Contract review (id " in result.text


async def test_added_stages_come_before_the_winning_one_unless_they_are_failures(
    assistant: Assistant, portal: PortalInProcess
) -> None:
    await assistant.call("add_directory_item", entityId="DEAL_STAGE_1", name="Проверка договора")
    await assistant.call("add_directory_item", entityId="DEAL_STAGE_1", name="No budget", semantics="Failure")
    await assistant.call("add_directory_item", entityId="DEAL_STAGE_1", name="Too late", after="LOSE")
    assert codes(portal, "DEAL_STAGE_1")[2:] == [
        "C1:UC_9F4K2L",
        "C1:PROVERKA_DOGOVORA",
        "C1:TOO_LATE",
        "C1:WON",
        "C1:LOSE",
        "C1:UC_7QX0Z1",
        "C1:NO_BUDGET",
    ]
    assert item(portal, "DEAL_STAGE_1", "C1:NO_BUDGET").semantics == "F"


async def test_neighbours_are_renumbered_only_where_there_is_no_room(
    assistant: Assistant, portal: PortalInProcess
) -> None:
    before = {item.status_id: item.sort for item in portal.portal.store.of("SOURCE")}
    await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast", after="STORE")
    after = {item.status_id: item.sort for item in portal.portal.store.of("SOURCE")}
    assert codes(portal, "SOURCE")[12:15] == ["STORE", "PODCAST", "OTHER"]
    assert {code for code in before if before[code] != after[code]} == {"OTHER", "BOOKING"}
    await assistant.call("add_directory_item", entityId="SOURCE", name="Fair", after="CALL")
    assert {item.status_id: item.sort for item in portal.portal.store.of("SOURCE")} == after | {"FAIR": 15}


@pytest.mark.parametrize(
    ("entity_id", "name", "code"),
    [
        ("DEAL_STAGE", "Счёт выставлен", "SCHET_VYSTAVLEN"),
        ("DEAL_STAGE_1", "A very long name that goes on and on", "C1:A_VERY_LONG_NAME_TH"),
        ("INDUSTRY", "Forestry & Timber", "FORESTRY_TIMBER"),
        ("DEAL_STAGE", "Won", "WON_2"),
        ("SOURCE", "Café Zürich", "CAFE_ZURICH"),
    ],
)
async def test_codes_made_from_names(
    assistant: Assistant, portal: PortalInProcess, entity_id: str, name: str, code: str
) -> None:
    result = await assistant.call("add_directory_item", entityId=entity_id, name=name)
    assert not result.is_error, result.text
    assert code in codes(portal, entity_id)


async def test_a_name_without_any_letter_gets_a_code_too(assistant: Assistant, portal: PortalInProcess) -> None:
    assert not (await assistant.call("add_directory_item", entityId="DEAL_STAGE", name="!?")).is_error
    assert any(code.startswith("UC_") for code in codes(portal, "DEAL_STAGE"))


@pytest.mark.parametrize(
    ("tool", "arguments", "part"),
    [
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "X", "statusId": "WON"}, "the code WON is taken"),
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "X", "statusId": "A B"}, "only letters A-Z"),
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "X", "statusId": "A" * 23}, "1 to 22 characters"),
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "X", "semantics": "success"}, "only one"),
        ("add_directory_item", {"entityId": "SOURCE", "name": "X", "semantics": "failure"}, "only stages"),
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "X", "color": "red"}, "like #39A8EF"),
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "X", "after": "NOPE"}, "is no item of the directory"),
        ("add_directory_item", {"entityId": "DEAL_STAGE", "name": "\u200b"}, "a new item needs a name"),
        ("add_directory_item", {"entityId": "NOPE", "name": "X"}, "This portal has no directory"),
        (
            "update_directory_item",
            {"entityId": "SOURCE", "statusId": "13", "name": "X"},
            "13 is the record id of STORE",
        ),
        ("update_directory_item", {"entityId": "SOURCE", "statusId": "NOPE", "name": "X"}, "is not a STATUS_ID"),
        ("update_directory_item", {"entityId": "SOURCE", "statusId": "CALL", "color": "#12"}, "like #39A8EF"),
        ("delete_directory_item", {"entityId": "SOURCE", "statusId": "CALL"}, "it is a system item"),
        ("delete_directory_item", {"entityId": "DEAL_STAGE", "statusId": "C1:WON"}, "is not a STATUS_ID"),
    ],
)
async def test_what_the_rules_forbid_is_refused_before_anything_is_sent(
    assistant: Assistant, portal: PortalInProcess, tool: str, arguments: dict[str, Any], part: str
) -> None:
    result = await assistant.call(tool, **arguments)
    assert result.is_error
    assert part in result.text
    assert result.error["category"] == "input"
    assert WRITES.isdisjoint(portal.methods_called)


async def test_update_keeps_the_place_and_what_is_left_out(assistant: Assistant, portal: PortalInProcess) -> None:
    before = item(portal, "DEAL_STAGE", "EXECUTING")
    result = await assistant.call("update_directory_item", entityId="DEAL_STAGE", statusId="executing", name="Doing")
    after = item(portal, "DEAL_STAGE", "EXECUTING")
    assert (after.name, after.sort, after.color) == ("Doing", before.sort, before.color)
    assert result.structured["steps"][0]["changes"] == [f"renamed from {before.name}"]
    await assistant.call(
        "update_directory_item", entityId="DEAL_STAGE", statusId="EXECUTING", color="#112233", after="NEW"
    )
    assert codes(portal, "DEAL_STAGE")[:3] == ["NEW", "EXECUTING", "PREPARATION"]
    assert item(portal, "DEAL_STAGE", "EXECUTING").color == "#112233"


async def test_an_update_that_changes_nothing_sends_nothing(assistant: Assistant, portal: PortalInProcess) -> None:
    result = await assistant.call("update_directory_item", entityId="DEAL_STAGE", statusId="WON")
    assert result.structured["status"] == "unchanged"
    assert WRITES.isdisjoint(portal.methods_called)


async def test_delete_takes_two_steps_where_nobody_can_be_asked(assistant: Assistant, portal: PortalInProcess) -> None:
    planned = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="ADVERTISING")
    assert planned.structured["status"] == "planned"
    assert "Show this to the user" in planned.text
    assert "ADVERTISING" in codes(portal, "SOURCE")
    result = await assistant.call(
        "delete_directory_item", entityId="SOURCE", statusId="ADVERTISING", planId=planned.structured["planId"]
    )
    assert result.structured["status"] == "done"
    assert "ADVERTISING" not in codes(portal, "SOURCE")


async def test_an_item_in_use_is_explained(assistant: Assistant, portal: PortalInProcess) -> None:
    """By records that the user may not read; else the portal would not have been asked."""
    portal.order(method="crm.status.delete", code="", description="There are active items in this status.")
    result = await plan_and_apply(assistant, "delete_directory_item", entityId="SOURCE", statusId="WEB")
    assert result.error["code"] == "ITEM_IN_USE"
    assert "Move those records to another item first, with merge_directory_items" in result.text
    assert "Nothing was changed in SOURCE" in result.text
    assert "WEB" in codes(portal, "SOURCE")


async def test_apply_shows_the_plan_and_then_carries_it_out(assistant: Assistant, portal: PortalInProcess) -> None:
    won = item(portal, "DEAL_STAGE", "WON").name
    lines = [
        "NEW: Fresh",
        "Contract review",
        "FINAL_INVOICE",
        f"WON: {won} [success] #00FF00",
        "LOSE",
        "Late [failure]",
    ]
    planned = await assistant.call("apply_directory", entityId="DEAL_STAGE", items=lines)
    assert WRITES.isdisjoint(portal.methods_called)
    assert not any(write in str(portal.portal.calls) for write in WRITES)
    steps = {step["statusId"]: (step["action"], step.get("changes")) for step in planned.structured["steps"]}
    assert steps["NEW"][0] == "update"
    assert steps["CONTRACT_REVIEW"] == ("add", ["after NEW"])
    assert steps["WON"] == ("update", ["colour #7BD500 -> #00FF00"])
    assert steps["LATE"] == ("add", ["after LOSE", "meaning failure"])
    assert {code for code, (action, _) in steps.items() if action == "remove"} == {
        "PREPARATION",
        "PREPAYMENT_INVOICE",
        "EXECUTING",
        "APOLOGY",
    }
    result = await assistant.call(
        "apply_directory", entityId="DEAL_STAGE", items=lines, planId=planned.structured["planId"]
    )
    assert result.structured["status"] == "done"
    assert codes(portal, "DEAL_STAGE") == ["NEW", "CONTRACT_REVIEW", "FINAL_INVOICE", "WON", "LOSE", "LATE"]
    assert sum(any(write in str(call) for write in WRITES) for call in portal.portal.calls) == 1
    again = await assistant.call("apply_directory", entityId="DEAL_STAGE", items=lines)
    assert again.structured["status"] == "unchanged"
    assert "planId" not in again.structured


async def test_what_was_planned_is_not_said_again(assistant: Assistant, portal: PortalInProcess) -> None:
    lines = [*(await assistant.call("get_directory_items", entityId="SOURCE")).text.splitlines()[1:-1]]
    lines[3:3] = [f"New source {number}" for number in range(20)]
    planned = await assistant.call("apply_directory", entityId="SOURCE", items=lines)
    assert "items" not in planned.structured
    added = planned.structured["additions"]
    assert [item["name"] for item in added] == [f"New source {number}" for number in range(20)]
    assert [item.get("changes") for item in added] == [["after WEB"]] + [None] * 19
    assert {step["action"] for step in planned.structured["steps"]} == {"update"}  # the others move
    assert all(f"- add {item['statusId']}: {item['name']}" in planned.text for item in added)
    done = await assistant.call("apply_directory", entityId="SOURCE", planId=planned.structured["planId"])
    assert done.structured["counts"]["add"] == 20
    assert set(done.structured["counts"]) == {"add", "renumber"}
    assert (done.structured["steps"], done.structured["total"]) == ([], 35)
    assert "SOURCE has 35 items now" in done.text
    assert [item.name for item in portal.portal.store.of("SOURCE")][3:5] == ["New source 0", "New source 1"]


async def test_a_plan_by_its_id_alone(assistant: Assistant, portal: PortalInProcess) -> None:
    lines = ["NEW", "Contract review", "WON", "LOSE"]
    planned = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", items=lines)
    portal.portal.store.add("DEAL_STAGE_2", "MEANWHILE", "Meanwhile", sort=15)
    changed = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", planId=planned.structured["planId"])
    assert changed.structured["status"] == "planned"
    assert changed.structured["news"]
    done = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", planId=changed.structured["planId"])
    assert done.structured["status"] == "done"
    assert codes(portal, "DEAL_STAGE_2") == ["C2:NEW", "C2:CONTRACT_REVIEW", "C2:WON", "C2:LOSE"]
    unknown = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", planId="0123456789ab")
    assert unknown.error["code"] == "CHANGE_REFUSED"
    assert "planId 0123456789ab is not known any more" in unknown.text
    assert "Call again with all items" in unknown.text


async def test_what_the_tools_print_can_be_handed_back(assistant: Assistant) -> None:
    for entity_id in ("DEAL_STAGE_1", "SOURCE", "DYNAMIC_177_STAGE_7", "HONORIFIC"):
        for details in (False, True):
            printed = (await assistant.call("get_directory_items", entityId=entity_id, details=details)).text
            for items in (printed, printed.splitlines()):
                result = await assistant.call("apply_directory", entityId=entity_id, items=items)
                assert result.structured["status"] == "unchanged", result.text
                assert result.structured["steps"] == []


@pytest.mark.parametrize(
    ("lines", "status_id", "why"),
    [
        (["CALL: A", "CALL: B"], "CALL", "is declared twice"),
        (["Twin", "twin"], None, "two items would have this name"),
        (["Ring [success]"], None, "only stages mean success"),
        (["WEB: Website [failure]"], "WEB", "its meaning cannot change"),
        (["EMAIL: Mail"], "CALL", "it is a system item"),
    ],
)
async def test_lines_that_are_refused_say_why_and_remove_nothing(
    assistant: Assistant, portal: PortalInProcess, lines: list[str], status_id: str | None, why: str
) -> None:
    result = await assistant.call("apply_directory", entityId="SOURCE", items=lines)
    refused = [step for step in result.structured["steps"] if step["action"] == "refused"]
    assert any(step.get("statusId") == status_id and why in step["why"] for step in refused), result.text
    if why != "it is a system item":
        assert not any(step["action"] == "remove" for step in result.structured["steps"])
    assert len(codes(portal, "SOURCE")) == 15


async def test_a_directory_that_changed_since_the_plan(assistant: Assistant, portal: PortalInProcess) -> None:
    lines = ["NEW", "WON", "LOSE"]
    planned = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", items=lines)
    portal.portal.store.add("DEAL_STAGE_2", "MEANWHILE", "Meanwhile", sort=15)
    result = await assistant.call(
        "apply_directory", entityId="DEAL_STAGE_2", items=lines, planId=planned.structured["planId"]
    )
    assert result.structured["status"] == "planned"
    assert result.structured["planId"] != planned.structured["planId"]
    assert result.structured["news"] == ["C2:MEANWHILE (Meanwhile) was added"]
    assert "This is a new plan, since C2:MEANWHILE (Meanwhile) was added." in result.text
    assert WRITES.isdisjoint(portal.methods_called)
    assert "C2:MEANWHILE" in codes(portal, "DEAL_STAGE_2")
    made_up = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", items=lines, planId="0123456789ab")
    assert "not known here" in made_up.structured["news"][0]


async def test_two_assistants_apply_at_once(portal: PortalInProcess) -> None:
    async with connect(portal, allow_writes=True) as first, connect(portal, allow_writes=True) as second:
        plans = [
            (
                assistant,
                lines,
                (await assistant.call("apply_directory", entityId="DEAL_TYPE", items=lines)).structured["planId"],
            )
            for assistant, lines in ((first, ["SALE", "First"]), (second, ["SALE", "Second"]))
        ]
        results = [
            await assistant.call("apply_directory", entityId="DEAL_TYPE", items=lines, planId=plan_id)
            for assistant, lines, plan_id in plans
        ]
    assert [answer.structured["status"] for answer in results] == ["done", "planned"]
    assert codes(portal, "DEAL_TYPE") == ["SALE", "FIRST"]
    assert any("FIRST (First) was added" in news for news in results[1].structured["news"])


async def test_two_calls_at_once_in_one_server(assistant: Assistant, portal: PortalInProcess) -> None:
    """Both plans were valid when they were checked; the second would overwrite the first."""
    results: list[Any] = []

    async def apply(lines: list[str], plan_id: str) -> None:
        results.append(await assistant.call("apply_directory", entityId="DEAL_TYPE", items=lines, planId=plan_id))

    declared = (["SALE", "First"], ["SALE", "Second"])
    plans = [await assistant.call("apply_directory", entityId="DEAL_TYPE", items=lines) for lines in declared]
    portal.order(method="crm.status.list", delay=1)  # so that both plans are checked before either is carried out
    async with anyio.create_task_group() as tasks:
        for lines, planned in zip(declared, plans, strict=True):
            tasks.start_soon(apply, lines, planned.structured["planId"])
    done, refused = sorted(results, key=lambda answer: answer.is_error)
    assert done.structured["status"] == "done"
    assert refused.error["code"] == "CHANGE_REFUSED"
    assert "the directory has changed since it was planned" in refused.text
    assert len(codes(portal, "DEAL_TYPE")) == 2


STEPS = ["NEW", "One", "Two", "WON: Victory [success]", "LOSE", "Three [failure]"]


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("fault", ["refused", "cut off"])
async def test_a_failure_at_every_step_tells_what_was_done_and_what_was_not(
    assistant: Assistant, portal: PortalInProcess, step: int, fault: str
) -> None:
    portal.portal.fail_write = (step, fault)
    result = await plan_and_apply(assistant, "apply_directory", entityId="DEAL_STAGE_2", items=STEPS)
    steps = [row for row in result.structured["steps"] if row["action"] != "refused"]
    store = portal.portal.store
    now = {item.status_id: item for item in store.of("DEAL_STAGE_2")}
    assert [item["statusId"] for item in result.structured["items"]] == list(now)
    done = [row["statusId"] for row in steps if row["outcome"] == "done"]
    if len(steps) <= step:
        assert result.structured["status"] == "done"
    else:
        assert result.is_error
        assert result.structured["status"] == "stopped"
        assert result.error["code"] == ("CHANGE_UNKNOWN" if fault == "cut off" else "CHANGE_FAILED")
        assert ("apply_directory" in result.text) == (fault == "refused") or len(steps) == 1
        lost = ["unknown"] * (len(steps) - step) if fault == "cut off" else ["not done"] * (len(steps) - step)
        assert [row["outcome"] for row in steps[step:]] == lost
        assert [row["outcome"] for row in steps[:step]] == ["done"] * step
        assert not any(row["outcome"] == "done" for row in steps[step:])
    for step_row in steps:
        there = step_row["statusId"] in now
        if step_row["action"] == "add":
            assert there == (step_row["statusId"] in done)
        if step_row["action"] == "remove":
            assert there != (step_row["statusId"] in done)
    portal.portal.fail_write = None
    finished = await assistant.call("apply_directory", entityId="DEAL_STAGE_2", items=STEPS)
    if finished.structured["status"] == "planned":
        await plan_and_apply(assistant, "apply_directory", entityId="DEAL_STAGE_2", items=STEPS)
    assert codes(portal, "DEAL_STAGE_2") == ["C2:NEW", "C2:ONE", "C2:TWO", "C2:WON", "C2:LOSE", "C2:THREE"]


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("add_directory_item", {"entityId": "SOURCE", "name": "Podcast"}),
    ("update_directory_item", {"entityId": "SOURCE", "statusId": "ADVERTISING", "name": "Ads"}),
    ("delete_directory_item", {"entityId": "SOURCE", "statusId": "ADVERTISING"}),
]


FILLED: list[dict[str, Any] | None] = [
    None,
    {},
    {"confirm": True},
    {"confirm": False},
    {"confirm": "yes"},
    {"other": 1},
]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("content", FILLED)
@pytest.mark.parametrize(("tool", "arguments"), CHANGES)
async def test_a_person_confirms(
    portal: PortalInProcess, mode: str, content: dict[str, Any] | None, tool: str, arguments: dict[str, Any]
) -> None:
    """Accepting means yes, regardless of the form's content."""
    async with connect_person(portal, lambda: ElicitResult(action="accept", content=content), mode) as (
        client,
        questions,
    ):
        result = await client.call_tool(tool, arguments)
    assert result.structured_content is not None
    assert result.structured_content["status"] == "done", result
    (question,) = set(questions)
    assert question.startswith("Plan for SOURCE; nothing is changed yet:")
    assert "planId" not in question


NO = [
    ElicitResult(action="decline"),
    ElicitResult(action="cancel"),
    ElicitResult(action="decline", content={"confirm": True}),
]


async def test_a_client_whose_answer_cannot_be_read(portal: PortalInProcess) -> None:
    def nonsense() -> ElicitResult:
        return ElicitResult.model_construct(action="perhaps", content=[1])  # type: ignore[arg-type]

    async with connect_person(portal, nonsense, "legacy") as (client, _):
        result = await client.call_tool(*CHANGES[0])
    assert result.structured_content is not None
    assert result.structured_content["error"]["code"] == "CONFIRMATION_UNREADABLE"
    assert WRITES.isdisjoint(portal.methods_called)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("answer", NO)
@pytest.mark.parametrize(("tool", "arguments"), CHANGES)
async def test_a_person_says_no(
    portal: PortalInProcess, mode: str, answer: ElicitResult, tool: str, arguments: dict[str, Any]
) -> None:
    async with connect_person(portal, lambda: answer, mode) as (client, _):
        result = await client.call_tool(tool, arguments)
    assert not result.is_error
    assert result.structured_content is not None
    text = getattr(result.content[0], "text", "")
    if answer.action == "cancel":
        assert result.structured_content["status"] == "cancelled"
        assert "closed the question without an answer. Ask them" in text
    else:
        assert result.structured_content["status"] == "declined"
        assert "the user declined" in text
    assert WRITES.isdisjoint(portal.methods_called)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_apply_asks_a_person_about_the_plan_that_is_carried_out(portal: PortalInProcess, mode: str) -> None:
    def yes() -> ElicitResult:
        return ElicitResult(action="accept", content={"confirm": True})

    arguments = {"entityId": "EMPLOYEES", "items": ["EMPLOYEES_1: tiny", "EMPLOYEES_4: huge"]}
    async with connect_person(portal, yes, mode) as (client, questions):
        planned = (await client.call_tool("apply_directory", arguments)).structured_content
        assert planned is not None
        assert (planned["status"], questions) == ("planned", [])
        done = (await client.call_tool("apply_directory", arguments | {"planId": planned["planId"]})).structured_content
        assert done is not None
        assert done["status"] == "done"
        assert "remove EMPLOYEES_2" in questions[0]
    assert codes(portal, "EMPLOYEES") == ["EMPLOYEES_1", "EMPLOYEES_4"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_directory_that_changes_while_a_person_thinks(portal: PortalInProcess, mode: str) -> None:
    def meanwhile() -> ElicitResult:
        with contextlib.suppress(Exception):
            portal.portal.store.add("SOURCE", "MEANWHILE", "Meanwhile", sort=999)
        return ElicitResult(action="accept", content={"confirm": True})

    async with connect_person(portal, meanwhile, mode) as (client, questions):
        result = await client.call_tool("add_directory_item", {"entityId": "SOURCE", "name": "Podcast"})
    if mode == "legacy":
        assert result.is_error
        assert "MEANWHILE (Meanwhile) was added" in getattr(result.content[0], "text", "")
        assert WRITES.isdisjoint(portal.methods_called)
    else:  # the question has changed, and is asked again
        assert len(questions) == 2
        assert codes(portal, "SOURCE")[-2:] == ["MEANWHILE", "PODCAST"]


async def test_writes_off_nothing_is_listed_and_nothing_leaves(portal: PortalInProcess) -> None:
    async with connect(portal) as assistant:
        assert changing_tools().keys().isdisjoint(tool.name for tool in (await assistant.client.list_tools()).tools)
        for tool in changing_tools():
            arguments: dict[str, Any] = {"entityId": "SOURCE", "statusId": "WEB", "name": "X", "items": ["X"]}
            assert (await assistant.call(tool, **arguments)).error["code"] == "WRITES_OFF"
    assert portal.portal.calls == []


async def test_a_user_who_may_only_read(portal: PortalInProcess) -> None:
    async with connect(portal, allow_writes=True, secret=READER_SECRET) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
    assert result.error["code"] == "NOT_ALLOWED_TO_CHANGE"
    assert "CRM administrator" in result.text


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("The field ENTITY_ID is required.", "FIELD_MISSING"),
        ("The field Title is required.", "FIELD_MISSING"),
        ("The field STATUS_ID is required.", "FIELD_MISSING"),
        ("Parameter 'fields' must be array.", "FIELD_MISSING"),
        ("Specified entity type is not supported.", "DIRECTORY_NOT_CHANGEABLE"),
        ("Invalid identifier.", "NOT_FOUND"),
        ("CRM Status is not found.", "NOT_FOUND"),
        (
            'CRM System Status can be deleted only if parameter FORCED is specified and equal to "Y".',
            "SYSTEM_ITEM",
        ),
        ("There are active items in this status.", "ITEM_IN_USE"),
        ("Error on creating status.", "CHANGE_FAILED"),
        ("Error on updating status.", "CHANGE_FAILED"),
        ("Error on deleting status.", "CHANGE_FAILED"),
        ("Cannot create more stages after the final stage because the final ...", "AFTER_WINNING_STAGE"),
        ("Access denied.", "NOT_ALLOWED_TO_CHANGE"),
    ],
)
async def test_errors_of_the_changing_methods(portal: PortalInProcess, words: str, code: str) -> None:
    portal.order(method="crm.status.add", code="", description=words)
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
    assert result.error["code"] == code
    assert result.error["httpStatus"] == 400


async def test_the_documented_code_of_a_taken_status_id(portal: PortalInProcess) -> None:
    portal.order(method="crm.status.add", code="ERROR_CORE", description="The specified status ID already exists.")
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
    assert result.error["code"] == "ERROR_CORE"
    assert "an item with this code already" in result.text


async def test_the_cache_forgets_what_changed(assistant: Assistant) -> None:
    await assistant.call("get_directory_items", entityId="SOURCE")
    await assistant.call("find_directory_items", queries=["podcast"])
    await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
    assert "PODCAST" in (await assistant.call("get_directory_items", entityId="SOURCE")).text
    result = await assistant.call("find_directory_items", queries=["podcast"])
    assert result.structured["results"][0]["status"] == "exact"


async def test_the_audit_log(portal: PortalInProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "audit.jsonl"
    with caplog.at_level(logging.INFO, "bitrix24_directories.changing.audit"):
        async with connect(portal, allow_writes=True, audit_log=str(log)) as assistant:
            await assistant.call("update_directory_item", entityId="SOURCE", statusId="ADVERTISING", name="Ads")
            portal.order(method="crm.status.delete", code="", description="There are active items in this status.")
            await plan_and_apply(assistant, "delete_directory_item", entityId="SOURCE", statusId="WEB")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [json.loads(record.message) for record in caplog.records if record.name.endswith("audit")] == lines
    update, updated, delete, deleted = lines
    assert [line["event"] for line in lines] == ["intent", "outcome"] * 2
    assert (update["id"], delete["id"]) == (updated["id"], deleted["id"])
    assert update["before"]["name"] in ("Advertising", "Реклама")
    assert update["after"] == {"SORT": 40, "NAME": "Ads"}
    assert (update["tool"], update["entityId"], update["statusId"]) == (
        "update_directory_item",
        "SOURCE",
        "ADVERTISING",
    )
    assert updated["outcome"] == "done"
    assert deleted["outcome"].startswith("not done: CRM records still carry this code")
    assert "demoadmin" not in log.read_text(encoding="utf-8")


async def test_no_change_without_its_line_in_the_audit_log(portal: PortalInProcess, tmp_path: Path) -> None:
    async with connect(portal, allow_writes=True, audit_log=str(tmp_path / "no" / "such" / "folder")) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
    assert (result.error["code"], result.error["category"]) == ("AUDIT_LOG_FAILED", "configuration")
    assert WRITES.isdisjoint(portal.methods_called)


async def test_sloppy_calls_get_plain_lines(portal: PortalInProcess) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", entityId="SOURCE")
        assert "- name: missing; expected text" in result.text
        result = await assistant.call("apply_directory", entityId="SOURCE", items=[])
        assert "no items were declared" in result.text
    assert (await ask(portal, "get_directory_items", entityId="SOURCE")).structured["total"] == 15


URI = "bitrix24://directories/SOURCE"


async def test_listening_clients_are_told(portal: PortalInProcess) -> None:
    async with (
        connect(portal, allow_writes=True) as assistant,
        assistant.client.listen(resource_subscriptions=[URI]) as events,
    ):
        await assistant.call("add_directory_item", entityId="INDUSTRY", name="Forestry")
        await assistant.call("add_directory_item", entityId="SOURCE", name="Podcast")
        with anyio.fail_after(5):
            event = await anext(aiter(events))
    assert getattr(event, "uri", None) == URI


@pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")
async def test_subscribed_clients_of_earlier_versions_are_told(portal: PortalInProcess) -> None:
    messages: list[str] = []

    async def heard(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            messages.append(str(message.params.uri))

    settings = Settings.model_construct(allow_writes=True)
    server = DirectoriesServer(Webhook.parse(portal.webhook_url()), settings, transport=in_process(portal.portal.app))
    async with Client(server.mcp, mode="legacy", message_handler=heard) as client:
        await client.subscribe_resource(URI)
        for name in ("Podcast", "Fair"):
            await client.call_tool("add_directory_item", {"entityId": "SOURCE", "name": name})
        await client.unsubscribe_resource(URI)
        await client.call_tool("add_directory_item", {"entityId": "SOURCE", "name": "Radio"})
        await anyio.wait_all_tasks_blocked()
    assert messages == [URI, URI]
