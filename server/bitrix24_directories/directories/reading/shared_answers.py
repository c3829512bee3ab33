"""What any replica has read of a portal lately: the answers as they came, kept in what replicas share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import anyio

from bitrix24_directories.rest import Answer
from bitrix24_directories.state.shared import Remembered, State, UnavailableError

_PATIENCE = 2.0  # seconds for which another replica's reading is waited for: it may have died

Key = tuple[Any, ...]


class Recalled(NamedTuple):
    """An answer, and when it was given (anyio's clock)."""

    answer: Answer
    read_at: float


class SharedAnswers:
    """The answers of one portal, each for `seconds`; those of an older `generation` are none."""

    def __init__(self, state: State, portal: str, seconds: float) -> None:
        self._state = state
        self._portal = portal
        self._seconds = seconds
        self.generation = 0

    @property
    def used(self) -> bool:
        return self._state.shared and self._seconds > 0

    async def recall(self, keys: Sequence[Key], since: float) -> list[Recalled | None]:
        """The answers that were given since a time; None for those that were not."""
        found = await self._state.recall_many([self._name(key) for key in keys])
        return [None if one is None else self._read(one, since) for one in found]

    async def keep(self, key: Key, answer: Answer) -> None:
        said = {"result": answer.result, "total": answer.total, "next": answer.next}
        await self._state.remember(self._name(key), json.dumps(said), self._seconds)

    @asynccontextmanager
    async def turn(self, key: Key) -> AsyncIterator[None]:
        """Let one replica read what several want, but do not wait long for it."""
        async with AsyncExitStack() as held:
            with anyio.move_on_after(_PATIENCE), contextlib.suppress(UnavailableError):
                await held.enter_async_context(self._state.turn(f"read {self._name(key)}"))
            yield

    def _name(self, key: Key) -> str:
        return f"answer:{self.generation}:{self._portal}:{json.dumps(key)}"

    @staticmethod
    def _read(found: Remembered, since: float) -> Recalled | None:
        read_at = anyio.current_time() - found.age
        try:
            said = json.loads(found.text)
            answer = Answer(said["result"], said["total"], said["next"])
        except (ValueError, KeyError, TypeError):
            return None
        return Recalled(answer, read_at) if read_at >= since else None
