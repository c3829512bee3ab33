"""What replicas share in Redis or Valkey. Needs the extra `team`.

Facts: the limit is per portal and address, not per process, so that places are given out by a script on Redis' own
clock. Redis may be gone, slow or empty at any time: what only makes things better then goes on without it, and what
needs it raises UnavailableError.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import anyio
import redis.asyncio as redis
from anyio.abc import TaskGroup
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .shared import Heard, Reserved, State, UnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PREFIX = "b24d:"
_TIMEOUT = 0.3  # seconds for one command; a call must not hang with Redis
_DOWN_SECONDS = 1.0  # for which nothing is tried after a failure
_TURN_SECONDS = 20.0  # a lock is renewed while it is held, and free this long after its holder has died
_POLL_SECONDS = 0.1

# A leaky bucket as its "theoretical arrival time": KEYS level, closed, replicas; ARGV burst, rate, patience, replica.
_RESERVE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local burst, rate, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZADD', KEYS[3], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - 30)
redis.call('EXPIRE', KEYS[3], 60)
local replicas = redis.call('ZCARD', KEYS[3])
local drained = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local opens = math.max(drained - (burst - 1) / rate, tonumber(redis.call('GET', KEYS[2]) or '0'), now)
if opens - now > patience then
    return {0, tostring(opens - now), tostring(opens - now), replicas}
end
drained = math.max(drained, opens) + 1 / rate
redis.call('SET', KEYS[1], tostring(drained), 'EX', 600)
local following = math.max(drained - (burst - 1) / rate - now, 0)
return {1, tostring(opens - now), tostring(following), replicas}
"""
_CLOSE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('SET', KEYS[1], tostring(now + tonumber(ARGV[1])), 'EX', 600)
"""
_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class InRedis(State):
    """State at `url` (redis:// or rediss://)."""

    shared = True

    def __init__(self, url: str) -> None:
        pool: redis.BlockingConnectionPool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=20,
            timeout=1,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._redis: redis.Redis = redis.Redis.from_pool(pool)
        self._url = url
        self._me = secrets.token_hex(8)
        self._heard: list[Heard] = []
        self._down_until = 0.0
        self._up = True
        self._secret: bytes | None = None
        self._tasks: TaskGroup | None = None
        self._generations: dict[str, int] = {}

    def said(self) -> dict[str, object]:
        return {"redis": "up" if self._up else "down"}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._listen)
            try:
                yield
            finally:
                self._tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _asked(self, answer: Awaitable[T]) -> T:
        """What Redis answers. Raises UnavailableError, at once where it has just failed."""
        if anyio.current_time() < self._down_until:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
            raise UnavailableError
        try:
            result = await answer
        except (RedisError, OSError, TimeoutError) as exc:
            if self._up:
                logger.warning("Redis cannot be reached (%s); going on without it", type(exc).__name__)
            self._up, self._down_until = False, anyio.current_time() + _DOWN_SECONDS
            raise UnavailableError from None
        if not self._up:
            logger.warning("Redis is there again")
        self._up = True
        return result

    async def _run(self, script: str, keys: Sequence[str], *arguments: object) -> Any:
        return await self._asked(self._redis.eval(script, len(keys), *keys, *map(str, arguments)))

    async def secret(self) -> bytes:
        if self._secret is None:
            key = f"{_PREFIX}secret"
            await self._asked(self._redis.set(key, secrets.token_hex(32), nx=True))
            self._secret = bytes.fromhex(str(await self._asked(self._redis.get(key))))
        return self._secret

    async def reserve(self, portal: str, burst: float, per_second: float, patience: float) -> Reserved | None:
        keys = [f"{_PREFIX}{what}:{portal}" for what in ("level", "closed", "replicas")]
        try:
            found = await self._run(_RESERVE, keys, burst, per_second, min(patience, 3600.0), self._me)
        except UnavailableError:
            return None
        return Reserved(bool(found[0]), float(found[1]), float(found[2]), int(found[3]))

    async def close(self, portal: str, seconds: float) -> None:
        with contextlib.suppress(UnavailableError):
            await self._run(_CLOSE, [f"{_PREFIX}closed:{portal}"], seconds)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        key, mine = f"{_PREFIX}turn:{name}", secrets.token_hex(8)
        milliseconds = int(_TURN_SECONDS * 1000)
        while not await self._asked(self._redis.set(key, mine, nx=True, px=milliseconds)):  # noqa: ASYNC110
            await anyio.sleep(_POLL_SECONDS)  # Redis has nothing to wait for
        held = anyio.CancelScope()
        assert self._tasks is not None, "it runs before anybody changes anything"
        self._tasks.start_soon(self._renew, key, mine, milliseconds, held)
        try:
            yield
        finally:
            held.cancel()
            with anyio.CancelScope(shield=True), contextlib.suppress(UnavailableError):
                await self._run(_RELEASE, [key], mine)

    async def _renew(self, key: str, mine: str, milliseconds: int, held: anyio.CancelScope) -> None:
        with held:
            while True:
                await anyio.sleep(_TURN_SECONDS / 4)
                with contextlib.suppress(UnavailableError):
                    await self._run(_RENEW, [key], mine, milliseconds)

    async def generation(self, portal: str) -> int:
        try:
            found = await self._asked(self._redis.get(f"{_PREFIX}generation:{portal}"))
        except UnavailableError:
            return self._generations.get(portal, 0)
        self._generations[portal] = int(found or 0)
        return self._generations[portal]

    async def changed(self, portal: str) -> None:
        with contextlib.suppress(UnavailableError):
            await self._asked(self._redis.incr(f"{_PREFIX}generation:{portal}"))

    async def remember(self, key: str, text: str, seconds: float) -> None:
        with contextlib.suppress(UnavailableError):
            await self._asked(self._redis.set(f"{_PREFIX}kept:{key}", text, px=max(1, int(seconds * 1000))))

    async def recall(self, key: str) -> str | None:
        return (await self.recall_many([key]))[0]

    async def recall_many(self, keys: Sequence[str]) -> list[str | None]:
        with contextlib.suppress(UnavailableError):
            found = await self._asked(self._redis.mget([f"{_PREFIX}kept:{key}" for key in keys]))
            return [None if text is None else str(text) for text in found]
        return [None] * len(keys)

    async def publish(self, topic: str, text: str) -> None:
        """Those who listen here hear it even where Redis is gone."""
        for heard in self._heard:
            heard(topic, text)
        with contextlib.suppress(UnavailableError):
            await self._asked(self._redis.publish(f"{_PREFIX}news", f"{self._me} {topic} {text}"))

    async def saw(self, people: Mapping[str, float]) -> None:
        pairs = [text for name, moment in people.items() for text in (name, f"{moment:.0f}")]
        await self._asked(self._redis.hset(f"{_PREFIX}seen", items=pairs))

    async def seen(self) -> Mapping[str, float]:
        found = await self._asked(cast("Awaitable[dict[str, str]]", self._redis.hgetall(f"{_PREFIX}seen")))
        return {name: float(moment) for name, moment in found.items()}

    def hear(self, heard: Heard) -> None:
        self._heard.append(heard)

    async def _listen(self) -> None:
        """Hear what other replicas publish, for ever, over a connection of its own."""
        while True:
            try:
                listening: redis.Redis = redis.Redis.from_url(self._url, decode_responses=True, socket_timeout=None)
                async with listening, listening.pubsub() as messages:
                    await messages.subscribe(f"{_PREFIX}news")
                    async for message in messages.listen():
                        if message["type"] == "message":
                            self._tell(str(message["data"]))
            except (RedisError, OSError, TimeoutError):
                await anyio.sleep(_DOWN_SECONDS)

    def _tell(self, data: str) -> None:
        sender, _, rest = data.partition(" ")
        topic, _, text = rest.partition(" ")
        if sender != self._me:
            for heard in self._heard:
                heard(topic, text)
