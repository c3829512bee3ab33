"""Compact texts of structured results, one for each.

One item per line, no JSON, no filler. Hosts differ in the channel that a model gets to see, so a text has the same
content as its structured result.
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
"""The resource with all directories; each has its own below it."""

QUERY_SHOWN = 100

_OF_NO_USE = "switched off: the codes are of no use in records"


def uri_of(entity_id: str) -> str:
    """Return the resource of a directory."""
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
    fitting = len(result.directories) - enumerations
    if not result.directories:
        return f"None of the portal's {result.total} directories fits. Call list_directories without query to see all."
    whole = counted(result.total, "directory", "directories")
    head = whole if fitting == result.total else f"{fitting} of {whole}"
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
    for record_field in lists.fields.all():
        field = record_field.field
        if field.read_only or not record_field.takes_codes:
            continue
        if record_field.path in lists.fields.enumerations:
            values = "; ".join(f"{shown_code(item.status_id)} {shown_name(item.name)}" for item in field.choices)
        else:
            values = ", ".join(shown_code(directory.entity_id) for directory in lists.directories_of(record_field))
        lines.append(f"{record_field.path}: {field.title} - {values or 'a directory that is gone'}")
    return "\n".join(lines)


def found_text(result: FoundItems) -> str:
    """Return a line for each query, then the directories, and the choice of items.
    A line: `"cold call" -> UC_C0LD01 (Cold call) in SOURCE: exact`."""
    lines = [_query_line(answer) for answer in result.results]
    for directory in result.directories:
        used_in = f", codes for {', '.join(directory.used_in)}" if directory.used_in else ""
        off = f", {_OF_NO_USE}" if directory.switched_off else ""
        lines.append(f"{shown_code(directory.entity_id)}: {directory.name}{used_in}{off}")
    choices = result.choices or {}
    if any(choices.values()):
        lines.append("Choose from these what is meant, or ask (CODE: name)")
        lines += [f"{shown_code(entity_id)} - {'; '.join(labels)}" for entity_id, labels in choices.items() if labels]
    lines += [f"{shown_code(entity_id)} exists and has no items" for entity_id, labels in choices.items() if not labels]
    if not choices and any(answer.status == "none" and not answer.matches for answer in result.results):
        lines.append("To see all items of a directory, name it in entityIds")
    lines += [f"Not searched: {shown_code(missed.entity_id)}, {missed.why}" for missed in result.unsearched or ()]
    if result.note:
        lines.append(result.note)
    lines.append(f"Searched {counted(result.searched, 'directory', 'directories')}{shown_age(result.age_seconds)}")
    return "\n".join(lines)


def _query_line(result: QueryResult) -> str:
    query = json.dumps(one_line(result.query, QUERY_SHOWN), ensure_ascii=False)
    matches = _matches_text(result.matches)
    match result.status:
        case "exact":
            return f"{query} -> {matches}: exact"
        case "ambiguous":
            more = f"; and {result.more} more" if result.more else ""
            return f"{query} -> ambiguous: {matches}{more}; name the {result.tell_apart}"
    nearest = f"not certain; nearest {matches}" if matches else "nothing like it"
    elsewhere = f"; elsewhere {_matches_text(result.elsewhere)}" if result.elsewhere else ""
    return f"{query} -> {nearest}{elsewhere}"


def _matches_text(matches: Sequence[Match]) -> str:
    """Return the items, each run with its directory after the last one."""
    runs = []
    for entity_id, run in groupby(matches, key=lambda match: match.entity_id):
        labels = []
        for match in run:
            meaning = f" [{match.semantics}]" if match.semantics else ""
            reason = f" [{match.reason}]" if match.reason else ""
            labels.append(f"{shown_code(match.status_id)} ({match.name}){meaning}{reason}")
        runs.append(f"{', '.join(labels)} in {shown_code(entity_id)}")
    return "; ".join(runs)


def shown_age(seconds: int | None) -> str:
    """Return the age of a cached answer, for a text's first line."""
    return "" if seconds is None or seconds < WORTH_SAYING else f", read {seconds} s ago"


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 item`, `2 items`."""
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"
