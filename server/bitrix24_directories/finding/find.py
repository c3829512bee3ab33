"""Finds the codes that a human's words mean: reads what has to be searched, and asks `matching`.

Reads through `directories`. What could not be searched is said, never passed over; and where nothing is sure, what
there is to choose from: whoever asks reads that better than any matcher.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import anyio

from bitrix24_directories.directories.cache import Kept
from bitrix24_directories.directories.directories import Directories, Lists
from bitrix24_directories.directories.entity_ids import could_be_id
from bitrix24_directories.directories.fields import BUILT_IN, NOTHING_READ, bare_directory
from bitrix24_directories.directories.models import Directory, FoundIn, FoundItems, Item, QueryResult, Unsearched
from bitrix24_directories.directories.naming import nearest_text
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .matching import Matcher, record_match

Contents = Sequence[tuple[Directory, Kept[Item]]]

_ELSEWHERE = 3
_NEAREST = 3  # of what stands among the choices as well
_SHORT, _NAMED_TOGETHER, _CHOICES = 30, 60, 100  # items: of one directory, of all named ones, of all that are shown
_LARGE = 2_000  # items in which finding takes so long that it would hold up other calls
_KEPT = 4  # matchers for each who shares them
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
    results = await _found(directories, contents, queries)
    await _correct_record_ids(directories, results, by_id, set(asked))
    choices = _choices(contents, list(results.values()), named=bool(entity_ids))
    await _look_elsewhere(directories, results, [one for one in lists.directories.rows if one.entity_id not in asked])
    shown = [_shortened(results[query], choices) for query in queries]
    return FoundItems(
        results=shown,
        directories=_of_matches(shown, by_id),
        choices=choices or None,
        searched=len(contents),
        unsearched=unsearched or None,
        note=note,
        age_seconds=max((age for _, kept in contents if (age := kept.age(asked_at)) is not None), default=None),
    )


class _Built(NamedTuple):
    """A matcher, and what it was built of."""

    contents: Contents
    matcher: Matcher


async def _found(directories: Directories, contents: Contents, queries: Sequence[str]) -> dict[str, QueryResult]:
    """What each query means; in a thread of its own where that takes long."""

    def find() -> dict[str, QueryResult]:
        matcher = _matcher(directories, contents)
        return {query: matcher.find(query) for query in queries}

    if sum(len(kept.rows) for _, kept in contents) < _LARGE:
        return find()
    return await anyio.to_thread.run_sync(find)


def _matcher(directories: Directories, contents: Contents) -> Matcher:
    """One of the last, as long as the cache gives the same rows: to build it takes longer than to find 50 queries."""
    built: dict[tuple[str, ...], _Built] = directories.reader.memos.setdefault("matchers", {})
    key = tuple(directory.entity_id for directory, _ in contents)
    last = built.pop(key, None)
    if last is None or not _same(last.contents, contents):
        last = _Built(contents, Matcher((directory, kept.rows) for directory, kept in contents))
    built[key] = last
    while len(built) > _KEPT:
        built.pop(next(iter(built)), None)
    return last.matcher


def _same(ours: Contents, theirs: Contents) -> bool:
    """Whether the very same rows are meant: two that are read apart may be equal in all but time."""
    return len(ours) == len(theirs) and all(
        one is other and kept.rows is others.rows for (one, kept), (other, others) in zip(ours, theirs, strict=True)
    )


async def _lists(directories: Directories, entity_ids: Sequence[str]) -> tuple[Lists, str | None]:
    """The portal's lists; where they cannot be listed, the named or the built-in directories, and a note."""
    try:
        return await directories.lists(along=entity_ids), None
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
        match = record_match(by_id.get(entity_id) or bare_directory(entity_id), item, int(query.strip()))
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
        contents = _searchable({directory.entity_id: directory for directory in others}, read, [])
        for query, result in (await _found(directories, contents, missed)).items():
            if result.status != "none":
                matches = result.matches[:_ELSEWHERE]
                results[query] = QueryResult(query=query, status="none", matches=matches, elsewhere=True)


def _choices(contents: Contents, results: Sequence[QueryResult], *, named: bool) -> dict[str, list[str]]:
    """All items of short directories, where a result is not sure: those of its matches, and for `none` others too."""
    unsure = [result for result in results if result.status in ("none", "ambiguous") and not result.elsewhere]
    if not unsure:
        return {}
    rows = {directory.entity_id: kept.rows for directory, kept in contents}
    together = named and sum(map(len, rows.values())) <= _NAMED_TOGETHER
    near = [match.entity_id for result in unsure for match in result.matches]
    choices: dict[str, list[str]] = {}
    left = _CHOICES
    others = rows if named or any(result.status == "none" for result in unsure) else ()
    for entity_id in dict.fromkeys([*near, *others]):
        items = rows[entity_id]
        if 0 < len(items) <= left and (together or len(items) <= _SHORT):
            choices[entity_id] = [f"{shown_code(item.status_id)}: {item.name}" for item in items]
            left -= len(items)
    return choices


def _shortened(result: QueryResult, choices: Mapping[str, list[str]]) -> QueryResult:
    """Without most of what is only near, and stands among the choices."""
    if result.status != "none" or any(match.entity_id not in choices for match in result.matches):
        return result
    return result.model_copy(update={"matches": result.matches[:_NEAREST]})


def _of_matches(results: Sequence[QueryResult], by_id: Mapping[str, Directory]) -> list[FoundIn]:
    ids = dict.fromkeys(match.entity_id for result in results for match in result.matches)
    found = (by_id.get(entity_id) or bare_directory(entity_id) for entity_id in ids)
    return [
        FoundIn(entity_id=one.entity_id, name=one.name, used_in=one.used_in, switched_off=one.switched_off)
        for one in found
    ]
