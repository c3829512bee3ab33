"""Any record on the demo portal, in each age and language: check_record's answers hold.

Three promises. Values called right are stored unchanged, and corrections are stored as given, in all ages and both
spellings; a 0 on older portals apart. A value that the portal would drop, swap, clear or store raw is never called
right. A value reported as dropped, cleared, swapped or stored otherwise is treated so by today's portal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.record_types import Field
from bitrix24_directories.portal.records import CrmStore
from bitrix24_directories.portal.seed import seeded_store
from records import AGES, Values, assert_claims, assert_stored, fresh_store, is_old
from support import Assistant, PortalInProcess, connect, examples

pytestmark = pytest.mark.virtual_clock

STORES = {"en": seeded_store("en"), "ru": seeded_store("ru")}
TYPES = STORES["en"].records.types

_ALL_CODES = sorted({item.status_id for item in STORES["en"].items.values()})
_ALL_NAMES = sorted({item.name for store in STORES.values() for item in store.items.values()})
_CHOICES = [choice for kind in TYPES.values() for field in kind.fields for choice, _ in field.choices]
_WORDS = ["won", "sale", "large", "call", "euro", "yes", "да", "1,500", "15.01.2026", "1/2/2026", "maybe", "2026-01-15"]
_NUMBERS = [
    "0",
    0,
    "0.0",
    "1.200",
    "12,5",
    "1 500,50",
    "+5",
    "-7",
    "1e3",
    2**31,
    2**40,
    1.5,
    "9" * 20,
    "much",
    "5 boxes",
]
_DATES = ["31.12.2026", "2026-02-30", "30.02.2026", "31/12/2026", "12/31/2026", "01.13.2026", "tomorrow", "2026/01/15"]
_DATES += ["2026-01-15T09:00:00+03:00", "15.01.2026 09:00", "2026-1-5", "next monday", "2026-01-15 25:00"]
_BOOLEANS = ["yes", "no", "y", "n", "true", "false", 1, 0, "1", "0", "да", "нет", True, False, ""]

plain = st.one_of(
    st.sampled_from(_ALL_CODES),
    st.sampled_from(_ALL_NAMES),
    st.sampled_from(_CHOICES),
    st.sampled_from(_WORDS),
    st.sampled_from(["RUB", "EUR", "Y", "N", "true", "0", "1", "2", "7", "8"]),
    st.sampled_from(_ALL_CODES).map(str.lower),
    st.sampled_from(_ALL_CODES).map(lambda code: f"{code} "),
    st.integers(-5, 200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
)
values = st.one_of(plain, plain, st.lists(plain, max_size=3), st.dictionaries(st.text(max_size=3), plain, max_size=2))


_PHONE = st.sampled_from(["+7 1", "a@b.example", ""])
_ROWS = st.one_of(
    st.fixed_dictionaries({"VALUE": _PHONE}, optional={"VALUE_TYPE": st.sampled_from(["WORK", "MOBILE"])}),
    st.fixed_dictionaries({"typeId": st.sampled_from(["PHONE", "EMAIL", "WEB"]), "value": _PHONE}),
    st.fixed_dictionaries({"value": _PHONE}, optional={"valueType": st.just("WORK"), "type": st.just("mobile")}),
    _PHONE,
    st.sampled_from(["+7 900 1112233, +7 900 1112234", "a@b.example; c@d.example"]),
    st.fixed_dictionaries({"typeId": st.just("IM"), "value": st.just("@ann")}),
)
phones = st.one_of(_ROWS, st.lists(_ROWS, max_size=3), _ROWS.map(lambda row: {"0": row}))


def likely_value(store: CrmStore, field: Field) -> st.SearchStrategy[Any]:
    """Values that a caller who knows the field would send, and arbitrary ones."""
    if field.kind == "crm_multifield":
        return st.one_of(phones, phones, values)
    if field.is_stage or field.status_type:
        items = [*store.items.values()]
        rows = st.sampled_from(items).map(lambda item: {"STATUS_ID": item.status_id, "NAME": item.name})
        rows |= st.sampled_from(items).map(lambda item: {"ENTITY_ID": item.entity_id, "STATUS_ID": item.status_id})
        rows |= st.sampled_from(items).map(lambda item: {"NAME": item.name})
        pairs = st.sampled_from(items).map(lambda item: [item.status_id, item.name])
        return st.one_of(st.sampled_from([item.status_id for item in items]), rows, pairs, values)
    if field.choices:
        numbers = st.sampled_from([int(number) for number, _ in field.choices])
        many = st.lists(numbers, min_size=1, max_size=2)
        mapped = many.map(lambda values: {str(index): value for index, value in enumerate(values)})
        texts = many.map(lambda values: ",".join(map(str, values)))
        return (
            st.one_of(many, mapped, texts, values) if field.multiple else st.one_of(numbers, numbers.map(float), values)
        )
    if field.kind == "crm_category":
        return st.one_of(st.sampled_from([0, 1, 2, 3, 7, 8, "1", " 1 ", 1.0, "01", "Wholesale", "Опт"]), values)
    by_kind: dict[str, list[Any]] = {"boolean": _BOOLEANS, "date": _DATES, "datetime": _DATES}
    by_kind |= {"integer": _NUMBERS, "double": _NUMBERS, "string": _NUMBERS}
    likely = st.sampled_from(by_kind.get(field.kind, _WORDS))
    return st.one_of(likely, st.lists(likely, max_size=3), values)


@st.composite
def records(draw: st.DrawFn) -> tuple[str, int, Values, bool]:
    """Language, type, fields in some spelling or unknown ones, and whether a record is changed."""
    language = draw(st.sampled_from(["en", "ru"]))
    store = STORES[language]
    kind = store.records.types[draw(st.sampled_from([*TYPES, 2, 2, 177]))]
    style = draw(st.sampled_from(["old", "new", "title", "mixed"]))
    chosen = draw(st.lists(st.sampled_from(kind.fields), min_size=1, max_size=6, unique=True))
    fields: Values = {}
    for field in chosen:
        names = {"old": field.old_name, "new": field.name, "title": field.title}
        name = names.get(style) or draw(st.sampled_from(sorted(names.values())))
        fields[name] = draw(likely_value(store, field))
    if draw(st.integers(0, 9)) == 0:
        fields[draw(st.sampled_from(["STAGE", "unicorn", "STAGEID", "Uf_Crm_1724", "source", "Pipeline"]))] = draw(
            values
        )
    return language, kind.id, fields, draw(st.booleans())


@pytest.fixture
async def assistants() -> AsyncIterator[dict[str, Assistant]]:
    english, russian = PortalInProcess(DemoPortal("en")), PortalInProcess(DemoPortal("ru"))
    async with connect(english) as first, connect(russian) as second:
        yield {"en": first, "ru": second}


@given(record=records())
@settings(max_examples=examples(200))
async def test_what_is_said_is_what_is_stored(assistants: dict[str, Assistant], record: Any) -> None:
    language, number, fields, changes = record
    store = STORES[language]
    kind, record_id, pipeline = store.records.types[number], None, None
    if changes and (existing := store.records.of(number)):
        record_id = existing[len(fields)]["id"]
        pipeline = existing[len(fields)].get("categoryId", -1)
    more = {"recordId": str(record_id)} if record_id else {}
    result = await assistants[language].call("check_record", entity=str(number), fields=fields, **more)
    assert not result.is_error, result.text
    structured = result.structured
    assert set(structured.get("open", [])) == {
        field["field"]
        for field in structured["fields"]
        if field["outcome"] in ("ambiguous", "wrong", "dropped", "clears")
    }
    old = is_old(kind, [*fields])
    for age in AGES:
        if structured["write"]:
            assert_stored(fresh_store(language, age), kind, structured["write"], record_id, old=old)
        if structured["ok"]:
            assert list(structured["write"]) == list(fields)
            assert_stored(fresh_store(language, age), kind, fields, record_id, old=old)
    assert_claims(language, kind, fields, structured, pipeline, old=old)
