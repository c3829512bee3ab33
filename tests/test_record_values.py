"""check_record's values: codes, words, lists, booleans, numbers, dates, in both languages."""

from __future__ import annotations

from typing import Any

import pytest

from support import RunningPortal, ask, change_field
from test_check_record import check, check_field, only


@pytest.mark.parametrize(
    ("name", "value", "outcome", "written"),
    [
        ("SOURCE_ID", "CALL", "right", "CALL"),
        ("SOURCE_ID", "call", "changed", "CALL"),
        ("SOURCE_ID", "CALL ", "changed", "CALL"),
        ("SOURCE_ID", "cold call", "changed", "UC_C0LD01"),
        ("SOURCE_ID", "unicorn", "wrong", None),
        ("SOURCE_ID", 79, "wrong", None),
        ("SOURCE_ID", ["CALL"], "changed", "CALL"),
        ("SOURCE_ID", ["CALL", "WEB"], "wrong", None),
        ("SOURCE_ID", {"ID": "CALL"}, "changed", "CALL"),
        ("SOURCE_ID", {"CALL": "x"}, "wrong", None),
        ("SOURCE_ID", "", "clears", None),
        ("SOURCE_ID", None, "clears", None),
        ("SOURCE_ID", "x" * 5000, "wrong", None),
        ("UF_CRM_1724077760", "WEB", "right", "WEB"),
        ("UF_CRM_1724077761", ["IT", "DELIVERY"], "right", ["IT", "DELIVERY"]),
        ("UF_CRM_1724077761", "IT", "changed", ["IT"]),
        ("UF_CRM_1724077761", "IT, delivery", "changed", ["IT", "DELIVERY"]),
        ("UF_CRM_1724077761", '["IT"]', "changed", ["IT"]),
        ("UF_CRM_1724077761", ["IT", "unicorn"], "wrong", None),
        ("UF_CRM_1724077761", [], "clears", None),
        ("UF_CRM_1724", 79, "right", 79),
        ("UF_CRM_1724", "79", "right", 79),
        ("UF_CRM_1724", "Large customers", "changed", 79),
        ("UF_CRM_1724", 80, "wrong", None),
        ("UF_CRM_1724", "huge", "wrong", None),
        ("UF_CRM_1724", 0, "clears", None),
        ("UF_CRM_1727", [90, "Assembly"], "changed", [90, 92]),
        ("UF_CRM_1725", True, "right", True),
        ("UF_CRM_1725", "Y", "right", "Y"),
        ("UF_CRM_1725", "1", "changed", "Y"),
        ("UF_CRM_1725", 1, "changed", "Y"),
        ("UF_CRM_1725", "да", "changed", "Y"),
        ("UF_CRM_1725", "no", "changed", "N"),
        ("UF_CRM_1725", "maybe", "wrong", None),
        ("UF_CRM_1725", "", "wrong", None),
        ("UF_CRM_1726", "2026-01-15", "right", "2026-01-15"),
        ("UF_CRM_1726", "15.01.2026", "right", "15.01.2026"),
        ("UF_CRM_1726", "1.2.2026", "changed", "2026-02-01"),
        ("UF_CRM_1726", "2026-01-15T09:00:00+03:00", "changed", "2026-01-15"),
        ("UF_CRM_1726", "1/15/2026", "changed", "2026-01-15"),
        ("UF_CRM_1726", "1/2/2026", "ambiguous", None),
        ("UF_CRM_1726", "2026-02-30", "wrong", None),
        ("UF_CRM_1726", "tomorrow", "wrong", None),
        ("CURRENCY_ID", "EUR", "right", "EUR"),
        ("CURRENCY_ID", "eur", "changed", "EUR"),
        ("CURRENCY_ID", "US dollar", "changed", "USD"),
        ("CURRENCY_ID", "ZZZ", "wrong", None),
        ("OPPORTUNITY", 1500, "right", 1500),
        ("OPPORTUNITY", "1500.50", "right", "1500.50"),
        ("OPPORTUNITY", "1 500,50", "changed", 1500.5),
        ("OPPORTUNITY", "1.500,50", "changed", 1500.5),
        ("OPPORTUNITY", "1,500,000", "changed", 1500000),
        ("OPPORTUNITY", "1,500", "ambiguous", None),
        ("OPPORTUNITY", "12,5", "changed", 12.5),
        ("OPPORTUNITY", 1e22, "right", 1e22),
        ("OPPORTUNITY", "+5", "changed", 5),
        ("OPPORTUNITY", "+-5", "wrong", None),
        ("OPPORTUNITY", "1e3", "changed", 1000),
        ("OPPORTUNITY", "much", "wrong", None),
        ("OPPORTUNITY", True, "wrong", None),
        ("OPPORTUNITY", 0, "right", 0),
        ("OPPORTUNITY", "1.200", "ambiguous", None),
        ("OPPORTUNITY", 1.2, "right", 1.2),
        ("OPPORTUNITY", "0.500", "right", "0.500"),
        ("OPPORTUNITY", "12345678901234567.89", "changed", 1.2345678901234568e16),
        ("OPPORTUNITY", "1e400", "wrong", None),
        ("UF_CRM_1728", "0", "right", "0"),
        ("UF_CRM_1728", 2**31 - 1, "right", 2**31 - 1),
        ("UF_CRM_1728", 2**31, "wrong", None),
        ("UF_CRM_1728", "1.500", "changed", 1500),
        ("UF_CRM_1731", [0, 5], "right", [0, 5]),
        ("UF_CRM_1731", {"0": 0, "1": 5}, "changed", [0, 5]),
        ("UF_CRM_1731", [""], "clears", None),
        ("UF_CRM_1731", ["", 5], "changed", [5]),
        ("UF_CRM_1729", "31.12.2026 18:30", "right", "31.12.2026 18:30"),
        ("UF_CRM_1729", "31/12/2026", "changed", "2026-12-31T00:00:00"),
        ("COMPANY_ID", 0, "clears", None),
        ("COMPANY_ID", 2**31, "wrong", None),
        ("COMPANY_ID", "5", "unchecked", "5"),
        ("ASSIGNED_BY_ID", "Ivan", "wrong", None),
        ("COMMENTS", "any = text", "unchecked", "any = text"),
        ("COMMENTS", "", "clears", None),
    ],
)
async def test_values(portal: RunningPortal, name: str, value: Any, outcome: str, written: Any) -> None:
    result = await check(portal, {name: value})
    assert only(result)["outcome"] == outcome, result.text
    assert result.structured["write"].get(name) == written
    assert (name in result.structured.get("open", [])) == (written is None)
    assert result.structured["ok"] == (outcome in ("right", "unchecked"))


