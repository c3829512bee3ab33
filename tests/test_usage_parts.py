"""get_directory_usage is bounded: most used codes first, all reachable, omissions named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bpe_openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.calls import MethodResult
from bitrix24_directories.portal.methods import run as real
from support import Assistant, PortalInProcess, ToolAnswer, ask, connect, examples
from test_picture import client_of, picture_data

pytestmark = pytest.mark.virtual_clock

TEXT, STRUCTURED = 5_000, 6_000
ENCODING = bpe_openai.get_encoding("o200k_base")
NAMES = {
    "english": "Trade show in {n} street",
    "russian": "Выставка на улице {n}",
    "chinese": "第{n}届广州国际贸易展览会",
    "hex": "{n:08x}-4f3c-9ad1-77e0b2c5",
    "emoji": "🎪🧿🪬🫧 {n}",
}


def tokens(value: Any) -> int:
    return len(ENCODING.encode(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))


def assert_bounded(result: ToolAnswer) -> None:
    assert tokens(result.text) <= TEXT
    assert tokens(result.structured) <= STRUCTURED


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, str], int]], None]:
    """Sets the number of records per field and code, without any real records."""

    def order(count: Callable[[str, str], int]) -> None:
        def run(store: Any, user: Any, method: str, params: Any) -> MethodResult:
            condition = params["filter"] if method == "crm.item.list" else {}
            field = next((key for key in condition if key.startswith("=")), None)
            if field is None:
                return MethodResult({"items": []}, total=0) if condition else real(store, user, method, params)
            return MethodResult({"items": []}, total=count(field, condition[field]))

        monkeypatch.setattr("bitrix24_directories.portal.app.run", run)

    return order


def with_sources(number: int, name: str) -> PortalInProcess:
    portal = PortalInProcess(DemoPortal())
    portal.portal.store.records.all = {}
    for n in range(number):
        portal.portal.store.add("SOURCE", f"UC_{n * 2654435761 % 2**32:08X}", name.format(n=n))
    return portal


@pytest.mark.parametrize(
    ("number", "entity_id", "name"),
    [
        pytest.param(3000, "SOURCE", NAMES["english"], marks=pytest.mark.slow),
        pytest.param(3000, "lead.SOURCE_ID", NAMES["russian"], marks=pytest.mark.slow),
        *((300, "lead.SOURCE_ID", name) for name in NAMES.values()),
    ],
)
async def test_many_items_that_are_all_in_use(counted: Any, number: int, entity_id: str, name: str) -> None:
    counted(lambda _field, code: 100 + int(code[-3:], 16) if code.startswith("UC_") else 1)
    portal = with_sources(number, name)
    async with connect(portal, timeout=3000, plan="enterprise") as assistant:
        first = await assistant.call("get_directory_usage", entityId=entity_id)
        last = first.structured["items"][-1]["statusId"]
        second = await assistant.call("get_directory_usage", entityId=entity_id, after=last)
    whole = len(portal.portal.store.of("SOURCE"))
    assert whole > number
    for result in (first, second):
        assert_bounded(result)
        counts = [item["count"] for item in result.structured["items"]]
        assert counts == sorted(counts, reverse=True)
        assert (result.structured["inUse"], result.structured["unused"]) == (whole, 0)
        assert f"{whole} codes in use, 0 unused" in result.text.splitlines()[0]
    assert tokens(first.structured) > STRUCTURED / 4  # the limit is nearly used up
    assert first.structured["more"] == whole - len(first.structured["items"])
    assert second.structured["items"][0]["count"] <= first.structured["items"][-1]["count"]
    assert f"{first.structured['more']} more are not shown: go on with after={last}" in first.text


async def read_all_items(assistant: Assistant, entity_id: str) -> list[dict[str, Any]]:
    """All items, read a part at a time, in the order of the answers."""
    result = await assistant.call("get_directory_usage", entityId=entity_id)
    items: list[dict[str, Any]] = result.structured["items"]
    while "more" in result.structured:
        assert_bounded(result)
        before = result.structured["more"]
        result = await assistant.call("get_directory_usage", entityId=entity_id, after=items[-1]["statusId"])
        assert result.structured.get("more", 0) == before - len(result.structured["items"])
        items += result.structured["items"]
    return items


# The portal cuts a code at its first colon, so two might become one.
CODES = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1, max_size=50)
CODES = CODES.filter(str.strip)


@settings(max_examples=examples(15))
@given(
    codes=st.lists(CODES, unique_by=str.casefold, max_size=150),
    counts=st.lists(st.integers(0, 3), min_size=1),
)
async def test_each_item_comes_once_and_in_order(counted: Any, codes: list[str], counts: list[int]) -> None:
    portal = PortalInProcess(DemoPortal())
    portal.portal.store.items = {}
    for code in codes:
        portal.portal.store.add("SOURCE", code, f"Name {code * 5}")
    stored = [item.status_id for item in portal.portal.store.of("SOURCE")]
    how_many = {code: counts[index % len(counts)] for index, code in enumerate(stored)}
    counted(lambda _field, code: how_many.get(code, 0))
    async with connect(portal, timeout=600) as assistant:
        directory_items = (await assistant.call("get_directory_items", entityId="SOURCE")).structured["items"]
        items = await read_all_items(assistant, "lead.SOURCE_ID")
    order = sorted(directory_items, key=lambda item: -how_many.get(item["statusId"], 0))
    assert [item["statusId"] for item in items] == [item["statusId"] for item in order]


async def test_a_code_as_it_was_printed_is_gone_on_behind() -> None:
    """A code that a text shows as a JSON string is accepted in that form; in both tools."""
    portal = PortalInProcess(DemoPortal())
    portal.portal.store.records.all = {}
    portal.portal.store.items = {}
    for code in ("A", "B\u202e \t", "C"):
        portal.portal.store.add("SOURCE", code, "Name")
    async with connect(portal) as assistant:
        for tool in ("get_directory_usage", "get_directory_items"):
            for after in ("B\u202e \t", '"B\\u202e \\t"'):
                result = await assistant.call(tool, entityId="SOURCE", after=after)
                assert [item["statusId"] for item in result.structured["items"]] == ["C"]
        unknown = await assistant.call("get_directory_usage", entityId="SOURCE", after="D")
        assert unknown.error["code"] == "UNKNOWN_ITEM"
        end = await assistant.call("get_directory_usage", entityId="SOURCE", after="C")
        assert end.structured["items"] == []
        assert "No code stands behind that one" in end.text


async def test_unknown_codes_are_bounded_and_counted() -> None:
    portal = PortalInProcess(DemoPortal())
    store = portal.portal.store.records
    leads = store.of(1)
    for number in range(400):
        values = leads[number % len(leads)] | {"id": 5000 + number, "sourceId": f"OLD_{number % 130}_{'Я' * 30}"}
        store.all[1, 5000 + number] = values
    codes = Counter(values["sourceId"] for values in store.of(1) if str(values["sourceId"]).startswith("OLD_"))
    result = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID", timeout=600)
    assert_bounded(result)
    unknown = result.structured["unknown"]
    assert len(unknown) < 130
    counts = [row["count"] for row in unknown]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == max(codes.values())
    total = result.structured["unknownCodes"]
    assert total >= 130
    assert f"Not in the directory: {total} codes, in " in result.text
    distinct = len({row["code"] for row in unknown})
    assert f"{total - distinct} more codes are not shown" in result.text
    again = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID", after="CALL", timeout=600)
    assert "unknown" not in again.structured
    assert again.structured["unknownCodes"] == total
    assert f"Not in the directory: {total} codes, in " in again.text


async def test_fields_and_failures_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred fields that take the codes; half of their counts fail."""
    portal = PortalInProcess(DemoPortal())
    records = portal.portal.store.records
    kind = records.types[1]
    (source,) = (field for field in kind.fields if field.old_name == "SOURCE_ID")
    more = tuple(
        replace(source, name=f"ufCrm_{n}", old_name=f"UF_CRM_{n}", title=f"Another source of leads, number {n}")
        for n in range(200)
    )
    records.types = records.types | {1: replace(kind, fields=kind.fields + more)}
    records.all = {key: values for key, values in records.all.items() if key[0] == 1}

    def run(store: Any, user: Any, method: str, params: Any) -> MethodResult:
        if method == "crm.item.list":
            condition = str(params["filter"])
            return MethodResult({"items": []}, total=None if "UF_CRM_1" in condition or "ufCrm_1" in condition else 1)
        return real(store, user, method, params)

    monkeypatch.setattr("bitrix24_directories.portal.app.run", run)
    async with connect(portal, timeout=6000, fields_kept=False, plan="enterprise") as assistant:
        result = await assistant.call("get_directory_usage", entityId="SOURCE")
    assert_bounded(result)
    assert result.structured["items"]
    assert any("more" in note for note in result.structured["partial"])
    assert any("more" in note for note in result.structured["fields"])


