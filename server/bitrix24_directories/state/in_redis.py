"""State that replicas share in Redis or Valkey. Needs the extra `team`.

Facts: the limit is per portal and address, not per process, so a script on Redis' own clock gives out slots. Redis may
be gone, slow or empty at any time: optional uses then go on without it, and all others raise UnavailableError.
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

from .shared import LockCheck, Remembered, Reserved, State, UnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PREFIX = "b24d:"
_TIMEOUT = 0.3  # seconds for one command; a call must not hang with Redis
_DOWN_SECONDS = 1.0  # for which nothing is tried after a failure
_LOCK_SECONDS = 20.0  # a lock is renewed while it is held, and free this long after its holder has died
_RENEW_SECONDS = 1.0  # for which another replica may take a lock that is held, if Redis is emptied
_POLL_SECONDS = 0.1
_UNPUBLISHED = 1_000  # messages that wait for Redis at most

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
_PAUSE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('SET', KEYS[1], tostring(now + tonumber(ARGV[1])), 'EX', 600)
"""
# Returns the value of a key; sets the proposed one first if there is none, as in a Redis that was emptied.
_AGREE = "redis.call('SET', KEYS[1], ARGV[1], 'NX') return redis.call('GET', KEYS[1])"
# Ages are measured by Redis' own clock: the clocks of replicas differ.
_REMEMBER = """
local time = redis.call('TIME')
redis.call('SET', KEYS[1], time[1] .. '.' .. string.format('%06d', time[2]) .. ' ' .. ARGV[1], 'PX', ARGV[2])
"""
_RECALL = "return {redis.call('TIME'), redis.call('MGET', unpack(KEYS))}"
# A lock that is gone, as in a Redis that was emptied, is taken again unless somebody else holds it by now.
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class InRedis(State):
    """State at `url` (redis:// or rediss://)."""

    shared = True

    def __init__(self, url: str) -> None:
        super().__init__()
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
        self._down_until = 0.0
        self._up = True
        self._tasks: TaskGroup | None = None
        self._generations: dict[str, int] = {}
        self._untold: set[str] = set()
        self._unpublished: dict[tuple[str, str], None] = {}

    def health(self) -> dict[str, object]:
        return {"redis": "up" if self._up else "down"}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        error: Exception | None = None
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._listen)
            self._tasks.start_soon(self._keep_up)
            try:
                yield
            except Exception as exc:  # raised as it is, and not in a group
                error = exc
            finally:
                self._tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()
        if error is not None:
            raise error

    async def _await_reply(self, answer: Awaitable[T]) -> T:
        """Return the reply of Redis. Raises UnavailableError, at once if Redis has just failed."""
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
        return await self._await_reply(self._redis.eval(script, len(keys), *keys, *map(str, arguments)))

    async def secret(self) -> bytes:
        """Return the stored secret; if there is none, store this replica's own for all others."""
        mine = self.secrets[0] if self.secrets else secrets.token_bytes(32)
        agreed = bytes.fromhex(str(await self._run(_AGREE, [f"{_PREFIX}secret"], mine.hex())))
        if agreed not in self.secrets[:1]:
            self.secrets = (agreed, *self.secrets[:1])
        return agreed

    async def _keep_up(self) -> None:
        """Read the secret again, and send delayed changes and messages, for ever."""
        while True:
            with contextlib.suppress(UnavailableError):
                await self.secret()
                for name in [*self._untold]:
                    self._untold.discard(name)
                    await self.changed(name)
                if self._unpublished:
                    await anyio.sleep(2 * _DOWN_SECONDS)  # other replicas have to listen again first
                for topic, text in [*self._unpublished]:
                    await self._publish(topic, text)
                    del self._unpublished[topic, text]
            await anyio.sleep(_DOWN_SECONDS)

    async def reserve(self, portal: str, burst: float, per_second: float, patience: float) -> Reserved | None:
        keys = [f"{_PREFIX}{kind}:{portal}" for kind in ("level", "closed", "replicas")]
        try:
            result = await self._run(_RESERVE, keys, burst, per_second, min(patience, 3600.0), self._me)
        except UnavailableError:
            return None
        return Reserved(bool(result[0]), float(result[1]), float(result[2]), int(result[3]))

    async def pause(self, portal: str, seconds: float) -> None:
        with contextlib.suppress(UnavailableError):
            await self._run(_PAUSE, [f"{_PREFIX}closed:{portal}"], seconds)

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[LockCheck]:
        key, mine, milliseconds = f"{_PREFIX}turn:{name}", secrets.token_hex(8), int(_LOCK_SECONDS * 1000)
        while True:
            with anyio.CancelScope(shield=True):  # to the end, or nobody would release the lock that Redis has given
                taken = await self._await_reply(self._redis.set(key, mine, nx=True, px=milliseconds))
            if taken:
                break
            await anyio.sleep(_POLL_SECONDS)
        held, renewing = anyio.CancelScope(), anyio.Lock()

        async def check_held() -> None:
            if not await self._run(_RENEW, [key], mine, milliseconds):
                raise UnavailableError

        async def renew() -> None:
            with held:
                while True:
                    await anyio.sleep(min(_RENEW_SECONDS, _LOCK_SECONDS / 4))
                    with anyio.CancelScope(shield=True), contextlib.suppress(UnavailableError):
                        async with renewing:  # or it would be taken again after it was given up
                            if not held.cancel_called and not await self._run(_RENEW, [key], mine, milliseconds):
                                logger.warning("Redis has forgotten whose turn it was; two have it now: %s", name)
                                return

        assert self._tasks is not None, "it runs before anybody changes anything"
        self._tasks.start_soon(renew)
        try:
            yield check_held
        finally:
            held.cancel()
            with anyio.CancelScope(shield=True), contextlib.suppress(UnavailableError):
                async with renewing:
                    await self._run(_RELEASE, [key], mine)

    async def generation(self, name: str) -> int:
        key = f"{_PREFIX}generation:{name}"
        with contextlib.suppress(UnavailableError):
            stored = await self._await_reply(self._redis.get(key))
            value = stored or await self._run(_AGREE, [key], secrets.randbits(62))
            self._generations[name] = int(value)
        return self._generations.get(name, 0)

    async def changing(self, name: str) -> None:
        """Store a random number: a counter would repeat itself in a Redis that was emptied."""
        await self._await_reply(self._redis.set(f"{_PREFIX}generation:{name}", secrets.randbits(62)))

    async def changed(self, name: str) -> None:
        try:
            await self.changing(name)
        except UnavailableError:
            self._untold.add(name)

    async def remember(self, key: str, text: str, seconds: float) -> None:
        with contextlib.suppress(UnavailableError):
            await self._run(_REMEMBER, [f"{_PREFIX}said:{key}"], text, max(1, int(seconds * 1000)))

    async def recall_many(self, keys: Sequence[str]) -> list[Remembered | None]:
        with contextlib.suppress(UnavailableError):
            (seconds, micros), values = await self._run(_RECALL, [f"{_PREFIX}said:{key}" for key in keys])
            now = int(seconds) + int(micros) / 1e6
            parts = [None if value is None else str(value).partition(" ") for value in values]
            return [None if part is None else Remembered(part[2], max(0.0, now - float(part[0]))) for part in parts]
        return [None] * len(keys)

    async def publish(self, topic: str, text: str) -> None:
        """Publish to this replica's listeners even if Redis is gone."""
        await super().publish(topic, text)
        try:
            await self._publish(topic, text)
        except UnavailableError:
            if len(self._unpublished) < _UNPUBLISHED:
                self._unpublished[topic, text] = None

    async def _publish(self, topic: str, text: str) -> None:
        await self._await_reply(self._redis.publish(f"{_PREFIX}news", f"{self._me} {topic} {text}"))

    async def saw(self, people: Mapping[str, float]) -> None:
        pairs = [text for name, moment in people.items() for text in (name, f"{moment:.0f}")]
        await self._await_reply(self._redis.hset(f"{_PREFIX}seen", items=pairs))

    async def seen(self) -> Mapping[str, float]:
        moments = await self._await_reply(cast("Awaitable[dict[str, str]]", self._redis.hgetall(f"{_PREFIX}seen")))
        return {name: float(moment) for name, moment in moments.items()}

    async def _listen(self) -> None:
        """Publish other replicas' messages here, for ever, over a connection of its own."""
        while True:
            try:
                listening: redis.Redis = redis.Redis.from_url(self._url, decode_responses=True, socket_timeout=None)
                async with listening, listening.pubsub() as messages:
                    await messages.subscribe(f"{_PREFIX}news")
                    async for message in messages.listen():
                        sender, _, rest = str(message["data"]).partition(" ")
                        topic, _, text = rest.partition(" ")
                        if message["type"] == "message" and sender != self._me:
                            await super().publish(topic, text)
            except (RedisError, OSError, TimeoutError):
                await anyio.sleep(_DOWN_SECONDS)
