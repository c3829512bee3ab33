"""Cost of long answers and changes in an assistant's context, in o200k tokens.

The tokens are those of the structured results.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace

from figures import HERE, Figure, count

from bitrix24_directories.portal import DemoPortal

sys.path.append(str(HERE.parent / "tests"))
from support import Assistant, PortalInProcess, connect


def context() -> Iterator[Figure]:
    logging.disable()  # silences the audit log of the changes
    try:
        yield from asyncio.run(_measure())
    finally:
        logging.disable(logging.NOTSET)


async def _measure() -> list[Figure]:
    portal = PortalInProcess(_large())
    async with connect(portal, allow_writes=True) as assistant:
        return [*await _read(assistant), *await _changed(assistant)]


async def _read(assistant: Assistant) -> list[Figure]:
    listing = await assistant.call("list_directories")
    long = await assistant.call("get_directory_items", entityId="LIST_1")
    return [
        Figure("620 directories listed", count(listing.structured), 4000),
        Figure("the first part of 1,000 items", count(long.structured), 6000),
    ]


async def _changed(assistant: Assistant) -> list[Figure]:
    added = await assistant.call("add_directory_item", entityId="LIST_0", name="Beekeeping", after="UC_50")
    current = (await assistant.call("get_directory_items", entityId="SOURCE")).text.splitlines()[1:-1]
    items = [*current, *(f"Partner shop {number}" for number in range(100))]
    planned = await assistant.call("apply_directory", entityId="SOURCE", items=items)
    again = {"entityId": "SOURCE", "planId": planned.structured["planId"]}
    done = await assistant.call("apply_directory", **again)
    assert done.structured["counts"] == {"add": 100}
    return [
        Figure("one item added to a directory of 110", count(added.structured), 200),
        Figure("100 additions planned", count(planned.structured), 1800),
        Figure("the call that carries them out", count(again), 30),
        Figure("100 additions done", count(done.structured), 300),
    ]


def _large() -> DemoPortal:
    """Two hundred smart processes of three pipelines each, a list of 110 items, one of 1,000."""
    portal = DemoPortal()
    store = portal.store
    stages = store.directories["DYNAMIC_177_STAGE_7"]
    for number in range(600):
        kind, pipeline = 1030 + number // 3, 100 + number
        entity_id = f"DYNAMIC_{kind}_STAGE_{pipeline}"
        store.directories[entity_id] = replace(
            stages, id=entity_id, entity_type_id=kind, prefix=f"DT{kind}_{pipeline}", category_id=pipeline
        )
    for number, length in enumerate((110, 1000)):
        store.directories[f"LIST_{number}"] = replace(store.directories["SOURCE"], id=f"LIST_{number}", name="A list")
        for index in range(length):
            store.add(f"LIST_{number}", f"UC_{index}", f"Branch {index}", sort=10 + index)
    return portal
