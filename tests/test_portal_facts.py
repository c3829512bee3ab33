"""docs/PORTAL.md, row by row, against the demo portal over HTTP, in each server age."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.store import Age
from support import RunningPortal, change_field
from test_portal import post, result, rows

AGES: tuple[Age, ...] = ("today", "older", "oldest")
DOCUMENT = Path(__file__).parents[1] / "docs" / "PORTAL.md"
LEAD, DEAL, CONTACT, INVOICE, RENTAL = 1, 2, 3, 31, 177

Values = dict[str, Any]
Fact = Callable[["Portal"], None]

facts: dict[tuple[str, str], tuple[Fact, bool]] = {}


def fact(method: str, sent: str, *, differs: bool = False) -> Callable[[Fact], Fact]:
    """Register the check of the document's row with these first two cells.

    `differs` marks a row that is different on older portals.
    """

    def collect(check: Fact) -> Fact:
        assert (method, sent) not in facts
        facts[method, sent] = check, differs
        return check

    return collect


class Portal:
    """A demo portal of one age, and short ways to write to it."""

    def __init__(self, running: RunningPortal) -> None:
        self.running = running
        self.age = running.portal.store.age

    def result(self, method: str, **params: Any) -> Any:
        return result(self.running, method, params)

    def error(self, method: str, **params: Any) -> tuple[str, str]:
        status, body = post(self.running, method, params)
        assert status == 400, body
        return body["error"], body["error_description"]

    def add_status(self, entity_id: str, code: str, name: str = "x", **fields: Any) -> Values:
        fields = {"ENTITY_ID": entity_id, "STATUS_ID": code, "NAME": name, **fields}
        return self.status(self.result("crm.status.add", fields=fields))

    def refused_status(self, entity_id: str, code: str, **fields: Any) -> tuple[str, str]:
        return self.error("crm.status.add", fields={"ENTITY_ID": entity_id, "STATUS_ID": code, "NAME": "x", **fields})

    def status(self, number: int | str) -> Values:
        row: Values = self.result("crm.status.get", id=number)
        return row

    def update_status(self, row: Values, **fields: Any) -> Values:
        assert self.result("crm.status.update", id=row["ID"], fields=fields) is True
        return self.status(row["ID"])

    def row_of(self, entity_id: str, code: str) -> Values:
        return next(row for row in rows(self.running, entity_id) if row["STATUS_ID"] == code)

    def add(self, number: int = DEAL, **fields: Any) -> Values:
        item: Values = self.result("crm.item.add", entityTypeId=number, fields=fields)["item"]
        return item

    def update(self, item: Values, number: int = DEAL, **fields: Any) -> Values:
        updated: Values = self.result("crm.item.update", entityTypeId=number, id=item["id"], fields=fields)["item"]
        return updated

    def total(self, number: int = DEAL, **params: Any) -> int:
        status, body = post(self.running, "crm.item.list", {"entityTypeId": number, **params})
        assert status == 200, body
        return int(body["total"])


# Changing a directory


@fact("crm.status.add", "a `STATUS_ID` with a colon, in any directory")
def colon(portal: Portal) -> None:
    assert portal.add_status("SOURCE", "WZ:LINE1")["STATUS_ID"] == "LINE1"
    assert portal.add_status("DEAL_STAGE_1", "X9:LATER")["STATUS_ID"] == "C1:LATER"


@fact("crm.status.add", "a `STATUS_ID` for a pipeline's stage")
def prefix(portal: Portal) -> None:
    assert portal.add_status("DEAL_STAGE_1", "REVIEW")["STATUS_ID"] == "C1:REVIEW"
    assert portal.add_status("DEAL_STAGE_1", "C1:SECOND")["STATUS_ID"] == "C1:SECOND"


@fact("crm.status.add", "a `STATUS_ID` that is too long")
def length(portal: Portal) -> None:
    limits = {"STATUS": 21, "QUOTE_STATUS": 22, "DEAL_STAGE": 22, "DEAL_STAGE_1": 19, "DYNAMIC_177_STAGE_7": 42}
    for entity_id, longest in {**limits, "SOURCE": 50}.items():
        assert portal.refused_status(entity_id, "X" * (longest + 1))[0] == ""
        assert portal.add_status(entity_id, "X" * longest)["STATUS_ID"].endswith("X" * longest)


@fact("crm.status.add", "a stage's `STATUS_ID` with other characters than `A-Z a-z 0-9 _ -`")
def alphabet(portal: Portal) -> None:
    assert portal.refused_status("DEAL_STAGE", "Ж")[0] == ""
    assert portal.add_status("SOURCE", "Ж и 1")["STATUS_ID"] == "Ж и 1"


@fact("crm.status.add", "a `STATUS_ID` that the directory has")
def taken(portal: Portal) -> None:
    assert portal.refused_status("SOURCE", "CALL")[0] == "ERROR_CORE"


@fact("crm.status.add", "a `NAME` of more than 100 characters")
def long_name(portal: Portal) -> None:
    assert portal.add_status("SOURCE", "LONG", name=f"  {'n' * 120}")["NAME"] == "n" * 100


@fact("crm.status.add", "a `COLOR`")
def color(portal: Portal) -> None:
    assert portal.add_status("DEAL_STAGE", "A", COLOR="39A8EF")["COLOR"] == "#39A8EF"
    assert portal.add_status("DEAL_STAGE", "B", COLOR="#39A8EF39A8EF")["COLOR"] == "#39A8EF39A"


@fact("crm.status.add", "no `SORT`, or one of 0 or less")
def no_sort(portal: Portal) -> None:
    assert portal.add_status("SOURCE", "A")["SORT"] == "10"
    assert portal.add_status("SOURCE", "B", SORT=-5)["SORT"] == "10"


@fact("crm.status.add", "a stage whose `SORT` contradicts its meaning")
def misplaced(portal: Portal) -> None:
    winning = int(portal.row_of("DEAL_STAGE", "WON")["SORT"])
    for sort, semantics in ((winning, ""), (winning + 1, ""), (winning, "F"), (winning - 1, "F"), (20, "S")):
        assert portal.refused_status("DEAL_STAGE", "X", SORT=sort, SEMANTICS=semantics)[0] == ""
    portal.add_status("DEAL_STAGE", "X", SORT=winning - 1)
    portal.add_status("DEAL_STAGE", "Y", SORT=winning + 1, SEMANTICS="F")


@fact("crm.status.update", "anything at all")
def always_true(portal: Portal) -> None:
    row = portal.row_of("SOURCE", "WEB")
    assert portal.update_status(row, NAME="", SORT=row["SORT"]) == row
    assert portal.error("crm.status.update", id=99999, fields={})[0] == ""


@fact("crm.status.update", 'an empty `NAME`, or `"0"`')
def empty_name(portal: Portal) -> None:
    row = portal.row_of("SOURCE", "WEB")
    for name in ("", "0", "   "):
        assert portal.update_status(row, NAME=name, SORT=row["SORT"])["NAME"] == "Website"


@fact("crm.status.update", "a `NAME` of more than 100 characters")
def long_new_name(portal: Portal) -> None:
    assert portal.update_status(portal.row_of("SOURCE", "WEB"), NAME="n" * 120)["NAME"] == "n" * 100


@fact("crm.status.update", "no `SORT`", differs=True)
def sort_left_out(portal: Portal) -> None:
    updated = portal.update_status(portal.row_of("SOURCE", "WEB"), NAME="Site")
    assert updated["SORT"] == ("30" if portal.age == "today" else "10")


@fact("crm.status.update", "a `SORT` behind the winning stage")
def sort_behind(portal: Portal) -> None:
    assert portal.update_status(portal.row_of("DEAL_STAGE", "NEW"), SORT=900)["SORT"] == "900"


@fact("crm.status.update", "`STATUS_ID`, `ENTITY_ID` or `SEMANTICS`")
def immutable(portal: Portal) -> None:
    row = portal.row_of("DEAL_STAGE", "NEW")
    changed = {"STATUS_ID": "X", "ENTITY_ID": "SOURCE", "SEMANTICS": "F", "SORT": row["SORT"]}
    assert portal.update_status(row, **changed) == row


@fact("crm.status.delete", "a system item, without `FORCED`")
def system(portal: Portal) -> None:
    number = portal.row_of("SOURCE", "CALL")["ID"]
    assert "FORCED" in portal.error("crm.status.delete", id=number)[1]
    assert portal.result("crm.status.delete", id=number, params={"FORCED": "Y"}) is True


@fact("crm.status.delete", "a stage that records are in")
def stage_in_use(portal: Portal) -> None:
    portal.add(DEAL, stageId="PREPARATION")
    number = portal.row_of("DEAL_STAGE", "PREPARATION")["ID"]
    assert portal.error("crm.status.delete", id=number) == ("", "There are active items in this status.")
    portal.add(RENTAL, categoryId=7, stageId="DT177_7:CLIENT")
    number = portal.row_of("DYNAMIC_177_STAGE_7", "DT177_7:CLIENT")["ID"]
    code, words = portal.error("crm.status.delete", id=number)
    assert code == ""
    assert words != "There are active items in this status."


@fact("crm.status.delete", "a source, type or industry that records carry")
def source_in_use(portal: Portal) -> None:
    item = portal.add(DEAL, sourceId="WEB")
    assert portal.result("crm.status.delete", id=portal.row_of("SOURCE", "WEB")["ID"]) is True
    assert portal.result("crm.item.get", entityTypeId=DEAL, id=item["id"])["item"]["sourceId"] == "WEB"


@fact("crm.status.entity.items", "the id of no directory")
def unknown_directory(portal: Portal) -> None:
    assert portal.result("crm.status.entity.items", entityId="NO_SUCH_THING") == []


def types(portal: Portal) -> dict[str, Values]:
    return {row["ID"]: row for row in portal.result("crm.status.entity.types")}


@fact("crm.status.entity.types", "(names of pipelines)", differs=True)
def pipeline_names(portal: Portal) -> None:
    naming = {entity_id for entity_id, row in types(portal).items() if "CATEGORY_NAME" in row}
    assert naming == ({"DYNAMIC_177_STAGE_7", "DYNAMIC_177_STAGE_8"} if portal.age == "today" else set())
    categories = portal.result("crm.category.list", entityTypeId=DEAL)["categories"]
    assert [row["name"] for row in categories] == ["General", "Wholesale", "Service contracts"]


@fact("crm.status.entity.types", "(start and final stages)")
def semantic_info(portal: Portal) -> None:
    type_ids = types(portal)
    assert type_ids["DEAL_STAGE_1"]["SEMANTIC_INFO"]["FINAL_SUCCESS_FIELD"] == "C1:WON"
    assert type_ids["SMART_INVOICE_STAGE_3"]["SEMANTIC_INFO"] == type_ids["DYNAMIC_177_STAGE_7"]["SEMANTIC_INFO"] == []


@fact("crm.status.entity.types", "(stages that are switched off)")
def switched_off(portal: Portal) -> None:
    assert types(portal)["SMART_DOCUMENT_STAGE_5"]["IS_ENABLED"] is False
    assert portal.result("crm.status.entity.items", entityId="SMART_DOCUMENT_STAGE_5")
    assert "stageId" not in portal.result("crm.item.fields", entityTypeId=36)["fields"]


# Writing a record


WRONG_STAGE = ("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Invalid value for field "Stage"')


@fact("crm.item.add", "a stage that the pipeline does not have", differs=True)
def wrong_stage_added(portal: Portal) -> None:
    fields: Values = {"categoryId": 1, "stageId": "WON"}
    if portal.age == "today":
        assert portal.add(**fields)["stageId"] == "C1:WON"
        assert portal.add(categoryId=1, stageId="nonsense")["stageId"] == "C1:NEW"
    else:
        assert portal.error("crm.item.add", entityTypeId=DEAL, fields=fields) == WRONG_STAGE


@fact("crm.item.update", "a stage that the pipeline does not have", differs=True)
def wrong_stage_updated(portal: Portal) -> None:
    item = portal.add(categoryId=1, stageId="C1:UC_A1B2C3")
    if portal.age == "today":
        assert portal.update(item, stageId="WON")["stageId"] == "C1:UC_A1B2C3"
    else:
        params = {"entityTypeId": DEAL, "id": item["id"], "fields": {"stageId": "WON"}}
        assert portal.error("crm.item.update", **params) == WRONG_STAGE


@fact("crm.item.update", "another pipeline, with a stage that it does not have", differs=True)
def wrong_stage_moved(portal: Portal) -> None:
    item = portal.add(categoryId=1, stageId="C1:UC_A1B2C3")
    fields: Values = {"categoryId": 2, "stageId": "C1:LOSE"}
    if portal.age == "oldest":
        assert portal.error("crm.item.update", entityTypeId=DEAL, id=item["id"], fields=fields) == WRONG_STAGE
    else:
        assert portal.update(item, **fields)["stageId"] == "C2:LOSE"


@fact("crm.deal.add", "a stage of pipeline 1, without `CATEGORY_ID`", differs=True)
def deal_without_pipeline(portal: Portal) -> None:
    number = portal.result("crm.deal.add", fields={"TITLE": "x", "STAGE_ID": "C1:LOSE"})
    deal = portal.result("crm.deal.get", id=number)
    assert (deal["CATEGORY_ID"], deal["STAGE_ID"]) == (0, "LOSE" if portal.age == "today" else "C1:LOSE")


@fact("crm.deal.update", "`CATEGORY_ID`")
def deal_stays_in_pipeline(portal: Portal) -> None:
    item = portal.add(categoryId=1, stageId="C1:NEW")
    assert portal.result("crm.deal.update", id=item["id"], fields={"CATEGORY_ID": 2}) is True
    assert portal.result("crm.deal.get", id=item["id"])["CATEGORY_ID"] == 1


@fact("crm.item.add", "a source, type or industry that the directory does not have")
def unknown_code(portal: Portal) -> None:
    item = portal.add(sourceId="No such source", typeId="x", ufCrm_1724077760="raw")
    assert (item["sourceId"], item["typeId"], item["ufCrm_1724077760"]) == ("No such source", "x", "raw")


@fact("crm.item.add", "a currency that the portal does not have", differs=True)
def currency(portal: Portal) -> None:
    if portal.age == "today":
        error = portal.error("crm.item.add", entityTypeId=DEAL, fields={"currencyId": "XTS"})
        assert error == ("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Invalid value for field "Currency"')
    else:
        assert portal.add(currencyId="XTS")["currencyId"] == "XTS"


@fact("crm.item.add", "a text where an enumeration's ID belongs")
def enumeration(portal: Portal) -> None:
    assert portal.add(ufCrm_1724="Large customers")["ufCrm_1724"] is None
    assert portal.add(ufCrm_1724="79")["ufCrm_1724"] == 79


@fact("crm.item.add", "a key that names no field, such as `stage`")
def no_field(portal: Portal) -> None:
    item = portal.add(stage="WON", STAGEID="WON")
    assert item["stageId"] == "NEW"
    assert {"stage", "STAGEID"}.isdisjoint(item)


@fact("crm.item.add", 'a custom field as `UF_CRM_…`, without `useOriginalUfNames: "Y"`')
def original_name(portal: Portal) -> None:
    assert portal.add(UF_CRM_1724=79)["ufCrm_1724"] is None
    original = {"entityTypeId": DEAL, "fields": {"UF_CRM_1724": 79}, "useOriginalUfNames": "Y"}
    assert portal.result("crm.item.add", **original)["item"]["UF_CRM_1724"] == 79


@fact("crm.item.list", 'a filter by `UF_CRM_…`, without `useOriginalUfNames: "Y"`')
def original_name_in_filter(portal: Portal) -> None:
    condition = {"=UF_CRM_1724": 79}
    assert portal.error("crm.item.list", entityTypeId=DEAL, filter=condition)[0] == "INVALID_ARG_VALUE"
    assert portal.total(filter=condition, useOriginalUfNames="Y") == portal.total(filter={"=ufCrm_1724": 79}) > 0


@fact("crm.item.list", "a filter such as `=ufCrm_5f3a2b1c4d6e7`, whose original name mixes letters and digits")
def hexadecimal_name(portal: Portal) -> None:
    lead = {"entityTypeId": LEAD, "filter": {"=ufCrm_5f3a2b1c4d6e7": "EMPLOYEES_3"}}
    assert portal.error("crm.item.list", **lead)[0] == "INVALID_ARG_VALUE"
    condition = {"=UF_CRM_5F3A2B1C4D6E7": "EMPLOYEES_3"}
    assert portal.total(LEAD, filter=condition, useOriginalUfNames="Y") > 0
    assert portal.add(LEAD, ufCrm_5f3a2b1c4d6e7="EMPLOYEES_1")["ufCrm_5f3a2b1c4d6e7"] == "EMPLOYEES_1"


@fact("crm.item.add", '`true`, `"true"`, `"y"` or `"Y"` in a boolean field')
def boolean(portal: Portal) -> None:
    assert {portal.add(opened=value)["opened"] for value in (True, "true", "y", "Y")} == {"Y"}
    assert {portal.add(opened=value)["opened"] for value in (1, "1", "yes", "TRUE", "N", False, None)} == {"N"}


@fact("crm.deal.add", "anything but `Y` and `N` in a boolean field")
def boolean_of_old_method(portal: Portal) -> None:
    def stored(value: Any) -> str:
        number = portal.result("crm.deal.add", fields={"TITLE": "x", "OPENED": value})
        return str(portal.result("crm.deal.get", id=number)["OPENED"])

    assert {stored(value) for value in ("Y", "no", "false", "n", 1)} == {"Y"}
    assert {stored(value) for value in ("N", "", "0", 0, None)} == {"N"}


@fact("crm.item.update", "`0` in a number or a text", differs=True)
def zero(portal: Portal) -> None:
    item = portal.update(portal.add(opportunity=5, comments="x"), opportunity=0, comments="0")
    assert (item["opportunity"], item["comments"]) == ((0, "0") if portal.age == "today" else (None, None))


@fact("crm.item.update", "`0` in a field of codes, or for a user or a company")
def zero_that_clears(portal: Portal) -> None:
    item = portal.update(portal.add(sourceId="WEB", companyId=7), sourceId=0, companyId="0")
    assert (item["sourceId"], item["companyId"]) == (None, None)


@fact("crm.item.update", "an empty text or null")
def empty(portal: Portal) -> None:
    full: Values = {"title": "x", "currencyId": "EUR", "closedate": "2026-01-02", "sourceId": "WEB", "comments": "x"}
    for nothing in ("", None):
        item = portal.update(portal.add(**full), **dict.fromkeys(full, nothing))
        assert (item["title"], item["currencyId"], item["closedate"]) == ("x", "EUR", "2026-01-02")
        assert (item["sourceId"], item["comments"]) == (None, None)


@fact("crm.item.update", "an empty list for a multiple field")
def empty_list(portal: Portal) -> None:
    assert portal.update(portal.add(ufCrm_1727=[90, "91"]), ufCrm_1727=[])["ufCrm_1727"] == [90, 91]


@fact("crm.item.update", "a single value for a multiple field")
def single_value(portal: Portal) -> None:
    item = portal.add()
    params = {"entityTypeId": DEAL, "id": item["id"], "fields": {"ufCrm_1724077761": "IT"}}
    assert portal.error("crm.item.update", **params)[0] == "100"


OTHER_SHAPES: tuple[Any, ...] = ("+7 1", ["+7 1"], [{"VALUE": "+7 1"}], {"value": "+7 1"}, [])


@fact("crm.item.update", "phones that are not `fm: [{typeId, valueType, value}]`")
def phones(portal: Portal) -> None:
    right = [{"typeId": "PHONE", "valueType": "WORK", "value": "+7 1"}]
    item = portal.add(CONTACT, lastName="x", fm=right)
    assert item["fm"] == right
    for shape in OTHER_SHAPES:
        assert portal.update(item, CONTACT, fm=shape)["fm"] == right


@fact("crm.contact.update", "phones that are not `PHONE: [{VALUE, VALUE_TYPE}]`")
def phones_of_old_method(portal: Portal) -> None:
    right = [{"VALUE": "+7 1", "VALUE_TYPE": "WORK"}]
    number = portal.result("crm.contact.add", fields={"LAST_NAME": "x", "PHONE": right})
    for shape in ("+7 2", ["+7 2"], [{"value": "+7 2"}], [{"typeId": "PHONE", "value": "+7 2"}]):
        assert portal.result("crm.contact.update", id=number, fields={"PHONE": shape}) is True
        assert portal.result("crm.contact.get", id=number)["PHONE"] == right


@fact("crm.deal.update", "`CLOSED`")
def closed(portal: Portal) -> None:
    item = portal.add(stageId="NEW")
    portal.result("crm.deal.update", id=item["id"], fields={"CLOSED": "Y"})
    assert portal.result("crm.deal.get", id=item["id"])["CLOSED"] == "N"
    assert portal.update(item, stageId="WON")["closed"] == "Y"


@fact("crm.item.add", "a date that PHP's strtotime reads")
def date(portal: Portal) -> None:
    read = {"31.12.2026": "2026-12-31", "1/2/2026": "2026-01-02", "2026-02-30": "2026-03-02", "tomorrow": "2026-01-16"}
    assert {text: portal.add(begindate=text)["begindate"] for text in read} == read


@fact("crm.item.add", "a date that strtotime cannot read, such as `31/12/2026` or `01.13.2026`")
def no_date(portal: Portal) -> None:
    assert {portal.add(begindate=text)["begindate"] for text in ("31/12/2026", "01.13.2026")} == {None}


@fact("crm.item.add", "a number with a comma, or with a point for thousands")
def number(portal: Portal) -> None:
    read = {"12,5": 12, "1.200": 1.2, "12.50": 12.5}
    assert {text: portal.add(opportunity=text)["opportunity"] for text in read} == read


@fact("crm.item.add", "a date and time that strtotime reads")
def moment(portal: Portal) -> None:
    read = {
        "31.12.2026 18:30": "2026-12-31T18:30:00+03:00",
        "2026-01-15T09:00:00Z": "2026-01-15T09:00:00+00:00",
        "1/2/2026": "2026-01-02T00:00:00+03:00",
    }
    assert {text: portal.add(ufCrm_1729=text)["ufCrm_1729"] for text in read} == read
    assert portal.add(ufCrm_1729="31/12/2026 10:00")["ufCrm_1729"] is None


@fact("crm.contact.add", "no value for a system field that is described as required")
def required(portal: Portal) -> None:
    assert portal.error("crm.contact.add", fields={"NAME": "Ann"})[0] == "CRM_FIELD_ERROR_REQUIRED"
    assert portal.error("crm.item.add", entityTypeId=CONTACT, fields={"name": "Ann"})[0] == "CRM_FIELD_ERROR_REQUIRED"


@fact("crm.item.add", "no value for a custom field that is described as required")
def required_custom(portal: Portal) -> None:
    change_field(portal.running.portal, DEAL, "UF_CRM_1726", required=True)
    assert portal.add()["ufCrm_1726"] is None


@fact("crm.contact.add", "no value for `OPENED`, which is described as required")
def opened(portal: Portal) -> None:
    assert portal.result("crm.contact.fields")["OPENED"]["isRequired"] is True
    number = portal.result("crm.contact.add", fields={"LAST_NAME": "x"})
    assert portal.result("crm.contact.get", id=number)["OPENED"] == "N"


# Counting, batches, authorisation


@fact("crm.item.list", "a filter by a code in another letter case, or with a blank at the end")
def letter_case(portal: Portal) -> None:
    exact = portal.total(filter={"=sourceId": "WEB"})
    assert portal.total(filter={"=sourceId": "web "}) == exact > 0


@fact("crm.item.list", "`!@` and a list of codes")
def none_of(portal: Portal) -> None:
    before = portal.total(filter={"!@sourceId": ["WEB"]})
    portal.add(sourceId=None)
    assert portal.total(filter={"!@sourceId": ["WEB"]}) == before


@fact("crm.item.list", "`start: -1`")
def uncounted(portal: Portal) -> None:
    assert portal.total(start=-1) == 0


@fact("batch", "a key or value that holds `$result[…]`, `$total[…]`, `$next[…]`, `$time[…]` or `$error[…]`")
def references(portal: Portal) -> None:
    commands = {
        "first": "crm.item.list?entityTypeId=2&select[]=id",
        "whole": "crm.item.get?entityTypeId=2&id=$result[first][items][0][id]",
        "encoded": "crm.item.add?entityTypeId=2&fields[title]=x%24total%5Bfirst%5Dy",
    }
    answers = portal.result("batch", cmd=commands)
    assert answers["result"]["whole"]["item"]["id"] == answers["result"]["first"]["items"][0]["id"]
    assert answers["result"]["encoded"]["item"]["title"] == f"x{answers['result_total']['first']}y"


@fact("any", "a webhook's code that is wrong")
def wrong_secret(portal: Portal) -> None:
    status, body = post(portal.running, "scope", secret="nobody0000000000")
    assert (status, body["error"]) == (401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("row", facts, ids=lambda row: f"{row[0]}: {row[1][:40]}")
def test_the_portal_does_as_the_document_says(
    serve: Callable[[DemoPortal], RunningPortal], row: tuple[str, str], age: Age
) -> None:
    check, _ = facts[row]
    check(Portal(serve(DemoPortal(age=age))))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_refusals_are_in_the_portals_language(serve: Callable[[DemoPortal], RunningPortal], language: Any) -> None:
    portal = Portal(serve(DemoPortal(language)))
    refusals = [
        portal.refused_status("DEAL_STAGE", "X" * 23),
        portal.refused_status("DEAL_STAGE", "Ж"),
        portal.refused_status("DEAL_STAGE", "X", SORT=900),
        portal.refused_status("SOURCE", "CALL"),
    ]
    assert all(words.isascii() == (language == "en") for _, words in refusals)


def test_each_row_of_the_document_is_held_by_a_test() -> None:
    table = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ")]
    documented = {}
    for line in table[1:]:
        method, sent, _, older = (cell.strip() for cell in line.strip("|").split(" |"))
        documented[method.strip("`"), sent] = bool(older)
    assert documented == {row: differs for row, (_, differs) in facts.items()}
