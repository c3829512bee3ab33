"""get_directory_usage has bounds: the most used comes first, all can be had, and nothing is left out unsaid."""

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
from support import Assistant, PortalInProcess, Said, ask, assistant, examples
from test_picture import client_of, drawn

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


def bounded(said: Said) -> None:
    assert tokens(said.text) <= TEXT
    assert tokens(said.structured) <= STRUCTURED


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, str], int]], None]:
    """Lets the portal say how many records carry a code in a field, without looking at any."""

    def order(count: Callable[[str, str], int]) -> None:
        def run(store: Any, user: Any, method: str, params: Any) -> MethodResult:
            asked = params["filter"] if method == "crm.item.list" else {}
            field = next((key for key in asked if key.startswith("=")), None)
            if field is None:
                return MethodResult({"items": []}, total=0) if asked else real(store, user, method, params)
            return MethodResult({"items": []}, total=count(field, asked[field]))

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
    async with assistant(portal, timeout=3000, plan="enterprise") as someone:
        first = await someone.call("get_directory_usage", entityId=entity_id)
        last = first.structured["items"][-1]["statusId"]
        second = await someone.call("get_directory_usage", entityId=entity_id, after=last)
    whole = len(portal.portal.store.of("SOURCE"))
    assert whole > number
    for said in (first, second):
        bounded(said)
        counts = [item["count"] for item in said.structured["items"]]
        assert counts == sorted(counts, reverse=True)
        assert (said.structured["inUse"], said.structured["unused"]) == (whole, 0)
        assert f"{whole} codes in use, 0 unused" in said.text.splitlines()[0]
    assert tokens(first.structured) > STRUCTURED / 4  # the room is used
    assert first.structured["more"] == whole - len(first.structured["items"])
    assert second.structured["items"][0]["count"] <= first.structured["items"][-1]["count"]
    assert f"{first.structured['more']} more are not shown: go on with after={last}" in first.text


async def through(someone: Assistant, entity_id: str) -> list[dict[str, Any]]:
    """All items, a part at a time, as they were said."""
    said = await someone.call("get_directory_usage", entityId=entity_id)
    items: list[dict[str, Any]] = said.structured["items"]
    while "more" in said.structured:
        bounded(said)
        before = said.structured["more"]
        said = await someone.call("get_directory_usage", entityId=entity_id, after=items[-1]["statusId"])
        assert said.structured.get("more", 0) == before - len(said.structured["items"])
        items += said.structured["items"]
    return items


# The portal cuts a code at its first colon, so that two might become one.
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
    how_many = {code: counts[place % len(counts)] for place, code in enumerate(stored)}
    counted(lambda _field, code: how_many.get(code, 0))
    async with assistant(portal, timeout=600) as someone:
        listed = (await someone.call("get_directory_items", entityId="SOURCE")).structured["items"]
        items = await through(someone, "lead.SOURCE_ID")
    order = sorted(listed, key=lambda item: -how_many.get(item["statusId"], 0))
    assert [item["statusId"] for item in items] == [item["statusId"] for item in order]


async def test_a_code_as_it_was_printed_is_gone_on_behind() -> None:
    """A code that a text shows as a JSON string is taken so, too; here and where items are listed."""
    portal = PortalInProcess(DemoPortal())
    portal.portal.store.records.all = {}
    portal.portal.store.items = {}
    for code in ("A", "B\u202e \t", "C"):
        portal.portal.store.add("SOURCE", code, "Name")
    async with assistant(portal) as someone:
        for tool in ("get_directory_usage", "get_directory_items"):
            for after in ("B\u202e \t", '"B\\u202e \\t"'):
                said = await someone.call(tool, entityId="SOURCE", after=after)
                assert [item["statusId"] for item in said.structured["items"]] == ["C"]
        unknown = await someone.call("get_directory_usage", entityId="SOURCE", after="D")
        assert unknown.error["code"] == "UNKNOWN_ITEM"
        end = await someone.call("get_directory_usage", entityId="SOURCE", after="C")
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
    said = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID", timeout=600)
    bounded(said)
    unknown = said.structured["unknown"]
    assert len(unknown) < 130
    counts = [one["count"] for one in unknown]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == max(codes.values())
    known = said.structured["unknownCodes"]
    assert known >= 130
    assert f"Not in the directory: {known} codes, in " in said.text
    shown = len({one["code"] for one in unknown})
    assert f"{known - shown} more codes are not shown" in said.text
    again = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID", after="CALL", timeout=600)
    assert "unknown" not in again.structured
    assert again.structured["unknownCodes"] == known
    assert f"Not in the directory: {known} codes, in " in again.text


async def test_fields_and_failures_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred fields that take the codes, the counts of half of which fail."""
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
            asked = str(params["filter"])
            return MethodResult({"items": []}, total=None if "UF_CRM_1" in asked or "ufCrm_1" in asked else 1)
        return real(store, user, method, params)

    monkeypatch.setattr("bitrix24_directories.portal.app.run", run)
    async with assistant(portal, timeout=6000, fields_kept=False, plan="enterprise") as someone:
        said = await someone.call("get_directory_usage", entityId="SOURCE")
    bounded(said)
    assert said.structured["items"]
    assert any("more" in what for what in said.structured["partial"])
    assert any("more" in what for what in said.structured["fields"])


async def test_most_used_first_and_then_what_was_not_counted(portal: PortalInProcess) -> None:
    said = await ask(portal, "get_directory_usage", entityId="contact.SOURCE_ID")
    counts = [item["count"] for item in said.structured["items"]]
    assert counts == sorted(counts, reverse=True)
    assert said.structured["inUse"] == sum(count > 0 for count in counts)
    assert said.structured["unused"] == counts.count(0)
    nothing = await ask(portal, "get_directory_usage", entityId="CALL_LIST")
    assert (nothing.structured["inUse"], nothing.structured["unused"]) == (0, 0)
    assert "unused" not in nothing.text.replace("0 unused", "")


async def test_the_picture_has_the_part_that_was_asked_for(counted: Any) -> None:
    """A whole directory in its own order; of a long one the most used, how many more there are, and where it began."""
    counted(lambda _field, code: 100 + int(code[-3:], 16) if code.startswith("UC_") else 1)
    portal = with_sources(400, "Trade show {n}")
    async with client_of(portal) as client:
        whole = await drawn(client, "get_directory_usage", entityId="HONORIFIC")
        assert "more" not in whole
        first = await drawn(client, "get_directory_usage", entityId="lead.SOURCE_ID")
        last = first["items"][-1]["statusId"]
        second = await drawn(client, "get_directory_usage", entityId="lead.SOURCE_ID", after=last)
    assert len(first["items"]) + first["more"] == len(portal.portal.store.of("SOURCE"))
    counts = [item["count"] for item in first["items"]]
    assert counts == sorted(counts, reverse=True)
    assert "after" not in first
    assert second["after"] == last
    assert last not in [item["statusId"] for item in second["items"]]
