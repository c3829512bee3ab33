"""Counts the records that carry each code of a directory, and finds codes that it lacks.

Only ids, codes and counts are read, never a record's content. Facts (`crm.item.list`): totals count the records that
the caller may read; `{"!@field": codes, "!=field": ""}` are the records with none of these codes, `!@` alone drops
nulls and keeps empty ones; the comparison ignores letter case and trailing blanks.
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

_ROUNDS = 5  # each finds up to a page of unknown codes
_IDS = 5
_SHOWN_IDS = 20  # in a picture
_ITEMS_BYTES = 7_000  # of JSON in UTF-8: a token is at least two bytes in any script
_UNKNOWN_BYTES = 2_500
_FIELDS = 25
_REASONS = 6

S = TypeVar("S", bound=Shape)


async def usage(directories: Directories, entity_id: str, *, fresh: bool = False) -> DirectoryUsage:
    """Count the records that carry each code of the directory or field `entity_id`.

    Counts that fail, or miss the caller's deadline, are listed in `partial`. Raises Bitrix24Error if the directory
    cannot be read or identified, or if no count succeeds.
    """
    asked_at, text = anyio.current_time(), entity_id.strip()
    lists = await directories.lists(along=[text])
    directory = only(text, lists.named(text))
    items = (await directories.items(directory.entity_id, fresh=fresh)).items
    by_itself = folded(as_id(text)) in (folded(directory.entity_id), folded(directory.name))
    selected = [] if by_itself else lists.fields.named(text)
    all_fields = code_fields_of(lists, directory)
    code_fields = [code_field for code_field in all_fields if not selected or code_field.record_field in selected]
    counting = Counting(directories.reader, fresh=fresh)
    codes = [item.status_id for item in items]
    await counting.ask(_initial_reads(code_fields, codes))
    unknown: list[UnknownCode] = []
    unlisted = 0
    labels: dict[str, str] = {}
    more: list[str] = []
    failed: list[str] = []
    for code_field in code_fields:
        record_field, path = code_field.record_field, code_field.path
        titles = [record_field.type.shown] if record_field.type.key.startswith("item(") else []
        titles += [record_field.field.title] if record_field.field.custom and record_field.field.title else []
        labels[path] = f"{path} ({': '.join(titles)})" if titles else path  # item(177).sourceId (Equipment rental)
        codes_found, left, reads = await _find_unknown(counting, code_field, items, directory)
        unknown += codes_found
        unlisted += left
        more += [f"{left} more records carry yet other codes in {path}"] if left else []
        missing = counting.missing([*reads, *(code_field.with_code(code) for code in codes)])
        failed += [f"{path}: {missing}"] if missing else []
    unread = list(unread_in(lists, directory, all_fields))
    if not code_fields and not unread:
        unread = ["no field of a record takes these codes"]
    used = _count_items(counting, code_fields, items)
    carrying = [code.count for code in unknown]
    most_carried_first = sorted(unknown, key=lambda code: (code.count is not None, -(code.count or 0)))
    return DirectoryUsage(
        entity_id=directory.entity_id,
        fields=[code_field.record_field.shown for code_field in code_fields],
        records=counting.sum_of(_count_reads(code_fields)),
        in_use=sum(bool(item.count) for item in used),
        unused=sum(item.count == 0 for item in used),
        items=used,
        unknown=most_carried_first or None,
        unknown_codes=len({folded_code(code.code) for code in unknown}) or None,
        unknown_records=None if None in carrying else sum(count or 0 for count in carrying) + unlisted,
        labels=labels,
        unlisted=unlisted,
        unreadable=not code_fields and not NOT_READ.isdisjoint(directory.used_in or ()),
        failed=bool(failed or unread_kinds(lists, directory)),
        partial=[*unread, *more, *failed] or None,
        age_seconds=counting.age(asked_at),
    )


async def usages(
    directories: Directories, names: Sequence[str], on_progress: Callable[[int, int], None]
) -> list[tuple[Directory, DirectoryUsage | Bitrix24Error]]:
    """Count the usage of the named directories and fields, or of all of the portal's lists.

    A directory that fails has its error as the result. All counts are sent together, 50 a request; `on_progress` gets
    the numbers made and requested. Raises Bitrix24Error for an unknown directory, and if no count succeeds.
    """
    lists = await directories.lists()
    requested: list[tuple[Directory, str]] = []
    for text in names:
        matches = lists.named(text.strip())
        requested += [(directory, text if len(matches) == 1 else directory.entity_id) for directory in matches]
    requested = requested or [(directory, directory.entity_id) for directory in lists.all()]
    read = await directories.contents(lists, [directory.entity_id for directory, _ in requested])
    questions: list[Read[CountedRecords]] = []
    for directory, _ in requested:
        contents = read[directory.entity_id]
        items = [] if isinstance(contents, Bitrix24Error) else contents.rows
        questions += _initial_reads(code_fields_of(lists, directory), [item.status_id for item in items])
    await Counting(directories.reader, on_progress=on_progress).ask(questions)
    counted: list[tuple[Directory, DirectoryUsage | Bitrix24Error]] = []
    for directory, text in requested:
        try:
            counted.append((directory, await usage(directories, text)))
        except Bitrix24Error as exc:
            counted.append((directory, exc))
    return counted


def part_of_usage(whole: DirectoryUsage, after: str = "") -> DirectoryUsage:
    """Return the page of items behind the code `after`, most used first and unused ones last.

    `more` counts the items left. Unknown codes are in the first page only. Raises Bitrix24Error UNKNOWN_ITEM.
    """
    items = sorted(
        whole.items, key=lambda item: (1 if item.count is None else 0 if item.count else 2, -(item.count or 0))
    )
    if after.strip():
        items = items[place_of(items, after, whole.entity_id) + 1 :]
    page = _take_fitting(items, _ITEMS_BYTES)
    unknown = [] if after.strip() else _take_fitting(whole.unknown or (), _UNKNOWN_BYTES)
    return whole.model_copy(
        update={
            "items": page,
            "more": len(items) - len(page) or None,
            "unknown": unknown or None,
            "fields": _shorten(whole.fields, _FIELDS),
            "partial": _shorten(whole.partial or (), _REASONS) or None,
        }
    )


def _initial_reads(code_fields: Sequence[CodeField], codes: Sequence[str]) -> list[Read[CountedRecords]]:
    """Return the counts to request first for a directory."""
    per_code = [code_field.with_code(code) for code_field in code_fields for code in codes]
    return [*(code_field.with_none_of(codes) for code_field in code_fields), *_count_reads(code_fields), *per_code]


def _count_reads(code_fields: Sequence[CodeField]) -> list[Read[CountedRecords]]:
    """Return a count for each type of its records with any code; a record counts once."""
    by_type: defaultdict[int, list[CodeField]] = defaultdict(list)
    for code_field in code_fields:
        by_type[code_field.record_field.type.id].append(code_field)
    reads: list[Read[CountedRecords]] = []
    for type_id, fields_of_type in by_type.items():
        filled: dict[str, Any] = {f"!={fields_of_type[0].name}": ""}
        if len(fields_of_type) > 1:
            conditions = {str(number): {f"!={code_field.name}": ""} for number, code_field in enumerate(fields_of_type)}
            filled = {"0": {"logic": "OR"} | conditions}
        reads.append(records_with(type_id, fields_of_type[0].pipeline() | filled, ["id"]))
    return reads


def _count_items(counting: Counting, code_fields: Sequence[CodeField], items: Sequence[Item]) -> list[UsedItem]:
    """Return the items with their counts, by field too, and the first ids."""
    used: list[UsedItem] = []
    for item in items:
        reads = {code_field.path: code_field.with_code(item.status_id) for code_field in code_fields}
        counts = {path: count for path, read in reads.items() if (count := counting.total(read))}
        used_item = UsedItem(
            status_id=item.status_id,
            name=item.name,
            count=counting.sum_of([*reads.values()]),
            fields=counts if counts and len(code_fields) > 1 else None,
            ids={path: _first_ids(counting, reads[path]) for path in counts},
        )
        used.append(used_item)
    return used


def _first_ids(counting: Counting, read: Read[CountedRecords]) -> list[int]:
    return [record_id_of(record) for record in counting.first(read)][:_SHOWN_IDS]


async def _find_unknown(
    counting: Counting, code_field: CodeField, items: Sequence[Item], directory: Directory
) -> tuple[list[UnknownCode], int, list[Read[CountedRecords]]]:
    """Find the codes that records carry in a field and the directory lacks.

    Returns the codes, the number of records with further ones, and the counts that were requested.
    """
    codes = [item.status_id for item in items]
    read = code_field.with_none_of(codes)
    reads, left = [read], counting.total(read)
    if not left:
        return [], 0, reads
    new = _ids_by_code(counting.first(read), code_field, codes)
    counts: dict[str, int | None] = {code: len(seen) for code, seen in new.items()}
    ids = new
    left -= len(counting.first(read))
    if left > 0:  # more than a page: count each code, and read the records with further ones
        ids = {}
        for _ in range(_ROUNDS):
            read = code_field.with_none_of([*codes, *ids, *new])
            reads += [read, *map(code_field.with_code, new)]
            await counting.ask(reads)
            for code, seen in new.items():
                total = counting.total(code_field.with_code(code))
                counts[code] = None if total is None or total < len(seen) else total  # a count below `seen` is wrong
                ids[code] = _first_ids(counting, code_field.with_code(code)) or seen
            left = counting.total(read) or 0
            new = _ids_by_code(counting.first(read), code_field, [*codes, *ids])
            if not left or not new:
                break
    matcher = CodeList(directory, items).matcher
    unknown: list[UnknownCode] = []
    for code, seen in ids.items():
        fits = matcher.fits(code) if len(code) <= WORDS_LIMIT else {}
        perhaps = None
        if is_channel_source("SOURCE", code):
            perhaps = "set by an Open Channel"
        elif len(fits) == 1:
            ((entry, _),) = fits.items()
            perhaps = f"{shown_code(entry.item.status_id)} ({entry.item.name})"
        count, ids_shown = counts[code], seen[:_IDS]
        unknown.append(UnknownCode(code=code, field=code_field.path, count=count, ids=ids_shown, perhaps=perhaps))
    return unknown, left, reads


def _ids_by_code(
    records: Sequence[dict[str, Any]], code_field: CodeField, codes: Sequence[str]
) -> dict[str, list[int]]:
    """Return record ids by each code that is not in `codes`, compared as the portal does."""
    folded = {folded_code(code) for code in codes}
    ids_by_code: dict[str, list[int]] = {}
    spelt: dict[str, str] = {}  # first spelling of each code
    for record in records:
        value = record.get(code_field.name)
        carried = [str(code) for code in (value if isinstance(value, list) else [value]) if code not in (None, "")]
        for key in dict.fromkeys(map(folded_code, carried)):
            if key not in folded:
                code = spelt.setdefault(key, next(code for code in carried if folded_code(code) == key))
                ids_by_code.setdefault(code, []).append(record_id_of(record))
    return ids_by_code


def _take_fitting(shapes: Sequence[S], size: int) -> list[S]:
    """Return the first shapes whose JSON fits into `size` bytes, at least one."""
    ends = accumulate(len(shape.model_dump_json(by_alias=True, exclude_none=True).encode()) for shape in shapes)
    fitting = sum(end <= size for end in ends)
    return list(shapes[: max(1, fitting)])


def _shorten(lines: Sequence[str], number: int) -> list[str]:
    left = len(lines) - number
    return [*lines[:number], *([f"and {left} more"] if left > 0 else [])]
