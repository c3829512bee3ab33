"""What was read from a portal lately, for as long as the settings allow. A leaf: imports nothing of this package."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar

import anyio
from cachetools import TTLCache

T = TypeVar("T")

ROWS_LIMIT = 50_000
"""Rows kept in all; the longest unused go first."""


class Kept(NamedTuple, Generic[T]):
    """Rows, and when they were read (anyio's clock)."""

    rows: list[T]
    read_at: float

    def age(self, asked_at: float) -> int | None:
        """Whole seconds since the rows were read; None where that was for whoever asked at `asked_at`."""
        return int(anyio.current_time() - self.read_at) if self.read_at < asked_at else None


class Cache:
    """Lists of rows by key, each for `ttl` seconds; 0 keeps nothing. To be used in an event loop."""

    def __init__(self, ttl: float) -> None:
        self._kept: TTLCache[Hashable, Kept[Any]] = TTLCache(
            ROWS_LIMIT, ttl, timer=anyio.current_time, getsizeof=lambda kept: len(kept.rows) + 1
        )

    def get(self, key: Hashable) -> Kept[Any] | None:
        return self._kept.get(key)

    def forget(self, key: Hashable) -> None:
        self._kept.pop(key, None)

    def forget_all(self, start: tuple[Hashable, ...]) -> None:
        """Forget what is kept under keys that are tuples beginning so."""
        for key in [key for key in self._kept if isinstance(key, tuple) and key[: len(start)] == start]:
            self.forget(key)

    def keep(self, key: Hashable, rows: list[T]) -> Kept[T]:
        kept = Kept(rows, anyio.current_time())
        if len(rows) < ROWS_LIMIT:
            self._kept[key] = kept
        return kept
