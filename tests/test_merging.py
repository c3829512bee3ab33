"""merge_directory_items through MCP: moved and remaining records, names, and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp_types import ElicitResult

from bitrix24_directories.changing.merging.plan import AUTOMATION
from bitrix24_directories.portal import Fault
from bitrix24_directories.portal.faults import INSIDE
from bitrix24_directories.portal.store import Item, PortalError
from support import READER_SECRET, Assistant, PortalInProcess, ToolAnswer, change_field, connect, connect_person

pytestmark = pytest.mark.virtual_clock

TOOL = "merge_directory_items"
LEAD, DEAL, CONTACT = 1, 2, 3
Values = dict[str, Any]


@pytest.fixture
def small_portal(portal: PortalInProcess) -> PortalInProcess:
    """A portal with three leads, two deals and a contact, without sources and industries."""
    records = portal.portal.store.records
    remaining = [*records.of(LEAD)[:3], *records.of(DEAL)[:2], *records.of(CONTACT)[:1]]
    records.all = {key: values for key, values in records.all.items() if values in remaining}
    for values in records.all.values():
        values["sourceId"] = None
    for deal in records.of(DEAL):
        deal |= {"ufCrm_1724077760": None, "ufCrm_1724077761": [], "categoryId": 0, "stageId": "NEW"}
    return portal


def records(portal: PortalInProcess, number: int) -> list[Values]:
    return portal.portal.store.records.of(number)


def sources(portal: PortalInProcess, number: int = LEAD) -> list[Any]:
    return [values["sourceId"] for values in records(portal, number)]


def put(portal: PortalInProcess, values: Iterable[Any], number: int = LEAD, field: str = "sourceId") -> None:
    for record, value in zip(records(portal, number), values, strict=False):
        record[field] = value


def codes(portal: PortalInProcess, entity_id: str) -> list[str]:
    return [item.status_id for item in portal.portal.store.of(entity_id)]


def arguments(entity_id: str, codes: list[str], into: str) -> dict[str, Any]:
    return {"entityId": entity_id, "codes": codes, "into": into}


async def merge(assistant: Assistant, entity_id: str, codes: list[str], into: str) -> ToolAnswer:
    """Merge in both steps, as a client that cannot ask a person; a refused plan is the answer."""
    planned = await assistant.call(TOOL, **arguments(entity_id, codes, into))
    if "planId" not in planned.structured:
        return planned
    return await assistant.call(TOOL, **arguments(entity_id, codes, into), planId=planned.structured["planId"])


def updates(portal: PortalInProcess) -> int:
    return str(portal.portal.calls).count("crm.item.update")


async def test_the_plan_changes_nothing_and_says_what_would_move(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL", "website", "CALL"])
    put(small_portal, ["EMAIL"], DEAL)
    before = deepcopy(small_portal.portal.store.records.all)
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL", "website", "CALL", "PARTNER"], "Website"))
    assert result.text.splitlines()[:6] == [
        "Plan for SOURCE; nothing is changed yet: 4 values of records go to WEB (Website)",
        "- EMAIL (E-Mail): 1 in deal.SOURCE_ID, 1 in lead.SOURCE_ID; the item is deleted then",
        '- "website": 1 in lead.SOURCE_ID',
        "- CALL (Call): 1 in lead.SOURCE_ID; the item stays; a system item, which Bitrix24 needs",
        "- PARTNER (Existing Client): the item is deleted then",
        f"- {AUTOMATION}",
    ]
    assert result.structured["codes"][0]["fields"] == {"deal.SOURCE_ID": 1, "lead.SOURCE_ID": 1}
    assert "BITRIX24_AUDIT_LOG is not set" in result.text
    assert small_portal.portal.store.records.all == before
    assert updates(small_portal) == 0


async def test_records_move_and_the_emptied_items_go(small_portal: PortalInProcess, tmp_path: Path) -> None:
    put(small_portal, ["EMAIL", "website", "PARTNER"])
    put(small_portal, ["CALL", "EMAIL"], DEAL, "ufCrm_1724077760")
    log = tmp_path / "audit.jsonl"
    async with connect(small_portal, allow_writes=True, audit_log=str(log)) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL", "website"], "WEB")
        again = await merge(assistant, "SOURCE", ["EMAIL", "website"], "WEB")
    assert result.structured["status"] == "done"
    assert (result.structured["moved"], result.structured["left"]) == (3, 0)
    assert result.text == (
        "SOURCE: 3 values of records moved to WEB (Website), none left.\n- EMAIL (E-Mail): the item is deleted"
    )
    assert sources(small_portal) == ["WEB", "WEB", "PARTNER"]
    assert [deal["ufCrm_1724077760"] for deal in records(small_portal, DEAL)] == ["CALL", "WEB"]
    assert "EMAIL" not in codes(small_portal, "SOURCE")
    assert again.structured["status"] == "unchanged"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    intents = [line for line in lines if line["event"] == "intent" and "recordId" in line]
    outcomes = {line["id"]: line["outcome"] for line in lines if line["event"] == "outcome"}
    assert [(line["entityTypeId"], line["field"], line["old"], line["new"]) for line in intents] == [
        (DEAL, "UF_CRM_1724077760", "EMAIL", "WEB"),
        (LEAD, "sourceId", "EMAIL", "WEB"),
        (LEAD, "sourceId", "website", "WEB"),
    ]
    assert {outcomes[line["id"]] for line in intents} == {"moved"}


async def test_other_values_of_multiple_fields_stay(small_portal: PortalInProcess) -> None:
    put(small_portal, [["IT", "FINANCE"], ["MANUFACTURING", "FINANCE", "IT"]], DEAL, "ufCrm_1724077761")
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await merge(assistant, "INDUSTRY", ["FINANCE"], "IT")
    assert result.structured["status"] == "done", result.text
    assert [deal["ufCrm_1724077761"] for deal in records(small_portal, DEAL)] == [["IT"], ["MANUFACTURING", "IT"]]


async def test_stages_move_within_their_pipeline_only(small_portal: PortalInProcess) -> None:
    put(small_portal, [0, 1], DEAL, "categoryId")
    put(small_portal, ["PREPARATION", "C1:NEW"], DEAL, "stageId")
    async with connect(small_portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("DEAL_STAGE", ["PREPARATION"], "EXECUTING"))
        assert AUTOMATION in planned.text
        result = await merge(assistant, "DEAL_STAGE", ["PREPARATION"], "EXECUTING")
    assert result.structured["status"] == "done", result.text
    assert [deal["stageId"] for deal in records(small_portal, DEAL)] == ["EXECUTING", "C1:NEW"]
    assert "PREPARATION" not in codes(small_portal, "DEAL_STAGE")


@pytest.mark.parametrize(
    ("entity_id", "codes", "into", "words"),
    [
        ("DEAL_STAGE", ["LOSE"], "WON", "LOSE (Deal Lost) is a stage of failure, WON (Deal Won) one of success"),
        ("DEAL_STAGE", ["NEW"], "LOSE", "would change meaning"),
        ("SOURCE", ["WEB"], "WEB", "to Bitrix24 they are the same code"),
        ("SOURCE", ["web "], "WEB", "to Bitrix24 they are the same code"),
        ("SOURCE", ["call"], "WEB", 'does not tell "call" from CALL (Call)'),
        ("SOURCE", ["EMAIL"], "Fax", '"Fax" is no item of the directory'),
        ("SOURCE", ["EMAIL", " "], "WEB", "a code is empty"),
        ("deal.UF_CRM_1724", ["77"], "78", "stand in no directory"),
        ("SOURCE_9", ["EMAIL"], "WEB", "no directory"),
    ],
)
async def test_what_would_do_harm_is_refused(
    small_portal: PortalInProcess, entity_id: str, codes: list[str], into: str, words: str
) -> None:
    put(small_portal, ["EMAIL", "WEB", "call"])
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await assistant.call(TOOL, **arguments(entity_id, codes, into))
    assert result.is_error
    assert words in result.text
    assert updates(small_portal) == 0


async def test_a_name_instead_of_a_code(small_portal: PortalInProcess) -> None:
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await assistant.call(TOOL, **arguments("SOURCE", ["E-Mail"], "WEB"))
    assert result.structured["status"] == "unchanged"
    assert "it is the name of EMAIL: give that code" in result.text


async def test_codes_in_one_text(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL", "website"])
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await assistant.call(TOOL, entityId="SOURCE", codes="EMAIL, website", into="WEB")
    assert [code["statusId"] for code in result.structured["codes"]] == ["EMAIL", "website"]


async def test_another_spelling_of_the_same_code_moves_with_it(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL", "email", "Email "])
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL", "email"], "WEB")
    assert result.structured["status"] == "done"
    assert sources(small_portal) == ["WEB"] * 3


async def test_a_record_that_is_refused_is_named_and_keeps_its_item(small_portal: PortalInProcess) -> None:
    change_field(small_portal.portal, LEAD, "TITLE", required=True)
    put(small_portal, ["EMAIL", "EMAIL", "EMAIL"])
    put(small_portal, ["x", "", "y"], field="title")
    records(small_portal, LEAD)[1]["title"] = None
    number = records(small_portal, LEAD)[1]["id"]
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
        assert result.structured["status"] == "incomplete"
        assert f'- not moved: lead {number} (lead.SOURCE_ID): Required field "Name" is not filled' in result.text
        assert "EMAIL (E-Mail): the item stays; records still use it" in result.text
        assert sources(small_portal) == ["WEB", "EMAIL", "WEB"]
        records(small_portal, LEAD)[1]["title"] = "z"
        done = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
    assert done.structured["status"] == "done"
    assert sources(small_portal) == ["WEB", "WEB", "WEB"]


@pytest.mark.parametrize("age", ["oldest", "older", "today"])
async def test_a_stage_that_the_portal_does_not_take(small_portal: PortalInProcess, age: Any) -> None:
    """Somebody deletes the stage between plan and move; on a portal of any age."""
    small_portal.portal.store.age = age
    put(small_portal, ["PREPARATION", "PREPARATION"], DEAL, "stageId")
    source = next(item for item in small_portal.portal.store.of("DEAL_STAGE") if item.status_id == "EXECUTING")

    def meanwhile(method: str, _params: Mapping[str, Any]) -> None:
        if method == "crm.item.update":
            small_portal.portal.store.items.pop(source.id, None)

    small_portal.portal.meanwhile = meanwhile
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await merge(assistant, "DEAL_STAGE", ["PREPARATION"], "EXECUTING")
    assert result.error["code"] == "CHANGE_REFUSED"
    assert result.structured["status"] == "stopped"
    assert [deal["stageId"] for deal in records(small_portal, DEAL)] == ["PREPARATION"] * 2
    assert "PREPARATION" in codes(small_portal, "DEAL_STAGE")


async def test_who_may_not_change_records(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL"] * 3)
    async with connect(small_portal, allow_writes=True, secret=READER_SECRET) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
    assert result.structured["status"] == "incomplete"
    assert result.structured["notMovedTotal"] == 3
    assert sources(small_portal) == ["EMAIL"] * 3


async def test_what_cannot_be_counted_keeps_the_item(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL", "EMAIL"])

    def meanwhile(method: str, params: Mapping[str, Any]) -> None:
        if method == "crm.item.list" and str(params["entityTypeId"]) == "3":
            raise PortalError("Access denied.", code="ACCESS_DENIED")

    small_portal.portal.meanwhile = meanwhile
    async with connect(small_portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        assert "- not counted and so not moved: contact.SOURCE_ID: 1 of 1 counts could not be made" in planned.text
        assert "EMAIL (E-Mail): 2 in lead.SOURCE_ID; the item stays; whether" in planned.text
        result = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
    assert result.structured["status"] == "incomplete"
    assert result.structured["moved"] == 2
    assert "left" not in result.structured
    assert "how many are left could not be counted" in result.text
    assert "EMAIL" in codes(small_portal, "SOURCE")


async def test_a_plan_of_other_fields_or_names_is_another_plan(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL"])
    async with connect(small_portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        web = next(item for item in small_portal.portal.store.of("SOURCE") if item.status_id == "WEB")
        small_portal.portal.store.items[web.id] = replace(web, name="Web shop")
        result = await assistant.call(
            TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=planned.structured["planId"]
        )
        other = await assistant.call(
            TOOL, **arguments("SOURCE", ["PARTNER"], "WEB"), planId=result.structured["planId"]
        )
    assert result.structured["status"] == other.structured["status"] == "planned"
    assert result.structured["planId"] != planned.structured["planId"]
    assert "- a new plan, since the directory, its fields or the arguments are not as in the plan" in result.text
    assert sources(small_portal) == ["EMAIL", None, None]


async def test_new_records_do_not_change_the_plan(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL"])
    async with connect(small_portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        put(small_portal, ["EMAIL", "EMAIL"])
        result = await assistant.call(
            TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=planned.structured["planId"]
        )
    assert (result.structured["status"], result.structured["moved"]) == ("done", 2)


def many_leads(portal: PortalInProcess, number: int, source: str = "EMAIL") -> None:
    store = portal.portal.store.records
    like = records(portal, LEAD)[0]
    store.all = {(LEAD, record_id): like | {"id": record_id, "sourceId": source} for record_id in range(1, number + 1)}
    store.last_id = number


async def test_as_far_as_the_timeout_allows_and_then_on(portal: PortalInProcess) -> None:
    many_leads(portal, 400)
    portal.order(method="batch", delay=2.5, changes_only=True)
    answers: list[ToolAnswer] = []
    async with connect(portal, allow_writes=True, timeout=20) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        plan_id = planned.structured["planId"]
        while not answers or answers[-1].structured["status"] == "moving":
            started = anyio.current_time()
            answers.append(await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=plan_id))
            assert anyio.current_time() - started < 21
    assert len(answers) > 1
    first = answers[0].structured
    assert first["moved"] + first["left"] == 400
    assert f"about {first['left']} left. Make the same call again, with the same planId, to go on." in answers[0].text
    assert answers[-1].structured["status"] == "done"
    assert answers[-1].structured["moved"] == 400
    assert set(sources(portal)) == {"WEB"}
    assert updates(portal) == 400


async def test_requests_of_a_merge(portal: PortalInProcess) -> None:
    """One for each 48 records, from the third on, and some for plan, count and deletion."""
    many_leads(portal, 480)
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        portal.portal.calls.clear()
        await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=planned.structured["planId"])
    writing = [params for method, params in portal.portal.calls if "crm.item.update" in str(params)]
    assert len(writing) == 12
    assert len(portal.portal.calls) <= 12 + 18


@pytest.mark.parametrize("how", ["html", "502", "empty", "truncated", "silent", "false"])
async def test_an_answer_that_is_lost_is_looked_up(portal: PortalInProcess, how: str) -> None:
    many_leads(portal, 30)
    fault = Fault.lost(how)
    fault.method, fault.times = "batch", 1
    portal.portal.faults.order(fault)
    async with connect(portal, allow_writes=True) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
    assert result.structured["status"] == "done", result.text
    assert result.structured["moved"] == 30
    assert updates(portal) == 30
    assert "notMoved" not in result.structured


async def test_a_request_that_never_arrives_is_sent_again(portal: PortalInProcess) -> None:
    many_leads(portal, 30)
    portal.order(method="batch", changes_only=True, times=1, status=502)
    async with connect(portal, allow_writes=True) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
    assert result.structured["status"] == "done", result.text
    assert result.structured["moved"] == 30


async def test_a_portal_that_goes_away_stops_the_merge_and_it_goes_on_later(portal: PortalInProcess) -> None:
    many_leads(portal, 60)
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        plan_id = planned.structured["planId"]
        portal.order(method="batch", changes_only=True, status=502)
        result = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=plan_id)
        assert result.is_error
        assert result.structured["status"] == "stopped"
        assert result.structured["moved"] == 0
        assert "0 values of records moved to WEB (Website), about 60 left" in result.text
        portal.portal.faults.clear()
        done = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=plan_id)
    assert done.structured["status"] == "done"
    assert done.structured["moved"] == 60
    assert "notMoved" not in done.structured


async def test_what_somebody_changed_meanwhile_is_put_back(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL", "EMAIL", "EMAIL"])
    put(small_portal, [["FINANCE"], ["FINANCE", "IT"]], DEAL, "ufCrm_1724077761")
    changed = records(small_portal, LEAD)[1]["id"]
    faster = iter([lambda: put(small_portal, ["EMAIL", "PARTNER"])])

    def meanwhile(method: str, params: Mapping[str, Any]) -> None:
        if method == "batch" and "crm.item.update" in str(params):
            next(faster, lambda: None)()

    small_portal.portal.meanwhile = meanwhile
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
        assert sources(small_portal) == ["WEB", "PARTNER", "WEB"]
        line = f'- not moved: lead {changed} (lead.SOURCE_ID): somebody had just changed it to "PARTNER"'
        assert line in result.text
        assert result.structured["status"] == "done"
        assert result.structured["moved"] == 2
        faster = iter([lambda: put(small_portal, [["FINANCE", "OTHER"]], DEAL, "ufCrm_1724077761")])
        result = await merge(assistant, "INDUSTRY", ["FINANCE"], "IT")
    assert [deal["ufCrm_1724077761"] for deal in records(small_portal, DEAL)] == [["IT", "OTHER"], ["IT"]]
    assert result.structured["moved"] == 2


async def test_counts_that_were_kept_are_forgotten(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL"])
    async with connect(small_portal, allow_writes=True) as assistant:
        before = await assistant.call("get_directory_usage", entityId="SOURCE")
        await merge(assistant, "SOURCE", ["EMAIL"], "WEB")
        after = await assistant.call("get_directory_usage", entityId="SOURCE")
    counts = [{item["statusId"]: item["count"] for item in result.structured["items"]} for result in (before, after)]
    assert (counts[0]["WEB"], counts[1]["WEB"]) == (0, 1)


async def test_without_batches(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL", "website"])
    small_portal.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")
    async with connect(small_portal, allow_writes=True) as assistant:
        result = await merge(assistant, "SOURCE", ["EMAIL", "website"], "WEB")
    assert result.structured["status"] == "done"
    assert sources(small_portal) == ["WEB", "WEB", None]


async def test_an_audit_log_that_cannot_be_written(small_portal: PortalInProcess, tmp_path: Path) -> None:
    put(small_portal, ["EMAIL"])
    log = tmp_path / "logs" / "audit.jsonl"
    log.parent.mkdir()
    async with connect(small_portal, allow_writes=True, audit_log=str(log)) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        log.parent.rename(tmp_path / "elsewhere")
        result = await assistant.call(
            TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"), planId=planned.structured["planId"]
        )
    assert result.error["code"] == "AUDIT_LOG_FAILED"
    assert sources(small_portal) == ["EMAIL", None, None]


def yes() -> ElicitResult:
    return ElicitResult(action="accept")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_person_is_asked_once_for_the_whole_merge(portal: PortalInProcess, mode: str) -> None:
    many_leads(portal, 200)
    portal.order(method="batch", delay=12, changes_only=True)
    results: list[dict[str, Any]] = []
    async with connect_person(portal, yes, mode) as (client, questions):
        planned = (await client.call_tool(TOOL, arguments("SOURCE", ["EMAIL"], "WEB"))).structured_content
        assert planned is not None
        assert not questions
        again = arguments("SOURCE", ["EMAIL"], "WEB") | {"planId": planned["planId"]}
        while not results or results[-1]["status"] == "moving":
            results.append((await client.call_tool(TOOL, again)).structured_content or {})
    assert len(results) > 1
    assert results[-1]["status"] == "done"
    assert set(sources(portal)) == {"WEB"}
    (question,) = set(questions)
    assert question.startswith("Plan for SOURCE; nothing is changed yet: 200 values of records go to WEB (Website)")
    assert "planId" not in question


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize(("action", "status"), [("decline", "declined"), ("cancel", "cancelled")])
async def test_a_person_says_no(small_portal: PortalInProcess, mode: str, action: Any, status: str) -> None:
    put(small_portal, ["EMAIL"])
    async with connect_person(small_portal, lambda: ElicitResult(action=action), mode) as (client, _):
        planned = (await client.call_tool(TOOL, arguments("SOURCE", ["EMAIL"], "WEB"))).structured_content or {}
        again = arguments("SOURCE", ["EMAIL"], "WEB") | {"planId": planned["planId"]}
        result = (await client.call_tool(TOOL, again)).structured_content or {}
    assert result["status"] == status
    assert sources(small_portal) == ["EMAIL", None, None]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_directory_that_changes_while_a_person_thinks(small_portal: PortalInProcess, mode: str) -> None:
    put(small_portal, ["EMAIL"])

    def meanwhile() -> ElicitResult:
        web = next(item for item in small_portal.portal.store.of("SOURCE") if item.status_id == "WEB")
        small_portal.portal.store.items[web.id] = replace(web, name="Web shop")
        return ElicitResult(action="accept")

    async with connect_person(small_portal, meanwhile, mode) as (client, _):
        planned = (await client.call_tool(TOOL, arguments("SOURCE", ["EMAIL"], "WEB"))).structured_content or {}
        again = arguments("SOURCE", ["EMAIL"], "WEB") | {"planId": planned["planId"]}
        result = (await client.call_tool(TOOL, again)).structured_content or {}
    assert result.get("status") == "planned" or result["error"]["code"] == "CHANGE_REFUSED"
    assert sources(small_portal) == ["EMAIL", None, None]


async def test_progress_tells_how_far_it_is(portal: PortalInProcess) -> None:
    many_leads(portal, 100)
    portal.order(method="batch", delay=3, changes_only=True)
    messages: list[str | None] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        del progress, total
        messages.append(message)

    async with connect(portal, mode="legacy", allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        again = arguments("SOURCE", ["EMAIL"], "WEB") | {"planId": planned.structured["planId"]}
        await assistant.client.call_tool(TOOL, again, progress_callback=tell)
    await anyio.lowlevel.checkpoint()
    assert any("the portal to move records (12 of 100 are moved)" in (message or "") for message in messages), messages


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_call_that_is_cancelled_loses_nothing(portal: PortalInProcess, tmp_path: Path, mode: str) -> None:
    many_leads(portal, 100)
    portal.order(method="batch", delay=3, changes_only=True)
    log = tmp_path / "log"
    async with connect(portal, allow_writes=True, audit_log=str(log), mode=mode) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["EMAIL"], "WEB"))
        again = arguments("SOURCE", ["EMAIL"], "WEB") | {"planId": planned.structured["planId"]}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(assistant.call, TOOL, **again))
            await anyio.sleep(4)
            tasks.cancel_scope.cancel()
        await anyio.sleep(5)  # requests under way are waited for
        moved = sources(portal).count("WEB")
        assert 0 < moved < 100
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        outcomes = [line["outcome"] for line in lines if line["event"] == "outcome"]
        assert (len(outcomes), {*outcomes}) == (moved, {"moved"})
        portal.portal.faults.clear()
        done = await assistant.call(TOOL, **again)
    assert done.structured["status"] == "done"
    assert set(sources(portal)) == {"WEB"}


async def test_an_open_channels_source_comes_back(small_portal: PortalInProcess) -> None:
    store = small_portal.portal.store
    store.put(Item(store.next_id(), "SOURCE", "16|WZ_CHAT", "Chat", 115))
    put(small_portal, ["16|WZ_CHAT"])
    small_portal.order(**INSIDE["channel"])
    async with connect(small_portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["16|WZ_CHAT"], "WEB"))
        assert "- 16|WZ_CHAT: it is an open channel's source: the channel adds it again" in planned.text
        result = await merge(assistant, "SOURCE", ["16|WZ_CHAT"], "WEB")
    assert sources(small_portal)[0] == "WEB"
    assert "- 16|WZ_CHAT (Chat): the item stays; 16|WZ_CHAT was added again (id 107)" in result.text


async def test_a_count_that_contradicts_the_rows_is_no_count(small_portal: PortalInProcess) -> None:
    put(small_portal, ["EMAIL"])
    small_portal.order(**INSIDE["no-total"])
    async with connect(small_portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="EMAIL")
    assert "not known for certain" in planned.text
