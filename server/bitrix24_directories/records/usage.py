"""Counts which records carry the codes of a directory, and finds the codes that it does not have; tells it in parts.

Only ids, codes and counts are read, never a record's content. Facts (`crm.item.list`): totals count what the caller may
read; `{"!@field": codes, "!=field": ""}` are the records whose code is none of these, `!@` alone drops nulls and keeps
empty ones; the comparison ignores letter case and blanks at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.entity_ids import as_id, is_channel_source
from bitrix24_directories.directories.fields.fields import NOT_READ, folded
from bitrix24_directories.directories.fields.rows import CountedRecords
from bitrix24_directories.directories.models import Directory, Item, Shape
from bitrix24_directories.directories.naming import only
from bitrix24_directories.directories.paging import place_of
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.directories.reads import records_with
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .carriers import code_fields_of, unread_in, unread_kinds
from .codes import WORDS_LIMIT, CodeList
from .counting import CodeField, Counting, folded_code, record_id_of
from .models import DirectoryUsage, UnknownCode, UsedItem

_ROUNDS = 5  # in each of which up to a page of unknown codes comes to light
_IDS = 5
_SHOWN_IDS = 20  # in a picture
_ITEMS_BYTES = 7_000  # of JSON, UTF-8: a token is two bytes or more of whatever codes and names are written in
_UNKNOWN_BYTES = 2_500
_FIELDS = 25
_REASONS = 6

S = TypeVar("S", bound=Shape)


async def usage(directories: Directories, entity_id: str, *, fresh: bool = False) -> DirectoryUsage:
    """How many records carry each code of the directory, or field, `entity_id`, and which codes it does not have.

    What cannot be counted, or not before the caller's deadline, is said in `partial`. Raises Bitrix24Error when the
    directory cannot be read or is not to be told, and when nothing at all can be counted.
    """
    asked_at, text = anyio.current_time(), entity_id.strip()
    lists = await directories.lists(along=[text])
    directory = only(text, lists.named(text))
    items = (await directories.items(directory.entity_id, fresh=fresh)).items
    by_itself = folded(as_id(text)) in (folded(directory.entity_id), folded(directory.name))
    named = [] if by_itself else lists.fields.named(text)
    every = code_fields_of(lists, directory)
    code_fields = [code_field for code_field in every if not named or code_field.record_field in named]
    counting = Counting(directories.reader, fresh=fresh)
    codes = [item.status_id for item in items]
    await counting.ask(_questions(code_fields, codes))
    unknown: list[UnknownCode] = []
    unlisted = 0
    labels: dict[str, str] = {}
    more: list[str] = []
    failed: list[str] = []
    for code_field in code_fields:
        of, path = code_field.record_field, code_field.path
        known = [of.type.shown] if of.type.key.startswith("item(") else []
        known += [of.field.title] if of.field.custom and of.field.title else []
        labels[path] = f"{path} ({': '.join(known)})" if known else path  # item(177).sourceId (Equipment rental)
        found, left, asked = await _unknown(counting, code_field, items, directory)
        unknown += found
        unlisted += left
        more += [f"{left} more records carry yet other codes in {path}"] if left else []
        missing = counting.missing([*asked, *(code_field.with_code(code) for code in codes)])
        failed += [f"{path}: {missing}"] if missing else []
    unread = list(unread_in(lists, directory, every))
    if not code_fields and not unread:
        unread = ["no field of a record takes these codes"]
    used = _used(counting, code_fields, items)
    carrying = [one.count for one in unknown]
    most_carried_first = sorted(unknown, key=lambda one: (one.count is not None, -(one.count or 0)))
    return DirectoryUsage(
        entity_id=directory.entity_id,
        fields=[code_field.record_field.shown for code_field in code_fields],
        records=counting.sum_of(_records(code_fields)),
        in_use=sum(bool(item.count) for item in used),
        unused=sum(item.count == 0 for item in used),
        items=used,
        unknown=most_carried_first or None,
        unknown_codes=len({folded_code(one.code) for one in unknown}) or None,
        unknown_records=None if None in carrying else sum(count or 0 for count in carrying) + unlisted,
        labels=labels,
        unlisted=unlisted,
        unreadable=not code_fields and not NOT_READ.isdisjoint(directory.used_in or ()),
        failed=bool(failed or unread_kinds(lists, directory)),
        partial=[*unread, *more, *failed] or None,
        age_seconds=counting.age(asked_at),
    )


async def usages(
    directories: Directories, named: Sequence[str], on_progress: Callable[[int, int], None]
) -> list[tuple[Directory, DirectoryUsage | Bitrix24Error]]:
    """The usage of the named directories and fields, or of all of the portal's lists, with an error for each failure.

    All counts go out together, 50 a request; `told` hears how many of how many were made. Raises Bitrix24Error for what
    names no directory, and when nothing at all can be counted.
    """
    lists = await directories.lists()
    wanted: list[tuple[Directory, str]] = []
    for text in named:
        found = lists.named(text.strip())
        wanted += [(one, text if len(found) == 1 else one.entity_id) for one in found]
    wanted = wanted or [(one, one.entity_id) for one in lists.all()]
    read = await directories.contents(lists, [one.entity_id for one, _ in wanted])
    questions: list[Read[CountedRecords]] = []
    for one, _ in wanted:
        kept = read[one.entity_id]
        items = [] if isinstance(kept, Bitrix24Error) else kept.rows
        questions += _questions(code_fields_of(lists, one), [item.status_id for item in items])
    await Counting(directories.reader, on_progress=on_progress).ask(questions)
    counted: list[tuple[Directory, DirectoryUsage | Bitrix24Error]] = []
    for one, text in wanted:
        try:
            counted.append((one, await usage(directories, text)))
        except Bitrix24Error as exc:
            counted.append((one, exc))
    return counted


def part_of_usage(whole: DirectoryUsage, after: str = "") -> DirectoryUsage:
    """The items behind the code `after`, most used first and unused ones last, as many as fit; `more` tells how many
    are left. The codes that the directory does not have stand in the first part alone, as many as fit.

    Raises Bitrix24Error UNKNOWN_ITEM where there is no such code.
    """
    items = sorted(whole.items, key=lambda one: (1 if one.count is None else 0 if one.count else 2, -(one.count or 0)))
    if after.strip():
        items = items[place_of(items, after, whole.entity_id) + 1 :]
    shown = _that_fit(items, _ITEMS_BYTES)
    unknown = [] if after.strip() else _that_fit(whole.unknown or (), _UNKNOWN_BYTES)
    return whole.model_copy(
        update={
            "items": shown,
            "more": len(items) - len(shown) or None,
            "unknown": unknown or None,
            "fields": _first(whole.fields, _FIELDS),
            "partial": _first(whole.partial or (), _REASONS) or None,
        }
    )


def _questions(code_fields: Sequence[CodeField], codes: Sequence[str]) -> list[Read[CountedRecords]]:
    """All that is asked about a directory at first."""
    each = [code_field.with_code(code) for code_field in code_fields for code in codes]
    return [*(code_field.with_none_of(codes) for code_field in code_fields), *_records(code_fields), *each]


def _records(code_fields: Sequence[CodeField]) -> list[Read[CountedRecords]]:
    """For each type how many records carry any code at all, those with several in several fields once."""
    by_type: defaultdict[int, list[CodeField]] = defaultdict(list)
    for code_field in code_fields:
        by_type[code_field.type.id].append(code_field)
    reads: list[Read[CountedRecords]] = []
    for type_id, some in by_type.items():
        filled: dict[str, Any] = {f"!={some[0].name}": ""}
        if len(some) > 1:
            each = {str(number): {f"!={code_field.name}": ""} for number, code_field in enumerate(some)}
            filled = {"0": {"logic": "OR"} | each}
        reads.append(records_with(type_id, some[0].pipeline() | filled, ["id"]))
    return reads


def _used(counting: Counting, code_fields: Sequence[CodeField], items: Sequence[Item]) -> list[UsedItem]:
    """The items with how many records carry each, in which fields, and which records come first."""
    used: list[UsedItem] = []
    for item in items:
        reads = {code_field.path: code_field.with_code(item.status_id) for code_field in code_fields}
        counts = {path: count for path, read in reads.items() if (count := counting.total(read))}
        one = UsedItem(
            status_id=item.status_id,
            name=item.name,
            count=counting.sum_of([*reads.values()]),
            fields=counts if counts and len(code_fields) > 1 else None,
            ids={path: _first_ids(counting, reads[path]) for path in counts},
        )
        used.append(one)
    return used


def _first_ids(counting: Counting, read: Read[CountedRecords]) -> list[int]:
    return [record_id_of(record) for record in counting.first(read)][:_SHOWN_IDS]


async def _unknown(
    counting: Counting, code_field: CodeField, items: Sequence[Item], directory: Directory
) -> tuple[list[UnknownCode], int, list[Read[CountedRecords]]]:
    """The codes that records carry in a field and that the directory does not have, how many carry others still, and
    the counts that were made for it."""
    codes = [item.status_id for item in items]
    read = code_field.with_none_of(codes)
    asked, left = [read], counting.total(read)
    if not left:
        return [], 0, asked
    new = _ids_by_code(counting.first(read), code_field, codes)
    counts: dict[str, int | None] = {code: len(seen) for code, seen in new.items()}
    ids = new
    left -= len(counting.first(read))
    if left > 0:  # behind this page: each code is counted, and what others there are is read
        ids = {}
        for _ in range(_ROUNDS):
            read = code_field.with_none_of([*codes, *ids, *new])
            asked += [read, *map(code_field.with_code, new)]
            await counting.ask(asked)
            for code, seen in new.items():
                total = counting.total(code_field.with_code(code))
                counts[code] = None if total is None or total < len(seen) else total  # fewer than seen are no count
                ids[code] = _first_ids(counting, code_field.with_code(code)) or seen
            left = counting.total(read) or 0
            new = _ids_by_code(counting.first(read), code_field, [*codes, *ids])
            if not left or not new:
                break
    matcher = CodeList(directory, items).matcher
    listed: list[UnknownCode] = []
    for code, seen in ids.items():
        fits = matcher.fits(code) if len(code) <= WORDS_LIMIT else {}
        perhaps = None
        if is_channel_source("SOURCE", code):
            perhaps = "a channel's own code"
        elif len(fits) == 1:
            ((entry, _),) = fits.items()
            perhaps = f"{shown_code(entry.item.status_id)} ({entry.item.name})"
        one = UnknownCode(code=code, field=code_field.path, count=counts[code], ids=seen[:_IDS], perhaps=perhaps)
        listed.append(one)
    return listed, left, asked


def _ids_by_code(
    records: Sequence[dict[str, Any]], code_field: CodeField, known: Sequence[str]
) -> dict[str, list[int]]:
    """The ids of records by each of their codes that is not `known`, as the portal compares codes."""
    folded = {folded_code(code) for code in known}
    found: dict[str, list[int]] = {}
    spelt: dict[str, str] = {}  # as it came first
    for record in records:
        value = record.get(code_field.name)
        carried = [str(code) for code in (value if isinstance(value, list) else [value]) if code not in (None, "")]
        for key in dict.fromkeys(map(folded_code, carried)):
            if key not in folded:
                code = spelt.setdefault(key, next(code for code in carried if folded_code(code) == key))
                found.setdefault(code, []).append(record_id_of(record))
    return found


def _that_fit(shapes: Sequence[S], size: int) -> list[S]:
    """The first ones whose JSON fits into `size` bytes, and one at least."""
    ends = accumulate(len(shape.model_dump_json(by_alias=True, exclude_none=True).encode()) for shape in shapes)
    fitting = sum(end <= size for end in ends)
    return list(shapes[: max(1, fitting)])


def _first(lines: Sequence[str], number: int) -> list[str]:
    left = len(lines) - number
    return [*lines[:number], *([f"and {left} more"] if left > 0 else [])]
