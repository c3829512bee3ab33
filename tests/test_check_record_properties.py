"""Any record against the demo portal in each age and language: what check_record says is what is stored.

Two promises. What may be written as it stands is stored unchanged, and what is to be written instead is stored so, in
all ages. And nothing that the portal would drop, swap, clear or store raw is ever called right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.methods import run
from bitrix24_directories.portal.record_types import Field, RecordType
from bitrix24_directories.portal.records import CrmStore
from bitrix24_directories.portal.seed import seeded_store
from bitrix24_directories.portal.store import Age, PortalError
from support import Assistant, PortalInProcess, assistant

pytestmark = pytest.mark.virtual_clock

Values = dict[str, Any]
AGES: tuple[Age, ...] = ("oldest", "older", "today")
OLD = {1: "lead", 2: "deal", 3: "contact", 4: "company", 7: "quote"}
STORES = {"en": seeded_store("en"), "ru": seeded_store("ru")}
TYPES = STORES["en"].records.types

_ALL_CODES = sorted({item.status_id for item in STORES["en"].items.values()})
_ALL_NAMES = sorted({item.name for store in STORES.values() for item in store.items.values()})
_CHOICES = [choice for kind in TYPES.values() for field in kind.fields for choice, _ in field.choices]
_WORDS = ["won", "sale", "large", "call", "euro", "yes", "да", "1,500", "15.01.2026", "1/2/2026", "maybe", "2026-01-15"]

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


def likely_value(store: CrmStore, field: Field) -> st.SearchStrategy[Any]:
    """Values that a caller who knows the field would send, beside anything at all."""
    if field.is_stage or field.status_type:
        return st.one_of(st.sampled_from([item.status_id for item in store.items.values()]), values)
    if field.choices:
        numbers = st.sampled_from([int(number) for number, _ in field.choices])
        return st.one_of(st.lists(numbers, min_size=1, max_size=2) if field.multiple else numbers, values)
    if field.kind == "crm_category":
        return st.one_of(st.sampled_from([0, 1, 2, 3, 7, 8, "1", "Wholesale", "Опт"]), values)
    return values


@st.composite
def records(draw: st.DrawFn) -> tuple[str, int, Values, bool]:
    """Language, type, fields in some spelling or none that exists, and whether a record is changed."""
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
        fields[draw(st.sampled_from(["STAGE", "unicorn", "STAGEID", "Uf_Crm_1724"]))] = draw(values)
    return language, kind.id, fields, draw(st.booleans())


@pytest.fixture
async def assistants() -> AsyncIterator[dict[str, Assistant]]:
    english, russian = PortalInProcess(DemoPortal("en")), PortalInProcess(DemoPortal("ru"))
    async with assistant(english) as one, assistant(russian) as other:
        yield {"en": one, "ru": other}


def written(store: CrmStore, kind: RecordType, fields: Values, record_id: int | None) -> Values | None:
    """The record as it is stored after `fields` were written by the methods whose spelling they have; None if the
    portal refuses them."""
    old = kind.id in OLD and any(key == one.old_name != one.name for key in fields for one in kind.fields)
    missing = {one.old_name if old else one.name: "x" for one in kind.fields if one.required} if not record_id else {}
    verb = "add" if record_id is None else "update"
    method = f"crm.{OLD[kind.id]}.{verb}" if old else f"crm.item.{verb}"
    params = {"entityTypeId": kind.id, "id": record_id, "fields": missing | fields}
    try:
        answer = run(store, ADMIN, method, params).result
    except PortalError:
        return None
    number = record_id or (answer if old else answer["item"]["id"])
    return store.records.get(kind.id, number)


def kept(field: Field, value: Any) -> Any:
    """What a value is once it is stored as it was meant."""
    if isinstance(value, list) and field.multiple:
        return [kept(field, one) for one in value]
    if field.kind == "boolean":
        return "Y" if value in (True, "Y", "y", "true") else "N"
    if field.kind == "double":
        return float(value)
    if field.kind in ("integer", "crm_category", "enumeration", "user", "crm_company"):
        return int(value)
    return "1" if value is True else str(value)


def assert_stored(store: CrmStore, kind: RecordType, wrote: Values, record_id: int | None) -> None:
    """That each of `wrote` is stored as it is, and each code is one of its list."""
    stored = written(store, kind, wrote, record_id)
    assert stored is not None, "the portal refused what was said to be right"
    for key, value in wrote.items():
        field = next(one for one in kind.fields if key in (one.name, one.old_name))
        if field.kind == "crm_multifield":
            continue  # passed on, and not said to be right
        assert stored[field.name] == kept(field, value), key
        stages = kind.stages_of(store, stored.get("categoryId")) if field.is_stage else None
        directory = stages.id if stages else field.status_type
        known = [item.status_id for item in store.of(directory)] + [int(choice) for choice, _ in field.choices]
        if known:
            for code in stored[field.name] if field.multiple else [stored[field.name]]:
                assert code in known, f"{code} is stored raw"


@given(record=records())
@settings(max_examples=200)
async def test_what_is_said_is_what_is_stored(assistants: dict[str, Assistant], record: Any) -> None:
    language, number, fields, changes = record
    store = STORES[language]
    kind, record_id = store.records.types[number], None
    if changes and (existing := store.records.of(number)):
        record_id = existing[len(fields)]["id"]
    more = {"recordId": str(record_id)} if record_id else {}
    said = await assistants[language].call("check_record", entity=str(number), fields=fields, **more)
    assert not said.is_error, said.text
    found = said.structured
    assert set(found.get("open", [])) == {
        one["field"] for one in found["fields"] if one["outcome"] in ("ambiguous", "wrong", "dropped", "clears")
    }
    for age in AGES:
        again = fresh_store(language, age)
        if found["write"]:
            assert_stored(again, kind, found["write"], record_id)
        if found["ok"]:
            assert list(found["write"]) == list(fields)
            assert_stored(fresh_store(language, age), kind, fields, record_id)


def fresh_store(language: str, age: Age) -> CrmStore:
    store = seeded_store("en" if language == "en" else "ru")
    store.age = age
    return store
