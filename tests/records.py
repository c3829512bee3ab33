"""Writes records to the demo portal, and compares check_record's answers with the result.

Reads the corpus of writes (tests/records), too: one case a line, with the columns that its README names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.methods import run
from bitrix24_directories.portal.record_types import Field, RecordType
from bitrix24_directories.portal.records import CrmStore
from bitrix24_directories.portal.seed import seeded_store
from bitrix24_directories.portal.store import Age, Item, PortalError
from support import change_field

Values = dict[str, Any]
AGES: tuple[Age, ...] = ("today", "older", "oldest")
OLD = {1: "lead", 2: "deal", 3: "contact", 4: "company", 7: "quote"}
NUMBERS = {name: number for number, name in OLD.items()}
FOLDER = Path(__file__).with_name("records")
_METHOD = re.compile(r"(?:(ru) )?crm\.(\w+)\.(add|update)(?: (\d+))?(?: in (\d+))?")
_PHONES = {"PHONE", "EMAIL", "WEB", "IM"}

BEFORE: Values = {
    "title": "Order",
    "lastName": "Smith",
    "sourceId": "WEB",
    "opportunity": 5,
    "currencyId": "EUR",
    "companyId": 7,
    "comments": "as before",
    "begindate": "2026-01-02",
    "closedate": "2026-02-03",
    "ufCrm_1724": 77,
    "ufCrm_1727": [90],
    "ufCrm_1728": 5,
    "ufCrm_1731": [1],
    "ufCrm_1725": "Y",
    "fm": [{"typeId": "PHONE", "valueType": "WORK", "value": "+7 0"}],
}
"""Values of a record before a case of the corpus updates it."""


@dataclass(frozen=True)
class Case:
    """One line: a write, its method and portal ages, the stored values, check_record's answer."""

    line: str
    language: str
    type: int
    old: bool
    pipeline: int | None
    """Pipeline of the record that is updated; None for a new one."""
    updates: bool
    fields: Values
    ages: tuple[Age, ...]
    stored: Values | str
    """Fields as the method's own reading gives them, or the code of a refusal."""
    outcomes: list[str]
    write: Values
    words: str


def cases() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.txt")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                yield _case(f"{path.stem}:{number}", [cell.strip() for cell in line.split(" | ")])


def _case(line: str, cells: list[str]) -> Case:
    method, fields, ages, stored, outcomes, write, *words = cells
    match = _METHOD.fullmatch(method)
    assert match, f"{line}: {method} is no method"
    language, name, verb, number, pipeline = match.groups()
    return Case(
        line=line,
        language=language or "en",
        type=NUMBERS[name] if name in NUMBERS else int(number),
        old=name in NUMBERS,
        pipeline=int(pipeline) if pipeline else None,
        updates=verb == "update",
        fields=json.loads(fields),
        ages=AGES if ages == "all" else tuple(age for age in AGES if age in ages.split()),
        stored=json.loads(stored) if stored.startswith("{") else stored,
        outcomes=outcomes.split(),
        write=json.loads(write),
        words=" ".join(words),
    )


_FIRST = "Google Ads, Facebook, Instagram, Trade fair, Referral, Newsletter, Cold mail, Webinar, Marketplace, Dealer"
_OTHERS = "Radio, Billboard, LinkedIn, YouTube, Podcast, Walk-in, Hotline, Flyer, Chat bot, Sponsoring"
NAMES = f"{_FIRST}, {_OTHERS}".split(", ")


def portal_of_long_lists() -> tuple[DemoPortal, Values]:
    """A portal with 20 items in each of five lists, and a deal whose value is in none of them."""
    portal = DemoPortal()
    for entity_id, prefix in (("SOURCE", ""), ("DEAL_TYPE", ""), ("INDUSTRY", ""), ("DEAL_STAGE_1", "C1:")):
        for number in range(len(portal.store.of(entity_id)), 20):
            code = f"{prefix}UC_{number * 7919:06X}"
            portal.store.put(Item(portal.store.next_id(), entity_id, code, NAMES[number], 500 + number))
    choices = tuple((str(200 + 2 * number), name) for number, name in enumerate(NAMES))
    change_field(portal, 2, "UF_CRM_1724", choices=choices)
    codes = ("STAGE_ID", "SOURCE_ID", "TYPE_ID", "UF_CRM_1724", "UF_CRM_1724077761")
    return portal, {"CATEGORY_ID": 1} | dict.fromkeys(codes, "unicorn")


def fresh_store(language: str, age: Age) -> CrmStore:
    store = seeded_store("en" if language == "en" else "ru")
    store.age = age
    return store


def existing(store: CrmStore, number: int, pipeline: int | None) -> int:
    """Id of a new record for a case to update, in the first stage of its pipeline."""
    kind = store.records.types[number]
    values = {name: value for name, value in BEFORE.items() if kind.field(name)}
    values |= {} if pipeline is None else {"categoryId": pipeline}
    record_id: int = store.records.add(store, number, values)["id"]
    return record_id


