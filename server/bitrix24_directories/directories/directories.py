"""What the product knows: which directories a portal has, and what stands in them.

Calls the portal through `rest`, whose rows `rows` reads. Knows nothing of MCP.
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
from .field_map import PATIENCE, Fields, Found, are_same, rows
from .fields.fields import BUILT_IN, NOTHING_READ, FieldMap, FieldOf, folded
from .models import Directory, DirectoryItems, DirectoryList, Item
from .naming import ENTITY_ID_LIMIT, lists_of, named, only, unknown
from .pipelines import ALONG, completed, reads_to_complete
from .reading.cache import Cache, Cached
from .reading.cached_reader import CachedReader, OnRows, Read
from .reads import TYPES, items_of, meanings_of
from .rows import confirms, fields_text, read_statuses

MOST_ITEMS = 50_000
"""Of one directory that are read; the largest known one is a tenth of that."""


@dataclass(frozen=True, slots=True)
class Lists:
    """All lists of codes of a portal: its directories, and the enumerations of its fields."""

    directories: Cached[Directory]
    fields: FieldMap

    def all(self) -> list[Directory]:
        return [*self.directories.rows, *(one.directory for one in self.fields.enumerations.values())]

    def of(self, field: FieldOf) -> list[Directory]:
        """The directories whose codes a field takes, or the enumeration that it holds."""
        return list(lists_of(field, self.directories.rows, self.fields))

    def named(self, text: str) -> list[Directory]:
        """What `naming.named` finds in them."""
        return named(text, self.directories.rows, self.fields)


class Directories:
    """The directories of the portal behind `client`; what was read stays in `cache` for a while. `owner` and
    `on_rows` are those of `CachedReader`."""

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
        """One directory's items in SORT order, from `crm.status.entity.items`, or with details `crm.status.list`.

        `entity_id` may also be a field that takes codes, or a title, as `naming.named` reads them. Blanks around it and
        its letter case don't matter. `fresh` passes by what is cached.

        Raises Bitrix24Error: UNKNOWN_DIRECTORY when the portal has no such directory, DIRECTORY_UNCONFIRMED when an
        empty answer cannot be told from that, SEVERAL_DIRECTORIES where a field has one for each pipeline, NO_CODES for
        a field that takes none, and whatever the portal or the network fails with.
        """
        wanted = entity_id.strip()
        if not could_be_id(wanted):
            return await self._called(wanted, details=details, fresh=fresh)
        try:
            return await self._items(as_id(wanted), details=details, fresh=fresh)
        except Bitrix24Error as exc:
            if exc.kind != "UNKNOWN_DIRECTORY":
                raise
            try:  # a field's name looks like an id, and so does a title of one word
                return await self._called(wanted, details=details, fresh=fresh)
            except Bitrix24Error as other:
                raise (other if other.kind in ("SEVERAL_DIRECTORIES", "NO_CODES") else exc) from None

    async def _called(self, text: str, *, details: bool, fresh: bool) -> DirectoryItems:
        """The items of the directory that a field or a title means."""
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

    async def _items(self, wanted: str, *, details: bool, fresh: bool) -> DirectoryItems:
        asked_at = anyio.current_time()
        refused: Bitrix24Error | None = None
        found: Cached[Item] | None = None
        fields = NOTHING_READ
        if len(wanted) <= ENTITY_ID_LIMIT:
            try:
                found, fields = await self._read_with_fields(wanted, details=details, fresh=fresh)
            except Bitrix24Error as exc:
                if exc.kind != "INVALID_ENTITY_ID":
                    raise
                refused = exc
        if found is None or not found.rows:
            try:
                await self._look_into_empty(wanted, refused, found.read_at if found else asked_at)
            except Bitrix24Error:
                self.reader.invalidate(_details_key(wanted) if details else items_of(wanted).key)
                raise
        items, age = (found.rows, found.age(asked_at)) if found else ([], None)
        types = self.reader.cached([TYPES]).get(TYPES)  # as far as the list of directories was read lately
        switched_off = types is not None and any(one.switched_off and one.entity_id == wanted for one in types.rows)
        return DirectoryItems(
            entity_id=wanted,
            items=items,
            total=len(items),
            used_in=fields.used_in(wanted, entity_type_of(wanted)),
            switched_off=switched_off or None,
            age_seconds=age,
        )

    async def search(self, query: str = "") -> DirectoryList:
        """The portal's directories (`crm.status.entity.types`) whose id, name or pipeline holds each word of `query`;
        where there is one, its fields' enumerations are searched, too.

        Raises Bitrix24Error when they cannot be read.
        """
        asked_at = anyio.current_time()
        lists, words = await self.lists(), folded(query).split()
        directories = lists.directories
        searched = lists.all() if words else directories.rows
        texts = (folded(f"{one.entity_id} {one.name} {one.pipeline or ''}") for one in searched)
        fitting = [one for one, text in zip(searched, texts, strict=True) if all(word in text for word in words)]
        return DirectoryList(directories=fitting, total=len(directories.rows), age_seconds=directories.age(asked_at))

    async def lists(self, *, fresh: bool = False, along: Sequence[str] = ()) -> Lists:
        """All directories (`crm.status.entity.types`) with the fields that take their codes, and all enumerations.

        Where they have to be read, the items of directories whose ids stand `along` are read with them and cached, so
        that they cost no request of their own. Raises Bitrix24Error when the directories cannot be read; where fields
        cannot, what is known of every portal stands in for them.
        """
        to_be_read = not fresh and self.reader.is_caching and not self.reader.cached([TYPES])
        ids = dict.fromkeys(as_id(text) for text in along if to_be_read and could_be_id(text.strip()))
        fields, found = await self._read_lists(map(items_of, ids), fresh=fresh)
        types = found[TYPES]
        if isinstance(types, Bitrix24Error):
            raise types
        completing = self.reader.memos["completing"]
        made_of: list[Any] = [types.rows, fields, *(rows(found, read) for read in completing)]
        made: tuple[list[Any], Lists] | None = self.reader.memos.get("lists")
        if made is None or not are_same(made[0], made_of):
            directories = [
                one.model_copy(update={"used_in": fields.used_in(one.entity_id, one.entity_type_id)})
                for one in completed(types.rows, found)
            ]
            made = self.reader.memos["lists"] = made_of, Lists(Cached(directories, types.read_at), fields)
        return made[1]

    async def _read_lists(self, along: Iterable[Read[Any]] = (), *, fresh: bool = False) -> tuple[FieldMap, Found]:
        """The field map, and what came of the list of directories, of what completes it, and of reads `along`."""
        expected: list[Read[Any]] = self.reader.memos.get("completing", [*ALONG])  # as it was the last time
        fields, found = await self._fields.read_with([TYPES, *expected, *along], _reads_to_complete, fresh=fresh)
        self.reader.memos["completing"] = [read for read in (*ALONG, *_reads_to_complete(found)) if read in found]
        return fields, found

    async def read_ahead(self) -> None:
        """Keep what most first questions ask for, in one or two requests: the lists, the directories that portals have,
        and as many more as fit. Raises Bitrix24Error where the portal does not answer.
        """
        built_in = [items_of(entity_id) for entity_id in BUILT_IN] if self.reader.is_caching else []

        def others(found: Found) -> list[Read[Any]]:
            reads = [items_of(one.entity_id) for one in rows(found, TYPES)] if self.reader.is_caching else []
            return [*reads_to_complete(rows(found, TYPES)), *(read for read in reads if read not in built_in)]

        await self._fields.prefetch([TYPES, *ALONG, *built_in], others)

    async def many(self, entity_ids: Sequence[str]) -> dict[str, Cached[Item] | Bitrix24Error]:
        """The plain items of many directories, in one batch for each 50 that are not cached; an error for each failure.

        Does not tell an unknown directory from an empty one. Raises Bitrix24Error when a batch fails as a whole.
        """
        found = await self.reader.get_many(items_of(entity_id) for entity_id in entity_ids)
        return {entity_id: found[items_of(entity_id)] for entity_id in entity_ids}

    async def contents(self, lists: Lists, ids: Sequence[str]) -> dict[str, Cached[Item] | Bitrix24Error]:
        """The same for lists of any kind: an enumeration's values came with its field."""
        enumerations = lists.fields.enumerations
        read = await self.many([entity_id for entity_id in ids if entity_id not in enumerations])
        return read | {path: enumerations[path].values for path in ids if path in enumerations}

    async def write(
        self, entity_id: str, calls: Sequence[tuple[str, dict[str, Any]]], outcomes: list[Outcome | None]
    ) -> None:
        """Make changing calls in their order until one fails, and invalidate what is cached of the directory.

        `outcomes` gets what `Bitrix24Client.batch` tells; an answer that confirms nothing becomes an error there.
        """
        try:
            await self.client.batch(calls, halt=True, on_outcome=outcomes.append)
        except Exception:  # a mistake of ours: what has left for the portal may have been carried out
            lost = failure("UNEXPECTED_ANSWER", detail="it could not be read")
            outcomes += [lost] * (len(calls) - len(outcomes))
            raise
        finally:
            for place, ((method, _), outcome) in enumerate(zip(calls, outcomes, strict=False)):
                if isinstance(outcome, Answer) and not confirms(method, outcome.result):
                    error = failure("UNEXPECTED_ANSWER", http_status=200, detail="it confirms no change")
                    error.answered = True
                    outcomes[place] = error
            keys = items_of(entity_id).key, _details_key(entity_id), meanings_of(entity_id).key
            self.reader.invalidate(*keys, TYPES.key)

    async def fields_text(self) -> str:
        """The fields of an item, a line each (`crm.status.fields`). Raises Bitrix24Error when they cannot be read."""
        return fields_text((await self.client.call("crm.status.fields")).result)

    async def _read_with_fields(self, entity_id: str, *, details: bool, fresh: bool) -> tuple[Cached[Item], FieldMap]:
        """The items, and at the same time the field map, as far as it can be had soon."""
        read = partial(self.reader.get, items_of(entity_id), fresh=fresh)
        if details:
            compute = partial(self._details, entity_id, fresh=fresh)
            read = partial(self.reader.get_or_compute, _details_key(entity_id), compute, fresh=fresh)
        if (known := self._fields.recent()) is not None:
            return await read(), known
        fields, error = NOTHING_READ, None

        async def read_fields() -> None:
            nonlocal fields
            with anyio.move_on_after(PATIENCE), contextlib.suppress(Bitrix24Error):
                # What the list of directories needs goes along for nothing.
                fields = self._fields.cached() or (await self._read_lists())[0]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_fields)
            try:
                items = await read()
            except Bitrix24Error as exc:  # kept out of the task group, which would wrap it
                error = exc
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        return items, fields

    async def _details(self, entity_id: str, *, fresh: bool) -> list[Item]:
        """All pages: the first alone, for it tells how many there are; SORT alone would leave the order of equals, and
        so the page borders, to chance."""
        params = {"filter": {"ENTITY_ID": entity_id}, "order": {"SORT": "ASC", "ID": "ASC"}}
        first = await self.client.call("crm.status.list", params, fresh=fresh)
        items, start = read_statuses(first.result, entity_id), first.next
        last = 0
        while start is not None:
            if not last < start <= MOST_ITEMS:
                raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the next page does not lie ahead")
            expected = range(start, first.total or 0, first.next or 1) or range(start, start + 1)
            places = expected[:BATCH_LENGTH]
            calls = [("crm.status.list", params | {"start": place}) for place in places]
            for place, outcome in zip(places, await self.client.batch(calls, fresh=fresh), strict=True):
                if place != start:  # the page before does not lead here
                    break
                answer = unwrap(outcome)
                items += read_statuses(answer.result, entity_id)
                last, start = start, answer.next
        return items

    async def _look_into_empty(self, entity_id: str, refused: Bitrix24Error | None, read_at: float) -> None:
        """Return if the directory existed at `read_at`: the portal sends an empty list for one that does not, too."""
        try:
            known = await self.reader.get(TYPES)
            if known.read_at < read_at:  # the directory may have come or gone since
                known = await self.reader.get(TYPES, fresh=True)
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
        if all(found.entity_id != entity_id for found in known.rows):
            raise unknown(entity_id, known.rows)
        if refused is not None:
            raise refused


def _reads_to_complete(found: Found) -> list[Read[Any]]:
    return reads_to_complete(rows(found, TYPES))


def _details_key(entity_id: str) -> tuple[str, ...]:
    return ("details", entity_id)
