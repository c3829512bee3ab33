"""What the product knows: which directories a portal has, and what stands in them.

Calls the portal through `rest`, whose rows `rows` reads. Knows nothing of MCP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, Entry, Outcome, failure, unwrap
from bitrix24_directories.text import one_line, shown_code

from .cache import Cache, Kept
from .models import Directory, DirectoryItems, DirectoryList, Item
from .rows import confirms, fields_text, read_directories, read_items, read_record, read_statuses, used_in

ENTITY_ID_LIMIT = 100
MOST_ITEMS = 50_000
"""Of one directory that are read; the largest known one is a tenth of that."""

_PAGES = 50  # that go out together, in one batch
SUGGESTIONS = 5
_CLOSE = 60

T = TypeVar("T")


class Directories:
    """The directories of the portal behind `client`; what was read stays in `cache` for a while."""

    def __init__(self, client: Bitrix24Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache

    async def items(self, entity_id: str, *, details: bool = False, fresh: bool = False) -> DirectoryItems:
        """One directory's items in SORT order, from `crm.status.entity.items`, or with details `crm.status.list`.

        Blanks around `entity_id` and its letter case don't matter. `fresh` passes by what is kept.

        Raises Bitrix24Error: UNKNOWN_DIRECTORY when the portal has no such directory, DIRECTORY_UNCONFIRMED when an
        empty answer cannot be told from that, and whatever the portal or the network fails with.
        """
        asked_at, wanted = anyio.current_time(), entity_id.strip().upper()
        refused: Bitrix24Error | None = None
        found: Kept[Item] | None = None
        read = self._details if details else self._plain
        if wanted.isprintable() and 0 < len(wanted) <= ENTITY_ID_LIMIT:
            try:
                found = await self._kept(read, wanted, fresh=fresh)
            except Bitrix24Error as exc:
                if exc.kind != "INVALID_ENTITY_ID":
                    raise
                refused = exc
        if found is None or not found.rows:
            try:
                await self._look_into_empty(wanted, refused, found.read_at if found else asked_at)
            except Bitrix24Error:
                self._cache.forget(self._key(read, wanted))
                raise
        items, age = (found.rows, found.age(asked_at)) if found else ([], None)
        return DirectoryItems(entity_id=wanted, items=items, total=len(items), used_in=used_in(wanted), age_seconds=age)

    async def search(self, query: str = "") -> DirectoryList:
        """The portal's directories (`crm.status.entity.types`) whose id, name or pipeline holds each word of `query`.

        Raises Bitrix24Error when they cannot be read.
        """
        asked_at = anyio.current_time()
        known = await self.types()
        words = query.casefold().split()
        fitting = [found for found in known.rows if all(word in _searchable(found) for word in words)]
        return DirectoryList(directories=fitting, total=len(known.rows), age_seconds=known.age(asked_at))

    async def types(self) -> Kept[Directory]:
        """All directories of the portal (`crm.status.entity.types`). Raises Bitrix24Error when they cannot be read."""
        return await self._kept(self._types)

    async def many(self, entity_ids: Sequence[str]) -> dict[str, Kept[Item] | Bitrix24Error]:
        """The plain items of many directories, in one batch for each 50 that are not kept; an error for each failure.

        Does not tell an unknown directory from an empty one. Raises Bitrix24Error when a batch fails as a whole.
        """
        found = {entity_id: self._cache.get(self._key(self._plain, entity_id)) for entity_id in entity_ids}
        missing = [entity_id for entity_id, kept in found.items() if kept is None]
        calls = {entity_id: ("crm.status.entity.items", {"entityId": entity_id}) for entity_id in missing}
        outcomes: dict[str, Kept[Item] | Bitrix24Error] = {}
        for entity_id, outcome in (await self._client.batch(calls)).items():
            try:
                rows = read_items(unwrap(outcome).result)
            except Bitrix24Error as exc:
                outcomes[entity_id] = exc
            else:
                outcomes[entity_id] = self._cache.keep(self._key(self._plain, entity_id), rows)
        return {entity_id: kept or outcomes[entity_id] for entity_id, kept in found.items()}

    async def records(self, numbers: Sequence[str]) -> dict[str, tuple[str, Item]]:
        """The directory's id and the item for each numeric record id that exists (`crm.status.get`)."""
        calls = {number: ("crm.status.get", {"id": int(number)}) for number in numbers}
        outcomes = await self._client.batch(calls)
        return {
            number: read_record(outcome.result)
            for number, outcome in outcomes.items()
            if not isinstance(outcome, Bitrix24Error)
        }

    async def write(
        self, entity_id: str, calls: Sequence[tuple[str, dict[str, Any]]], outcomes: list[Outcome | None]
    ) -> None:
        """Make changing calls in their order until one fails, and forget what was kept of the directory.

        `outcomes` is filled as Bitrix24Client.change says; an answer that confirms nothing becomes an error there.
        """
        try:
            await self._client.change(calls, outcomes)
        finally:
            for place, ((method, _), outcome) in enumerate(zip(calls, outcomes, strict=False)):
                if isinstance(outcome, Answer) and not confirms(method, outcome.result):
                    detail = "it confirms no change"
                    outcomes[place] = failure("UNEXPECTED_ANSWER", http_status=200, detail=detail)
            for key in (self._key(self._plain, entity_id), self._key(self._details, entity_id), self._key(self._types)):
                self._cache.forget(key)

    async def fields_text(self) -> str:
        """The fields of an item, a line each (`crm.status.fields`). Raises Bitrix24Error when they cannot be read."""
        return fields_text((await self._client.call("crm.status.fields")).result)

    async def _kept(self, read: Callable[..., Awaitable[list[T]]], *of: str, fresh: bool = False) -> Kept[T]:
        """What `read(*of)` gave lately or gives now; an error is not kept."""
        key = self._key(read, *of)
        if not fresh and (kept := self._cache.get(key)) is not None:
            return kept
        return self._cache.keep(key, await read(*of, fresh=fresh))

    def _key(self, read: Callable[..., object], *of: str) -> tuple[object, ...]:
        return (self._client.identity, read.__name__, *of)

    async def _plain(self, entity_id: str, *, fresh: bool) -> list[Item]:
        answer = await self._client.call("crm.status.entity.items", {"entityId": entity_id}, fresh=fresh)
        return read_items(answer.result)

    async def _details(self, entity_id: str, *, fresh: bool) -> list[Item]:
        """All pages: the first alone, for it tells how many there are; SORT alone would leave the order of equals, and
        so the page borders, to chance."""
        params = {"filter": {"ENTITY_ID": entity_id}, "order": {"SORT": "ASC", "ID": "ASC"}}
        first = await self._client.call("crm.status.list", params, fresh=fresh)
        items, start = read_statuses(first.result, entity_id), first.next
        last = 0
        while start is not None:
            if not last < start <= MOST_ITEMS:
                raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the next page does not lie ahead")
            expected = range(start, first.total or 0, first.next or 1) or range(start, start + 1)
            calls = {str(place): ("crm.status.list", params | {"start": place}) for place in expected[:_PAGES]}
            for place, outcome in (await self._client.batch(calls)).items():
                if int(place) != start:  # the page before does not lead here
                    break
                answer = unwrap(outcome)
                items += read_statuses(answer.result, entity_id)
                last, start = start, answer.next
        return items

    async def _types(self, *, fresh: bool) -> list[Directory]:
        return read_directories((await self._client.call("crm.status.entity.types", fresh=fresh)).result)

    async def _look_into_empty(self, entity_id: str, refused: Bitrix24Error | None, read_at: float) -> None:
        """Return if the directory existed at `read_at`: the portal sends an empty list for one that does not, too."""
        try:
            known = await self.types()
            if known.read_at < read_at:  # the directory may have come or gone since
                known = await self._kept(self._types, fresh=True)
        except Bitrix24Error as exc:
            raise _unconfirmed(entity_id, exc) from exc
        if all(found.entity_id != entity_id for found in known.rows):
            raise _unknown(entity_id, known.rows)
        if refused is not None:
            raise refused


