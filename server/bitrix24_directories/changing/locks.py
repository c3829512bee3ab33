"""One change at a time for each directory, and what of a change has to happen before a deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import anyio

from bitrix24_directories.rest import Bitrix24Error, ErrorKind, failure
from bitrix24_directories.state.shared import Inside, LockCheck, State, UnavailableError


class Turns:
    """Who changes which directory of `portal` now, and when each was changed last by this caller.

    Others that `state` is shared with wait for their turn as well.
    """

    def __init__(self, timeout: float, state: State | None = None, portal: str = "") -> None:
        self._timeout = timeout
        self.state = state or Inside()
        self._portal = portal
        self._written_at: dict[str, float] = {}

    @asynccontextmanager
    async def of(self, entity_id: str, deadline: float) -> AsyncIterator[LockCheck]:
        """Wait for one's turn at a directory, of which `announced` makes sure.

        Raises Bitrix24Error: TIMEOUT where it does not come in time, STATE_UNAVAILABLE where nobody can tell.
        """
        async with AsyncExitStack() as held:
            with anyio.CancelScope(deadline=deadline) as scope:
                try:
                    make_sure = await held.enter_async_context(self.state.lock(f"{self._portal} {entity_id}"))
                except UnavailableError:
                    raise _unavailable() from None
            if scope.cancelled_caught:
                detail = f"waited {self._timeout:g} s behind another change of {entity_id}; nothing was changed"
                raise failure("TIMEOUT", detail=detail, never_sent=True)
            yield make_sure

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """What comes before anything is sent. Raises Bitrix24Error (TIMEOUT) when it takes longer."""
        with anyio.CancelScope(deadline=deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s; nothing was changed", never_sent=True)

    @asynccontextmanager
    async def announced(self, make_sure: LockCheck) -> AsyncIterator[None]:
        """Let what others keep of the portal be old before a change is sent, and again after it.

        Raises Bitrix24Error (STATE_UNAVAILABLE) if they cannot be told before, or the turn is lost; after it they are
        told in any case.
        """
        try:
            await self.state.changing(self._portal)
            await make_sure()
        except UnavailableError:
            raise _unavailable() from None
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.state.changed(self._portal)

    @property
    def shared(self) -> bool:
        """Whether others may have changed it, of whom this process does not hear in time."""
        return self.state.shared

    def written(self, entity_id: str) -> None:
        """Take note that the directory was changed just now."""
        self._written_at[entity_id] = anyio.current_time()

    def written_since(self, entity_id: str, when: float) -> bool:
        return self._written_at.get(entity_id, 0.0) >= when


def _unavailable() -> Bitrix24Error:
    return Bitrix24Error(
        "STATE_UNAVAILABLE",
        ErrorKind(
            "Redis, through which the replicas of this server agree on who changes what, cannot be reached, or has "
            "forgotten that it was this change's turn, so nothing was changed",
            "Wait and call again; if it stays so, tell the user to tell whoever keeps this server.",
            "configuration",
            retryable=True,
            retry_after=5,
        ),
        not_applied=True,
    )
