"""The read-through cache: reads single lists, or many in one batch, from cache or portal.

Calls the portal through `rest` and stores rows in `cache`; knows nothing of the meaning of rows.
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
"""Start of the keys of reads that depend on the caller's own rights."""

FAILURE_SECONDS = 10.0
"""Seconds until a refused read is tried again."""

_FRESH_SECONDS = 10.0
_PASSING_SECONDS = 2.0  # seconds until a passing failure is tried again
_ALONG_ROWS = 200  # of a list that joins another batch: it has to stay small

ReadRows = Cached[Any] | Bitrix24Error
"""The rows or the error of one read among many."""


@dataclass(frozen=True)
class Read(Generic[T]):
    """One REST call and the conversion of its answer into rows.
    `key` identifies it; `cacheable` is False if every call has to ask anew."""

    key: tuple[str, ...]
    method: str
    params: Mapping[str, Any] = field(hash=False)
    rows: Callable[[Answer], list[T]] = field(hash=False, compare=False)
    cacheable: bool = True


OnRows = Callable[[Read[Any], list[Any]], None]
"""Callback for a read and its rows."""


def _calls(reads: Iterable[Read[Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(read.method, read.params) for read in reads]


def _is_personal(key: tuple[str, ...]) -> bool:
    return key[:1] == (PERSONAL,)


class CachedReader:
    """Reads for one caller of one portal, from the cache or through it.

    Data of the portal (its directories, its fields) is stored for the given `owner`, such as all callers who see the
    same of it; the caller's own data (PERSONAL), and all data without an owner, for the caller alone. Another replica
    may have read the portal's data; it is in the cache's shared tier then. `on_rows` is called with the rows of each
    answer before they are stored, and may change the caller's owner.
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
        """Seconds for which rows that others have read count as read now."""

    @property
    def identity(self) -> tuple[str, ...]:
        """The identity of the caller. Raises Bitrix24Error as a call would."""
        return self.client.identity

    @property
    def is_caching(self) -> bool:
        """True if later calls can use rows that are read now."""
        return self._cache.ttl > 0

    @property
    def is_shared(self) -> bool:
        """True if the cache serves other callers too, whose rights may differ."""
        return self._owner is not None

    @property
    def memos(self) -> dict[str, Any]:
        """Values made from the portal's data."""
        return self._cache.memos(self._owner() if self._owner else self.identity)

    async def get(self, read: Read[T], *, fresh: bool = False) -> Cached[T]:
        """Return the cached rows of a read, or read them now. Raises Bitrix24Error.
        For a moment after a failure, the same error is raised without a request."""
        outcome = (await self.get_many([read], fresh=fresh))[read]
        if isinstance(outcome, Bitrix24Error):
            raise outcome
        return outcome

    async def get_many(
        self, reads: Iterable[Read[Any]], *, fresh: bool = False, since: float = -math.inf
    ) -> dict[Read[Any], ReadRows]:
        """Return the rows of each read, cached or read now; an error in place of each failure.

        One batch makes up to 50 reads. Rows from before `since` (anyio's clock) are read anew, with `fresh` all rows. A
        read that failed a moment ago is not repeated. Raises Bitrix24Error if a whole batch fails.
        """
        missing = list(reads)
        results: dict[Read[Any], ReadRows] = {}

        def add(more: Mapping[Read[Any], ReadRows]) -> None:
            results.update(more)
            missing[:] = [read for read in missing if read not in results]

        if not fresh:
            add(self.cached_outcomes(missing, since))
        if not missing:
            return results
        of_the_portal = self._owner is not None and not any(_is_personal(read.key) for read in missing)
        is_stored = of_the_portal and all(read.cacheable for read in missing)
        async with AsyncExitStack() as locks:
            if of_the_portal and not fresh:  # one caller reads for all who ask at the same time
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
                    for read in (*missing, *along):  # under way: no other batch needs to include them
                        self._in_use.pop(read, None)
                requested = [*missing, *along]
                keys, began = [self._key(read.key) for read in requested], anyio.current_time()  # of the request
                try:
                    outcomes = await self.client.batch(_calls(requested), fresh=anew)
                except Bitrix24Error as exc:
                    for read in requested:
                        self._store_failure(read.key, exc)
                    raise
                fetched = await self._store_outcomes(requested, keys, outcomes, began)
                add({read: fetched[read] for read in missing})
        return results

    async def get_or_compute(
        self, key: tuple[str, ...], compute: Callable[[], Awaitable[list[T]]], *, fresh: bool
    ) -> Cached[T]:
        """Return the cached rows of `key`, or compute them now: for reads of more than one call.

        Raises Bitrix24Error; for a moment after a failure the same one without a request.
        """
        stored_as = self._key(key)
        if not fresh and (cached := self._cache.get(stored_as)) is not None:
            return cached
        async with contextlib.nullcontext() if self._owner is None or fresh else self._cache.lock(stored_as):
            if not fresh and (cached := self._cache.get(stored_as)) is not None:  # read while waiting
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
        """Read at most 50 `reads` that are not cached, for later calls: one request, or none.

        Raises Bitrix24Error if it fails as a whole.
        """
        results: dict[Read[Any], ReadRows] = dict(self.cached(reads))
        if not (missing := [read for read in reads if read not in results]):
            return results
        keys, began = {read: self._key(read.key) for read in missing}, anyio.current_time()
        outcomes = await self.client.batch(_calls(missing), retry=False)
        results |= self.cached(missing)  # rows that others have read meanwhile stay
        new = {read: outcome for read, outcome in zip(missing, outcomes, strict=True) if read not in results}
        return results | await self._store_outcomes([*new], [keys[read] for read in new], [*new.values()], began)

    def invalidate(self, *starts: tuple[str, ...]) -> None:
        """Drop all keys that begin with one of `starts`; reads under way are not stored for them."""
        for start in starts:
            self._cache.invalidate(self._key(start))
            self._cache.invalidate((self.identity, *start))  # the keys of failures

    def cached(self, reads: Iterable[Read[Any]]) -> dict[Read[Any], Cached[Any]]:
        """Return the cached rows of reads."""
        stored = ((read, self._cache.get(self._key(read.key))) for read in reads if read.cacheable)
        cached = {read: rows for read, rows in stored if rows is not None}
        if self._owner is not None:
            in_use = self._in_use
            for read, rows in cached.items():
                if not _is_personal(read.key) and len(rows.rows) <= _ALONG_ROWS:
                    in_use[read] = rows.read_at
        return cached

    def cached_outcomes(self, reads: Iterable[Read[Any]], since: float = -math.inf) -> dict[Read[Any], ReadRows]:
        """Return the rows or errors of reads that need no request now, from `since` on."""
        results: dict[Read[Any], ReadRows] = {}
        cached = self.cached(reads := list(reads))
        for read in reads:
            if read in cached and cached[read].read_at >= since:
                results[read] = cached[read]
            elif read.cacheable and (error := self._failed_since(read.key, since)) is not None:
                results[read] = error
        return results

    async def fetch(self, reads: Sequence[Read[Any]]) -> dict[Read[Any], Outcome]:
        """Return the portal's answers to this caller, before their owner is known; stores nothing."""
        return dict(zip(reads, await self.client.batch(_calls(reads)), strict=True))

    async def store(self, outcomes: Mapping[Read[Any], Outcome], began: float) -> None:
        """Store outcomes of `fetch` unless the cache has rows younger than half their time to live.
        `began` is the time of the request."""
        half_old = anyio.current_time() - self._cache.ttl / 2
        keys = {read: self._key(read.key) for read in outcomes}
        cached = {read: self._cache.get(key) for read, key in keys.items()}
        new = [read for read, rows in cached.items() if rows is None or rows.read_at < half_old]
        await self._store_outcomes(new, [keys[read] for read in new], [outcomes[read] for read in new], began)

    def store_refusal(self, read: Read[Any], error: Bitrix24Error) -> None:
        """Store a refusal of `read` for as long as rows, not only for a moment."""
        failed = self._cache.failure(key := (self.identity, *read.key))
        if failed is not None and failed.error is error:
            self._cache.store_failure(key, error, self._cache.ttl)

    def _key(self, key: tuple[str, ...]) -> tuple[Any, ...]:
        return (self._owner() if self._owner is not None and not _is_personal(key) else self.identity, *key)

    def _lock_key(self, reads: Sequence[Read[Any]]) -> tuple[Any, ...]:
        return self._key(reads[0].key if len(reads) == 1 else ("batch",))

    @property
    def _in_use(self) -> dict[Read[Any], float]:
        """The portal's lists that callers have used since they were read, and the times of reading."""
        lists: dict[Read[Any], float] = self.memos.setdefault("in use", {})
        return lists

    async def _half_old(self, besides: Collection[Read[Any]]) -> list[Read[Any]]:
        """Return lists in use that expire soon, unless another replica has read them since.
        They join the next batch, so that one request replaces many."""
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
        """Return rows that other replicas have read since a time, and cache them here."""
        results: dict[Read[Any], ReadRows] = {}
        if self._cache.shared is None or not reads:
            return results
        keys = [self._key(read.key) for read in reads]
        answers = await self._cache.shared.get_many(keys, since)
        for read, key, shared in zip(reads, keys, answers, strict=False):
            if shared is not None:
                with contextlib.suppress(Bitrix24Error):
                    results[read] = self._store_rows(key, read, read.rows(shared.answer), shared.read_at)
        return results

    async def _store_outcomes(
        self, reads: Sequence[Read[Any]], keys: Sequence[tuple[Any, ...]], outcomes: Sequence[Outcome], began: float
    ) -> dict[Read[Any], ReadRows]:
        results: dict[Read[Any], ReadRows] = {}
        read_at = anyio.current_time()
        for read, key, outcome in zip(reads, keys, outcomes, strict=True):
            try:
                answer = unwrap(outcome)
                rows = read.rows(answer)
            except Bitrix24Error as exc:
                results[read] = exc
                if read.cacheable:
                    self._store_failure(read.key, exc)
                continue
            if self._on_rows is not None:
                self._on_rows(read, rows)
            key_now = self._key(read.key)
            if self._cache.is_outdated(key, began) or self._cache.is_outdated(key_now, began):
                results[read] = Cached(rows, read_at)
                continue
            results[read] = self._store_rows(key_now, read, rows, read_at)
            shared = self._cache.shared
            if self._owner is not None and shared is not None and read.cacheable and not _is_personal(read.key):
                await shared.store(key_now, answer)
        return results

    def _store_rows(self, key: tuple[Any, ...], read: Read[T], rows: list[T], read_at: float) -> Cached[T]:
        if not read.cacheable:
            return Cached(rows, read_at)
        if self._owner is not None:
            self._in_use.pop(read, None)  # no caller has used these rows yet
        return self._cache.store(key, rows, read_at)

    def _store_failure(self, key: tuple[str, ...], error: Bitrix24Error) -> None:
        """Store the portal's own errors, but none that a new token ends: a login must help at once."""
        if error.answered and error.kind not in TOKEN_REFUSED:
            seconds = _PASSING_SECONDS if error.retryable else FAILURE_SECONDS
            self._cache.store_failure((self.identity, *key), error, seconds)

    def _failed_since(self, key: tuple[str, ...], since: float = -math.inf) -> Bitrix24Error | None:
        """Return the error of the caller's own read since a time, if it is too recent for a retry."""
        failed = self._cache.failure((self.identity, *key))
        if failed is None or failed.failed_at < since:
            return None
        return failed.error.with_traceback(None)  # or the traceback would grow with each raise
