"""The directories of a portal, their items, and changes to them.

Calls the portal through `rest`; `rows` reads the rows of its answers. Knows nothing of MCP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from bitrix24_directories.rest import (
    BATCH_LENGTH,
    Answer,
    Bitrix24Client,
    Bitrix24Error,
    ErrorKind,
    Outcome,
    failure,
    unwrap,
)
from bitrix24_directories.text import shown_id

from .entity_ids import as_id, could_be_id, entity_type_of
from .field_map import PATIENCE, Fields, Results, are_same, rows
from .fields.fields import BUILT_IN, NOTHING_READ, FieldMap, FieldOf, folded
from .models import Directory, DirectoryItems, DirectoryList, Item
from .naming import ENTITY_ID_LIMIT, find_directories, lists_of, only, unknown
from .pipelines import ALONG, completed, reads_to_complete
from .reading.cache import Cache, Cached
from .reading.cached_reader import CachedReader, OnRows, Read
from .reads import TYPES, items_of, meanings_of
from .rows import confirms, fields_text, read_statuses

MOST_ITEMS = 50_000
"""Limit of the items read of one directory; the largest known one has a tenth of that."""


@dataclass(frozen=True, slots=True)
class Lists:
    """All lists of codes of a portal: its directories, and the enumerations of its fields."""

    directories: Cached[Directory]
    fields: FieldMap

    def all(self) -> list[Directory]:
        """Return the directories, then the enumerations."""
        return [*self.directories.rows, *(enumeration.directory for enumeration in self.fields.enumerations.values())]

    def directories_of(self, field: FieldOf) -> list[Directory]:
        """The directories whose codes a field takes, or the enumeration that it holds."""
        return list(lists_of(field, self.directories.rows, self.fields))

    def named(self, text: str) -> list[Directory]:
        """Return the directories that `naming.find_directories` finds for a text."""
        return find_directories(text, self.directories.rows, self.fields)


class Directories:
    """The directories of the portal behind `client`, cached for a while in `cache`.
    `owner` and `on_rows` are those of `CachedReader`."""

    def __init__(
        self,
        client: Bitrix24Client,
        cache: Cache,
        owner: Callable[[], tuple[str, ...]] | None = None,
        on_rows: OnRows | None = None,
    ) -> None:
        self.client = client
        self.reader = CachedReader(client, cache, owner, on_rows)
        self._fields = Fields(self.reader)

    async def items(self, entity_id: str, *, details: bool = False, fresh: bool = False) -> DirectoryItems:
        """Return the items of one directory in SORT order.

        They come from `crm.status.entity.items`, or with `details` from `crm.status.list`. `entity_id` may also be a
        field that takes codes, or a title, as in `naming.find_directories`; letter case and blanks around it don't
        matter. `fresh` bypasses the cache.

        Raises Bitrix24Error: UNKNOWN_DIRECTORY if the portal has no such directory, DIRECTORY_UNCONFIRMED if an empty
        answer cannot be told from that, SEVERAL_DIRECTORIES if a field has one for each pipeline, NO_CODES for a field
        that takes none, and any error of the portal or the network.
        """
        text = entity_id.strip()
        if not could_be_id(text):
            return await self._items_by_name(text, details=details, fresh=fresh)
        try:
            return await self._items(as_id(text), details=details, fresh=fresh)
        except Bitrix24Error as exc:
            if exc.kind != "UNKNOWN_DIRECTORY":
                raise
            try:  # names of fields, and titles of one word, look like ids
                return await self._items_by_name(text, details=details, fresh=fresh)
            except Bitrix24Error as other:
                raise (other if other.kind in ("SEVERAL_DIRECTORIES", "NO_CODES") else exc) from None

    async def _items_by_name(self, text: str, *, details: bool, fresh: bool) -> DirectoryItems:
        """Return the items of the directory that a field or a title means."""
        asked_at, lists = anyio.current_time(), await self.lists(fresh=fresh)
        directory = only(text, lists.named(text))
        if directory.kind != "enumeration":
            return await self._items(directory.entity_id, details=details, fresh=fresh)
        values = lists.fields.enumerations[directory.entity_id].values
        return DirectoryItems(
            entity_id=directory.entity_id,
            items=values.rows,
            total=len(values.rows),
            used_in=directory.used_in,
            age_seconds=values.age(asked_at),
        )

    async def _items(self, entity_id: str, *, details: bool, fresh: bool) -> DirectoryItems:
        asked_at = anyio.current_time()
        refused: Bitrix24Error | None = None
        cached: Cached[Item] | None = None
        fields = NOTHING_READ
        if len(entity_id) <= ENTITY_ID_LIMIT:
            try:
                cached, fields = await self._read_with_fields(entity_id, details=details, fresh=fresh)
            except Bitrix24Error as exc:
                if exc.kind != "INVALID_ENTITY_ID":
                    raise
                refused = exc
        if cached is None or not cached.rows:
            try:
                await self._check_exists(entity_id, refused, cached.read_at if cached else asked_at)
            except Bitrix24Error:
                self.reader.invalidate(_details_key(entity_id) if details else items_of(entity_id).key)
                raise
        items, age = (cached.rows, cached.age(asked_at)) if cached else ([], None)
        types = self.reader.cached([TYPES]).get(TYPES)  # only if the list of directories is cached
        switched_off = types is not None and any(row.switched_off and row.entity_id == entity_id for row in types.rows)
        return DirectoryItems(
            entity_id=entity_id,
            items=items,
            total=len(items),
            used_in=fields.used_in(entity_id, entity_type_of(entity_id)),
            switched_off=switched_off or None,
            age_seconds=age,
        )

    async def search(self, query: str = "") -> DirectoryList:
        """Return the directories whose id, name or pipeline contains each word of `query`.

        They come from `crm.status.entity.types`; a query also searches the enumerations of fields. Raises Bitrix24Error
        if the directories cannot be read.
        """
        asked_at = anyio.current_time()
        lists, words = await self.lists(), folded(query).split()
        directories = lists.directories
        searched = lists.all() if words else directories.rows
        texts = (folded(f"{row.entity_id} {row.name} {row.pipeline or ''}") for row in searched)
        fitting = [row for row, text in zip(searched, texts, strict=True) if all(word in text for word in words)]
        return DirectoryList(directories=fitting, total=len(directories.rows), age_seconds=directories.age(asked_at))

    async def lists(self, *, fresh: bool = False, along: Sequence[str] = ()) -> Lists:
        """Return all directories with the fields that take their codes, and all enumerations.

        If they have to be read (`crm.status.entity.types`), the items of the directories whose ids are in `along` are
        read in the same request and cached. Raises Bitrix24Error if the directories cannot be read; if fields cannot,
        the fields of every portal replace them.
        """
        to_be_read = not fresh and self.reader.is_caching and not self.reader.cached([TYPES])
        ids = dict.fromkeys(as_id(text) for text in along if to_be_read and could_be_id(text.strip()))
        fields, results = await self._read_lists(map(items_of, ids), fresh=fresh)
        types = results[TYPES]
        if isinstance(types, Bitrix24Error):
            raise types
        completing = self.reader.memos["completing"]
        sources: list[Any] = [types.rows, fields, *(rows(results, read) for read in completing)]
        made: tuple[list[Any], Lists] | None = self.reader.memos.get("lists")
        if made is None or not are_same(made[0], sources):
            directories = [
                directory.model_copy(update={"used_in": fields.used_in(directory.entity_id, directory.entity_type_id)})
                for directory in completed(types.rows, results)
            ]
            made = self.reader.memos["lists"] = sources, Lists(Cached(directories, types.read_at), fields)
        return made[1]

    async def _read_lists(self, along: Iterable[Read[Any]] = (), *, fresh: bool = False) -> tuple[FieldMap, Results]:
        """Return the field map, and the results of the directories, of their completion and `along`."""
        expected: list[Read[Any]] = self.reader.memos.get("completing", [*ALONG])  # those of the last call
        fields, results = await self._fields.read_with([TYPES, *expected, *along], _reads_to_complete, fresh=fresh)
        self.reader.memos["completing"] = [read for read in (*ALONG, *_reads_to_complete(results)) if read in results]
        return fields, results

    async def read_ahead(self) -> None:
        """Cache the answers to the most likely first questions, in one or two requests.

        These are the lists, the directories that portals have, and as many more as fit. Raises Bitrix24Error if the
        portal does not answer.
        """
        built_in = [items_of(entity_id) for entity_id in BUILT_IN] if self.reader.is_caching else []

        def following(results: Results) -> list[Read[Any]]:
            directories = rows(results, TYPES) if self.reader.is_caching else []
            reads = [items_of(directory.entity_id) for directory in directories]
            return [*reads_to_complete(rows(results, TYPES)), *(read for read in reads if read not in built_in)]

        await self._fields.prefetch([TYPES, *ALONG, *built_in], following)

    async def many(self, entity_ids: Sequence[str]) -> dict[str, Cached[Item] | Bitrix24Error]:
        """Return the plain items of many directories; an error in place of each failure.

        One batch reads up to 50 directories that are not cached. An unknown directory looks like an empty one. Raises
        Bitrix24Error if a whole batch fails.
        """
        results = await self.reader.get_many(items_of(entity_id) for entity_id in entity_ids)
        return {entity_id: results[items_of(entity_id)] for entity_id in entity_ids}

    async def contents(self, lists: Lists, ids: Sequence[str]) -> dict[str, Cached[Item] | Bitrix24Error]:
        """Return the same for lists of any kind: an enumeration's values came with its field."""
        enumerations = lists.fields.enumerations
        read = await self.many([entity_id for entity_id in ids if entity_id not in enumerations])
        return read | {path: enumerations[path].values for path in ids if path in enumerations}

    async def write(
        self, entity_id: str, calls: Sequence[tuple[str, dict[str, Any]]], outcomes: list[Outcome | None]
    ) -> None:
        """Make changing calls in order until one fails, and invalidate the cached directory.

        `outcomes` receives the outcomes of `Bitrix24Client.batch`; an answer that confirms nothing becomes an error
        there.
        """
        try:
            await self.client.batch(calls, halt=True, on_outcome=outcomes.append)
        except Exception:  # our own error: the portal may have made the changes sent so far
            lost = failure("UNEXPECTED_ANSWER", detail="it could not be read")
            outcomes += [lost] * (len(calls) - len(outcomes))
            raise
        finally:
            for index, ((method, _), outcome) in enumerate(zip(calls, outcomes, strict=False)):
                if isinstance(outcome, Answer) and not confirms(method, outcome.result):
                    error = failure("UNEXPECTED_ANSWER", http_status=200, detail="it confirms no change")
                    error.answered = True
                    outcomes[index] = error
            keys = items_of(entity_id).key, _details_key(entity_id), meanings_of(entity_id).key
            self.reader.invalidate(*keys, TYPES.key)

    async def fields_text(self) -> str:
        """Return the fields of an item, one per line (`crm.status.fields`), or raise Bitrix24Error."""
        return fields_text((await self.client.call("crm.status.fields")).result)

    async def _read_with_fields(self, entity_id: str, *, details: bool, fresh: bool) -> tuple[Cached[Item], FieldMap]:
        """Return the items, and at the same time the field map, as far as it is read soon."""
        read = partial(self.reader.get, items_of(entity_id), fresh=fresh)
        if details:
            compute = partial(self._details, entity_id, fresh=fresh)
            read = partial(self.reader.get_or_compute, _details_key(entity_id), compute, fresh=fresh)
        if (recent := self._fields.recent()) is not None:
            return await read(), recent
        fields, error = NOTHING_READ, None

        async def read_fields() -> None:
            nonlocal fields
            with anyio.move_on_after(PATIENCE), contextlib.suppress(Bitrix24Error):
                # The list of directories goes in the same request, at no cost.
                fields = self._fields.cached() or (await self._read_lists())[0]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_fields)
            try:
                items = await read()
            except Bitrix24Error as exc:  # not through the task group, which would wrap it
                error = exc
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        return items, fields

    async def _details(self, entity_id: str, *, fresh: bool) -> list[Item]:
        """Read all pages of a directory's details: the first alone, because it has the total.
        Sorting by SORT alone would leave the order of equal items, and so the page borders, to chance."""
        params = {"filter": {"ENTITY_ID": entity_id}, "order": {"SORT": "ASC", "ID": "ASC"}}
        first = await self.client.call("crm.status.list", params, fresh=fresh)
        items, start = read_statuses(first.result, entity_id), first.next
        last = 0
        while start is not None:
            if not last < start <= MOST_ITEMS:
                raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the portal returned the same page again")
            expected = range(start, first.total or 0, first.next or 1) or range(start, start + 1)
            offsets = expected[:BATCH_LENGTH]
            calls = [("crm.status.list", params | {"start": offset}) for offset in offsets]
            for offset, outcome in zip(offsets, await self.client.batch(calls, fresh=fresh), strict=True):
                if offset != start:  # the previous page has another next page
                    break
                answer = unwrap(outcome)
                items += read_statuses(answer.result, entity_id)
                last, start = start, answer.next
        return items

    async def _check_exists(self, entity_id: str, refused: Bitrix24Error | None, read_at: float) -> None:
        """Return if the directory existed at `read_at`, else raise Bitrix24Error.
        The portal sends an empty list for unknown directories, too."""
        try:
            directories = await self.reader.get(TYPES)
            if directories.read_at < read_at:  # the directory may be new or removed since then
                directories = await self.reader.get(TYPES, fresh=True)
        except Bitrix24Error as exc:
            raise Bitrix24Error(
                "DIRECTORY_UNCONFIRMED",
                ErrorKind(
                    f'The portal sent no items for "{shown_id(entity_id, ENTITY_ID_LIMIT)}": either there is no such '
                    f"directory, or it is empty. Which of the two is not known, because the portal's list of "
                    f"directories cannot be read: {exc.happened}",
                    f"Do not take the directory for empty. {exc.agent_hint}",
                    exc.category,
                    exc.retryable,
                    exc.retry_after,
                ),
                code=exc.code,
                http_status=exc.http_status,
            ) from exc
        if all(directory.entity_id != entity_id for directory in directories.rows):
            raise unknown(entity_id, directories.rows)
        if refused is not None:
            raise refused


def _reads_to_complete(results: Results) -> list[Read[Any]]:
    return reads_to_complete(rows(results, TYPES))


def _details_key(entity_id: str) -> tuple[str, ...]:
    return ("details", entity_id)
