"""A portal's cached rows in this process, and the tier of answers that replicas share."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import anyio
from cachetools import LRUCache, TLRUCache, TTLCache

from bitrix24_directories.rest import Bitrix24Error

from .shared_tier import SharedTier

Key = tuple[Hashable, ...]
T = TypeVar("T")

ROWS_LIMIT = 50_000
"""Cached rows in all; the least recently used are evicted first."""
_MEMOS = 100  # owners
_FAILURES = 1_000
_INVALIDATED, _INVALIDATED_SECONDS = 10_000, 600.0

logger = logging.getLogger(__name__)


class Cached(NamedTuple, Generic[T]):
    """Rows, and the time of reading them (anyio's clock)."""

    rows: list[T]
    read_at: float

    def age(self, asked_at: float) -> int | None:
        """Return whole seconds since the rows were read; None if they were read after `asked_at`."""
        return int(anyio.current_time() - self.read_at) if self.read_at < asked_at else None


class Failed(NamedTuple):
    """An error of a read, its time (anyio's clock), and the seconds until a retry makes sense."""

    error: Bitrix24Error
    failed_at: float
    seconds: float


class _Rows(TTLCache[Key, Cached[Any]]):
    """Warns once when it has to evict rows that are not old."""

    _warned = False

    def warn(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "The lists in use hold more than the %d rows that are kept, so some are read again for each call: "
                "name the directories that are meant",
                ROWS_LIMIT,
            )

    def popitem(self) -> tuple[Key, Cached[Any]]:
        self.warn()
        return super().popitem()


class Cache:
    """Lists of rows by key, each for `ttl` seconds; 0 stores nothing. For use in an event loop.
    `shared` is the tier that replicas share, if they share anything."""

    def __init__(self, ttl: float, shared: SharedTier | None = None) -> None:
        self.hits = self.misses = 0
        self.ttl = ttl
        self.shared = shared if shared is not None and shared.is_used else None
        self._memos: LRUCache[Hashable, dict[str, Any]] = LRUCache(_MEMOS)
        self._locks: WeakValueDictionary[Key, anyio.Lock] = WeakValueDictionary()
        self._rows = _Rows(ROWS_LIMIT, ttl, timer=anyio.current_time, getsizeof=lambda cached: len(cached.rows) + 1)
        self._cleared_at = -math.inf
        self._generation = 0
        self._invalidated: TTLCache[Key, float] = TTLCache(_INVALIDATED, _INVALIDATED_SECONDS, timer=anyio.current_time)
        self._failures: TLRUCache[Key, Failed] = TLRUCache(
            _FAILURES, lambda _key, failed, _now: failed.failed_at + failed.seconds, timer=anyio.current_time
        )

    def memos(self, owner: Hashable) -> dict[str, Any]:
        """Values made from the rows of one owner, worth storing while the rows stay the same."""
        return self._memos.setdefault(owner, {})

    def lock(self, key: Key) -> anyio.Lock:
        """Return the lock of a key: one caller reads for all who need the rows at the same time."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = anyio.Lock()
        return lock

    def get(self, key: Key) -> Cached[Any] | None:
        """Return the cached rows of a key; None if there are none, or they are too old."""
        cached: Cached[Any] | None = self._rows.get(key)
        if cached is not None and anyio.current_time() - cached.read_at >= self.ttl:
            cached = None  # too old already when another replica shared it
        if cached is None:
            self.misses += 1
        else:
            self.hits += 1
        return cached

    def store(self, key: Key, rows: list[T], read_at: float | None = None) -> Cached[T]:
        """Store rows that were read just now, or at another time by another replica."""
        cached = Cached(rows, anyio.current_time() if read_at is None else read_at)
        if len(rows) < ROWS_LIMIT:
            self._rows[key] = cached
        else:
            self._rows.warn()
        return cached

    def failure(self, key: Key) -> Failed | None:
        """Return the failure of a read that needs no retry yet."""
        return self._failures.get(key)

    def store_failure(self, key: Key, error: Bitrix24Error, seconds: float) -> None:
        """Store a failure for some seconds from its time; nothing if the cache stores nothing."""
        if self.ttl > 0:
            last = self._failures.get(key)
            failed_at = last.failed_at if last is not None and last.error is error else anyio.current_time()
            self._failures[key] = Failed(error, failed_at, seconds)

    def invalidate(self, start: Key) -> None:
        """Drop all keys that begin with `start`; reads under way are not stored for them.
        Nor are they for `start` itself."""
        for key in {start, *(key for key in [*self._rows, *self._failures] if key[: len(start)] == start)}:
            self._invalidated[key] = anyio.current_time()
            self._rows.pop(key, None)
            self._failures.pop(key, None)

    def clear(self) -> None:
        """Drop everything; reads under way are not stored."""
        self._cleared_at = anyio.current_time()
        for stored in (self._rows, self._failures):
            for key in [*stored]:
                stored.pop(key, None)

    def is_outdated(self, key: Key, began: float) -> bool:
        """True if a read that began at `began` may be older than an invalidation since then."""
        return began < max(self._cleared_at, self._invalidated.get(key, began))

    def use_generation(self, generation: int) -> None:
        """Drop everything that was read before another replica made a change."""
        if generation != self._generation:
            self._generation = generation
            if self.shared is not None:
                self.shared.generation = generation
            self.clear()
