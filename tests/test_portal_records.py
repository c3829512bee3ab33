"""Records of the demo portal against the real one's rules.

These are fields, stored values, stages by age, and filters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.store import Age
from support import RunningPortal
from test_portal import post, result

DEAL, LEAD, CONTACT, COMPANY, QUOTE, INVOICE, RENTAL = 2, 1, 3, 4, 7, 31, 177

Values = dict[str, Any]


@pytest.fixture
def aged(serve: Callable[[DemoPortal], RunningPortal]) -> Callable[[Age], RunningPortal]:
    return lambda age: serve(DemoPortal(age=age))


def add(portal: RunningPortal, number: int = DEAL, **fields: Any) -> Values:
    stored: Values = result(portal, "crm.item.add", {"entityTypeId": number, "fields": fields})["item"]
    return stored


def update(portal: RunningPortal, item: Values, number: int = DEAL, **fields: Any) -> Values:
    params = {"entityTypeId": number, "id": item["id"], "fields": fields}
    stored: Values = result(portal, "crm.item.update", params)["item"]
    return stored


def list_items(portal: RunningPortal, number: int = DEAL, **params: Any) -> tuple[list[Values], Values]:
    status, body = post(portal, "crm.item.list", {"entityTypeId": number} | params)
    assert status == 200, body
    return body["result"]["items"], body


def error(portal: RunningPortal, method: str, **params: Any) -> tuple[str, str]:
    status, body = post(portal, method, params)
    assert status == 400
    return body["error"], body["error_description"]


def fields_of(portal: RunningPortal, number: int, **params: Any) -> dict[str, Values]:
    fields: dict[str, Values] = result(portal, "crm.item.fields", {"entityTypeId": number} | params)["fields"]
    return fields


@pytest.mark.parametrize(
    ("number", "name", "old", "directory"),
    [
        (LEAD, "stageId", "STATUS_ID", "STATUS"),
        (LEAD, "honorific", "HONORIFIC", "HONORIFIC"),
        (DEAL, "stageId", "STAGE_ID", "DEAL_STAGE"),
        (DEAL, "typeId", "TYPE_ID", "DEAL_TYPE"),
        (CONTACT, "typeId", "TYPE_ID", "CONTACT_TYPE"),
        (COMPANY, "typeId", "COMPANY_TYPE", "COMPANY_TYPE"),
        (COMPANY, "industry", "INDUSTRY", "INDUSTRY"),
        (QUOTE, "stageId", "STATUS_ID", "QUOTE_STATUS"),
        (INVOICE, "previousStageId", "PREVIOUS_STAGE_ID", "SMART_INVOICE_STAGE_3"),
        (RENTAL, "stageId", "STAGE_ID", "DYNAMIC_177_STAGE_7"),
    ],
)
def test_fields_of_directories(portal: RunningPortal, number: int, name: str, old: str, directory: str) -> None:
    row = fields_of(portal, number)[name]
    upper = {"stageId": "STAGE_ID", "typeId": "TYPE_ID"}.get(name, old)  # not always the name in the old methods
    assert (row["type"], row["upperName"], row["statusType"]) == ("crm_status", upper, directory)
    if number < INVOICE:
        kind = {1: "lead", 2: "deal", 3: "contact", 4: "company", 7: "quote"}[number]
        before = result(portal, f"crm.{kind}.fields")[old]
        assert before["statusType"] == directory
        assert "upperName" not in before


def test_custom_fields(portal: RunningPortal, russian_portal: RunningPortal) -> None:
    rows = fields_of(russian_portal, DEAL)
    assert rows["ufCrm_1724"]["items"][2] == {"ID": "79", "VALUE": "Крупные клиенты"}
    assert rows["ufCrm_1724077761"]["isMultiple"]
    assert rows["ufCrm_1724077760"]["settings"] == {"ENTITY_TYPE": "SOURCE"}
    assert "UF_CRM_1724" in fields_of(portal, DEAL, useOriginalUfNames="Y")
    assert "ufCrm44_1724" in fields_of(portal, RENTAL)
    assert result(portal, "crm.deal.fields")["UF_CRM_1724"]["type"] == "enumeration"


def test_types_and_pipelines(portal: RunningPortal) -> None:
    types = {row["ID"]: row["SYMBOL_CODE"] for row in result(portal, "crm.enum.ownertype")}
    assert types[DEAL] == "DEAL"
    assert types[RENTAL] == "DYNAMIC_177"
    pipelines = result(portal, "crm.category.list", {"entityTypeId": DEAL})["categories"]
    assert [(row["id"], row["name"], row["isDefault"]) for row in pipelines] == [
        (0, "General", "Y"),
        (1, "Wholesale", "N"),
        (2, "Service contracts", "N"),
    ]
    assert error(portal, "crm.category.list", entityTypeId=LEAD)[0] == "ENTITY_TYPE_NOT_SUPPORTED"
    assert error(portal, "crm.category.list", entityTypeId=999)[0] == "NOT_FOUND"


def test_a_record_is_stored_field_by_field(portal: RunningPortal) -> None:
    stored = add(
        portal,
        title="Order",
        createdTime="2020-01-01",
        SOURCE_ID="WEB",
        ufCrm_1727=[90, "91", "Delivery"],
        opportunity="12.50",
    )
    assert stored["createdTime"] != "2020-01-01"
    assert stored["sourceId"] == "WEB"  # a system field in upper case
    assert stored["ufCrm_1727"] == [90, 91]
    again = update(portal, stored, opportunity="no number", closedate="no date")
    assert (again["opportunity"], again["closedate"]) == (0, None)


def test_errors_of_writing(portal: RunningPortal) -> None:
    for fields, code in (
        ({"ufCrm_1724077761": "IT"}, "100"),
        ({"categoryId": 42}, "CRM_FIELD_ERROR_CATEGORY_NOT_AVAILABLE"),
    ):
        assert error(portal, "crm.item.add", entityTypeId=DEAL, fields=fields)[0] == code
    assert error(portal, "crm.item.add", entityTypeId=CONTACT, fields={"name": "Ann"})[0] == "CRM_FIELD_ERROR_REQUIRED"
    assert error(portal, "crm.item.get", entityTypeId=DEAL, id=10**6)[0] == "NOT_FOUND"
    assert error(portal, "crm.item.update", entityTypeId=DEAL, id=10**6, fields={})[0] == "NOT_FOUND"


@pytest.mark.parametrize("age", ["oldest", "older", "today"])
def test_right_stages_are_stored_in_each_generation(aged: Callable[[Age], RunningPortal], age: Age) -> None:
    portal = aged(age)
    item = add(portal, categoryId=2, stageId="C2:EXECUTING")
    assert item["stageId"] == "C2:EXECUTING"
    assert update(portal, item, categoryId=1, stageId="C1:UC_9F4K2L")["stageId"] == "C1:UC_9F4K2L"
    assert add(portal)["stageId"] == "NEW"
    assert add(portal, LEAD, stageId="JUNK")["stageId"] == "JUNK"
    assert add(portal, RENTAL, categoryId=8, stageId="DT177_8:CLIENT")["stageId"] == "DT177_8:CLIENT"


def test_lists_and_filters(portal: RunningPortal) -> None:
    everything, body = list_items(portal)
    assert (len(everything), body["total"], body["next"]) == (50, 120, 50)
    rest, body = list_items(portal, start=100)
    assert len(rest) == 20
    assert "next" not in body
    uncounted, body = list_items(portal, start=-1, filter={">id": everything[-1]["id"]}, select=["id"])
    assert body["total"] == 0  # has no meaning
    assert list(uncounted[0]) == ["id"]
    won, body = list_items(portal, filter={"categoryId": 1, "@stageId": ["C1:WON", "C1:LOSE"]})
    assert {item["stageId"] for item in won} <= {"C1:WON", "C1:LOSE"}
    either, _ = list_items(portal, filter={"logic": "OR", "0": {"categoryId": 1}, "1": {"stageId": "WON"}})
    assert all(item["categoryId"] == 1 or item["stageId"] == "WON" for item in either)
    newest, _ = list_items(portal, order={"id": "DESC"})
    assert newest[0]["id"] > newest[1]["id"]
    assert error(portal, "crm.item.list", entityTypeId=DEAL, filter={"noSuch": 1})[0] == "INVALID_ARG_VALUE"


def test_records_whose_code_no_directory_has(portal: RunningPortal) -> None:
    """`!@` drops nulls and keeps empty ones; letter case and final blanks make no difference."""
    codes = [item.status_id for item in portal.portal.store.of("SOURCE")]
    names: list[str] = []
    for number in (LEAD, DEAL, CONTACT):
        items, body = list_items(
            portal, number, filter={"!@sourceId": codes, "!=sourceId": ""}, select=["id", "sourceId"]
        )
        assert body["total"] == len(items)
        names += [item["sourceId"] for item in items]
    assert {"website", "16|WZ_C64E"} & {*names}
    assert "Call " not in names  # is sorted behind CALL
    stored = {values["sourceId"] for values in portal.portal.store.records.of(DEAL)}
    assert {code for code in stored if code} - {*codes}


def test_records_within_a_batch(portal: RunningPortal) -> None:
    commands = {
        "a": "crm.item.list?entityTypeId=2&filter[stageId]=WON&select[]=id",
        "b": "crm.item.fields?entityTypeId=4",
    }
    answers = result(portal, "batch", {"cmd": commands})
    assert answers["result_total"]["a"] == list_items(portal, filter={"stageId": "WON"})[1]["total"]
    assert "industry" in answers["result"]["b"]["fields"]
