"""The read-through cache: what calls that read lists gave lately, or give now, one at a time or many in one batch.

Calls the portal through `rest` and stores rows in `cache`; knows nothing of what the rows mean.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio

from bitrix24_directories.rest import (
    BATCH_LENGTH,
    TOKEN_REFUSED,
    Answer,
    Bitrix24Client,
    Bitrix24Error,
    Outcome,
    unwrap,
)

from .cache import Cache, Cached

T = TypeVar("T")

PERSONAL = "records"
"""What the keys of reads begin with that depend on the caller's own rights."""

FAILURE_SECONDS = 10.0
"""For which a read that was refused is not tried again."""

_FRESH_SECONDS = 10.0
_PASSING_SECONDS = 2.0  # seconds for which a failure that can pass is not tried again
_ALONG_ROWS = 200  # of a list that is read again with others: the batch has to stay small

ReadRows = Cached[Any] | Bitrix24Error
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


OnRows = Callable[[Read[Any], list[Any]], None]
"""Hears of a read, and of the rows that it gave."""


def _calls(reads: Iterable[Read[Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(read.method, read.params) for read in reads]


def _is_personal(key: tuple[str, ...]) -> bool:
    return key[:1] == (PERSONAL,)


class CachedReader:
    """Reads for one caller of one portal, from the cache or through it.

    What is the portal's (its directories, its fields) is stored for the `owner` that is given, such as all who see the
    same of it; what is the caller's own (PERSONAL) for the caller alone, as everything is without an owner. What is the
    portal's may have been read by another replica, and is in the cache's shared tier then. `on_rows` hears what the
    portal gives the caller before it is stored, and may let them be another owner's from then on.
    """

    def __init__(
        self,
        client: Bitrix24Client,
        cache: Cache,
        owner: Callable[[], tuple[str, ...]] | None = None,
        on_rows: OnRows | None = None,
    ) -> None:
        self.client = client
        self._cache = cache
        self._owner = owner
        self._on_rows = on_rows
        self.freshness_window = 0.0 if owner is None else _FRESH_SECONDS
        """Seconds for which what others have read counts as read now."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose reads these are. Raises Bitrix24Error as a call would."""
        return self.client.identity

    @property
    def is_caching(self) -> bool:
        """Whether what is read serves later calls."""
        return self._cache.ttl > 0

    @property
    def is_shared(self) -> bool:
        """Whether what is read serves other callers, too, whose rights may differ."""
        return self._owner is not None

    @property
    def memos(self) -> dict[str, Any]:
        """What is made of what is the portal's."""
        return self._cache.memos(self._owner() if self._owner else self.identity)

    async def get(self, read: Read[T], *, fresh: bool = False) -> Cached[T]:
        """What `read` gave lately, or gives now. Raises Bitrix24Error, the same without asking for a moment after."""
        outcome = (await self.get_many([read], fresh=fresh))[read]
        if isinstance(outcome, Bitrix24Error):
            raise outcome
        return outcome

    async def get_many(
        self, reads: Iterable[Read[Any]], *, fresh: bool = False, since: float = -math.inf
    ) -> dict[Read[Any], ReadRows]:
        """What each of `reads` gave lately, or gives now, in one batch for each 50; an error in place of each failure.

        What was read before `since` (anyio's clock) is read anew, and with `fresh` all of it. What failed a moment ago
        is not asked for again. Raises Bitrix24Error when a batch fails as a whole.
        """
        missing = list(reads)
        found: dict[Read[Any], ReadRows] = {}

        def add(more: Mapping[Read[Any], ReadRows]) -> None:
            found.update(more)
            missing[:] = [read for read in missing if read not in found]

        if not fresh:
            add(self.cached_outcomes(missing, since))
        if not missing:
            return found
        of_the_portal = self._owner is not None and not any(_is_personal(read.key) for read in missing)
        is_stored = of_the_portal and all(read.keep for read in missing)
        async with AsyncExitStack() as locks:
            if of_the_portal and not fresh:  # one caller reads what several who share it ask for at the same time
                await locks.enter_async_context(self._cache.lock(self._lock_key(missing)))
                add(self.cached_outcomes(missing, since))
            if is_stored and not fresh and self._cache.shared is not None:
                add(await self._replicated(missing, since))
                if missing:
                    await locks.enter_async_context(self._cache.shared.lock(self._lock_key(missing)))
                    add(await self._replicated(missing, since))
            if missing:
                anew = fresh or since > -math.inf
                along = await self._half_old(missing) if is_stored and not anew else []
                if is_stored:
                    for read in (*missing, *along):  # under way, so no other request needs to take it along
                        self._in_use.pop(read, None)
                wanted = [*missing, *along]
                keys, began = [self._key(read.key) for read in wanted], anyio.current_time()  # as it was asked for
                try:
                    outcomes = await self.client.batch(_calls(wanted), fresh=anew)
                except Bitrix24Error as exc:
                    for read in wanted:
                        self._store_failure(read.key, exc)
                    raise
                fetched = await self._store_outcomes(wanted, keys, outcomes, began)
                add({read: fetched[read] for read in missing})
        return found

    async def get_or_compute(
        self, key: tuple[str, ...], compute: Callable[[], Awaitable[list[T]]], *, fresh: bool
    ) -> Cached[T]:
        """What `compute` gave lately under `key`, or gives now: for what takes more than one call.

        Raises Bitrix24Error, the same without asking for a moment after.
        """
        stored_as = self._key(key)
        if not fresh and (cached := self._cache.get(stored_as)) is not None:
            return cached
        async with contextlib.nullcontext() if self._owner is None or fresh else self._cache.lock(stored_as):
            if not fresh and (cached := self._cache.get(stored_as)) is not None:  # by now
                return cached
            if not fresh and (error := self._failed_since(key)) is not None:
                raise error
            began = anyio.current_time()
            try:
                rows = await compute()
            except Bitrix24Error as exc:
                self._store_failure(key, exc)
                raise
            outdated = self._cache.is_outdated(stored_as, began)
            return Cached(rows, anyio.current_time()) if outdated else self._cache.store(stored_as, rows)

    async def prefetch(self, reads: Sequence[Read[Any]]) -> dict[Read[Any], ReadRows]:
        """What each of at most 50 `reads` gave lately, or gives now, for whoever asks later: one request, or none.

        Raises Bitrix24Error when it fails as a whole.
        """
        found: dict[Read[Any], ReadRows] = dict(self.cached(reads))
        if not (missing := [read for read in reads if read not in found]):
            return found
        keys, began = {read: self._key(read.key) for read in missing}, anyio.current_time()
        outcomes = await self.client.batch(_calls(missing), retry=False)
        found |= self.cached(missing)  # what somebody has asked for meanwhile stays as it is
        new = {read: outcome for read, outcome in zip(missing, outcomes, strict=True) if read not in found}
        return found | await self._store_outcomes([*new], [keys[read] for read in new], [*new.values()], began)

    def invalidate(self, *starts: tuple[str, ...]) -> None:
        """Drop what is stored under keys that begin so, and let nobody store what is being read now."""
        for start in starts:
            self._cache.invalidate(self._key(start))
            self._cache.invalidate((self.identity, *start))  # where failures are

    def cached(self, reads: Iterable[Read[Any]]) -> dict[Read[Any], Cached[Any]]:
        """Those of `reads` that were made lately, and what they gave."""
        found = ((read, self._cache.get(self._key(read.key))) for read in reads if read.keep)
        cached = {read: rows for read, rows in found if rows is not None}
        if self._owner is not None:
            in_use = self._in_use
            for read, rows in cached.items():
                if not _is_personal(read.key) and len(rows.rows) <= _ALONG_ROWS:
                    in_use[read] = rows.read_at
        return cached

    def cached_outcomes(self, reads: Iterable[Read[Any]], since: float = -math.inf) -> dict[Read[Any], ReadRows]:
        """Those of `reads` that need no request now: what they gave lately and since a time, or why they failed."""
        found: dict[Read[Any], ReadRows] = {}
        cached = self.cached(reads := list(reads))
        for read in reads:
            if read in cached and cached[read].read_at >= since:
                found[read] = cached[read]
            elif read.keep and (error := self._failed_since(read.key, since)) is not None:
                found[read] = error
        return found

    async def fetch(self, reads: Sequence[Read[Any]]) -> dict[Read[Any], Outcome]:
        """What the portal answers this caller now, before it is known with whom they share; nothing is stored."""
        return dict(zip(reads, await self.client.batch(_calls(reads)), strict=True))

    async def store(self, outcomes: Mapping[Read[Any], Outcome], began: float) -> None:
        """Store what `fetch` gave, where nothing is stored that is half as new; `began` is when it was asked for."""
        half_old = anyio.current_time() - self._cache.ttl / 2
        keys = {read: self._key(read.key) for read in outcomes}
        cached = {read: self._cache.get(key) for read, key in keys.items()}
        new = [read for read, rows in cached.items() if rows is None or rows.read_at < half_old]
        await self._store_outcomes(new, [keys[read] for read in new], [outcomes[read] for read in new], began)

    def store_refusal(self, read: Read[Any], error: Bitrix24Error) -> None:
        """Let a refusal of `read` that is stored for a moment be stored for as long as rows are."""
        failed = self._cache.failure(key := (self.identity, *read.key))
        if failed is not None and failed.error is error:
            self._cache.store_failure(key, error, self._cache.ttl)

    def _key(self, key: tuple[str, ...]) -> tuple[Any, ...]:
        return (self._owner() if self._owner is not None and not _is_personal(key) else self.identity, *key)

    def _lock_key(self, reads: Sequence[Read[Any]]) -> tuple[Any, ...]:
        return self._key(reads[0].key if len(reads) == 1 else ("batch",))

    @property
    def _in_use(self) -> dict[Read[Any], float]:
        """The portal's lists that have been asked for since they were read, and when they were read."""
        lists: dict[Read[Any], float] = self.memos.setdefault("in use", {})
        return lists

    async def _half_old(self, besides: Collection[Read[Any]]) -> list[Read[Any]]:
        """Lists in use that will have to be read again soon, unless another replica has done so: one request then does
        for what would be many."""
        if not self.client.batches:
            return []
        now, ttl = anyio.current_time(), self._cache.ttl
        in_use = self.memos["in use"] = {
            read: read_at for read, read_at in self._in_use.items() if now - read_at < 2 * ttl
        }
        old = (read for read, read_at in in_use.items() if now - read_at >= ttl / 2 and read not in besides)
        reads = list(itertools.islice(old, max(0, BATCH_LENGTH - len(besides))))
        replicated = await self._replicated(reads, now - ttl / 2)
        return [read for read in reads if read not in replicated]

    async def _replicated(self, reads: Sequence[Read[Any]], since: float) -> dict[Read[Any], ReadRows]:
        """What other replicas have read since a time, stored as if it had been read here."""
        found: dict[Read[Any], ReadRows] = {}
        if self._cache.shared is None or not reads:
            return found
        keys = [self._key(read.key) for read in reads]
        answers = await self._cache.shared.get_many(keys, since)
        for read, key, shared in zip(reads, keys, answers, strict=False):
            if shared is not None:
                with contextlib.suppress(Bitrix24Error):
                    found[read] = self._store_rows(key, read, read.rows(shared.answer), shared.read_at)
        return found

    async def _store_outcomes(
        self, reads: Sequence[Read[Any]], keys: Sequence[tuple[Any, ...]], outcomes: Sequence[Outcome], began: float
    ) -> dict[Read[Any], ReadRows]:
        found: dict[Read[Any], ReadRows] = {}
        read_at = anyio.current_time()
        for read, key, outcome in zip(reads, keys, outcomes, strict=True):
            try:
                answer = unwrap(outcome)
                rows = read.rows(answer)
            except Bitrix24Error as exc:
                found[read] = exc
                if read.keep:
                    self._store_failure(read.key, exc)
                continue
            if self._on_rows is not None:
                self._on_rows(read, rows)
            key_now = self._key(read.key)
            if self._cache.is_outdated(key, began) or self._cache.is_outdated(key_now, began):
                found[read] = Cached(rows, read_at)
                continue
            found[read] = self._store_rows(key_now, read, rows, read_at)
            if self._owner is not None and self._cache.shared is not None and read.keep and not _is_personal(read.key):
                await self._cache.shared.store(key_now, answer)
        return found

    def _store_rows(self, key: tuple[Any, ...], read: Read[T], rows: list[T], read_at: float) -> Cached[T]:
        if not read.keep:
            return Cached(rows, read_at)
        if self._owner is not None:
            self._in_use.pop(read, None)  # nobody has asked for these rows yet
        return self._cache.store(key, rows, read_at)

    def _store_failure(self, key: tuple[str, ...], error: Bitrix24Error) -> None:
        """Store what the portal itself has answered, unless another token ends it: a login must help at once."""
        if error.answered and error.kind not in TOKEN_REFUSED:
            seconds = _PASSING_SECONDS if error.retryable else FAILURE_SECONDS
            self._cache.store_failure((self.identity, *key), error, seconds)

    def _failed_since(self, key: tuple[str, ...], since: float = -math.inf) -> Bitrix24Error | None:
        """The error of the caller's own read since a time, so lately that it would come again."""
        failed = self._cache.failure((self.identity, *key))
        if failed is None or failed.failed_at < since:
            return None
        return failed.error.with_traceback(None)  # or it would grow each time that it is raised
