"""Finds the codes that a person's words mean: certain matches, or else a choice of items.

Reads through `directories`. The answer names directories that could not be searched. The caller reads a list better
than any rule, so nothing is guessed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import anyio

from bitrix24_directories.directories.directories import Directories, Lists
from bitrix24_directories.directories.entity_ids import as_id, could_be_id
from bitrix24_directories.directories.fields.fields import BUILT_IN, NOTHING_READ, bare_directory
from bitrix24_directories.directories.models import Directory, FoundIn, FoundItems, Item, Match, QueryResult, Unsearched
from bitrix24_directories.directories.naming import nearest_text
from bitrix24_directories.directories.notation import item_line
from bitrix24_directories.directories.reading.cache import Cached
from bitrix24_directories.rest import Bitrix24Error

from .certain import IndexEntry
from .matching import Matcher

Contents = Sequence[tuple[Directory, Cached[Item]]]

_ALL_SHOWN = 60  # items of the named directories together
_NEAREST, _NEAREST_OF_EACH = 20, 3  # items for one query, and for each of many
_CANDIDATES = 8  # of an ambiguous query
_ELSEWHERE = 3  # items of other directories
_LARGE = 2_000  # items for which a search is slow enough to block other calls
_MATCHERS = 4  # for each owner of memos


async def find_items(directories: Directories, queries: Sequence[str], entity_ids: Sequence[str] = ()) -> FoundItems:
    """Return the meaning of each query in the named directories, or in all of the portal.

    Raises Bitrix24Error if nothing at all could be searched.
    """
    asked_at = anyio.current_time()
    lists, ids, unsearched, note = await _resolve_directories(directories, entity_ids)
    by_id = {directory.entity_id: directory for directory in lists.all()}
    read = await directories.contents(lists, ids)
    contents, failed = _searchable(by_id, read)
    unsearched += [Unsearched(entity_id=id_, why=f"{error.happened} ({error.code})") for id_, error in failed.items()]
    if not contents or (unsearched and all(directory.kind == "enumeration" for directory, _ in contents)):
        for error in failed.values():
            raise error
        if entity_ids:
            await directories.items(entity_ids[0])  # raises if there is no such directory
    items = sum(len(cached.rows) for _, cached in contents)
    all_shown = bool(entity_ids) and items <= _ALL_SHOWN
    filled = bool(entity_ids) and not all_shown
    if items < _LARGE:
        results = _results(directories, contents, queries, all_shown, filled)
    else:
        results = await anyio.to_thread.run_sync(_results, directories, contents, queries, all_shown, filled)
    unknown = [query for query, result in results.items() if result.status == "none"]
    other_ids = [entity_id for entity_id in by_id if entity_id not in ids]
    if entity_ids and other_ids and unknown:  # report matches of other directories: the usual mistake
        with contextlib.suppress(Bitrix24Error):  # without them, the answer is about the named directories only
            elsewhere, _ = _searchable(by_id, await directories.contents(lists, other_ids))
            matcher = _matcher(directories, elsewhere)
            for query in unknown:
                if hits := [_match(*fit) for fit in islice(matcher.fits(query).items(), _ELSEWHERE)]:
                    results[query] = results[query].model_copy(update={"elsewhere": hits})
    answers = [results[query] for query in queries]
    matches = [match for result in answers for match in (*result.matches, *(result.elsewhere or ()))]
    matched_ids = dict.fromkeys(match.entity_id for match in matches)
    choices: dict[str, list[str]] = {}
    for directory, cached in contents if entity_ids and unknown else ():
        if all_shown or not cached.rows:
            meanings = ((item, _final_meaning(directory, item.status_id)) for item in cached.rows)
            bare = (Item(status_id=item.status_id, name=item.name, semantics=meaning) for item, meaning in meanings)
            choices[directory.entity_id] = [*map(item_line, bare)]
    return FoundItems(
        results=answers,
        directories=[
            FoundIn(entity_id=row.entity_id, name=row.name, used_in=row.used_in, switched_off=row.switched_off)
            for row in (by_id.get(entity_id) or bare_directory(entity_id) for entity_id in matched_ids)
        ],
        choices=choices or None,
        searched=len(contents),
        unsearched=unsearched or None,
        note=note,
        age_seconds=max((age for _, cached in contents if (age := cached.age(asked_at)) is not None), default=None),
    )


async def _resolve_directories(
    directories: Directories, entity_ids: Sequence[str]
) -> tuple[Lists, list[str], list[Unsearched], str | None]:
    """Return the portal's lists, the ids to search, the unsearchable ones, and a note.

    If the lists cannot be read, the named or the built-in directories replace them, and the note says so.
    """
    note = None
    try:
        lists = await directories.lists(along=entity_ids)
    except Bitrix24Error as exc:
        if exc.category != "authorization" and exc.kind != "ERROR_METHOD_NOT_FOUND":
            raise
        scope = "their titles and pipelines are not known" if entity_ids else "only built-in directories were searched"
        note = f"The portal's list of directories cannot be read, so {scope}: {exc.happened}"
        rows = [bare_directory(entity_id) for entity_id in [*map(as_id, entity_ids)] or BUILT_IN]
        lists = Lists(Cached(rows, anyio.current_time()), NOTHING_READ)
    if not entity_ids:
        return lists, [*dict.fromkeys(directory.entity_id for directory in lists.all())], [], note
    ids: dict[str, None] = {}
    unsearched: list[Unsearched] = []
    for text in map(str.strip, entity_ids):
        try:
            ids |= dict.fromkeys(directory.entity_id for directory in lists.named(text))
        except Bitrix24Error as exc:
            entity_id, why = text, exc.happened
            if exc.kind == "UNKNOWN_DIRECTORY":
                entity_id = text.upper() if could_be_id(text) else text
                why = f"no such directory; nearest: {nearest_text(entity_id, lists.directories.rows, lists.fields)}"
            unsearched.append(Unsearched(entity_id=entity_id, why=why))
    return lists, [*ids], unsearched, note


def _results(
    directories: Directories, contents: Contents, queries: Sequence[str], all_shown: bool, filled: bool
) -> dict[str, QueryResult]:
    """Return a result for each query: `exact` for one item, `ambiguous` for several.
    Other queries get the nearest items; the more such queries, the fewer items for each."""
    matcher = _matcher(directories, contents)
    fits_by_query = {query: matcher.fits(query) for query in queries}
    unknown = sum(not fits for fits in fits_by_query.values())
    most = _NEAREST_OF_EACH if all_shown or not unknown else max(_NEAREST_OF_EACH, _NEAREST // unknown)
    results: dict[str, QueryResult] = {}
    for query, fits in fits_by_query.items():
        if not fits:
            nearest = [_match(entry) for entry in matcher.nearest(query, most, filled=filled)]
            results[query] = QueryResult(query=query, status="none", matches=nearest)
            continue
        matches = [_match(*fit) for fit in islice(fits.items(), _CANDIDATES)]
        tell_apart: Literal["pipeline", "directory", "code"] | None = None
        if len(fits) > 1:
            fields = {row.entity_id: row.used_in or [row.entity_id] for row in (entry.directory for entry in fits)}
            several_fields = len(set(map(tuple, fields.values()))) > 1
            tell_apart = "code" if len(fields) == 1 else "directory" if several_fields else "pipeline"
        results[query] = QueryResult(
            query=query,
            status="ambiguous" if len(fits) > 1 else "exact",
            matches=matches,
            tell_apart=tell_apart,
            more=len(fits) - len(matches) or None,
        )
    return results


def _match(entry: IndexEntry, reason: str | None = None) -> Match:
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


class _CachedMatcher(NamedTuple):
    """A matcher and its source."""

    contents: Contents
    matcher: Matcher


def _matcher(directories: Directories, contents: Contents) -> Matcher:
    """Return a cached matcher if the cache still gives the same rows, else a new one.
    Building one takes longer than finding 50 queries."""
    matchers: dict[tuple[str, ...], _CachedMatcher] = directories.reader.memos.setdefault("matchers", {})
    key = tuple(directory.entity_id for directory, _ in contents)
    last = matchers.pop(key, None)
    pairs = zip(last.contents, contents, strict=True) if last else ()  # compared by identity, as in are_same
    if not last or any(old[0] is not new[0] or old[1].rows is not new[1].rows for old, new in pairs):
        last = _CachedMatcher(contents, Matcher((directory, cached.rows) for directory, cached in contents))
    matchers[key] = last
    while len(matchers) > _MATCHERS:
        matchers.pop(next(iter(matchers)), None)
    return last.matcher


def _searchable(
    by_id: Mapping[str, Directory], read: Mapping[str, Cached[Item] | Bitrix24Error]
) -> tuple[Contents, dict[str, Bitrix24Error]]:
    """Return the lists that were read, and the errors of all others."""
    errors = {entity_id: outcome for entity_id, outcome in read.items() if isinstance(outcome, Bitrix24Error)}
    return [(by_id[entity_id], rows) for entity_id, rows in read.items() if not isinstance(rows, Bitrix24Error)], errors
