"""Some hundred plausible CRM records for the demo portal, a few with unknown codes.

Imports `record_types`, `records` and `store`.
"""

from __future__ import annotations

import random
from typing import Any

from .record_types import RecordType, record_types
from .records import Records
from .store import Store

_COUNTS = {1: 90, 2: 120, 3: 60, 4: 40, 7: 20, 31: 25, 177: 30}
_SOURCES_OF_2025 = ("REPEAT_SALE", "BOOKING")
"""Sources that are newer than all records."""
_SELDOM_FILLED = "ufCrm_5f3a2b1c4d6e7"
_TITLES = ("Order", "Заказ"), ("Delivery", "Доставка"), ("Consulting", "Консультация"), ("Repair", "Ремонт")
_PEOPLE = ("Ivanova", "Иванова"), ("Smith", "Смит"), ("Müller", "Мюллер"), ("García", "Гарсия"), ("Kim", "Ким")
_CURRENCIES = (
    ("RUB", "Russian Ruble", "Рубль"),
    ("USD", "US Dollar", "Доллар США"),
    ("EUR", "Euro", "Евро"),
)
# Left behind by imports, deleted sources and closed open channels.
_UNKNOWN_SOURCES = ("website", "16|WZ_C64E", "UC_DELETED", "Call ")
_SHARE_UNKNOWN = 0.05


_seeded: dict[int, Records] = {}


def seed_records(store: Store, column: int) -> Records:
    """Return records of all types for a fresh `store`, always the same for one language.

    `column` is 0 for English and 1 for Russian.
    """
    if column not in _seeded:  # tests make thousands of portals
        _seeded[column] = _make(store, column)
    made = _seeded[column]
    return Records(
        made.currencies, made.types, all={key: dict(values) for key, values in made.all.items()}, last_id=made.last_id
    )


def _make(store: Store, column: int) -> Records:
    records = Records(tuple((code, names[column]) for code, *names in _CURRENCIES), record_types(column))
    chance = random.Random(20260115)
    codes = {
        name: [item.status_id for item in store.of(name) if item.status_id not in _SOURCES_OF_2025]
        for name in store.directories
    }
    for number, count in _COUNTS.items():
        for _ in range(count):
            _put(store, codes, records, records.types[number], chance, column)
    return records


def _put(
    store: Store, codes: dict[str, list[str]], records: Records, kind: RecordType, chance: random.Random, column: int
) -> None:
    title = chance.choice(_TITLES)[column]
    values: dict[str, Any] = {"title": f"{title} {records.last_id + 1}", "assignedById": 1, "opened": "Y"}
    pipelines = [directory for directory in store.directories.values() if directory.entity_type_id == kind.id]
    if kind.has_pipelines:
        values["categoryId"] = int(chance.choice(pipelines).category_id or 0)
    stages = kind.stages_of(store, values.get("categoryId"))
    for field in kind.fields:
        if field.read_only or field.name in values or field.name == "categoryId":
            continue
        if field.name == _SELDOM_FILLED:
            values[field.name] = "EMPLOYEES_3" if records.last_id % 9 == 0 else None
        elif field.name == "stageId" and stages is not None:
            values["stageId"] = chance.choice(codes[stages.id])
        elif field.kind == "crm_status":
            items = codes[field.status_type]
            chosen = chance.sample(items, min(2, len(items))) if field.multiple else chance.choice([*items, None])
            values[field.name] = chosen
        elif field.choices:
            chosen_choices = [int(number) for number, _ in field.choices]
            values[field.name] = chance.sample(chosen_choices, 2) if field.multiple else chance.choice(chosen_choices)
        elif field.name in ("lastName", "name"):
            values[field.name] = chance.choice(_PEOPLE)[column]
        elif field.kind == "double":
            values[field.name] = chance.randrange(1, 200) * 500
        elif field.kind == "crm_currency":
            values[field.name] = chance.choice(("RUB", "EUR", "USD"))
        elif field.kind == "date":
            values[field.name] = f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
    if kind.field("sourceId") is not None and chance.random() < _SHARE_UNKNOWN:
        values["sourceId"] = chance.choice(_UNKNOWN_SOURCES)
    records.add(store, kind.id, {name: value for name, value in values.items() if value is not None})
