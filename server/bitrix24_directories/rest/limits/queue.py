"""Calls that have to wait for a place in the portal's bucket: first come, first served, and together where they can be.

Imports `pacing` and `flights`; how a call or a batch is made is handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from bitrix24_directories.rest.errors import Bitrix24Error
from bitrix24_directories.rest.wire.answers import Answer

from .pacing import Bucket
from .shared_calls import Flight
from .waiting import current_wait

BATCH_LENGTH = 50
"""Commands that the portal takes in one batch."""

Outcome = Answer | Bitrix24Error


def given(outcome: Outcome) -> Answer:
    """The answer, or raise the error that stands in its place."""
    if isinstance(outcome, Bitrix24Error):
        raise outcome
    return outcome


@dataclass(frozen=True, slots=True)
class Call:
    """A REST method and its parameters. `alone` keeps it out of batches."""

    method: str
    params: Mapping[str, Any]
    alone: bool = False


@dataclass(eq=False)
class _Waiting:
    call: Call
    deadline: float
    left: anyio.Event = field(default_factory=anyio.Event)
    flight: Flight[list[Outcome]] | None = None
    seat: int = 0


class Queue:
    """`send` makes several calls in one request, or one call as its own method, and answers for each in order."""

    def __init__(
        self, bucket: Bucket, tasks: TaskGroup, send: Callable[[list[Call]], Awaitable[list[Outcome]]]
    ) -> None:
        self._bucket = bucket
        self._tasks = tasks
        self._send = send
        self._waiting: deque[_Waiting] = deque()
        self._departures: anyio.CancelScope | None = None

    def may_go_now(self) -> bool:
        """Whether a call needn't wait: there is a place, and nobody stands before it."""
        return not self._waiting and self._bucket.opens_in() == 0

    async def go(self, call: Call) -> Answer:
        """Wait for a place, go, and give the answer. Raises Bitrix24Error as the call does."""
        entry = _Waiting(call, anyio.current_effective_deadline())
        self._waiting.append(entry)
        if self._departures is None:
            self._open_departures()
        try:
            with current_wait().waiting_for("a free place under the portal's request limit"):
                await entry.left.wait()
        except BaseException:
            self._stand_down(entry)
            raise
        assert entry.flight is not None
        return given((await entry.flight.ride())[entry.seat])

    def _stand_down(self, entry: _Waiting) -> None:
        if entry.flight is not None:
            entry.flight.leave()
            return
        self._waiting.remove(entry)
        if not self._waiting and self._departures is not None:
            self._departures.cancel()

    def _open_departures(self) -> None:
        self._departures = anyio.CancelScope()
        self._tasks.start_soon(self._depart, self._departures)

    async def _depart(self, scope: anyio.CancelScope) -> None:
        with scope:
            while self._waiting:
                wait = self._bucket.opens_in()
                if wait > 0:
                    await anyio.sleep(wait)
                else:
                    self._bucket.take()
                    self._take_off()
        self._departures = None
        if self._waiting:  # came while the departures were being cancelled
            self._open_departures()

    def _take_off(self) -> None:
        entries = [self._waiting.popleft()]
        while (
            self._waiting and len(entries) < BATCH_LENGTH and not (entries[0].call.alone or self._waiting[0].call.alone)
        ):
            entries.append(self._waiting.popleft())
        calls = [entry.call for entry in entries]
        flight = Flight(self._tasks, lambda: self._send(calls))
        for seat, entry in enumerate(entries):
            flight.board(entry.deadline)
            entry.flight, entry.seat = flight, seat
            entry.left.set()
