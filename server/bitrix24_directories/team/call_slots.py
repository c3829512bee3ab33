"""Fair order of calls: a person's calls wait only for that person's other calls."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from bitrix24_directories.rest import Bitrix24Error, ErrorKind, current_wait

AT_WORK_OF_ONE = 16
"""Calls of one person that are worked on at the same time."""
WAITING_OF_ONE = 64
WAITING = 256
"""Waiting calls of all people; beyond it the newest of the person with most of them is refused."""
_RETRY_SECONDS = 5


@dataclass(eq=False)
class _Call:
    ready: anyio.Event = field(default_factory=anyio.Event)
    refused: bool = False


class CallSlots:
    """Slots for people's calls, taken in the order in which each person made them."""

    def __init__(self) -> None:
        self._at_work: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Call]] = {}

    @asynccontextmanager
    async def slot(self, name: str) -> AsyncIterator[None]:
        """Take a slot of this person. Raises Bitrix24Error (TOO_MANY_CALLS) if too many calls wait.

        A call that is cancelled while it waits leaves nothing behind.
        """
        if self._at_work[name] < AT_WORK_OF_ONE:
            self._at_work[name] += 1
        else:
            await self._wait_for_slot(name)
        try:
            yield
        finally:
            self._release(name)

    async def _wait_for_slot(self, name: str) -> None:
        """Wait until a call that ends passes its slot on to this one."""
        if len(self._waiting.get(name, ())) >= WAITING_OF_ONE:
            raise _too_many()
        if sum(map(len, self._waiting.values())) >= WAITING:
            most = max(self._waiting, key=lambda person: len(self._waiting[person]))
            if len(self._waiting[most]) <= len(self._waiting.get(name, ())) + 1:
                raise _too_many()
            newest = self._waiting[most][-1]
            self._remove(most, newest)
            newest.refused = True
            newest.ready.set()
        call = _Call()
        self._waiting.setdefault(name, deque()).append(call)
        try:
            with current_wait().waiting_for("other calls of the same person to end"):
                await call.ready.wait()
        except BaseException:
            if call.ready.is_set() and not call.refused:
                self._release(name)
            self._remove(name, call)
            raise
        if call.refused:
            raise _too_many()

    def _release(self, name: str) -> None:
        if name in self._waiting:
            call = self._waiting[name][0]
            self._remove(name, call)
            call.ready.set()
            return
        self._at_work[name] -= 1
        if not self._at_work[name]:
            del self._at_work[name]

    def _remove(self, name: str, call: _Call) -> None:
        if call in self._waiting.get(name, ()):
            self._waiting[name].remove(call)
            if not self._waiting[name]:
                del self._waiting[name]


def _too_many() -> Bitrix24Error:
    return Bitrix24Error(
        "TOO_MANY_CALLS",
        ErrorKind(
            "Too many calls wait here already, and this one was not begun",
            "Make it again, with fewer at the same time; several records or queries go into one call.",
            "limit",
            retryable=True,
            retry_after=_RETRY_SECONDS,
        ),
        not_applied=True,
    )