async def test_most_used_first_and_then_what_was_not_counted(portal: PortalInProcess) -> None:
    result = await ask(portal, "get_directory_usage", entityId="contact.SOURCE_ID")
    counts = [item["count"] for item in result.structured["items"]]
    assert counts == sorted(counts, reverse=True)
    assert result.structured["inUse"] == sum(count > 0 for count in counts)
    assert result.structured["unused"] == counts.count(0)
    nothing = await ask(portal, "get_directory_usage", entityId="CALL_LIST")
    assert (nothing.structured["inUse"], nothing.structured["unused"]) == (0, 0)
    assert "unused" not in nothing.text.replace("0 unused", "")


async def test_the_picture_has_the_part_that_was_asked_for(counted: Any) -> None:
    """A whole directory in its own order; of a long one the most used, the rest, the start."""
    counted(lambda _field, code: 100 + int(code[-3:], 16) if code.startswith("UC_") else 1)
    portal = with_sources(400, "Trade show {n}")
    async with client_of(portal) as client:
        whole = await picture_data(client, "get_directory_usage", entityId="HONORIFIC")
        assert "more" not in whole
        first = await picture_data(client, "get_directory_usage", entityId="lead.SOURCE_ID")
        last = first["items"][-1]["statusId"]
        second = await picture_data(client, "get_directory_usage", entityId="lead.SOURCE_ID", after=last)
    assert len(first["items"]) + first["more"] == len(portal.portal.store.of("SOURCE"))
    counts = [item["count"] for item in first["items"]]
    assert counts == sorted(counts, reverse=True)
    assert "after" not in first
    assert second["after"] == last
    assert last not in [item["statusId"] for item in second["items"]]
