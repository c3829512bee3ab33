"""One change at a time for each directory, and what of a change has to happen before a deadline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from bitrix24_directories.rest import failure


class Turns:
    """Who changes which directory now, and when each was changed last by this process."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._written_at: dict[str, float] = {}

    @asynccontextmanager
    async def of(self, entity_id: str, deadline: float) -> AsyncIterator[None]:
        """Wait for one's turn at a directory. Raises Bitrix24Error (TIMEOUT) where it does not come in time."""
        lock = self._locks[entity_id]
        with anyio.CancelScope(deadline=deadline) as scope:
            await lock.acquire()
        if scope.cancelled_caught:
            detail = f"waited {self._timeout:g} s behind another change of {entity_id}; nothing was changed"
            raise failure("TIMEOUT", detail=detail, never_sent=True)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """What comes before anything is sent. Raises Bitrix24Error (TIMEOUT) when it takes longer."""
        with anyio.CancelScope(deadline=deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s; nothing was changed", never_sent=True)

    def written(self, entity_id: str) -> None:
        """Take note that the directory was changed just now."""
        self._written_at[entity_id] = anyio.current_time()

    def written_since(self, entity_id: str, when: float) -> bool:
        return self._written_at.get(entity_id, 0.0) >= when