def is_old(kind: RecordType, keys: list[str]) -> bool:
    """True if a record is spelt for the type's own methods.

    The stage decides, or else the first key that only one of the spellings has.
    """
    exact = [(field, key) for key in keys for field in kind.fields if key in _spellings(field)]
    exact = [(field, key) for field, key in exact if len(_spellings(field)) == 1 or field.name != field.old_name]
    first = next((pair for pair in exact if pair[0].is_stage), exact[0] if exact else None)
    return kind.id in OLD and (first is None or first[1] == _spellings(first[0])[0] != _spellings(first[0])[-1])


def _spellings(field: Field) -> tuple[str, ...]:
    if field.only:
        return ("", field.name) if field.only == "new" else (field.old_name, "")
    return field.old_name, field.name


def written(store: CrmStore, kind: RecordType, fields: Values, record_id: int | None, *, old: bool) -> Values:
    """The record as stored after `fields` were written; fields required of a new one are added.

    Raises PortalError.
    """
    verb = "add" if record_id is None else "update"
    required = [field for field in kind.fields if field.required and field.kind != "boolean"]
    lacking = {field.old_name if old else field.name: "x" for field in required}
    params = {"entityTypeId": kind.id, "id": record_id, "fields": fields if record_id else lacking | fields}
    answer = run(store, ADMIN, f"crm.{OLD[kind.id]}.{verb}" if old else f"crm.item.{verb}", params).result
    return store.records.get(kind.id, record_id or (answer if old else answer["item"]["id"]))


def as_stored(field: Field, value: Any) -> Any:
    """Stored form of a value that the portal accepts as meant."""
    if field.kind == "crm_multifield":
        return list(value.values()) if isinstance(value, dict) else value
    if isinstance(value, list) and field.multiple:
        return [as_stored(field, item) for item in value]
    match field.kind:
        case "boolean":
            return "Y" if value in (True, "Y", "y", "true") else "N"
        case "double":
            return float(value)
        case "date":
            return "-".join(reversed(value.split("."))) if "." in value else value
        case "datetime":
            day, _, time = value.replace(" ", "T").partition("T")
            moment = f"{'-'.join(reversed(day.split('.')))}T{time or '00:00'}"
            zoned = re.search(r"Z$|[+-]\d\d:\d\d$", moment) is not None
            moment = f"{moment}:00" if re.search(r"T\d\d:\d\d$", moment) else moment
            return moment.replace("Z", "+00:00") if zoned else f"{moment}+03:00"
        case "integer" | "crm_category" | "enumeration" | "user" | "crm_company":
            return int(value)
    return "1" if value is True else str(value)


def assert_stored(store: CrmStore, kind: RecordType, wrote: Values, record_id: int | None, *, old: bool) -> None:
    """Assert that each of `wrote` is stored unchanged, and that each code is one of its list.

    Older portals store no 0.
    """
    if store.age != "today":
        wrote = {key: value for key, value in wrote.items() if not _holds_zero(value)}
    try:
        stored = written(store, kind, wrote, record_id, old=old)
    except PortalError as exc:
        raise AssertionError(f"the portal refused what was said to be right: {exc}") from exc
    for key, value in wrote.items():
        field = next(candidate for candidate in kind.fields if key in (candidate.name, candidate.old_name))
        assert stored[field.name] == as_stored(field, value), f"{key} on a portal of {store.age}"
        stages = kind.stages_of(store, stored.get("categoryId")) if field.is_stage else None
        directory = stages.id if stages else field.status_type
        codes = [item.status_id for item in store.of(directory)] + [int(choice) for choice, _ in field.choices]
        if codes:
            for code in stored[field.name] if field.multiple else [stored[field.name]]:
                assert code in codes, f"{code} is stored raw"


def _holds_zero(value: Any) -> bool:
    return any(_holds_zero(item) for item in value) if isinstance(value, list) else str(value) in ("0", "0.0", "-0.0")


def assert_claims(
    language: str, kind: RecordType, fields: Values, result: Values, pipeline: int | None, *, old: bool
) -> None:
    """Assert that today's portal treats each field, sent unchanged, as check_record claims.

    So do older portals, if there is a claim about them. `pipeline` is that of the record that is updated, -1 for one
    without a pipeline, and None for a new one.
    """
    for checked in result["fields"]:
        claims = "drop it" if checked["outcome"] == "dropped" else checked.get("otherwise", "")
        today, _, older = claims.partition(", or, on older portals, ")
        ages: dict[Age, str] = {"today": today, "older": older}
        for age, claim in ages.items():
            if claim:
                sent = _send(fresh_store(language, age), kind, fields, checked, result, pipeline, old=old)
                assert _holds(claim, sent), f"{checked['field']}={sent.value!r}: {claim}? {sent.stored!r}"


