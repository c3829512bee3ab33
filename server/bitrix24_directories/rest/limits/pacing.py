"""Request limits of a portal, and retries. Imports `errors` and `waiting`.

Facts: a leaky bucket per portal and source address (each request adds one, a request over the burst is refused, some
drain away every second), and 480 s of running time in 10 minutes for each method.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

import anyio

from bitrix24_directories.errors.errors import Bitrix24Error, failure, replace_wait

from .waiting import current_wait

# Failures that may pass, and how many tries a read gets in all.
_TRIES = {
    "CONNECTION_LOST": 5,
    "CONNECTION_REFUSED": 3,
    "CONNECTION_FAILED": 3,
    "CONNECTION_ERROR": 3,
    "DNS_FAILURE": 3,
    "TIMEOUT": 2,
    "SERVER_ERROR": 6,
    "TOO_MANY_REQUESTS": 6,
    "INTERNAL_SERVER_ERROR": 2,
    "ERROR_UNEXPECTED_ANSWER": 2,
    "EMPTY_ANSWER": 2,
    "BROKEN_ANSWER": 2,
}
FIRST_PAUSE = 0.5
"""Seconds before the second try; each further pause of a call is twice as long."""

# The portal's two limits always end: calls wait for them until the deadline.
_LIMITS = {"QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT"}
_INSTANT = 1e-6  # a shorter wait is rounding, and would not move the clock
_READS = re.compile(r"(?:.+\.)?(?:items|types|list|get|fields|current|scope)")


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Limits of a Bitrix24 plan: requests at once, and requests a second in the long run.

    `under_way` is the number of requests that may wait for their answers at the same time.
    """

    burst: int
    per_second: float
    under_way: float = math.inf


STANDARD = RateLimits(burst=50, per_second=2)
ENTERPRISE = RateLimits(burst=250, per_second=5)
SELF_HOSTED = RateLimits(burst=25_000, per_second=1_000, under_way=4)
"""No limit but how fast the portal answers: these rates are more than any server reaches."""


def is_read(method: str) -> bool:
    """Return True if a call may be repeated or shared: unknown methods may not."""
    return _READS.fullmatch(method) is not None


