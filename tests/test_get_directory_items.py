"""get_directory_items through an MCP client, the server, and the demo portal over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.store import Item as StoredItem
from support import STRANGER_SECRET, RunningPortal, ask, connect

DEAL_STAGE_TEXT = """\
DEAL_STAGE: 8 items, in order (code: name)
NEW: New
PREPARATION: Document Preparation
PREPAYMENT_INVOICE: Prepayment Invoice
EXECUTING: In Progress
FINAL_INVOICE: Final Invoice
WON: Deal Won
LOSE: Deal Lost
APOLOGY: Analyzing Cause of Loss
The codes go into deal.STAGE_ID"""


async def test_plain_answer_costs_one_request(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")

    assert result.text == DEAL_STAGE_TEXT
    assert len(result.text) < 300
    assert result.structured["entityId"] == "DEAL_STAGE"
    assert result.structured["total"] == 8
    assert result.structured["items"][0] == {"statusId": "NEW", "name": "New"}
    assert result.structured["usedIn"] == ["deal.STAGE_ID"]
    assert [item["statusId"] for item in result.structured["items"]] == [
        line.partition(":")[0] for line in result.text.splitlines()[1:-1]
    ]
    assert portal.portal.calls == [("crm.status.entity.items", {"entityId": "DEAL_STAGE"})]


@pytest.mark.parametrize("spelling", ["deal_stage", "  DEAL_STAGE\n", "Deal_Stage "])
async def test_case_and_blanks_do_not_matter(portal: RunningPortal, spelling: str) -> None:
    result = await ask(portal, "get_directory_items", entityId=spelling)
    assert result.text == DEAL_STAGE_TEXT
    assert portal.portal.calls == [("crm.status.entity.items", {"entityId": "DEAL_STAGE"})]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_both_protocol_eras(portal: RunningPortal, mode: str) -> None:
    async with connect(portal, mode=mode) as assistant:
        assert (await assistant.call("get_directory_items", entityId="DEAL_STAGE")).text == DEAL_STAGE_TEXT
        assert (await assistant.call("get_directory_items", entityId="NOPE")).is_error


async def test_details_of_stages(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE_1", details=True)

    assert result.text.splitlines()[1:-1] == [
        "C1:NEW: Request received #39A8EF (id 39, system)",
        'C1:UC_A1B2C3: Price agreed "in writing" #2FC6F6 (id 40)',
        "C1:UC_9F4K2L: Shipping 🚚 #47E4C2 (id 41)",
        "C1:WON: Deal Won [success] #7BD500 (id 42, system)",
        "C1:LOSE: Deal Lost [failure] #FF5752 (id 43, system)",
        "C1:UC_7QX0Z1: <b>Too expensive</b> [failure] #FF5752 (id 44)",
    ]
    assert [item["semantics"] for item in result.structured["items"]] == ["process"] * 3 + ["success"] + ["failure"] * 2
    assert result.structured["items"][3] == {
        "statusId": "C1:WON",
        "name": "Deal Won",
        "sort": 40,
        "id": 42,
        "semantics": "success",
        "color": "#7BD500",
        "system": True,
    }
    assert portal.methods_called == ["crm.status.list"]


async def test_details_of_a_list_have_no_meaning_or_colour(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="HONORIFIC", details=True)
    assert set(result.structured["items"][0]) == {"statusId", "name", "sort", "id", "system"}
    assert result.text.splitlines()[1].startswith("HNR_EN_1: Mr. (id ")


async def test_analysis_of_loss_is_a_failure(portal: RunningPortal) -> None:
    """EXTRA calls it `apology`, SEMANTICS `F`."""
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE", details=True)
    assert result.structured["items"][-1]["semantics"] == "failure"


async def test_details_read_all_pages(portal: RunningPortal) -> None:
    for number in range(120):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number // 7)
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY", details=True)
    assert result.structured["total"] == 131
    assert len({item["statusId"] for item in result.structured["items"]}) == 131
    assert portal.methods_called == ["crm.status.list", "batch"]


async def test_many_items_are_read_with_details(portal: RunningPortal) -> None:
    """50 pages go out together; ten thousand items, one by one 200 requests, are a benchmark."""
    store = portal.portal.store
    for number in range(2_600):
        store.put(StoredItem(store.next_id(), "INDUSTRY", f"UC_{number}", f"Branch {number}", 200 + number // 7))
    read: list[str] = []
    async with connect(portal) as assistant:
        for _ in range(14):
            after = read[-1] if read else ""
            result = await assistant.call("get_directory_items", entityId="INDUSTRY", details=True, after=after)
            read += [item["statusId"] for item in result.structured["items"]]
            assert result.structured["total"] == 2_611
            assert result.structured.get("more", 0) == 2_611 - len(read)
    assert len(set(read)) == len(read) == 2_611
    assert portal.methods_called == ["crm.status.list"] + ["batch"] * 2


async def test_of_a_long_directory_a_part_is_shown_and_how_to_go_on(portal: RunningPortal) -> None:
    for number in range(300):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number)
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY")
    assert result.text.startswith("INDUSTRY: 200 of 311 items, in order (code: name)\n")
    assert "\n111 more are not shown: go on with after=UC_188, or narrow with query\n" in result.text
    assert (len(result.structured["items"]), result.structured["total"], result.structured["more"]) == (200, 311, 111)
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY", query="branch 29")
    assert [item["statusId"] for item in result.structured["items"]] == [
        f"UC_{n}" for n in (29, 129, 229, *range(290, 300))
    ]
    assert (result.structured["fitting"], result.structured["total"]) == (13, 311)
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY", query="unicorn")
    assert result.text.startswith("INDUSTRY: none of its 311 items fits")
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY", after="UC_299")
    assert result.text.startswith("INDUSTRY: none of its 311 items stands behind that code")
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY", after="NOPE")
    assert result.error["code"] == "UNKNOWN_ITEM"


async def test_all_pages_are_read_without_batch_too(portal: RunningPortal) -> None:
    for number in range(120):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number // 7)
    portal.order(method="batch", code="ERROR_METHOD_NOT_FOUND")
    result = await ask(portal, "get_directory_items", entityId="INDUSTRY", details=True)
    assert result.structured["total"] == 131


def page(*codes: str, **more: int) -> dict[str, Any]:
    return {"result": [{"ID": 1, "ENTITY_ID": "SOURCE", "STATUS_ID": code, "NAME": code} for code in codes], **more}


def batched(**pages: dict[str, Any]) -> dict[str, Any]:
    parts = {"result": "result", "result_total": "total", "result_next": "next"}
    return {
        "result": {
            name: {key: page[part] for key, page in pages.items() if part in page} for name, part in parts.items()
        }
    }


@pytest.mark.parametrize(
    ("first", "rest", "codes"),
    [
        # No total: page by page.
        (page("A", next=1), [page("B", next=2), page("C")], "ABC"),
        # Pages that are longer than the first: their overlap is not read twice.
        (
            page("A", total=4, next=1),
            [batched(c0=page("B", "C", next=3), c1=page("C"), c2=page("D")), page("D")],
            "ABCD",
        ),
        (page("A", total=3, next=1), [batched(c0=page("B", "C"), c1=page("C"))], "ABC"),
        # More than the first total.
        (page("A", total=2, next=1), [page("B", next=2), page("C")], "ABC"),
        # A page that points backwards, or far away.
        (page("A", total=3, next=1), [batched(c0=page("B", next=1), c1=page("C"))], None),
        (page("A", total=3, next=1), [batched(c0=page("B", next=10**9), c1=page("C"))], None),
        (page("A", total=10**30, next=10**29), [], None),
        # One page of the batch is missing.
        (page("A", total=3, next=1), [batched(c0=page("B", next=2))], None),
    ],
)
async def test_pages_that_do_not_fit_together(
    portal: RunningPortal, first: dict[str, Any], rest: list[dict[str, Any]], codes: str | None
) -> None:
    json_type = {"content-type": "application/json"}
    for answer in (first, *rest):
        method = "batch" if "result" in answer["result"] else "crm.status.list"
        portal.order(method=method, times=1, body=json.dumps(answer), headers=json_type)
    result = await ask(portal, "get_directory_items", entityId="SOURCE", details=True)
    if codes is None:
        assert result.error["code"] == "UNEXPECTED_ANSWER"
    else:
        assert [item["statusId"] for item in result.structured["items"]] == [*codes]


async def test_a_filter_that_the_portal_ignores_changes_nothing(portal: RunningPortal) -> None:
    """The portal ignores unknown filter fields; rows of other directories must not slip in."""
    mixed = [
        {"ID": "1", "ENTITY_ID": "SOURCE", "STATUS_ID": "CALL", "NAME": "Call", "SORT": "10", "SYSTEM": "Y"},
        {"ID": "2", "ENTITY_ID": "STATUS", "STATUS_ID": "NEW", "NAME": "New", "SORT": "10", "SYSTEM": "Y"},
    ]
    portal.order(body=json.dumps({"result": mixed, "total": 2}), headers={"content-type": "application/json"})
    result = await ask(portal, "get_directory_items", entityId="SOURCE", details=True)
    assert [item["statusId"] for item in result.structured["items"]] == ["CALL"]


async def test_a_page_that_does_not_lie_ahead_ends_the_reading(portal: RunningPortal) -> None:
    portal.order(body='{"result": [], "next": 0, "total": 1}', headers={"content-type": "application/json"})
    result = await ask(portal, "get_directory_items", entityId="SOURCE", details=True)
    assert result.error["code"] == "UNEXPECTED_ANSWER"


@pytest.mark.parametrize("details", [False, True])
async def test_existing_and_empty(portal: RunningPortal, details: bool) -> None:
    result = await ask(portal, "get_directory_items", entityId="PARTNER_LEVEL", details=details)
    assert not result.is_error
    assert result.text == "PARTNER_LEVEL: the directory exists and has no items."
    used_in = ["lead.UF_CRM_1724077700 (Partner level)"]
    assert result.structured == {"entityId": "PARTNER_LEVEL", "items": [], "total": 0, "usedIn": used_in}
    assert portal.methods_called[1:] == ["crm.status.entity.types"]


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("strict", [False, True])
async def test_unknown_directory(serve: Callable[[DemoPortal], RunningPortal], details: bool, strict: bool) -> None:
    """The portal may answer an empty list, or refuse the id."""
    portal = serve(DemoPortal(strict_entity=strict))
    result = await ask(portal, "get_directory_items", entityId="deal_stages", details=details)
    assert result.error == {"code": "UNKNOWN_DIRECTORY", "category": "input", "retryable": False}
    happened, todo, retry = result.text.splitlines()
    assert happened == 'This portal has no directory "DEAL_STAGES" (UNKNOWN_DIRECTORY).'
    assert "DEAL_STAGE (Deal stages);" in todo
    assert todo.count(";") == 4
    assert "Call list_directories" in todo
    assert retry == "Repeating the same call will not help."


async def test_directory_by_its_title(russian_portal: RunningPortal) -> None:
    result = await ask(russian_portal, "get_directory_items", entityId=" источники")
    assert result.structured["entityId"] == "SOURCE"
    near = await ask(russian_portal, "get_directory_items", entityId="источник данных")
    assert near.error["code"] == "UNKNOWN_DIRECTORY"
    assert "SOURCE (Источники)" in near.text


async def test_unknown_directory_that_resembles_none(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="x" * 100)
    assert result.error["code"] == "UNKNOWN_DIRECTORY"
    assert "nearest" not in result.text
    assert "Call list_directories to see all 19" in result.text
    assert len(result.text) < 400


async def test_a_refused_id_that_the_portal_lists_is_the_portals_error(portal: RunningPortal) -> None:
    refusal = "The parameter entityId is not defined or invalid."
    portal.order(method="crm.status.entity.items", code="", description=refusal)
    result = await ask(portal, "get_directory_items", entityId="SOURCE")
    assert result.error["code"] == "INVALID_ENTITY_ID"
    assert result.error["httpStatus"] == 400


async def test_empty_answer_that_cannot_be_looked_into(portal: RunningPortal) -> None:
    portal.order(method="crm.status.entity.types", code="", description="Access denied.")
    result = await ask(portal, "get_directory_items", entityId="PARTNER_LEVEL")
    assert result.error["category"] == "authorization"
    assert "either there is no such directory, or it is empty" in result.text
    assert "Do not take the directory for empty." in result.text


async def test_user_without_rights(portal: RunningPortal) -> None:
    result = await ask(portal.webhook_url(STRANGER_SECRET), "get_directory_items", entityId="SOURCE")
    assert result.error == {
        "code": "CRM_ACCESS_DENIED",
        "httpStatus": 400,
        "category": "authorization",
        "retryable": False,
    }


async def test_cyrillic_names(russian_portal: RunningPortal) -> None:
    result = await ask(russian_portal, "get_directory_items", entityId="DEAL_STAGE")
    assert "PREPAYMENT_INVOICE: Счёт на предоплату" in result.text
    assert result.structured["items"][2]["name"] == "Счёт на предоплату"


@pytest.mark.usefixtures("trusted")
async def test_over_tls(tls_portal: RunningPortal) -> None:
    result = await ask(tls_portal, "get_directory_items", entityId="DEAL_STAGE")
    assert result.text == DEAL_STAGE_TEXT


async def test_a_part_that_is_handed_back_removes_nothing(portal: RunningPortal) -> None:
    for number in range(300):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number)
    async with connect(portal, allow_writes=True) as assistant:
        first = (await assistant.call("get_directory_items", entityId="INDUSTRY")).text
        rest = (await assistant.call("get_directory_items", entityId="INDUSTRY", after="UC_188")).text
        for printed in (first, rest, first.partition("\n")[2]):
            result = await assistant.call("apply_directory", entityId="INDUSTRY", items=printed)
            assert result.error["code"] == "CHANGE_REFUSED"
            assert "a part of the directory" in result.text
        result = await assistant.call("apply_directory", entityId="INDUSTRY", items=f"{first}\n{rest}")
        assert result.structured["status"] == "unchanged"


async def test_of_many_directories_the_first_are_listed_and_the_others_counted(portal: RunningPortal) -> None:
    store = portal.portal.store
    for number in range(150):
        entity_id = f"LIST_{number}"
        store.directories[entity_id] = replace(store.directories["SOURCE"], id=entity_id, name=f"List {number}")
    result = await ask(portal, "list_directories")
    assert len(result.structured["directories"]) == 100
    assert result.structured["total"] == 100 + sum(result.structured["leftOut"].values())
    assert (
        "\nNot shown: 66 list, 2 stages of smart processes, 1 stages that are switched off; narrow with query"
        in result.text
    )
    narrowed = await ask(portal, "list_directories", query="LIST_149")
    assert [directory["entityId"] for directory in narrowed.structured["directories"]] == ["LIST_149"]
