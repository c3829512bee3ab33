"""What was read of a portal lately: rows in this process, and answers in the tier that replicas share."""

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
"""Rows kept in all; the longest unused go first."""
_MEMOS = 100  # owners
_FAILURES = 1_000
_INVALIDATED, _INVALIDATED_SECONDS = 10_000, 600.0

logger = logging.getLogger(__name__)


class Cached(NamedTuple, Generic[T]):
    """Rows, and when they were read (anyio's clock)."""

    rows: list[T]
    read_at: float

    def age(self, asked_at: float) -> int | None:
        """Whole seconds since the rows were read; None where that was for whoever asked at `asked_at`."""
        return int(anyio.current_time() - self.read_at) if self.read_at < asked_at else None


class Failed(NamedTuple):
    """Why a read failed, when (anyio's clock), and for how many seconds nobody needs to ask again."""

    error: Bitrix24Error
    failed_at: float
    seconds: float


class _Rows(TTLCache[Key, Cached[Any]]):
    """Says once when it has to let go of what is not old."""

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
    """Lists of rows by key, each for `ttl` seconds; 0 stores nothing. `shared` is the tier that replicas share, where
    they share anything. To be used in an event loop.
    """

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
        """What is made of the rows of one owner, and worth storing for as long as they stay the same."""
        return self._memos.setdefault(owner, {})

    def lock(self, key: Key) -> anyio.Lock:
        """The lock of whoever reads what all who ask for it at the same time are given."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = anyio.Lock()
        return lock

    def get(self, key: Key) -> Cached[Any] | None:
        cached: Cached[Any] | None = self._rows.get(key)
        if cached is not None and anyio.current_time() - cached.read_at >= self.ttl:
            cached = None  # another replica had read it before it came here
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
        """The failure of a read that nobody needs to ask for again so soon."""
        return self._failures.get(key)

    def store_failure(self, key: Key, error: Bitrix24Error, seconds: float) -> None:
        """Store a failure for some seconds from when it came; nothing where nothing else is stored."""
        if self.ttl > 0:
            last = self._failures.get(key)
            failed_at = last.failed_at if last is not None and last.error is error else anyio.current_time()
            self._failures[key] = Failed(error, failed_at, seconds)

    def invalidate(self, start: Key) -> None:
        """Drop what is stored under keys that begin so, and let nobody store what is being read now under one of them,
        or under `start` itself.
        """
        for key in {start, *(key for key in [*self._rows, *self._failures] if key[: len(start)] == start)}:
            self._invalidated[key] = anyio.current_time()
            self._rows.pop(key, None)
            self._failures.pop(key, None)

    def clear(self) -> None:
        """Drop everything, and let nobody store what is being read now."""
        self._cleared_at = anyio.current_time()
        for stored in (self._rows, self._failures):
            for key in [*stored]:
                stored.pop(key, None)

    def is_outdated(self, key: Key, began: float) -> bool:
        """Whether what began to be read at `began` may be older than a change that has invalidated it since."""
        return began < max(self._cleared_at, self._invalidated.get(key, began))

    def use_generation(self, generation: int) -> None:
        """Drop everything that was read before another replica changed something."""
        if generation != self._generation:
            self._generation = generation
            if self.shared is not None:
                self.shared.generation = generation
            self.clear()
