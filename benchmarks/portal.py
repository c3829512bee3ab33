"""The demo portal with 200 directories of 8 items more, in a process of its own: `portal.py [limited|full|wide|long|
counted]`.

`limited` enforces burst 50 and 2 requests a second; `full` starts with a bucket that others have filled; `wide` has 50
items in each directory; `long` has a directory LONG of 10,000 items; `counted` a directory COUNTED of 12 items, whose
codes stand in a custom field of leads, deals and contacts.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from bitrix24_directories.portal import DemoPortal, listen, server
from bitrix24_directories.portal.app import Bucket
from bitrix24_directories.portal.record_types import Field
from bitrix24_directories.portal.store import Directory, Item

DIRECTORIES = [f"LIST_{number}" for number in range(200)]


def main() -> None:
    portal = DemoPortal()
    for name in DIRECTORIES:
        portal.store.directories[name] = Directory(name, name)
        for number in range(50 if "wide" in sys.argv else 8):
            portal.store.add(name, f"CODE_{number}", f"Name {number} of {name}")
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
    if {"limited", "full"} & set(sys.argv):
        portal.bucket = Bucket(50, 2, time.time, level=50 if sys.argv[1] == "full" else 0)
    listening = listen(0)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/rest/1/demoadmin0000001/", flush=True)
    server(portal.app).run(sockets=[listening])


if __name__ == "__main__":
    main()
