"""Finds the codes that a human's words mean: what is certain, and else what there is to choose from.

Reads through `directories`. What could not be searched is said, never passed over. Whoever asks reads a list better
than any rule, so nothing is guessed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import anyio

from bitrix24_directories.directories.directories import Directories, Lists
from bitrix24_directories.directories.entity_ids import as_id, could_be_id
from bitrix24_directories.directories.fields.fields import BUILT_IN, NOTHING_READ, bare_directory
from bitrix24_directories.directories.models import (
    Directory,
    FoundIn,
    FoundItems,
    Item,
    Match,
    QueryResult,
    Unsearched,
)
from bitrix24_directories.directories.naming import nearest_text
from bitrix24_directories.directories.notation import item_line
from bitrix24_directories.directories.reading.cache import Cached
from bitrix24_directories.rest import Bitrix24Error

from .certain import Entry, Fits
from .matching import Matcher

Contents = Sequence[tuple[Directory, Cached[Item]]]

_ALL_SHOWN = 60  # items of the named directories together
_NEAREST, _NEAREST_OF_EACH = 20, 3  # items for one query, and for each of many
_CANDIDATES = 8  # of an ambiguous query
_ELSEWHERE = 3  # items of other directories
_LARGE = 2_000  # items in which finding takes so long that it would hold up other calls
_MATCHERS = 4  # for each who shares them


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
    items = sum(len(kept.rows) for _, kept in contents)
    all_shown = bool(entity_ids) and items <= _ALL_SHOWN
    filled = bool(entity_ids) and not all_shown
    if items < _LARGE:
        results = _results(directories, contents, queries, all_shown=all_shown, filled=filled)
    else:
        results = await anyio.to_thread.run_sync(
            lambda: _results(directories, contents, queries, all_shown=all_shown, filled=filled)
        )
    others = [one for one in by_id.values() if one.entity_id not in asked]
    if entity_ids and others:
        await _look_elsewhere(directories, lists, results, others)
    open_ones = any(result.status == "none" for result in results.values())
    answers = [results[query] for query in queries]
    return FoundItems(
        results=answers,
        directories=_of_matches(answers, by_id),
        choices=_choices(contents, all_shown=all_shown) if entity_ids and open_ones else None,
        searched=len(contents),
        unsearched=unsearched or None,
        note=note,
        age_seconds=max((age for _, kept in contents if (age := kept.age(asked_at)) is not None), default=None),
    )


def _results(
    directories: Directories, contents: Contents, queries: Sequence[str], *, all_shown: bool, filled: bool
) -> dict[str, QueryResult]:
    """What each query certainly means; of the others the nearest, the fewer the more there are."""
    matcher = _matcher(directories, contents)
    fits = {query: matcher.fits(query) for query in queries}
    unknown = sum(not found for found in fits.values())
    most = _NEAREST_OF_EACH if all_shown or not unknown else max(_NEAREST_OF_EACH, _NEAREST // unknown)
    return {
        query: _certain(query, found) if found else _unknown(query, matcher.nearest(query, most, filled=filled))
        for query, found in fits.items()
    }


def _certain(query: str, fits: Fits) -> QueryResult:
    """`exact` for one item, `ambiguous` for several."""
    matches = [_match(entry, reason) for entry, reason in islice(fits.items(), _CANDIDATES)]
    if len(fits) == 1:
        return QueryResult(query=query, status="exact", matches=matches)
    return QueryResult(
        query=query,
        status="ambiguous",
        matches=matches,
        tell_apart=_what_tells_apart(fits),
        more=len(fits) - len(matches) or None,
    )


def _what_tells_apart(fits: Fits) -> Literal["pipeline", "directory", "code"]:
    found = {entry.directory.entity_id: entry.directory for entry in fits}
    if len(found) == 1:
        return "code"
    return "directory" if len({tuple(one.used_in or (one.entity_id,)) for one in found.values()}) > 1 else "pipeline"


def _unknown(query: str, nearest: Sequence[Entry]) -> QueryResult:
    return QueryResult(query=query, status="none", matches=[_match(entry) for entry in nearest])


def _match(entry: Entry, reason: str | None = None) -> Match:
    directory, code = entry.directory, entry.item.status_id
    return Match(
        entity_id=directory.entity_id,
        status_id=code,
        name=entry.item.name,
        semantics=_final_meaning(directory, code),
        reason=reason,
    )


def _final_meaning(directory: Directory, code: str) -> Literal["success", "failure"] | None:
    if code == directory.success:
        return "success"
    return "failure" if code == directory.failure else None


async def _look_elsewhere(
    directories: Directories, lists: Lists, results: dict[str, QueryResult], others: Sequence[Directory]
) -> None:
    """Name the other directories that certainly have what the named ones do not: the classic mistake."""
    unknown = [query for query, result in results.items() if result.status == "none"]
    if not unknown:
        return
    with contextlib.suppress(Bitrix24Error):  # then the answer about the named directories stands alone
        read = await directories.contents(lists, [directory.entity_id for directory in others])
        contents = _searchable({directory.entity_id: directory for directory in others}, read, [])
        matcher = _matcher(directories, contents)
        for query in unknown:
            if fits := matcher.fits(query):
                elsewhere = [_match(entry, reason) for entry, reason in islice(fits.items(), _ELSEWHERE)]
                results[query] = results[query].model_copy(update={"elsewhere": elsewhere})


class _Built(NamedTuple):
    """A matcher, and what it was built of."""

    contents: Contents
    matcher: Matcher


def _matcher(directories: Directories, contents: Contents) -> Matcher:
    """One of the last, as long as the cache gives the same rows: to build it takes longer than to find 50 queries."""
    built: dict[tuple[str, ...], _Built] = directories.reader.memos.setdefault("matchers", {})
    key = tuple(directory.entity_id for directory, _ in contents)
    last = built.pop(key, None)
    if last is None or not _same(last.contents, contents):
        last = _Built(contents, Matcher((directory, kept.rows) for directory, kept in contents))
    built[key] = last
    while len(built) > _MATCHERS:
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
        named = [as_id(entity_id) for entity_id in entity_ids]
        scope = "their titles and pipelines are not known" if named else "only built-in directories were searched"
        note = f"The portal's list of directories cannot be read, so {scope}: {exc.happened}"
        known = [bare_directory(entity_id) for entity_id in named or BUILT_IN]
        return Lists(Cached(known, anyio.current_time()), NOTHING_READ), note


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
    by_id: dict[str, Directory], read: dict[str, Cached[Item] | Bitrix24Error], unsearched: list[Unsearched]
) -> list[tuple[Directory, Cached[Item]]]:
    contents: list[tuple[Directory, Cached[Item]]] = []
    for entity_id, found in read.items():
        if isinstance(found, Bitrix24Error):
            unsearched.append(Unsearched(entity_id=entity_id, why=f"{found.happened} ({found.code})"))
        else:
            contents.append((by_id[entity_id], found))
    return contents


async def _explain_nothing(
    directories: Directories, asked: Sequence[str], read: dict[str, Cached[Item] | Bitrix24Error]
) -> None:
    """Raise why nothing could be searched: the first failure, or that the named directory does not exist."""
    for found in read.values():
        if isinstance(found, Bitrix24Error):
            raise found
    if asked:
        await directories.items(asked[0])


def _choices(contents: Contents, *, all_shown: bool) -> dict[str, list[str]] | None:
    """All items, as they are printed, with the meaning of final stages; or of the directories that have none only."""
    choices = {
        directory.entity_id: [
            item_line(
                Item(status_id=item.status_id, name=item.name, semantics=_final_meaning(directory, item.status_id))
            )
            for item in kept.rows
        ]
        for directory, kept in contents
        if all_shown or not kept.rows
    }
    return choices or None


def _of_matches(results: Sequence[QueryResult], by_id: Mapping[str, Directory]) -> list[FoundIn]:
    shown = dict.fromkeys(
        match.entity_id for result in results for match in (*result.matches, *(result.elsewhere or ()))
    )
    found = (by_id.get(entity_id) or bare_directory(entity_id) for entity_id in shown)
    return [
        FoundIn(entity_id=one.entity_id, name=one.name, used_in=one.used_in, switched_off=one.switched_off)
        for one in found
    ]
