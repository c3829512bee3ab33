"""What was read from a portal lately, for as long as the settings allow. A leaf: imports nothing of this package."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import anyio
from cachetools import LRUCache, TLRUCache, TTLCache

T = TypeVar("T")

ROWS_LIMIT = 50_000
"""Rows kept in all; the longest unused go first."""
_MEMOS = 100  # owners
_FAILURES = 1_000
_FORGOTTEN, _FORGOTTEN_SECONDS = 10_000, 600.0

logger = logging.getLogger(__name__)


class Kept(NamedTuple, Generic[T]):
    """Rows, and when they were read (anyio's clock)."""

    rows: list[T]
    read_at: float

    def age(self, asked_at: float) -> int | None:
        """Whole seconds since the rows were read; None where that was for whoever asked at `asked_at`."""
        return int(anyio.current_time() - self.read_at) if self.read_at < asked_at else None


class Failed(NamedTuple):
    """Why a read failed, when (anyio's clock), and for how many seconds nobody needs to ask again."""

    error: Exception
    failed_at: float
    seconds: float


class _Rows(TTLCache[Hashable, Kept[Any]]):
    """Says once when it has to let go of what is not old."""

    _told = False

    def tell(self) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "The lists in use hold more than the %d rows that are kept, so some are read again for each call: "
                "name the directories that are meant",
                ROWS_LIMIT,
            )

    def popitem(self) -> tuple[Hashable, Kept[Any]]:
        self.tell()
        return super().popitem()


class Cache:
    """Lists of rows by key, each for `ttl` seconds; 0 keeps nothing. To be used in an event loop."""

    def __init__(self, ttl: float) -> None:
        self.hits = self.misses = 0
        self.ttl = ttl
        self._memos: LRUCache[Hashable, dict[str, Any]] = LRUCache(_MEMOS)
        self._turns: WeakValueDictionary[Hashable, anyio.Lock] = WeakValueDictionary()
        self._kept = _Rows(ROWS_LIMIT, ttl, timer=anyio.current_time, getsizeof=lambda kept: len(kept.rows) + 1)
        self._cleared_at = -math.inf
        self._forgotten: TTLCache[Hashable, float] = TTLCache(_FORGOTTEN, _FORGOTTEN_SECONDS, timer=anyio.current_time)
        self._failures: TLRUCache[Hashable, Failed] = TLRUCache(
            _FAILURES, lambda _key, failed, _now: failed.failed_at + failed.seconds, timer=anyio.current_time
        )

    def memos(self, owner: Hashable) -> dict[str, Any]:
        """What is made of the rows of one owner, and worth keeping for as long as they stay the same."""
        return self._memos.setdefault(owner, {})

    def turn(self, key: Hashable) -> anyio.Lock:
        """Held by whoever reads what all who ask for it at the same time are given."""
        lock = self._turns.get(key)
        if lock is None:
            lock = self._turns[key] = anyio.Lock()
        return lock

    def get(self, key: Hashable) -> Kept[Any] | None:
        kept: Kept[Any] | None = self._kept.get(key)
        if kept is not None and anyio.current_time() - kept.read_at >= self.ttl:
            kept = None  # another replica had read it before it came here
        if kept is None:
            self.misses += 1
        else:
            self.hits += 1
        return kept

    def failure(self, key: Hashable) -> Failed | None:
        """The failure of a read that nobody needs to ask for again so soon."""
        return self._failures.get(key)

    def keep_failure(self, key: Hashable, error: Exception, seconds: float) -> None:
        """Keep a failure for some seconds from when it came; nothing where nothing else is kept."""
        if self.ttl > 0:
            last = self._failures.get(key)
            failed_at = last.failed_at if last is not None and last.error is error else anyio.current_time()
            self._failures[key] = Failed(error, failed_at, seconds)

    def is_outdated(self, key: Hashable, began: float) -> bool:
        """Whether what began to be read at `began` may be older than a change that has made us forget it since."""
        return began < max(self._cleared_at, self._forgotten.get(key, began))

    def forget(self, key: Hashable) -> None:
        """Drop what is kept, and let nobody keep what is being read now."""
        self._forgotten[key] = anyio.current_time()
        self._kept.pop(key, None)
        self.forget_failure(key)

    def forget_failure(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def clear(self) -> None:
        """Drop everything, and let nobody keep what is being read now."""
        self._cleared_at = anyio.current_time()
        for kept in (self._kept, self._failures):
            for key in [*kept]:
                kept.pop(key, None)

    def forget_all(self, start: tuple[Hashable, ...]) -> None:
        """Forget what is kept under keys that are tuples beginning so."""
        for key in [*self._kept, *self._failures]:
            if isinstance(key, tuple) and key[: len(start)] == start:
                self.forget(key)

    def keep(self, key: Hashable, rows: list[T], read_at: float | None = None) -> Kept[T]:
        """Keep rows that were read just now, or at another time by somebody else."""
        kept = Kept(rows, anyio.current_time() if read_at is None else read_at)
        if len(rows) < ROWS_LIMIT:
            self._kept[key] = kept
        else:
            self._kept.tell()
        return kept
