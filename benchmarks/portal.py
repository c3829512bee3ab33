"""The demo portal with 200 more directories of 8 items, in a process of its own.

Usage: `portal.py [limited|full|wide|long|counted|merged|large]`. `limited` enforces burst 50 and 2 requests a second;
`full` starts with a bucket that others have filled; `wide` has 50 items in each directory, with names out of
`vocabulary`; `long` has a directory LONG of 10,000 items; `counted` has a directory COUNTED of 12 items, whose codes
are in a custom field of leads, deals and contacts; `merged` has 10,000 leads of the source EMAIL; `large` has 40
directories and 100,000 records instead.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from typing import Any

from vocabulary import names, words

from bitrix24_directories.portal import DemoPortal, listen, server
from bitrix24_directories.portal.app import LeakyBucket
from bitrix24_directories.portal.record_types import Field
from bitrix24_directories.portal.store import Directory, Item

DIRECTORIES = [f"LIST_{number}" for number in range(200)]


def wide_names() -> dict[str, list[str]]:
    """Fifty names for each directory of the `wide` portal."""
    chance = random.Random(17)
    vocabulary = words(chance)
    return {name: names(chance, vocabulary, 50) for name in DIRECTORIES}


def main() -> None:
    portal = DemoPortal()
    wide = wide_names() if "wide" in sys.argv else {}
    for name in DIRECTORIES:
        portal.store.directories[name] = Directory(name, name)
        for number, title in enumerate(wide.get(name) or [f"Name {number} of {name}" for number in range(8)]):
            portal.store.add(name, f"CODE_{number}", title)
    if "long" in sys.argv:
        portal.store.directories["LONG"] = Directory("LONG", "LONG")
        for number in range(10_000):
            portal.store.put(Item(portal.store.next_id(), "LONG", f"CODE_{number}", f"Name {number}", number))
    if "counted" in sys.argv:
        portal.store.directories["COUNTED"] = Directory("COUNTED", "COUNTED")
        for number in range(12):
            portal.store.add("COUNTED", f"CODE_{number}", f"Name {number}")
        for type_id in (1, 2, 3):
            kind = portal.store.records.types[type_id]
            field = Field("ufCrm_1", "UF_CRM_1", "crm_status", "Counted", status_type="COUNTED")
            portal.store.records.types[type_id] = replace(kind, fields=(*kind.fields, field))
            for number, record in enumerate(portal.store.records.of(type_id)):
                record["ufCrm_1"] = f"CODE_{number % 12}"
    if "merged" in sys.argv:
        _clone(portal, 1, 10_000, sourceId="EMAIL")
    if "large" in sys.argv:
        _make_large(portal)
    if {"limited", "full"} & set(sys.argv):
        portal.bucket = LeakyBucket(50, 2, time.time, level=50 if "full" in sys.argv else 0)
    listening = listen(0)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/rest/1/demoadmin0000001/", flush=True)
    server(portal.app).run(sockets=[listening])


def _clone(portal: DemoPortal, type_id: int, number: int, **values: Any) -> None:
    """Leave a type with `number` records, copied from the existing ones."""
    records = portal.store.records
    like = records.of(type_id)
    records.all = {key: record for key, record in records.all.items() if key[0] != type_id}
    for record_id in range(1, number + 1):
        records.all[type_id, record_id] = like[record_id % len(like)] | {"id": record_id} | values


def _make_large(portal: DemoPortal) -> None:
    """Create 100,000 records over 40 directories; custom fields of deals hold codes of 21."""
    for name in [*portal.store.directories]:
        if name in DIRECTORIES:
            del portal.store.directories[name]
    portal.store.items = {key: item for key, item in portal.store.items.items() if item.entity_id not in DIRECTORIES}
    names = DIRECTORIES[: 40 - len(portal.store.directories)]
    kind = portal.store.records.types[2]
    fields = []
    for index, name in enumerate(names):
        portal.store.directories[name] = Directory(name, name)
        for number in range(12):
            portal.store.add(name, f"CODE_{number}", f"Name {number} of {name}")
        fields.append(Field(f"ufCrm_{index}", f"UF_CRM_{index}", "crm_status", name, status_type=name))
    portal.store.records.types = portal.store.records.types | {2: replace(kind, fields=(*kind.fields, *fields))}
    for type_id, number in ((1, 30_000), (2, 40_000), (3, 20_000), (4, 10_000)):
        _clone(portal, type_id, number)
    for deal in portal.store.records.of(2):
        deal |= {field.name: f"CODE_{(deal['id'] + index) % 13}" for index, field in enumerate(fields)}


if __name__ == "__main__":
    main()
