"""Single flight: several callers wait for one call. Imports only `waiting` of this package."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

from .waiting import Waiting, current_wait

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Work that `run` does in its own task, for as long as at least one caller waits for it.

    It has until the latest of its waiters' deadlines, and is cancelled when the last waiter leaves.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._scope = anyio.CancelScope(deadline=-math.inf)
        self._done = anyio.Event()
        self._waiting = Waiting()
        self._waiters = 0
        self._result: T
        self._error: Exception | None = None

    @property
    def under_way(self) -> bool:
        """True while the call runs."""
        return not self._done.is_set() and not self._scope.cancel_called

    def add_waiter(self, deadline: float) -> None:
        """Count a waiter, which has until `deadline`, and then calls `wait` or `remove_waiter`."""
        self._waiters += 1
        self._scope.deadline = max(self._scope.deadline, deadline)

    def remove_waiter(self) -> None:
        """Take away a caller; the last one cancels the call."""
        self._waiters -= 1
        if not self._waiters:
            self._scope.cancel()

    async def wait(self) -> T:
        """Wait for the result, as an added waiter. Raises the work's error; may be cancelled."""
        try:
            with current_wait().behind(self._waiting):
                await self._done.wait()
        finally:
            self.remove_waiter()
        if self._error is not None:
            raise self._error
        return self._result

    async def run(self) -> None:
        """Make the call, and give its outcome to all who wait."""
        with self._scope, self._waiting.as_current():
            try:
                self._result = await self._work()
            except Exception as exc:
                self._error = exc
            self._done.set()
