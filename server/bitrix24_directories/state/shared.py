"""The interface of shared state, and its implementation inside one process."""

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

Listener = Callable[[str, str], None]
"""Takes a topic, and the text that was published on it."""

LockCheck = Callable[[], Awaitable[None]]
"""Raises UnavailableError if somebody else holds the lock by now, or if nobody knows."""


class UnavailableError(Exception):
    """The shared state cannot be reached, so work that needs it must stop."""


class Reserved(NamedTuple):
    """A slot under a portal's limit: seconds until its request, and until the next one.

    `granted` is False if the caller would not wait that long; nothing is reserved then.
    """

    granted: bool
    wait: float
    following: float
    replicas: int


class Remembered(NamedTuple):
    """A text that was kept, and its age in seconds."""

    text: str
    age: float


class State(ABC):
    """State that replicas share. Any replica may call any method.

    Methods that are not abstract suit one process.
    """

    shared = False
    """True if other replicas share it."""

    secrets: tuple[bytes, ...] = ()
    """Secrets of all replicas, 32 bytes each, as far as they are known: the one in use, then the one before it."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self.written_at: dict[str, float] = {}
        """Times of this process's last changes, by portal and directory."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the state; to be entered before anything else."""
        yield

    @abstractmethod
    async def secret(self) -> bytes:
        """Return the secret in use. Raises UnavailableError."""

    async def reserve(self, portal: str, burst: float, per_second: float, patience: float) -> Reserved | None:
        """Reserve a slot under a portal's limit, in order of arrival; None if nobody else uses it."""
        del portal, burst, per_second, patience
        return None

    async def pause(self, portal: str, seconds: float) -> None:
        """Let no replica call a portal for `seconds`, after it has refused a request."""
        del portal, seconds

    @abstractmethod
    def lock(self, name: str) -> AbstractAsyncContextManager[LockCheck]:
        """Hold the lock of that name, which only one replica has; waits. Raises UnavailableError.

        Shared state may lose the holder: call the `LockCheck` right before a step that cannot be undone.
        """

    @abstractmethod
    async def generation(self, name: str) -> int:
        """Return a number that each change of `name` (such as a portal) replaces by a new one."""

    @abstractmethod
    async def changing(self, name: str) -> None:
        """Make copies of `name` old before a change is sent. Raises UnavailableError."""

    async def changed(self, name: str) -> None:
        """Make them old after a change; if nobody can be reached now, as soon as possible."""
        await self.changing(name)

    @abstractmethod
    async def remember(self, key: str, text: str, seconds: float) -> None:
        """Keep a text for `seconds`."""

    async def recall(self, key: str) -> str | None:
        """Return a text that was kept; None if there is none any more."""
        (remembered,) = await self.recall_many([key])
        return None if remembered is None else remembered.text

    @abstractmethod
    async def recall_many(self, keys: Sequence[str]) -> list[Remembered | None]:
        """Return several texts that were kept, with their ages."""

    async def publish(self, topic: str, text: str) -> None:
        """Call the listeners of every replica; if others cannot be reached now, as soon as possible."""
        for listener in self._listeners:
            listener(topic, text)

    def subscribe(self, listener: Listener) -> None:
        """Call the listener with each message that any replica publishes."""
        self._listeners.append(listener)

    @abstractmethod
    async def saw(self, people: Mapping[str, float]) -> None:
        """Store the times of people's last calls. Raises UnavailableError."""

    @abstractmethod
    async def seen(self) -> Mapping[str, float]:
        """Return the times of people's last calls, in Unix seconds. Raises UnavailableError."""

    def health(self) -> dict[str, object]:
        """Return the state's part of the readiness answer."""
        return {}


class Inside(State):
    """State of one process."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets = (secrets.token_bytes(32),)
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._generations: defaultdict[str, int] = defaultdict(int)
        self._remembered: dict[str, tuple[str, float, float]] = {}
        self._seen: dict[str, float] = {}

    async def secret(self) -> bytes:
        return self.secrets[0]

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[LockCheck]:
        async with self._locks[name]:
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
