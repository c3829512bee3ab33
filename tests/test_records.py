"""The corpus of writes (tests/records): the portal's results, check_record's exact texts."""

from __future__ import annotations

import json
from typing import Any

import bpe_openai
import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.methods import run
from bitrix24_directories.portal.store import Age, PortalError
from records import (
    OLD,
    Case,
    Values,
    assert_claims,
    assert_stored,
    cases,
    existing,
    fresh_store,
    portal_of_long_lists,
)
from support import PortalInProcess, connect

pytestmark = pytest.mark.virtual_clock


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({(case.type, case.old, case.updates, str(case.fields)) for case in cases()}) >= 150


def test_what_the_portal_makes_of_each() -> None:
    wrong = {}
    for case in cases():
        for age in case.ages:
            if (stored := _stored(case, age)) != case.stored:
                wrong[f"{case.line} {age}"] = stored
    assert wrong == {}


def _stored(case: Case, age: Age) -> Values | str:
    """Stored values of the fields that the case names, or the code of the refusal."""
    store = fresh_store(case.language, age)
    record_id = existing(store, case.type, case.pipeline) if case.updates else None
    verb = "update" if case.updates else "add"
    method = f"crm.{OLD[case.type]}.{verb}" if case.old else f"crm.item.{verb}"
    try:
        answer = run(store, ADMIN, method, {"entityTypeId": case.type, "id": record_id, "fields": case.fields}).result
    except PortalError as exc:
        return f"refused {exc.code}"
    values = store.records.get(case.type, record_id or (answer if case.old else answer["item"]["id"]))
    fields = store.records.types[case.type].fields
    names = {field.old_name if case.old else field.name: field.name for field in fields}
    return {name: values[names[name]] for name in case.stored if name in names}


async def test_five_lists_of_twenty_are_shown_within_bounds() -> None:
    portal, fields = portal_of_long_lists()
    async with connect(PortalInProcess(portal)) as assistant:
        result = await assistant.call("check_record", entity="deal", fields=fields)
    assert [len(field["candidates"]) for field in result.structured["fields"]] == [20] * 5
    structured = json.dumps(result.structured, ensure_ascii=False, separators=(",", ":"))
    encoding = bpe_openai.get_encoding("o200k_base")
    assert len(encoding.encode(result.text)) <= 1200
    assert len(encoding.encode(structured)) <= 1200


async def test_what_is_said_of_each() -> None:
    portals = {"en": PortalInProcess(DemoPortal("en")), "ru": PortalInProcess(DemoPortal("ru"))}
    wrong: dict[str, Any] = {}
    async with connect(portals["en"]) as english, connect(portals["ru"]) as russian:
        for case in cases():
            store = portals[case.language].portal.store
            more = {"recordId": existing(store, case.type, case.pipeline)} if case.updates else {}
            entity = OLD[case.type] if case.old else f"item({case.type})"
            assistant = russian if case.language == "ru" else english
            result = await assistant.call("check_record", entity=entity, fields=case.fields, **more)
            outcomes = {field["field"]: field["outcome"] for field in result.structured["fields"]}
            verdict = [outcomes.get(key, "right") for key in case.fields], result.structured["write"]
            if verdict != (case.outcomes, case.write) or case.words not in result.text:
                wrong[case.line] = result.text
            _assert_true(case, result.structured)
    assert wrong == {}


def _assert_true(case: Case, result: Values) -> None:
    """Assert that corrected values are stored unchanged in each age, and that claims hold today."""
    kind = fresh_store(case.language, "today").records.types[case.type]
    for age in case.ages:
        store = fresh_store(case.language, age)
        record_id = existing(store, case.type, case.pipeline) if case.updates else None
        assert_stored(store, kind, result["write"], record_id, old=case.old)
    pipeline = (-1 if case.pipeline is None else case.pipeline) if case.updates else None
    assert_claims(case.language, kind, case.fields, result, pipeline, old=case.old)
