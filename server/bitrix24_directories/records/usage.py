"""Counts which records carry the codes of a directory, and finds the codes that it does not have.

Only ids, codes and counts are read, never a record's content. Facts (`crm.item.list`): totals count what the caller may
read; `{"!@field": codes, "!=field": ""}` are the records whose code is none of these, `!@` alone drops nulls and keeps
empty ones; the comparison ignores letter case and blanks at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.entity_ids import as_id, is_channel_source
from bitrix24_directories.directories.fields.fields import NOT_READ, folded
from bitrix24_directories.directories.fields.rows import CountedRecords
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.directories.naming import only
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.directories.reads import records_with
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .carriers import places_of, unread_in, unread_kinds
from .codes import WORDS_LIMIT, CodeList
from .counting import Counting, Place, folded_code, record_id_of
from .models import DirectoryUsage, UnknownCode, UsedItem

_ROUNDS = 5  # in each of which up to a page of unknown codes comes to light
_IDS = 5
_SHOWN_IDS = 20  # in a picture


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
    every = places_of(lists, directory)
    places = [place for place in every if not named or place.of in named]
    counting = Counting(directories.reader, fresh=fresh)
    codes = [item.status_id for item in items]
    await counting.ask(_questions(places, codes))
    unknown: list[UnknownCode] = []
    unlisted: dict[str, int] = {}
    failed: list[str] = []
    for place in places:
        found, left, asked = await _unknown(counting, place, items, directory)
        unknown += found
        unlisted |= {place.of.path: left} if left else {}
        missing = counting.missing([*asked, *(place.with_code(code) for code in codes)])
        failed += [f"{place.of.path}: {missing}"] if missing else []
    more = [f"{left} more records carry yet other codes in {path}" for path, left in unlisted.items()]
    unread = list(unread_in(lists, directory, every))
    if not places and not unread:
        unread = ["no field of a record takes these codes"]
    partial = [*unread, *more, *failed]
    used: list[UsedItem] = []
    for item in items:
        counts = {place.of.path: counting.total(place.with_code(item.status_id)) for place in places}
        known = {path: count for path, count in counts.items() if count is not None}
        whole = sum(known.values()) if counts and len(known) == len(counts) else None
        parted = {path: count for path, count in known.items() if count} if len(places) > 1 else {}
        ids = {place.of.path: _first_ids(counting, place, item.status_id) for place in places if counts[place.of.path]}
        used.append(UsedItem(status_id=item.status_id, name=item.name, count=whole, fields=parted or None, ids=ids))
    carrying = [one.count for one in unknown]
    labels: dict[str, str] = {}  # `item(177).sourceId (Equipment rental)`, `deal.UF_CRM_17 (Second source)`
    for of in (place.of for place in places):
        parts = [of.type.shown] if of.type.key.startswith("item(") else []
        parts += [of.field.title] if of.field.custom and of.field.title else []
        labels[of.path] = f"{of.path} ({': '.join(parts)})" if parts else of.path
    return DirectoryUsage(
        entity_id=directory.entity_id,
        fields=[place.of.shown for place in places],
        records=counting.sum_of(_records(places)),
        in_use=sum(bool(item.count) for item in used),
        unused=sum(item.count == 0 for item in used),
        items=used,
        # Those first whose number is not known.
        unknown=sorted(unknown, key=lambda one: (one.count is not None, -(one.count or 0))) or None,
        unknown_codes=len({folded_code(one.code) for one in unknown}) or None,
        unknown_records=None if None in carrying else sum(count or 0 for count in carrying) + sum(unlisted.values()),
        labels=labels,
        unlisted=sum(unlisted.values()),
        unreadable=not places and not NOT_READ.isdisjoint(directory.used_in or ()),
        failed=bool(failed or unread_kinds(lists, directory)),
        partial=partial or None,
        age_seconds=counting.age(asked_at),
    )


async def usages(
    directories: Directories, named: Sequence[str], told: Callable[[int, int], None]
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
        questions += _questions(places_of(lists, one), [item.status_id for item in items])
    await Counting(directories.reader, told=told).ask(questions)
    counted: list[tuple[Directory, DirectoryUsage | Bitrix24Error]] = []
    for one, text in wanted:
        try:
            counted.append((one, await usage(directories, text)))
        except Bitrix24Error as exc:
            counted.append((one, exc))
    return counted


def _questions(places: Sequence[Place], codes: Sequence[str]) -> list[Read[CountedRecords]]:
    """All that is asked about a directory at first."""
    each = [place.with_code(code) for place in places for code in codes]
    return [*(place.with_none_of(codes) for place in places), *_records(places), *each]


def _records(places: Sequence[Place]) -> list[Read[CountedRecords]]:
    """For each type how many records carry any code at all, those with several in several fields once."""
    by_type: defaultdict[int, list[Place]] = defaultdict(list)
    for place in places:
        by_type[place.of.type.id].append(place)
    reads: list[Read[CountedRecords]] = []
    for type_id, some in by_type.items():
        filled: dict[str, Any] = {f"!={some[0].name}": ""}
        if len(some) > 1:
            each = {str(number): {f"!={place.name}": ""} for number, place in enumerate(some)}
            filled = {"0": {"logic": "OR"} | each}
        reads.append(records_with(type_id, some[0].pipeline() | filled, ["id"]))
    return reads


def _first_ids(counting: Counting, place: Place, code: str) -> list[int]:
    return [record_id_of(record) for record in counting.first(place.with_code(code))][:_SHOWN_IDS]


async def _unknown(
    counting: Counting, place: Place, items: Sequence[Item], directory: Directory
) -> tuple[list[UnknownCode], int, list[Read[CountedRecords]]]:
    """The codes that records carry in a field and that the directory does not have, how many carry others still, and
    the counts that were made for it."""
    codes = [item.status_id for item in items]
    read = place.with_none_of(codes)
    asked, left = [read], counting.total(read)
    if not left:
        return [], 0, asked
    new = _ids_by_code(counting.first(read), place, codes)
    counts: dict[str, int | None] = {code: len(seen) for code, seen in new.items()}
    ids = dict(new)
    left -= len(counting.first(read))
    if left > 0:  # the first page does not hold them all: each code is counted
        counts, ids = {}, {}
        for _ in range(_ROUNDS):
            rest = place.with_none_of([*codes, *ids, *new])
            asked += [rest, *map(place.with_code, new)]
            await counting.ask(asked)
            for code, seen in new.items():
                total = counting.total(place.with_code(code))
                counts[code] = None if total is None or total < len(seen) else total  # fewer than seen are no count
                ids[code] = _first_ids(counting, place, code) or seen
            left = counting.total(rest) or 0
            new = _ids_by_code(counting.first(rest), place, [*codes, *ids])
            if not left or not new:
                break
    matcher = CodeList(directory, items).matcher
    unknown: list[UnknownCode] = []
    for code, seen in ids.items():
        fits = [entry.item for entry in matcher.fits(code)] if len(code) <= WORDS_LIMIT else []
        perhaps = f"{shown_code(fits[0].status_id)} ({fits[0].name})" if len(fits) == 1 else None
        if is_channel_source("SOURCE", code):
            perhaps = "a channel's own code"
        listed = UnknownCode(code=code, field=place.of.path, count=counts[code], ids=seen[:_IDS], perhaps=perhaps)
        unknown.append(listed)
    return unknown, left, asked


def _ids_by_code(records: Sequence[dict[str, Any]], place: Place, known: Sequence[str]) -> dict[str, list[int]]:
    """The ids of records by each of their codes that is not `known`, as the portal compares codes."""
    folded = {folded_code(code) for code in known}
    found: dict[str, list[int]] = {}
    spelt: dict[str, str] = {}  # as it came first
    for record in records:
        value = record.get(place.name)
        carried = [str(code) for code in (value if isinstance(value, list) else [value]) if code not in (None, "")]
        for key in dict.fromkeys(map(folded_code, carried)):
            if key not in folded:
                code = spelt.setdefault(key, next(code for code in carried if folded_code(code) == key))
                found.setdefault(code, []).append(record_id_of(record))
    return found
