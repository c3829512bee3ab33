"""Calls that read lists, and what they gave lately: one at a time, or many in one batch.

Calls the portal through `rest` and keeps rows in `cache`; knows nothing of what the rows mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio

from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, unwrap

from .cache import Cache, Kept

T = TypeVar("T")

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
    """Makes reads for one caller of one portal."""

    def __init__(self, client: Bitrix24Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose reads these are. Raises Bitrix24Error as a call would."""
        return self._client.identity

    def keep(self, read: Read[T], rows: list[T]) -> None:
        """Let `rows` be what `read` gives for a while."""
        self._keep(self._client.identity, read, rows)

    def _keep(self, identity: tuple[str, ...], read: Read[T], rows: list[T]) -> Kept[T]:
        if read.keep:
            return self._cache.keep((identity, *read.key), rows)
        return Kept(rows, anyio.current_time())

    def forget(self, *keys: tuple[str, ...]) -> None:
        for key in keys:
            self._cache.forget((self._client.identity, *key))

    def forget_all(self, *start: str) -> None:
        """The same for all keys that begin so."""
        self._cache.forget_all((self._client.identity, *start))

    async def one(self, read: Read[T], *, fresh: bool = False) -> Kept[T]:
        """What `read` gave lately, or gives now. Raises Bitrix24Error, which is not kept."""

        async def ask() -> list[T]:
            return read.rows(await self._client.call(read.method, read.params, fresh=fresh))

        return await self.made(read.key, ask, fresh=fresh) if read.keep else Kept(await ask(), anyio.current_time())

    async def made(self, key: tuple[str, ...], make: Callable[[], Awaitable[list[T]]], *, fresh: bool) -> Kept[T]:
        """What `make` gave lately under `key`, or gives now: for what takes more than one call."""
        owned = (self._client.identity, *key)
        if not fresh and (kept := self._cache.get(owned)) is not None:
            return kept
        return self._cache.keep(owned, await make())

    def kept(self, reads: Iterable[Read[Any]]) -> dict[Read[Any], Kept[Any]]:
        """Those of `reads` that were made lately, and what they gave."""
        identity = self._client.identity
        found = ((read, self._cache.get((identity, *read.key))) for read in reads)
        return {read: kept for read, kept in found if kept is not None}

    async def batch(self, reads: Iterable[Read[Any]], *, fresh: bool = False) -> dict[Read[Any], ReadRows]:
        """What each of `reads` gave lately, or gives now, in one batch for each 50; an error in place of each failure.

        Raises Bitrix24Error when a batch fails as a whole.
        """
        wanted, identity = list(reads), self._client.identity
        found: dict[Read[Any], ReadRows] = {} if fresh else dict(self.kept(wanted))
        missing = {str(place): read for place, read in enumerate(wanted) if read not in found}
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
                found[read] = self._keep(identity, read, rows)
        return found
