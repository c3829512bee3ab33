"""get_directory_items through the front door: an MCP client, the server, and the demo portal over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.store import Item as StoredItem
from support import STRANGER_SECRET, RunningPortal, ask, assistant

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
    said = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")

    assert said.text == DEAL_STAGE_TEXT
    assert len(said.text) < 300
    assert said.structured["entityId"] == "DEAL_STAGE"
    assert said.structured["total"] == 8
    assert said.structured["items"][0] == {"statusId": "NEW", "name": "New"}
    assert said.structured["usedIn"] == ["deal.STAGE_ID"]
    assert [item["statusId"] for item in said.structured["items"]] == [
        line.partition(":")[0] for line in said.text.splitlines()[1:-1]
    ]
    assert portal.portal.calls == [("crm.status.entity.items", {"entityId": "DEAL_STAGE"})]


@pytest.mark.parametrize("spelling", ["deal_stage", "  DEAL_STAGE\n", "Deal_Stage "])
async def test_case_and_blanks_do_not_matter(portal: RunningPortal, spelling: str) -> None:
    said = await ask(portal, "get_directory_items", entityId=spelling)
    assert said.text == DEAL_STAGE_TEXT
    assert portal.portal.calls == [("crm.status.entity.items", {"entityId": "DEAL_STAGE"})]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_both_protocol_eras(portal: RunningPortal, mode: str) -> None:
    async with assistant(portal, mode=mode) as someone:
        assert (await someone.call("get_directory_items", entityId="DEAL_STAGE")).text == DEAL_STAGE_TEXT
        assert (await someone.call("get_directory_items", entityId="NOPE")).is_error


async def test_details_of_stages(portal: RunningPortal) -> None:
    said = await ask(portal, "get_directory_items", entityId="DEAL_STAGE_1", details=True)

    assert said.text.splitlines()[1:-1] == [
        "C1:NEW: Request received #39A8EF (id 39, system)",
        'C1:UC_A1B2C3: Price agreed "in writing" #2FC6F6 (id 40)',
        "C1:UC_9F4K2L: Shipping 🚚 #47E4C2 (id 41)",
        "C1:WON: Deal Won [success] #7BD500 (id 42, system)",
        "C1:LOSE: Deal Lost [failure] #FF5752 (id 43, system)",
        "C1:UC_7QX0Z1: <b>Too expensive</b> [failure] #FF5752 (id 44)",
    ]
    assert [item["semantics"] for item in said.structured["items"]] == ["process"] * 3 + ["success"] + ["failure"] * 2
    assert said.structured["items"][3] == {
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
    said = await ask(portal, "get_directory_items", entityId="HONORIFIC", details=True)
    assert set(said.structured["items"][0]) == {"statusId", "name", "sort", "id", "system"}
    assert said.text.splitlines()[1].startswith("HNR_EN_1: Mr. (id ")


async def test_analysis_of_loss_is_a_failure(portal: RunningPortal) -> None:
    """EXTRA calls it `apology`, SEMANTICS `F`."""
    said = await ask(portal, "get_directory_items", entityId="DEAL_STAGE", details=True)
    assert said.structured["items"][-1]["semantics"] == "failure"


async def test_details_read_all_pages(portal: RunningPortal) -> None:
    for number in range(120):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number // 7)
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY", details=True)
    assert said.structured["total"] == 131
    assert len({item["statusId"] for item in said.structured["items"]}) == 131
    assert portal.methods_called == ["crm.status.list", "batch"]


async def test_many_items_are_read_with_details(portal: RunningPortal) -> None:
    """50 pages go out together; ten thousand items, one by one 200 requests, are among the benchmarks."""
    store = portal.portal.store
    for number in range(2_600):
        store.put(StoredItem(store.next_id(), "INDUSTRY", f"UC_{number}", f"Branch {number}", 200 + number // 7))
    read: list[str] = []
    async with assistant(portal) as someone:
        for _ in range(14):
            after = read[-1] if read else ""
            said = await someone.call("get_directory_items", entityId="INDUSTRY", details=True, after=after)
            read += [item["statusId"] for item in said.structured["items"]]
            assert said.structured["total"] == 2_611
            assert said.structured.get("more", 0) == 2_611 - len(read)
    assert len(set(read)) == len(read) == 2_611
    assert portal.methods_called == ["crm.status.list"] + ["batch"] * 2


async def test_of_a_long_directory_a_part_is_shown_and_how_to_go_on(portal: RunningPortal) -> None:
    for number in range(300):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number)
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY")
    assert said.text.startswith("INDUSTRY: 200 of 311 items, in order (code: name)\n")
    assert "\n111 more are not shown: go on with after=UC_188, or narrow with query\n" in said.text
    assert (len(said.structured["items"]), said.structured["total"], said.structured["more"]) == (200, 311, 111)
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY", query="branch 29")
    assert [item["statusId"] for item in said.structured["items"]] == [
        f"UC_{n}" for n in (29, 129, 229, *range(290, 300))
    ]
    assert (said.structured["fitting"], said.structured["total"]) == (13, 311)
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY", query="unicorn")
    assert said.text.startswith("INDUSTRY: none of its 311 items fits")
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY", after="UC_299")
    assert said.text.startswith("INDUSTRY: none of its 311 items stands behind that code")
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY", after="NOPE")
    assert said.error["code"] == "UNKNOWN_ITEM"


async def test_all_pages_are_read_without_batch_too(portal: RunningPortal) -> None:
    for number in range(120):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number // 7)
    portal.order(method="batch", code="ERROR_METHOD_NOT_FOUND")
    said = await ask(portal, "get_directory_items", entityId="INDUSTRY", details=True)
    assert said.structured["total"] == 131


def page(*codes: str, **more: int) -> dict[str, Any]:
    return {"result": [{"ID": 1, "ENTITY_ID": "SOURCE", "STATUS_ID": code, "NAME": code} for code in codes], **more}


def batched(**pages: dict[str, Any]) -> dict[str, Any]:
    parts = {"result": "result", "result_total": "total", "result_next": "next"}
    return {
        "result": {name: {key: of[part] for key, of in pages.items() if part in of} for name, part in parts.items()}
    }


@pytest.mark.parametrize(
    ("first", "others", "codes"),
    [
        # No total: page by page.
        (page("A", next=1), [page("B", next=2), page("C")], "ABC"),
        # Pages that are longer than the first: what lies between is not read twice.
        (
            page("A", total=4, next=1),
            [batched(c0=page("B", "C", next=3), c1=page("C"), c2=page("D")), page("D")],
            "ABCD",
        ),
        (page("A", total=3, next=1), [batched(c0=page("B", "C"), c1=page("C"))], "ABC"),
        # More than was said at first.
        (page("A", total=2, next=1), [page("B", next=2), page("C")], "ABC"),
        # A page that leads back, or nowhere near.
        (page("A", total=3, next=1), [batched(c0=page("B", next=1), c1=page("C"))], None),
        (page("A", total=3, next=1), [batched(c0=page("B", next=10**9), c1=page("C"))], None),
        (page("A", total=10**30, next=10**29), [], None),
        # One page of the batch is missing.
        (page("A", total=3, next=1), [batched(c0=page("B", next=2))], None),
    ],
)
async def test_pages_that_do_not_fit_together(
    portal: RunningPortal, first: dict[str, Any], others: list[dict[str, Any]], codes: str | None
) -> None:
    json_type = {"content-type": "application/json"}
    for answer in (first, *others):
        method = "batch" if "result" in answer["result"] else "crm.status.list"
        portal.order(method=method, times=1, body=json.dumps(answer), headers=json_type)
    said = await ask(portal, "get_directory_items", entityId="SOURCE", details=True)
    if codes is None:
        assert said.error["code"] == "UNEXPECTED_ANSWER"
    else:
        assert [item["statusId"] for item in said.structured["items"]] == [*codes]


async def test_a_filter_that_the_portal_ignores_changes_nothing(portal: RunningPortal) -> None:
    """The portal ignores filter fields it does not know; rows of other directories must not slip in."""
    mixed = [
        {"ID": "1", "ENTITY_ID": "SOURCE", "STATUS_ID": "CALL", "NAME": "Call", "SORT": "10", "SYSTEM": "Y"},
        {"ID": "2", "ENTITY_ID": "STATUS", "STATUS_ID": "NEW", "NAME": "New", "SORT": "10", "SYSTEM": "Y"},
    ]
    portal.order(body=json.dumps({"result": mixed, "total": 2}), headers={"content-type": "application/json"})
    said = await ask(portal, "get_directory_items", entityId="SOURCE", details=True)
    assert [item["statusId"] for item in said.structured["items"]] == ["CALL"]


async def test_a_page_that_does_not_lie_ahead_ends_the_reading(portal: RunningPortal) -> None:
    portal.order(body='{"result": [], "next": 0, "total": 1}', headers={"content-type": "application/json"})
    said = await ask(portal, "get_directory_items", entityId="SOURCE", details=True)
    assert said.error["code"] == "UNEXPECTED_ANSWER"


@pytest.mark.parametrize("details", [False, True])
async def test_existing_and_empty(portal: RunningPortal, details: bool) -> None:
    said = await ask(portal, "get_directory_items", entityId="PARTNER_LEVEL", details=details)
    assert not said.is_error
    assert said.text == "PARTNER_LEVEL: the directory exists and has no items."
    used_in = ["lead.UF_CRM_1724077700 (Partner level)"]
    assert said.structured == {"entityId": "PARTNER_LEVEL", "items": [], "total": 0, "usedIn": used_in}
    assert portal.methods_called[1:] == ["crm.status.entity.types"]


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("strict", [False, True])
async def test_unknown_directory(put_on: Callable[[DemoPortal], RunningPortal], details: bool, strict: bool) -> None:
    """Whether the portal answers an empty list or refuses the id."""
    portal = put_on(DemoPortal(strict_entity=strict))
    said = await ask(portal, "get_directory_items", entityId="deal_stages", details=details)
    assert said.error == {"code": "UNKNOWN_DIRECTORY", "category": "input", "retryable": False}
    happened, todo, retry = said.text.splitlines()
    assert happened == 'This portal has no directory "DEAL_STAGES" (UNKNOWN_DIRECTORY).'
    assert "DEAL_STAGE (Deal stages);" in todo
    assert todo.count(";") == 4
    assert "Call list_directories" in todo
    assert retry == "Trying again without that change will not help."


async def test_directory_by_its_title(russian_portal: RunningPortal) -> None:
    said = await ask(russian_portal, "get_directory_items", entityId=" источники")
    assert said.structured["entityId"] == "SOURCE"
    near = await ask(russian_portal, "get_directory_items", entityId="источник данных")
    assert near.error["code"] == "UNKNOWN_DIRECTORY"
    assert "SOURCE (Источники)" in near.text


async def test_unknown_directory_that_resembles_none(portal: RunningPortal) -> None:
    said = await ask(portal, "get_directory_items", entityId="x" * 100)
    assert said.error["code"] == "UNKNOWN_DIRECTORY"
    assert "nearest" not in said.text
    assert "Call list_directories to see all 19" in said.text
    assert len(said.text) < 400


async def test_a_refused_id_that_the_portal_lists_is_the_portals_error(portal: RunningPortal) -> None:
    refusal = "The parameter entityId is not defined or invalid."
    portal.order(method="crm.status.entity.items", code="", description=refusal)
    said = await ask(portal, "get_directory_items", entityId="SOURCE")
    assert said.error["code"] == "INVALID_ENTITY_ID"
    assert said.error["httpStatus"] == 400


async def test_empty_answer_that_cannot_be_looked_into(portal: RunningPortal) -> None:
    portal.order(method="crm.status.entity.types", code="", description="Access denied.")
    said = await ask(portal, "get_directory_items", entityId="PARTNER_LEVEL")
    assert said.error["category"] == "authorization"
    assert "either there is no such directory, or it is empty" in said.text
    assert "Do not take the directory for empty." in said.text


async def test_user_without_rights(portal: RunningPortal) -> None:
    said = await ask(portal.webhook_url(STRANGER_SECRET), "get_directory_items", entityId="SOURCE")
    assert said.error == {
        "code": "CRM_ACCESS_DENIED",
        "httpStatus": 400,
        "category": "authorization",
        "retryable": False,
    }


async def test_cyrillic_names(russian_portal: RunningPortal) -> None:
    said = await ask(russian_portal, "get_directory_items", entityId="DEAL_STAGE")
    assert "PREPAYMENT_INVOICE: Счёт на предоплату" in said.text
    assert said.structured["items"][2]["name"] == "Счёт на предоплату"


@pytest.mark.usefixtures("trusted")
async def test_over_tls(tls_portal: RunningPortal) -> None:
    said = await ask(tls_portal, "get_directory_items", entityId="DEAL_STAGE")
    assert said.text == DEAL_STAGE_TEXT


async def test_a_part_that_is_handed_back_removes_nothing(portal: RunningPortal) -> None:
    for number in range(300):
        portal.portal.store.add("INDUSTRY", f"UC_{number}", f"Branch {number}", sort=200 + number)
    async with assistant(portal, allow_writes=True) as someone:
        first = (await someone.call("get_directory_items", entityId="INDUSTRY")).text
        rest = (await someone.call("get_directory_items", entityId="INDUSTRY", after="UC_188")).text
        for printed in (first, rest, first.partition("\n")[2]):
            said = await someone.call("apply_directory", entityId="INDUSTRY", items=printed)
            assert said.error["code"] == "CHANGE_REFUSED"
            assert "a part of the directory" in said.text
        said = await someone.call("apply_directory", entityId="INDUSTRY", items=f"{first}\n{rest}")
        assert said.structured["status"] == "unchanged"


async def test_of_many_directories_the_first_are_listed_and_the_others_counted(portal: RunningPortal) -> None:
    store = portal.portal.store
    for number in range(150):
        entity_id = f"LIST_{number}"
        store.directories[entity_id] = replace(store.directories["SOURCE"], id=entity_id, name=f"List {number}")
    said = await ask(portal, "list_directories")
    assert len(said.structured["directories"]) == 100
    assert said.structured["total"] == 100 + sum(said.structured["leftOut"].values())
    assert (
        "\nNot shown: 66 list, 2 stages of smart processes, 1 stages that are switched off; narrow with query"
        in said.text
    )
    narrowed = await ask(portal, "list_directories", query="LIST_149")
    assert [one["entityId"] for one in narrowed.structured["directories"]] == ["LIST_149"]
