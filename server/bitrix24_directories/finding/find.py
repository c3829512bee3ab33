"""Finds the codes that a human's words mean: what is certain, and else what there is to choose from.

Reads through `directories`. What could not be searched is said, never passed over. Whoever asks reads a list better
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

from .certain import Entry
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
    lists, asked, unsearched, note = await _what_to_search(directories, entity_ids)
    by_id = {one.entity_id: one for one in lists.all()}
    read = await directories.contents(lists, asked)
    contents, failed = _searchable(by_id, read)
    unsearched += [Unsearched(entity_id=of, why=f"{error.happened} ({error.code})") for of, error in failed.items()]
    if not contents or (unsearched and all(one.kind == "enumeration" for one, _ in contents)):
        for error in failed.values():
            raise error
        if entity_ids:
            await directories.items(entity_ids[0])  # raises, if there is no such directory
    items = sum(len(kept.rows) for _, kept in contents)
    all_shown = bool(entity_ids) and items <= _ALL_SHOWN
    filled = bool(entity_ids) and not all_shown
    if items < _LARGE:
        results = _results(directories, contents, queries, all_shown, filled)
    else:
        results = await anyio.to_thread.run_sync(_results, directories, contents, queries, all_shown, filled)
    unknown = [query for query, result in results.items() if result.status == "none"]
    others = [of for of in by_id if of not in asked]
    if entity_ids and others and unknown:  # what others certainly have is named: the classic mistake
        with contextlib.suppress(Bitrix24Error):  # then the answer about the named directories stands alone
            elsewhere, _ = _searchable(by_id, await directories.contents(lists, others))
            matcher = _matcher(directories, elsewhere)
            for query in unknown:
                if found := [_match(*fit) for fit in islice(matcher.fits(query).items(), _ELSEWHERE)]:
                    results[query] = results[query].model_copy(update={"elsewhere": found})
    answers = [results[query] for query in queries]
    matches = [match for result in answers for match in (*result.matches, *(result.elsewhere or ()))]
    shown = [by_id.get(of) or bare_directory(of) for of in dict.fromkeys(match.entity_id for match in matches)]
    choices: dict[str, list[str]] = {}
    for directory, kept in contents if entity_ids and unknown else ():
        if all_shown or not kept.rows:
            meant = ((one, _final_meaning(directory, one.status_id)) for one in kept.rows)
            bare = (Item(status_id=one.status_id, name=one.name, semantics=meaning) for one, meaning in meant)
            choices[directory.entity_id] = [*map(item_line, bare)]
    return FoundItems(
        results=answers,
        directories=[
            FoundIn(entity_id=one.entity_id, name=one.name, used_in=one.used_in, switched_off=one.switched_off)
            for one in shown
        ],
        choices=choices or None,
        searched=len(contents),
        unsearched=unsearched or None,
        note=note,
        age_seconds=max((age for _, kept in contents if (age := kept.age(asked_at)) is not None), default=None),
    )


async def _what_to_search(
    directories: Directories, entity_ids: Sequence[str]
) -> tuple[Lists, list[str], list[Unsearched], str | None]:
    """The portal's lists, the ids of those that are asked about, and what cannot be searched.

    Where the lists cannot be read, the named or the built-in directories stand in for them, and a note says so.
    """
    note = None
    try:
        lists = await directories.lists(along=entity_ids)
    except Bitrix24Error as exc:
        if exc.category != "authorization" and exc.kind != "ERROR_METHOD_NOT_FOUND":
            raise
        scope = "their titles and pipelines are not known" if entity_ids else "only built-in directories were searched"
        note = f"The portal's list of directories cannot be read, so {scope}: {exc.happened}"
        known = [bare_directory(entity_id) for entity_id in [*map(as_id, entity_ids)] or BUILT_IN]
        lists = Lists(Cached(known, anyio.current_time()), NOTHING_READ)
    if not entity_ids:
        return lists, [*dict.fromkeys(one.entity_id for one in lists.all())], [], note
    asked: dict[str, None] = {}
    unsearched: list[Unsearched] = []
    for text in map(str.strip, entity_ids):
        try:
            asked |= dict.fromkeys(one.entity_id for one in lists.named(text))
        except Bitrix24Error as exc:
            entity_id, why = text, exc.happened
            if exc.kind == "UNKNOWN_DIRECTORY":
                entity_id = text.upper() if could_be_id(text) else text
                why = f"no such directory; nearest: {nearest_text(entity_id, lists.directories.rows, lists.fields)}"
            unsearched.append(Unsearched(entity_id=entity_id, why=why))
    return lists, [*asked], unsearched, note


def _results(
    directories: Directories, contents: Contents, queries: Sequence[str], all_shown: bool, filled: bool
) -> dict[str, QueryResult]:
    """What each query certainly means, `exact` for one item, `ambiguous` for several; of the others the nearest, the
    fewer the more there are."""
    matcher = _matcher(directories, contents)
    found = {query: matcher.fits(query) for query in queries}
    unknown = sum(not fits for fits in found.values())
    most = _NEAREST_OF_EACH if all_shown or not unknown else max(_NEAREST_OF_EACH, _NEAREST // unknown)
    results: dict[str, QueryResult] = {}
    for query, fits in found.items():
        if not fits:
            nearest = [_match(entry) for entry in matcher.nearest(query, most, filled=filled)]
            results[query] = QueryResult(query=query, status="none", matches=nearest)
            continue
        matches = [_match(*fit) for fit in islice(fits.items(), _CANDIDATES)]
        tell_apart: Literal["pipeline", "directory", "code"] | None = None
        if len(fits) > 1:
            fields = {one.entity_id: one.used_in or [one.entity_id] for one in (entry.directory for entry in fits)}
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


class _Built(NamedTuple):
    """A matcher, and what it was built of."""

    contents: Contents
    matcher: Matcher


def _matcher(directories: Directories, contents: Contents) -> Matcher:
    """One of the last, as long as the cache gives the same rows: to build it takes longer than to find 50 queries."""
    built: dict[tuple[str, ...], _Built] = directories.reader.memos.setdefault("matchers", {})
    key = tuple(directory.entity_id for directory, _ in contents)
    last = built.pop(key, None)
    pairs = zip(last.contents, contents, strict=True) if last else ()  # rows that are read apart may be equal
    if not last or any(one is not other or kept.rows is not others.rows for (one, kept), (other, others) in pairs):
        last = _Built(contents, Matcher((directory, kept.rows) for directory, kept in contents))
    built[key] = last
    while len(built) > _MATCHERS:
        built.pop(next(iter(built)), None)
    return last.matcher


def _searchable(
    by_id: Mapping[str, Directory], read: Mapping[str, Cached[Item] | Bitrix24Error]
) -> tuple[Contents, dict[str, Bitrix24Error]]:
    """What was read of directories, and why others could not be."""
    contents = [(by_id[of], found) for of, found in read.items() if not isinstance(found, Bitrix24Error)]
    return contents, {of: found for of, found in read.items() if isinstance(found, Bitrix24Error)}
