"""Work under way that several callers wait for. Imports nothing of this package but `waiting`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from .waiting import Waiting, current_wait

T = TypeVar("T")


class Flight(Generic[T]):
    """One piece of work, in a task of its own: it outlives the caller who began it as long as another one waits.

    It has until the latest of its callers' deadlines, and ends at once when the last of them stops waiting.
    """

    def __init__(self, tasks: TaskGroup, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._scope = anyio.CancelScope(deadline=-math.inf)
        self._landed = anyio.Event()
        self._waiting = Waiting()
        self._passengers = 0
        self._result: T
        self._error: Exception | None = None
        tasks.start_soon(self._run)

    @property
    def under_way(self) -> bool:
        return not self._landed.is_set() and not self._scope.cancel_called

    def board(self, deadline: float) -> None:
        """Count one more caller in, who waits until `deadline` and then calls `ride` or `leave`."""
        self._passengers += 1
        self._scope.deadline = max(self._scope.deadline, deadline)

    def leave(self) -> None:
        self._passengers -= 1
        if not self._passengers:
            self._scope.cancel()

    async def ride(self) -> T:
        """Wait for the work's result, as one who has boarded. Raises what the work raises."""
        try:
            with current_wait().behind(self._waiting):
                await self._landed.wait()
        finally:
            self.leave()
        if self._error is not None:
            raise self._error
        return self._result

    async def join(self) -> T:
        """Board and ride."""
        self.board(anyio.current_effective_deadline())
        return await self.ride()

    async def _run(self) -> None:
        with self._scope, self._waiting.as_current():
            try:
                self._result = await self._work()
            except Exception as exc:
                self._error = exc
            self._landed.set()