@dataclass
class Sent:
    """A field that was sent unchanged: the record without it and with it (None: refused)."""

    store: CrmStore
    kind: RecordType
    field: Field | None
    value: Any
    without: Values
    after: Values | None

    @property
    def is_refused(self) -> bool:
        return self.after is None

    @property
    def is_unchanged(self) -> bool:
        """True if nothing of it is stored; a new record without a required field is refused."""
        lacks = self.is_refused and self.field is not None and self.field.required
        return lacks or self.after == self.without

    @property
    def stored(self) -> Any:
        """Stored value of the field; for a list of one, its item."""
        stored = self.after[self.field.name] if self.after and self.field else None
        if self.field and self.field.multiple and isinstance(stored, list):
            return stored[0] if len(stored) == 1 else stored or None
        return stored

    @property
    def text(self) -> str:
        value = list(self.value.values()) if isinstance(self.value, dict) else self.value
        value = value[0] if isinstance(value, list) and len(value) == 1 else self.value
        return "1" if value is True else str(value)

    def first_stage(self, *, like: Any = None) -> str | None:
        stages = self.kind.stages_of(self.store, (self.after or {}).get("categoryId"))
        of_type = [
            directory for directory in self.store.directories.values() if directory.entity_type_id == self.kind.id
        ]
        items = [item for directory in of_type for item in self.store.of(directory.id)]
        meaning = next((item.semantics for item in items if item.status_id == like), "")
        return next(
            (item.status_id for item in self.store.of(stages.id if stages else "") if item.semantics == meaning), None
        )


CLAIMS: list[tuple[str, Callable[[Sent], bool]]] = [
    ("refuse it, or clear the field", lambda sent: sent.is_refused or sent.stored is None),
    ("refuse it, or take another pipeline", lambda sent: sent.is_refused or sent.after != sent.without),
    ("refuse it", lambda sent: sent.is_refused),
    ("drop part of it", lambda sent: not sent.is_refused and sent.stored != sent.value),
    ("drop it, or read some date in it", lambda sent: sent.is_unchanged or "-" in str(sent.stored)),
    ("drop .*|change nothing|keep the old value|keep the old stage", lambda sent: sent.is_unchanged),
    ("put it into .*", lambda sent: (sent.after or {}).get("categoryId") == sent.without["categoryId"]),
    ("take the main pipeline", lambda sent: sent.is_unchanged),
    ("take the first stage", lambda sent: sent.stored == sent.first_stage()),
    ("take the first stage of the same meaning", lambda sent: sent.stored == sent.first_stage(like=sent.value)),
    ("take one of the two", lambda sent: not sent.is_refused),
    ("clear the field|store nothing", lambda sent: not sent.is_refused and sent.stored is None),
    ("store it raw", lambda sent: str(sent.stored) in (sent.text, str(sent.value))),
    ("store the day that it is then", lambda sent: str(sent.stored).startswith("2026-01-1")),
]
"""Claims about Bitrix24, each with a check of the sent field."""


def _holds(claim: str, sent: Sent) -> bool:
    several = isinstance(sent.value, list) and len(sent.value) > 1
    if sent.field and sent.field.multiple and sent.field.kind != "crm_multifield" and several:
        return not sent.is_refused or claim == "refuse it"  # the claim is about some of the values
    for pattern, holds in CLAIMS:
        if re.fullmatch(pattern, claim, re.DOTALL):
            return holds(sent)
    verb, _, expected = claim.partition(" ")
    assert verb == "store", f"a claim that nothing tests: {claim}"
    if isinstance(sent.stored, int | float):
        return float(sent.stored) == float(expected)
    return str(sent.stored).startswith(expected)


def _send(
    store: CrmStore,
    kind: RecordType,
    fields: Values,
    checked: Values,
    result: Values,
    pipeline: int | None,
    *,
    old: bool,
) -> Sent:
    """Write one of the fields, with the given pipeline, and the same record without the field."""
    key = checked["field"]
    pipelines = {name for field in kind.fields if field.kind == "crm_category" for name in (field.name, field.old_name)}
    given_pipeline = result.get("pipelineFrom") != "stage"
    besides = {name: value for name, value in result["write"].items() if name in pipelines - {key} and given_pipeline}
    ids = [None if pipeline is None else existing(store, kind.id, max(pipeline, 0)) for _ in range(2)]
    without = dict(written(store, kind, besides, ids[0], old=old))
    try:
        after = dict(written(store, kind, besides | {key: fields[key]}, ids[1], old=old))
    except PortalError:
        after = None
    for record in filter(None, (without, after)):
        del record["id"]
    names = checked.get("writeAs", key)
    field = next((candidate for candidate in kind.fields if names in (candidate.name, candidate.old_name)), None)
    return Sent(store, kind, field, fields[key], without, after)
