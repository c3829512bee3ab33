"""Locks that allow one change at a time for each directory, and deadlines of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import anyio

from bitrix24_directories.rest import Bitrix24Error, ErrorKind, failure
from bitrix24_directories.state.shared import Inside, LockCheck, State, UnavailableError


class DirectoryLocks:
    """Locks for the directories of `portal`, with the time of each one's last change here.

    Replicas that share `state` use the same locks.
    """

    def __init__(self, timeout: float, state: State | None = None, portal: str = "") -> None:
        self._timeout = timeout
        self.state = state or Inside()
        self._portal = portal

    @asynccontextmanager
    async def acquire(self, entity_id: str, deadline: float) -> AsyncIterator[LockCheck]:
        """Hold the lock of a directory; yields a check that it is still held.

        Raises Bitrix24Error: TIMEOUT at the deadline, STATE_UNAVAILABLE if the shared state cannot be reached.
        """
        async with AsyncExitStack() as held:
            with anyio.CancelScope(deadline=deadline) as scope:
                try:
                    check_held = await held.enter_async_context(self.state.lock(f"{self._portal} {entity_id}"))
                except UnavailableError:
                    raise _unavailable() from None
            if scope.cancelled_caught:
                detail = f"waited {self._timeout:g} s behind another change of {entity_id}; nothing was changed"
                raise failure("TIMEOUT", detail=detail, never_sent=True)
            yield check_held

    @contextmanager
    def before_deadline(self, deadline: float) -> Iterator[None]:
        """Limit the work before a change is sent. Raises Bitrix24Error (TIMEOUT) at the deadline."""
        with anyio.CancelScope(deadline=deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s; nothing was changed", never_sent=True)

    @asynccontextmanager
    async def invalidating_others(self, check_held: LockCheck) -> AsyncIterator[None]:
        """Invalidate the caches of other replicas before a change is sent, and again after it.

        `check_held` checks the lock. Raises Bitrix24Error (STATE_UNAVAILABLE) before the change if they cannot be
        notified or the lock is lost.
        """
        try:
            await self.state.changing(self._portal)
            await check_held()
        except UnavailableError:
            raise _unavailable() from None
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.state.changed(self._portal)

    @property
    def shared(self) -> bool:
        """True if other replicas may change a directory without notifying this process in time."""
        return self.state.shared

    def written(self, entity_id: str) -> None:
        """Record that the directory was changed just now."""
        self.state.written_at[f"{self._portal} {entity_id}"] = anyio.current_time()

    def written_since(self, entity_id: str, when: float) -> bool:
        """Return true if a caller of this process has changed the directory at `when` or later."""
        return self.state.written_at.get(f"{self._portal} {entity_id}", 0.0) >= when


def _unavailable() -> Bitrix24Error:
    return Bitrix24Error(
        "STATE_UNAVAILABLE",
        ErrorKind(
            "Redis, through which the replicas of this server agree on who changes what, cannot be reached, or has "
            "forgotten that it was this change's turn, so nothing was changed",
            "Wait and call again; if it stays so, tell the user to tell the administrator of this server.",
            "configuration",
            retryable=True,
            retry_after=5,
        ),
        not_applied=True,
    )
