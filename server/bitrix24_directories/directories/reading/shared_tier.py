"""The cache tier that replicas share: a portal's answers, unchanged, in the shared state."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import anyio

from bitrix24_directories.rest import Answer
from bitrix24_directories.state.shared import State, UnavailableError

_PATIENCE = 2.0  # seconds to wait for another replica's reading: it may have died

Key = tuple[Any, ...]


class SharedAnswer(NamedTuple):
    """An answer and its time (anyio's clock)."""

    answer: Answer
    read_at: float


class SharedTier:
    """The answers of one portal, each for `seconds`; an older `generation` does not count."""

    def __init__(self, state: State, portal: str, seconds: float) -> None:
        self._state = state
        self._portal = portal
        self._seconds = seconds
        self.generation = 0

    @property
    def is_used(self) -> bool:
        """True if replicas share answers."""
        return self._state.shared and self._seconds > 0

    async def get_many(self, keys: Sequence[Key], since: float) -> list[SharedAnswer | None]:
        """Return the answers since a time; None for each that is missing."""
        entries = await self._state.recall_many([self._name(key) for key in keys])
        answers: list[SharedAnswer | None] = []
        for entry in entries:
            answer = None
            if entry is not None and (read_at := anyio.current_time() - entry.age) >= since:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    stored = json.loads(entry.text)
                    answer = SharedAnswer(Answer(stored["result"], stored["total"], stored["next"]), read_at)
            answers.append(answer)
        return answers

    async def store(self, key: Key, answer: Answer) -> None:
        """Store an answer for all replicas."""
        stored = {"result": answer.result, "total": answer.total, "next": answer.next}
        await self._state.remember(self._name(key), json.dumps(stored), self._seconds)

    @asynccontextmanager
    async def lock(self, key: Key) -> AsyncIterator[None]:
        """Let one replica read for all that need the answer, but do not wait long for it."""
        async with AsyncExitStack() as held:
            with anyio.move_on_after(_PATIENCE), contextlib.suppress(UnavailableError):
                await held.enter_async_context(self._state.lock(f"read {self._name(key)}"))
            yield

    def _name(self, key: Key) -> str:
        return f"answer:{self.generation}:{self._portal}:{json.dumps(key)}"
