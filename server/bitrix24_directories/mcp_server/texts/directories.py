"""How results leave the server: one compact text for each structured result.

One item a line, no JSON, no filler. Hosts differ in which channel a model gets to see, so a text says what its
structured twin says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from urllib.parse import quote

from bitrix24_directories.directories.directories import Lists
from bitrix24_directories.directories.models import (
    WORTH_SAYING,
    DirectoryItems,
    DirectoryList,
    FoundItems,
    Match,
    QueryResult,
)
from bitrix24_directories.directories.notation import (
    HEAD,
    MORE,
    NO_ITEMS,
    NONE_SHOWN,
    SWITCHED_OFF,
    USED_IN,
    item_line,
    shown_name,
)
from bitrix24_directories.text import one_line, shown_code

DIRECTORIES = "bitrix24://directories"
"""The resource that lists all directories; each has its own below it."""

QUERY_SHOWN = 100

_OF_NO_USE = "switched off: the codes are of no use in records"


def uri_of(entity_id: str) -> str:
    """The resource of a directory."""
    return f"{DIRECTORIES}/{quote(entity_id, safe='')}"


def items_text(result: DirectoryItems) -> str:
    """`DEAL_STAGE: 8 items, in order (code: name)`, then `NEW: New` and so on."""
    entity, age = shown_code(result.entity_id), shown_age(result.age_seconds)
    total = counted(result.total, "item")
    if not result.total:
        return NO_ITEMS.format(entity=entity, age=age)
    if not result.items:
        why = "fits" if result.fitting is not None else "stands behind that code"
        return NONE_SHOWN.format(entity=entity, items=total, why=why, age=age)
    detailed = result.items[0].id is not None
    notation = "code: name [meaning] colour (id)" if detailed else "code: name"
    part = "" if len(result.items) == result.total else f"{len(result.items)} of "
    lines = [HEAD.format(entity=entity, part=part, items=total, notation=notation, age=age)]
    lines += [item_line(item) for item in result.items]
    if result.more:
        lines.append(MORE.format(number=result.more, code=shown_code(result.items[-1].status_id)))
    if result.used_in:
        lines.append(USED_IN.format(fields=", ".join(result.used_in)))
    if result.switched_off:
        lines.append(SWITCHED_OFF.format())
    return "\n".join(lines)


def directories_text(result: DirectoryList) -> str:
    """`DEAL_STAGE: Deal stages - stages for deal.STAGE_ID, ...`, a line a directory."""
    enumerations = sum(directory.kind == "enumeration" for directory in result.directories)
    found = len(result.directories) - enumerations
    if not result.directories:
        return f"None of the portal's {result.total} directories fits. Call list_directories without query to see all."
    whole = counted(result.total, "directory", "directories")
    head = whole if found == result.total else f"{found} of {whole}"
    if enumerations:
        head += f" and {counted(enumerations, 'enumeration')}"
    lines = [f"{head} (entityId: title - kind, fields that take its codes){shown_age(result.age_seconds)}"]
    for directory in result.directories:
        used_in = f" for {', '.join(directory.used_in)}" if directory.used_in else ""
        parts = [f"{shown_code(directory.entity_id)}: {directory.name} - {directory.kind}{used_in}"]
        if directory.category_id is not None:
            parts.append(f"pipeline {directory.category_id}" + (f" {directory.pipeline}" if directory.pipeline else ""))
        codes = {"start": directory.start, "success": directory.success, "failure": directory.failure}
        parts += [f"{meaning} {shown_code(code)}" for meaning, code in codes.items() if code is not None]
        parts += [_OF_NO_USE] if directory.switched_off else []
        lines.append(", ".join(parts))
    if result.left_out:
        counts = (f"{count} {sort}" for sort, count in result.left_out.items())
        lines.append(f"Not shown: {', '.join(counts)}; narrow with query")
    return "\n".join(lines)


def fields_text(lists: Lists) -> str:
    """`deal.SOURCE_ID: Source - SOURCE`, a line for each field of records that takes codes."""
    lines = ["Fields of records that take codes (field: title - their directories, or their own values)"]
    for one in lists.fields.all():
        if one.field.read_only or not one.takes_codes:
            continue
        if one.path in lists.fields.enumerations:
            values = "; ".join(f"{shown_code(item.status_id)} {shown_name(item.name)}" for item in one.field.choices)
        else:
            values = ", ".join(shown_code(found.entity_id) for found in lists.directories_of(one))
        lines.append(f"{one.path}: {one.field.title} - {values or 'a directory that is gone'}")
    return "\n".join(lines)


def found_text(result: FoundItems) -> str:
    """A line a query, such as `"cold call" -> UC_C0LD01 (Cold call) in SOURCE: exact`, then the directories, and what
    there is to choose from.
    """
    lines = [_query_line(found) for found in result.results]
    for one in result.directories:
        used_in = f", codes for {', '.join(one.used_in)}" if one.used_in else ""
        off = f", {_OF_NO_USE}" if one.switched_off else ""
        lines.append(f"{shown_code(one.entity_id)}: {one.name}{used_in}{off}")
    choices = result.choices or {}
    if any(choices.values()):
        lines.append("Choose from these what is meant, or ask (CODE: name)")
        lines += [f"{shown_code(entity_id)} - {'; '.join(listed)}" for entity_id, listed in choices.items() if listed]
    lines += [f"{shown_code(entity_id)} exists and has no items" for entity_id, listed in choices.items() if not listed]
    if not choices and any(found.status == "none" and not found.matches for found in result.results):
        lines.append("To see all items of a directory, name it in entityIds")
    lines += [f"Not searched: {shown_code(missed.entity_id)}, {missed.why}" for missed in result.unsearched or ()]
    if result.note:
        lines.append(result.note)
    lines.append(f"Searched {counted(result.searched, 'directory', 'directories')}{shown_age(result.age_seconds)}")
    return "\n".join(lines)


def _query_line(found: QueryResult) -> str:
    asked = json.dumps(one_line(found.query, QUERY_SHOWN), ensure_ascii=False)
    listed = _matches_text(found.matches)
    match found.status:
        case "exact":
            return f"{asked} -> {listed}: exact"
        case "ambiguous":
            more = f"; and {found.more} more" if found.more else ""
            return f"{asked} -> ambiguous: {listed}{more}; name the {found.tell_apart}"
    nearest = f"not certain; nearest {listed}" if listed else "nothing like it"
    elsewhere = f"; elsewhere {_matches_text(found.elsewhere)}" if found.elsewhere else ""
    return f"{asked} -> {nearest}{elsewhere}"


def _matches_text(matches: Sequence[Match]) -> str:
    """The items with the directory behind the last one of each run."""
    runs = []
    for entity_id, run in groupby(matches, key=lambda match: match.entity_id):
        shown = []
        for match in run:
            meaning = f" [{match.semantics}]" if match.semantics else ""
            reason = f" [{match.reason}]" if match.reason else ""
            shown.append(f"{shown_code(match.status_id)} ({match.name}){meaning}{reason}")
        runs.append(f"{', '.join(shown)} in {shown_code(entity_id)}")
    return "; ".join(runs)


def shown_age(seconds: int | None) -> str:
    """What a text's first line says of an answer out of the cache."""
    return "" if seconds is None or seconds < WORTH_SAYING else f", read {seconds} s ago"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 item`, `2 items`."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