def _searchable(directory: Directory) -> str:
    return f"{directory.entity_id} {directory.name} {directory.pipeline or ''}".casefold()


def nearest_text(entity_id: str, known: Sequence[Directory]) -> str:
    """The closest ids of `known` with their titles; empty where nothing is close."""
    nearest = _nearest(entity_id[:ENTITY_ID_LIMIT], known)
    return "; ".join(f"{shown_code(found.entity_id)} ({found.name})" for found in nearest)


def _unknown(entity_id: str, known: list[Directory]) -> Bitrix24Error:
    nearest = nearest_text(entity_id, known)
    todo = f"Use one of the nearest: {nearest}. " if nearest else ""
    return Bitrix24Error(
        "UNKNOWN_DIRECTORY",
        Entry(
            f'This portal has no directory "{one_line(entity_id, ENTITY_ID_LIMIT)}"',
            f"{todo}Call list_directories to see all {len(known)} with their titles.",
            "input",
        ),
    )


def _unconfirmed(entity_id: str, cause: Bitrix24Error) -> Bitrix24Error:
    return Bitrix24Error(
        "DIRECTORY_UNCONFIRMED",
        Entry(
            f'The portal sent no items for "{one_line(entity_id, ENTITY_ID_LIMIT)}": either there is no such '
            f"directory, or it is empty. Which of the two is not known, because the portal's list of directories "
            f"cannot be read: {cause.happened}",
            f"Do not take the directory for empty. {cause.todo}",
            cause.category,
            cause.retryable,
            cause.retry_after,
        ),
        code=cause.code,
        http_status=cause.http_status,
    )


def _nearest(entity_id: str, known: Sequence[Directory]) -> list[Directory]:
    # Imported here: only a mistake needs it, and start-up time counts.
    from rapidfuzz import fuzz

    def words(text: str) -> str:
        return text.casefold().replace("_", " ")

    def closeness(found: Directory) -> float:
        return max(fuzz.WRatio(words(entity_id), words(text)) for text in (found.entity_id, found.name))

    ranked = sorted(known, key=closeness, reverse=True)
    return [found for found in ranked[:SUGGESTIONS] if closeness(found) >= _CLOSE]