class Bucket:
    """The portal's leaky bucket, as estimated here.

    Other programs at this address fill the same bucket, so a refusal can still come: it fills the bucket for all
    callers in this process, and each further one closes it for twice as long.
    """

    _FIRST_PAUSE = 0.2
    _LONGEST_PAUSE = 8.0

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self.backs_off = {"QUERY_LIMIT_EXCEEDED"}
        """Errors that make every caller wait; without a known limit also those of an overloaded server."""
        if limits.under_way < math.inf:
            self.backs_off |= {"TOO_MANY_REQUESTS", "SERVER_ERROR"}
        self._level = 0.0
        self._level_at = 0.0
        self._ready_at = 0.0
        self._pause = 0.0
        self._refused_at = 0.0
        self._under_way = 0
        self._answered = anyio.Event()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count a request as under way for as long as the block runs."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._answered.set()
            self._answered = anyio.Event()

    @property
    def is_ready(self) -> bool:
        """True if the next request may go out now."""
        return self._under_way < self._limits.under_way and self.delay() == 0

    async def wait_until_ready(self) -> None:
        """Wait until the next request may go out."""
        while not self.is_ready:
            if self._under_way < self._limits.under_way:
                await anyio.sleep(self.delay())
            else:
                await self._answered.wait()

    def delay(self) -> float:
        """Return the seconds until the portal's limit lets the next request through."""
        now = self._drain()
        drained_in = (self._level + 1 - self._limits.burst) / self._limits.per_second
        wait = max(self._ready_at - now, drained_in)
        return wait if wait > _INSTANT else 0.0

    def share(self, limits: RateLimits, parts: int) -> None:
        """Keep to one of `parts` equal parts of a plan."""
        self._limits = replace(limits, burst=max(1, limits.burst // parts), per_second=limits.per_second / parts)

    def pause(self, seconds: float) -> None:
        """Let no request out for `seconds`."""
        self._ready_at = max(self._ready_at, anyio.current_time() + seconds)

    def take(self) -> None:
        """Count a request that goes out now."""
        self._drain()
        self._level += 1

    def on_success(self) -> None:
        """Record that a request was accepted."""
        self._pause = 0.0

    def on_rate_limited(self, sent_at: float, retry_after: float | None) -> None:
        """Note QUERY_LIMIT_EXCEEDED for a request of `sent_at`; `retry_after` is the portal's own.

        Requests that were sent before an earlier refusal say nothing new. The wait is at most the time that a full
        bucket needs to drain; after it one request goes out first, as if nothing had drained meanwhile.
        """
        now = self._drain()
        if sent_at >= self._refused_at:
            self._refused_at = now
            self._level = float(self._limits.burst)
            self._ready_at = now + _jittered(self._pause)
            first = max(1 / self._limits.per_second, self._FIRST_PAUSE)
            self._pause = min(self._pause * 2 or first, self._LONGEST_PAUSE)
        if retry_after:
            self._ready_at = max(self._ready_at, now + min(retry_after, self._limits.burst / self._limits.per_second))
            self._level, self._level_at = float(self._limits.burst - 1), self._ready_at

    def _drain(self) -> float:
        now = anyio.current_time()
        if now > self._level_at:
            self._level = max(0.0, self._level - (now - self._level_at) * self._limits.per_second)
            self._level_at = now
        return now


class MethodLimits:
    """Methods that have used up their running time (OPERATION_TIME_LIMIT), and until when.

    The portal's own time can be wrong: after it one call goes out, and the others wait for its result.
    """

    def __init__(self) -> None:
        self._paused: dict[str, float] = {}
        self._probes: dict[str, anyio.Event] = {}

    def pause(self, method: str, error: Bitrix24Error) -> None:
        """Let no call of a method leave for some seconds."""
        if not self.delay(method):
            self._paused[method] = anyio.current_time() + (error.retry_after or 0)

    def delay(self, method: str) -> float:
        """Return the seconds until the method may be called again."""
        wait = self._paused.get(method, 0.0) - anyio.current_time()
        return wait if wait > _INSTANT else 0.0

    @asynccontextmanager
    async def slot(self, method: str) -> AsyncIterator[None]:
        """Wait until the method is open; raise at once if that is past the caller's deadline."""
        while method in self._paused:
            wait = self.delay(method)
            if wait >= time_left():
                raise failure("OPERATION_TIME_LIMIT", retry_after=wait, never_sent=True)
            if not wait and method not in self._probes:
                break
            with current_wait().waiting_for("the portal to allow this REST method again"):
                await (anyio.sleep(wait) if wait else self._probes[method].wait())
        if method not in self._paused:
            yield
            return
        # This one call probes the method: every result except OPERATION_TIME_LIMIT opens it.
        probe = self._probes[method] = anyio.Event()
        try:
            yield
        except Bitrix24Error as exc:
            if exc.kind == "OPERATION_TIME_LIMIT":
                self.pause(method, exc)
            else:
                del self._paused[method]
            raise
        else:
            del self._paused[method]
        finally:
            del self._probes[method]
            probe.set()


def pause_after(error: Bitrix24Error, failures: Counter[str], *, limit_delay: float, repeatable: bool) -> float:
    """Return the pause before another try. Raises `error` if that cannot help or comes too late.

    `failures` counts the call's failures by kind; `limit_delay` are the seconds until the portal's limits let the
    next try through. A call that is not `repeatable` (a write) is tried again only if the portal certainly did nothing.
    """
    if error.kind in _LIMITS:
        if limit_delay >= time_left():
            raise replace_wait(error, limit_delay)
        return 0.0
    failures[error.kind] += 1
    if not (repeatable or error.not_applied) or failures[error.kind] >= _TRIES.get(error.kind, 0):
        raise error
    pause = max(_jittered(FIRST_PAUSE * 2.0 ** (failures[error.kind] - 1)), error.server_retry_after or 0.0)
    if pause >= time_left():
        raise error
    return pause


def _jittered(seconds: float) -> float:
    """Return somewhat more, so that calls that failed together are not repeated together."""
    return seconds * random.uniform(1, 1.25)


def time_left() -> float:
    """Return the seconds until the caller's deadline."""
    return anyio.current_effective_deadline() - anyio.current_time()
