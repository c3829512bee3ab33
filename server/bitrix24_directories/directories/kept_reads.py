"""Calls that read lists, and what they gave lately: one at a time, or many in one batch.

Calls the portal through `rest` and keeps rows in `cache`; knows nothing of what the rows mean.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio

from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, unwrap

from .cache import Cache, Kept

T = TypeVar("T")

PERSONAL = "records"
"""What the keys of reads begin with that depend on the caller's own rights."""

_RECENTLY = 10.0

ReadRows = Kept[Any] | Bitrix24Error
"""What came of one read among many."""


@dataclass(frozen=True)
class Read(Generic[T]):
    """One REST call and how its answer becomes rows. `key` tells it from all others; `keep` is False for what must be
    asked anew each time.
    """

    key: tuple[str, ...]
    method: str
    params: Mapping[str, Any] = field(hash=False)
    rows: Callable[[Answer], list[T]] = field(hash=False, compare=False)
    keep: bool = True


class Reader:
    """Makes reads for one caller of one portal.

    What is the portal's (its directories, its fields) is kept for the `owner` that is given, such as all who see the
    same of it; what is the caller's own (PERSONAL) for the caller alone, as everything is without an owner.
    """

    def __init__(
        self, client: Bitrix24Client, cache: Cache, owner: Callable[[], tuple[str, ...]] | None = None
    ) -> None:
        self._client = client
        self._cache = cache
        self._owner = owner
        self.recently = 0.0 if owner is None else _RECENTLY
        """Seconds for which what others have read counts as read now."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose reads these are. Raises Bitrix24Error as a call would."""
        return self._client.identity

    @property
    def memos(self) -> dict[str, Any]:
        """What is made of what is the portal's."""
        return self._cache.memos(self._owner() if self._owner else self.identity)

    def _kept_as(self, key: tuple[str, ...]) -> tuple[Any, ...]:
        shared = self._owner is not None and key[:1] != (PERSONAL,)
        return (self._owner() if shared and self._owner else self.identity, *key)

    @asynccontextmanager
    async def _turn(self, *keys: tuple[str, ...], fresh: bool) -> AsyncIterator[None]:
        """Let one caller read what several who share it ask for at the same time."""
        if self._owner is None or fresh or any(key[:1] == (PERSONAL,) for key in keys):
            yield
            return
        async with self._cache.turn(self._kept_as(keys[0] if len(keys) == 1 else ("batch",))):
            yield

    def keep(self, read: Read[T], rows: list[T]) -> None:
        """Let `rows` be what `read` gives for a while."""
        self._keep(self._kept_as(read.key), read, rows)

    def _keep(self, owned: tuple[Any, ...], read: Read[T], rows: list[T]) -> Kept[T]:
        if read.keep:
            return self._cache.keep(owned, rows)
        return Kept(rows, anyio.current_time())

    def forget(self, *keys: tuple[str, ...]) -> None:
        for key in keys:
            self._cache.forget(self._kept_as(key))

    def forget_all(self, *start: str) -> None:
        """The same for all keys that begin so."""
        self._cache.forget_all(self._kept_as(start))

    async def one(self, read: Read[T], *, fresh: bool = False) -> Kept[T]:
        """What `read` gave lately, or gives now. Raises Bitrix24Error, which is not kept."""

        async def ask() -> list[T]:
            return read.rows(await self._client.call(read.method, read.params, fresh=fresh))

        return await self.made(read.key, ask, fresh=fresh) if read.keep else Kept(await ask(), anyio.current_time())

    async def made(self, key: tuple[str, ...], make: Callable[[], Awaitable[list[T]]], *, fresh: bool) -> Kept[T]:
        """What `make` gave lately under `key`, or gives now: for what takes more than one call."""
        owned = self._kept_as(key)
        if not fresh and (kept := self._cache.get(owned)) is not None:
            return kept
        async with self._turn(key, fresh=fresh):
            if not fresh and (kept := self._cache.get(owned)) is not None:  # by now
                return kept
            return self._cache.keep(owned, await make())

    def kept(self, reads: Iterable[Read[Any]]) -> dict[Read[Any], Kept[Any]]:
        """Those of `reads` that were made lately, and what they gave."""
        found = ((read, self._cache.get(self._kept_as(read.key))) for read in reads)
        return {read: kept for read, kept in found if kept is not None}

    async def batch(
        self, reads: Iterable[Read[Any]], *, fresh: bool = False, since: float = -math.inf
    ) -> dict[Read[Any], ReadRows]:
        """What each of `reads` gave lately, or gives now, in one batch for each 50; an error in place of each failure.

        What was read before `since` (anyio's clock) is read anew. Raises Bitrix24Error when a batch fails as a whole.
        """
        wanted = list(reads)
        found: dict[Read[Any], ReadRows] = {} if fresh else self._kept_since(wanted, since)
        if not (missing := [read for read in wanted if read not in found]):
            return found
        anew = fresh or since > -math.inf
        async with self._turn(*(read.key for read in missing), fresh=fresh or (len(missing) == 1 and not anew)):
            found |= {} if fresh else self._kept_since(missing, since)
            return found | await self._batch([read for read in missing if read not in found], fresh=anew)

    def _kept_since(self, reads: Iterable[Read[Any]], since: float) -> dict[Read[Any], ReadRows]:
        return {read: kept for read, kept in self.kept(reads).items() if kept.read_at >= since}

    async def _batch(self, reads: Sequence[Read[Any]], *, fresh: bool) -> dict[Read[Any], ReadRows]:
        found: dict[Read[Any], ReadRows] = {}
        missing = {str(place): read for place, read in enumerate(reads)}
        owned = {key: self._kept_as(read.key) for key, read in missing.items()}  # as it was asked for
        if len(missing) == 1:  # as a call of its own it shares its request with equal ones
            (read,) = missing.values()
            try:
                found[read] = await self.one(read, fresh=fresh)
            except Bitrix24Error as exc:
                found[read] = exc
            return found
        outcomes = await self._client.batch({key: (read.method, read.params) for key, read in missing.items()})
        for key, read in missing.items():
            try:
                rows = read.rows(unwrap(outcomes[key]))
            except Bitrix24Error as exc:
                found[read] = exc
            else:
                found[read] = self._keep(owned[key], read, rows)
        return found
