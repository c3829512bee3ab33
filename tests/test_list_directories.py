"""list_directories through MCP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import SOURCE_FIELDS, RunningPortal, ask


def row(said_directories: list[dict[str, Any]], entity_id: str) -> dict[str, Any]:
    return next(directory for directory in said_directories if directory["entityId"] == entity_id)


async def test_all_directories(portal: RunningPortal) -> None:
    result = await ask(portal, "list_directories")

    assert portal.portal.calls == [("crm.status.entity.types", {})]
    directories = result.structured["directories"]
    assert result.structured["total"] == len(directories) == 19
    assert row(directories, "DEAL_STAGE_1") == {
        "entityId": "DEAL_STAGE_1",
        "name": "Deal stages (Wholesale)",
        "kind": "stages",
        "usedIn": ["deal.STAGE_ID"],
        "pipeline": "Wholesale",
        "categoryId": 1,
        "start": "C1:NEW",
        "success": "C1:WON",
        "failure": "C1:LOSE",
    }
    assert row(directories, "SOURCE") == {
        "entityId": "SOURCE",
        "name": "Sources",
        "kind": "list",
        "usedIn": SOURCE_FIELDS,
    }
    lines = result.text.splitlines()
    assert lines[0] == "19 directories (entityId: title - kind, fields that take its codes)"
    assert (
        "DEAL_STAGE_1: Deal stages (Wholesale) - stages for deal.STAGE_ID, pipeline 1 Wholesale, "
        "start C1:NEW, success C1:WON, failure C1:LOSE"
    ) in lines
    assert "PARTNER_LEVEL: Partner levels - list for lead.UF_CRM_1724077700 (Partner level)" in lines


async def test_order_is_ours(portal: RunningPortal) -> None:
    """The portal's order is arbitrary; stages come first, pipelines by their numbers."""
    ids = [directory["entityId"] for directory in (await ask(portal, "list_directories")).structured["directories"]]
    assert ids[:5] == ["DEAL_STAGE", "DEAL_STAGE_1", "DEAL_STAGE_2", "DYNAMIC_177_STAGE_7", "DYNAMIC_177_STAGE_8"]
    assert ids[-2:] == ["SOURCE", "SMART_DOCUMENT_STAGE_5"]  # its stages are switched off


@pytest.mark.parametrize(
    ("entity_id", "used_in"),
    [
        ("STATUS", ["lead.STATUS_ID"]),
        ("DEAL_STAGE", ["deal.STAGE_ID"]),
        ("DEAL_STAGE_12", ["deal.STAGE_ID"]),
        ("QUOTE_STATUS", ["quote.STATUS_ID"]),
        ("SMART_INVOICE_STAGE_3", ["item(31).stageId"]),
        ("SMART_DOCUMENT_STAGE_5", None),
        ("DYNAMIC_177_STAGE_7", ["item(177).stageId"]),
        ("SOURCE", SOURCE_FIELDS),
        ("DEAL_TYPE", ["deal.TYPE_ID"]),
        ("CONTACT_TYPE", ["contact.TYPE_ID"]),
        ("COMPANY_TYPE", ["company.COMPANY_TYPE"]),
        ("INDUSTRY", ["deal.UF_CRM_1724077761 (Industries concerned)", "company.INDUSTRY"]),
        ("EMPLOYEES", ["lead.UF_CRM_5F3A2B1C4D6E7 (Size of the company)", "company.EMPLOYEES"]),
        ("HONORIFIC", ["lead.HONORIFIC", "contact.HONORIFIC"]),
        ("CALL_LIST", ["call list status"]),
        ("INVOICE_STATUS", ["invoice.STATUS_ID"]),
        ("PARTNER_LEVEL", ["lead.UF_CRM_1724077700 (Partner level)"]),
        ("OWN", None),
    ],
)
async def test_which_fields_take_the_codes(portal: RunningPortal, entity_id: str, used_in: list[str] | None) -> None:
    portal.order(**answering([{"ID": entity_id, "NAME": "Any"}]))
    (directory,) = (await ask(portal, "list_directories")).structured["directories"]
    assert directory.get("usedIn") == used_in
    assert (directory["kind"] == "stages") == (entity_id in ("STATUS", "QUOTE_STATUS") or "STAGE" in entity_id)


async def test_only_id_and_name_are_needed_and_prefixes_are_made_sure_of(portal: RunningPortal) -> None:
    portal.order(
        **answering(
            [
                {"ID": "SOURCE", "NAME": "Sources"},
                {
                    "ID": "DEAL_STAGE_4",
                    "NAME": "Pipeline",
                    "PREFIX": "C4",
                    "CATEGORY_ID": "4",
                    "SEMANTIC_INFO": {"START_FIELD": "NEW", "FINAL_SUCCESS_FIELD": "C4:WON"},
                },
                {"ID": "DYNAMIC_9_STAGE_1", "NAME": "", "SEMANTIC_INFO": [], "ENTITY_TYPE_ID": 9},
            ]
        )
    )
    directories = (await ask(portal, "list_directories")).structured["directories"]
    assert row(directories, "DEAL_STAGE_4") | {"name": ""} == {
        "entityId": "DEAL_STAGE_4",
        "name": "",
        "kind": "stages",
        "usedIn": ["deal.STAGE_ID"],
        "categoryId": 4,
        "start": "C4:NEW",
        "success": "C4:WON",
    }
    assert row(directories, "DYNAMIC_9_STAGE_1") == {
        "entityId": "DYNAMIC_9_STAGE_1",
        "name": "",
        "kind": "stages",
        "usedIn": ["item(9).stageId"],
    }


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("wholesale", ["DEAL_STAGE_1"]),
        (" DEAL  stage_2 ", ["DEAL_STAGE_2"]),
        ("types", ["COMPANY_TYPE", "CONTACT_TYPE", "DEAL_TYPE"]),
        ("rental abroad", ["DYNAMIC_177_STAGE_8"]),
    ],
)
async def test_query_narrows_by_id_or_name(portal: RunningPortal, query: str, ids: list[str]) -> None:
    result = await ask(portal, "list_directories", query=query)
    assert [directory["entityId"] for directory in result.structured["directories"]] == ids
    assert result.text.startswith(f"{len(ids)} of 19 directories (")


async def test_query_in_russian(russian_portal: RunningPortal) -> None:
    result = await ask(russian_portal, "list_directories", query="ИСТОЧНИКИ")
    assert [directory["entityId"] for directory in result.structured["directories"]] == ["SOURCE"]


async def test_query_that_fits_nothing(portal: RunningPortal) -> None:
    result = await ask(portal, "list_directories", query="unicorns")
    assert not result.is_error
    assert result.structured == {"directories": [], "total": 19}
    assert result.text == "None of the portal's 19 directories fits. Call list_directories without query to see all."


def answering(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"body": json.dumps({"result": rows}), "headers": {"content-type": "application/json"}}
