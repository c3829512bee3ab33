"""The interface of what replicas share, and its implementation inside one process."""

from __future__ import annotations

import math
import secrets
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import anyio
import anyio.lowlevel

Heard = Callable[[str, str], None]
"""Hears a topic and what was published on it."""

MakeSure = Callable[[], Awaitable[None]]
"""Raises UnavailableError if a turn is somebody else's by now, or nobody can tell."""


class UnavailableError(Exception):
    """What is shared cannot be reached, so that nothing may be done that needs it."""


class Reserved(NamedTuple):
    """A place under a portal's limit: seconds until the request may go, and until the next one could.

    `granted` is False where that is longer than the caller would wait: nothing is reserved then.
    """

    granted: bool
    wait: float
    following: float
    replicas: int


class Remembered(NamedTuple):
    """A text that was kept, and for how many seconds it has been."""

    text: str
    age: float


class State(ABC):
    """What replicas share. Every method may be called in any of them; those that are not abstract suit one process."""

    shared = False
    """Whether others share it."""

    secrets: tuple[bytes, ...] = ()
    """What all replicas have and nobody else, 32 bytes each, as far as it is known: first the one in use, then the one
    before it."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """To be entered before anything else."""
        yield

    @abstractmethod
    async def secret(self) -> bytes:
        """The secret that is in use. Raises UnavailableError."""

    async def reserve(self, portal: str, burst: float, per_second: float, patience: float) -> Reserved | None:
        """A place under the limit of a portal, first come first served; None where nobody else takes any."""
        del portal, burst, per_second, patience
        return None

    async def close(self, portal: str, seconds: float) -> None:
        """Let nobody call a portal for a while, which has refused a request."""
        del portal, seconds

    @abstractmethod
    def turn(self, name: str) -> AbstractAsyncContextManager[MakeSure]:
        """Be the only one to do something, for as long as it takes; waits. Raises UnavailableError.

        What is shared may lose whose turn it is: `MakeSure` is for whoever is about to do what cannot be taken back.
        """

    @abstractmethod
    async def generation(self, name: str) -> int:
        """Another number after each change of something, such as a portal, which never comes again."""

    @abstractmethod
    async def changing(self, name: str) -> None:
        """Let what others keep of it be old, for a change is about to be sent. Raises UnavailableError."""

    async def changed(self, name: str) -> None:
        """The same after a change; where nobody can be told, as soon as they can."""
        await self.changing(name)

    @abstractmethod
    async def remember(self, key: str, text: str, seconds: float) -> None:
        """Keep a text for a while."""

    async def recall(self, key: str) -> str | None:
        """The text that was kept lately."""
        (remembered,) = await self.recall_many([key])
        return None if remembered is None else remembered.text

    @abstractmethod
    async def recall_many(self, keys: Sequence[str]) -> list[Remembered | None]:
        """The same for several, with their ages."""

    async def publish(self, topic: str, text: str) -> None:
        """Let every replica's `hear` know; where others cannot be told, as soon as they can."""
        for heard in self._heard:
            heard(topic, text)

    def hear(self, heard: Heard) -> None:
        """Call `heard` with what any replica publishes."""
        self._heard.append(heard)

    @abstractmethod
    async def saw(self, people: Mapping[str, float]) -> None:
        """Keep when people called last. Raises UnavailableError."""

    @abstractmethod
    async def seen(self) -> Mapping[str, float]:
        """When people called last, in seconds of Unix. Raises UnavailableError."""

    def said(self) -> dict[str, object]:
        """What readiness says of it."""
        return {}


class Inside(State):
    """For one process."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets = (secrets.token_bytes(32),)
        self._turns: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._generations: defaultdict[str, int] = defaultdict(int)
        self._remembered: dict[str, tuple[str, float, float]] = {}
        self._seen: dict[str, float] = {}

    async def secret(self) -> bytes:
        return self.secrets[0]

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[MakeSure]:
        async with self._turns[name]:
            yield anyio.lowlevel.checkpoint

    async def generation(self, name: str) -> int:
        return self._generations[name]

    async def changing(self, name: str) -> None:
        self._generations[name] += 1

    async def remember(self, key: str, text: str, seconds: float) -> None:
        now = anyio.current_time()
        unexpired = {stored_key: stored for stored_key, stored in self._remembered.items() if stored[2] > now}
        self._remembered = unexpired | {key: (text, now, now + seconds)}

    async def recall_many(self, keys: Sequence[str]) -> list[Remembered | None]:
        now, nothing = anyio.current_time(), ("", 0.0, -math.inf)
        values = [self._remembered.get(key, nothing) for key in keys]
        return [Remembered(text, now - at) if until > now else None for text, at, until in values]

    async def saw(self, people: Mapping[str, float]) -> None:
        self._seen |= people

    async def seen(self) -> Mapping[str, float]:
        return self._seen
