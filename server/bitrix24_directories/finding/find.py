"""Finds the codes that a human's words mean: reads what has to be searched, and asks `matching`.

Reads through `directories`. What could not be searched is said, never passed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import anyio

from bitrix24_directories.directories.cache import Kept
from bitrix24_directories.directories.directories import Directories, Lists
from bitrix24_directories.directories.entity_ids import could_be_id
from bitrix24_directories.directories.fields import BUILT_IN, NOTHING_READ, bare_directory
from bitrix24_directories.directories.models import Directory, FoundItems, Item, QueryResult, Unsearched
from bitrix24_directories.directories.naming import nearest_text
from bitrix24_directories.rest import Bitrix24Error

from .matching import Matcher, record_match

_ELSEWHERE = 3
_LONGEST_ID = 12


async def find_items(directories: Directories, queries: Sequence[str], entity_ids: Sequence[str] = ()) -> FoundItems:
    """What each of `queries` means in the named directories, or in all lists of codes of the portal.

    Raises Bitrix24Error when nothing at all could be searched.
    """
    asked_at = anyio.current_time()
    lists, note = await _lists(directories, entity_ids)
    by_id = {one.entity_id: one for one in lists.all()}
    unsearched: list[Unsearched] = []
    asked = list(dict.fromkeys(_named(lists, entity_ids, unsearched))) or ([] if entity_ids else list(by_id))
    read = await directories.contents(lists, asked)
    contents = _searchable(by_id, read, unsearched)
    if not contents or (unsearched and all(one.kind == "enumeration" for one, _ in contents)):
        await _explain_nothing(directories, entity_ids, read)
    matcher = _matcher(directories, contents)
    results = {query: matcher.find(query) for query in queries}
    await _correct_record_ids(directories, results, by_id, set(asked))
    await _look_elsewhere(directories, results, [one for one in lists.directories.rows if one.entity_id not in asked])
    return FoundItems(
        results=[results[query] for query in queries],
        searched=len(contents),
        unsearched=unsearched or None,
        note=note,
        age_seconds=max((age for _, kept in contents if (age := kept.age(asked_at)) is not None), default=None),
    )


class _Built(NamedTuple):
    """A matcher, and what it was built of."""

    contents: Sequence[tuple[Directory, Kept[Item]]]
    matcher: Matcher


_built: WeakKeyDictionary[Directories, _Built] = WeakKeyDictionary()


def _matcher(directories: Directories, contents: Sequence[tuple[Directory, Kept[Item]]]) -> Matcher:
    """The last one, as long as the cache gives the same rows: building it takes as long as finding 50 queries in it."""
    last = _built.get(directories)
    if last is None or not _same(last.contents, contents):
        matcher = Matcher((directory, kept.rows) for directory, kept in contents)
        last = _built[directories] = _Built(contents, matcher)
    return last.matcher


def _same(ours: Sequence[tuple[Directory, Kept[Item]]], theirs: Sequence[tuple[Directory, Kept[Item]]]) -> bool:
    """Whether the very same rows are meant: two that are read apart may be equal in all but time."""
    return len(ours) == len(theirs) and all(
        one is other and kept.rows is others.rows for (one, kept), (other, others) in zip(ours, theirs, strict=True)
    )


async def _lists(directories: Directories, entity_ids: Sequence[str]) -> tuple[Lists, str | None]:
    """The portal's lists; where they cannot be listed, the named or the built-in directories, and a note."""
    try:
        return await directories.lists(), None
    except Bitrix24Error as exc:
        if exc.category != "authorization" and exc.kind != "ERROR_METHOD_NOT_FOUND":
            raise
        named = [entity_id.strip().upper() for entity_id in entity_ids]
        scope = "their titles and pipelines are not known" if named else "only built-in directories were searched"
        note = f"The portal's list of directories cannot be read, so {scope}: {exc.happened}"
        known = [bare_directory(entity_id) for entity_id in named or BUILT_IN]
        return Lists(Kept(known, anyio.current_time()), NOTHING_READ), note


def _named(lists: Lists, entity_ids: Sequence[str], unsearched: list[Unsearched]) -> Iterator[str]:
    """The ids of the lists that are asked about; what names none is said in `unsearched`."""
    for text in entity_ids:
        try:
            yield from (one.entity_id for one in lists.named(text.strip()))
        except Bitrix24Error as exc:
            entity_id, why = text.strip(), exc.happened
            if exc.kind == "UNKNOWN_DIRECTORY":
                entity_id = entity_id.upper() if could_be_id(entity_id) else entity_id
                why = f"no such directory; nearest: {nearest_text(entity_id, lists.directories.rows, lists.fields)}"
            unsearched.append(Unsearched(entity_id=entity_id, why=why))


def _searchable(
    by_id: dict[str, Directory], read: dict[str, Kept[Item] | Bitrix24Error], unsearched: list[Unsearched]
) -> list[tuple[Directory, Kept[Item]]]:
    contents: list[tuple[Directory, Kept[Item]]] = []
    for entity_id, found in read.items():
        if isinstance(found, Bitrix24Error):
            unsearched.append(Unsearched(entity_id=entity_id, why=f"{found.happened} ({found.code})"))
        else:
            contents.append((by_id[entity_id], found))
    return contents


async def _explain_nothing(
    directories: Directories, asked: Sequence[str], read: dict[str, Kept[Item] | Bitrix24Error]
) -> None:
    """Raise why nothing could be searched: the first failure, or that the named directory does not exist."""
    for found in read.values():
        if isinstance(found, Bitrix24Error):
            raise found
    if asked:
        await directories.items(asked[0])


async def _correct_record_ids(
    directories: Directories, results: dict[str, QueryResult], by_id: dict[str, Directory], asked: set[str]
) -> None:
    """A number that is no code and no name may be an item's numeric record id."""
    numbers = [
        query
        for query, result in results.items()
        if result.status == "none" and query.strip().isdecimal() and len(query.strip()) <= _LONGEST_ID
    ]
    for query, (entity_id, item) in (await directories.records(numbers)).items():
        match = record_match(by_id.get(entity_id) or bare_directory(entity_id), item, int(query))
        inside = entity_id in asked
        results[query] = QueryResult(
            query=query, status="likely" if inside else "none", matches=[match], elsewhere=None if inside else True
        )


async def _look_elsewhere(
    directories: Directories, results: dict[str, QueryResult], others: Sequence[Directory]
) -> None:
    """A code of another directory is the classic mistake: name it as such."""
    missed = [query for query, result in results.items() if result.status == "none" and not result.elsewhere]
    if not missed or not others:
        return
    with contextlib.suppress(Bitrix24Error):  # then the answer about the named directories stands alone
        read = await directories.many([directory.entity_id for directory in others])
        matcher = Matcher(
            (directory, found.rows)
            for directory in others
            if not isinstance(found := read[directory.entity_id], Bitrix24Error)
        )
        for query in missed:
            result = matcher.find(query)
            if result.status != "none":
                matches = result.matches[:_ELSEWHERE]
                results[query] = QueryResult(query=query, status="none", matches=matches, elsewhere=True)