@pytest.mark.parametrize("type_id", [["PHONE"], {"id": "PHONE"}])
async def test_a_type_of_another_shape_is_no_type(portal: RunningPortal, type_id: object) -> None:
    result = await check(portal, {"fm": [{"typeId": type_id, "valueType": "WORK", "value": "+1 555 0100"}]})
    assert only(result)["outcome"] == "dropped"


async def test_a_field_given_twice(portal: RunningPortal) -> None:
    twice = await check(portal, ["SOURCE_ID=CALL", "SOURCE_ID=WEB"])
    assert only(twice)["outcome"] == "wrong"
    many = await check(portal, ["UF_CRM_1724077761=IT", "UF_CRM_1724077761=DELIVERY"])
    assert many.structured["write"] == {"UF_CRM_1724077761": ["IT", "DELIVERY"]}


async def test_an_id_that_is_also_a_text_of_its_list(portal: RunningPortal) -> None:
    """An enumeration of sizes: its texts are numbers like their ids."""
    change_field(portal.portal, 2, "UF_CRM_1724", choices=(("77", "79"), ("79", "200")))
    result = await ask(portal, "check_record", entity="deal", fields={"UF_CRM_1724": 79})
    assert only(result)["outcome"] == "ambiguous"
    assert only(result)["candidates"] == ["79 (200)", "77 (79)"]


async def test_an_empty_directory_and_one_that_is_gone(portal: RunningPortal) -> None:
    assert "Partner levels has no items" in (await check_field(portal, "UF_CRM_1724077700", "GOLD", "lead"))["note"]
    del portal.portal.store.directories["PARTNER_LEVEL"]
    assert (
        "not among the portal's directories" in (await check_field(portal, "UF_CRM_1724077700", "GOLD", "lead"))["note"]
    )


@pytest.mark.parametrize(
    ("name", "value", "outcome", "written"),
    [
        ("SOURCE_ID", "звонок", "changed", "CALL"),
        ("Источник", "холодный звонок", "changed", "UC_C0LD01"),
        ("CATEGORY_ID", "Опт", "changed", 1),
        ("CURRENCY_ID", "рубль", "changed", "RUB"),
        ("Размер клиента", "крупные клиенты", "changed", 79),
        ("Нужна доставка", "да", "changed", "Y"),
        ("Дата осмотра", "15.01.2026", "changed", "15.01.2026"),
        ("Сумма", "1\u00a0500,50", "changed", 1500.5),
        ("Затронутые отрасли", "Финансы; Доставка", "changed", ["FINANCE", "DELIVERY"]),
        ("TYPE_ID", "услуги", "changed", "SERVICES"),
        ("SOURCE_ID", "единорог", "wrong", None),
    ],
)
async def test_values_in_russian(
    russian_portal: RunningPortal, name: str, value: Any, outcome: str, written: Any
) -> None:
    result = await check(russian_portal, {name: value}, "Сделка")
    assert only(result)["outcome"] == outcome, result.text
    assert list(result.structured["write"].values()) == ([] if written is None else [written])
