"""The shared Bitrix24 client: `call` and `batch` return Answers or raise Bitrix24Error.

A call passes, in this order: the request that equal reads share, its retries, the limits of its method and of the
portal, and one exchange. Knows nothing of MCP.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

import anyio
import anyio.lowlevel
import httpx
from opentelemetry.trace import SpanKind, get_tracer

from bitrix24_directories.errors.errors import TOKEN_REFUSED, Bitrix24Error, failure
from bitrix24_directories.logs import network_logs_redacted
from bitrix24_directories.redaction import Redactor

from .authorization.oauth import Application
from .authorization.webhook import Webhook
from .connection import PortalConnection
from .limits.pacing import STANDARD, MethodLimits, RateLimits, is_read, pause_after, time_left
from .limits.queue import Queue
from .limits.shared_calls import SharedCall
from .limits.waiting import current_wait
from .wire.answers import Answer, Outcome, capture
from .wire.batches import Call, batch_params, in_one_request, read_batch
from .wire.exchange import post

Credentials = Webhook | Application
"""The caller and its portal. No httpx.Auth: it would read whole answers to see `expired_token`; answers are bounded."""

Transport = httpx.AsyncBaseTransport
"""Carries the calls: the network, unless another one is passed."""

_tracer = get_tracer("bitrix24_directories")  # does nothing unless the process sets tracing up
_EXPIRED = TOKEN_REFUSED | {"NO_TOKEN"}
_NO_BATCH = {"ERROR_METHOD_NOT_FOUND", "ERROR_BATCH_METHOD_NOT_ALLOWED", "ACCESS_DENIED", "WRONG_AUTH_TYPE"}


class CutOffError(asyncio.CancelledError):
    """A sent request was cancelled past its shield, as asyncio does when a program ends."""


def in_process(app: Callable[..., Awaitable[None]]) -> Transport:
    """Return a transport that calls an ASGI application inside this process, without a socket."""
    return httpx.ASGITransport(app)


class Bitrix24Client:
    """Calls the REST methods of one portal for one caller.

    All calls share connections, limits and queues. Create it in an event loop, and enter it as an async context manager
    before the first call. `timeout` is the time in seconds that a caller will wait; one attempt of a read gets half of
    it, so that there can be a second one. `transport` replaces the network; `ca_file` names one more trusted authority.
    Several callers of one portal share a `connection` instead of these; its owner closes it, and redacts their secrets
    in the network's logs.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        timeout: float = 30,
        limits: RateLimits = STANDARD,
        transport: Transport | None = None,
        ca_file: str = "",
        connection: PortalConnection | None = None,
    ) -> None:
        self._credentials = credentials
        self._timeout = timeout
        self._redact = Redactor(lambda: credentials.secrets)
        self._connection = connection or PortalConnection(limits, transport, ca_file=ca_file)
        self._owns_connection = connection is None
        self._logged_hosts: set[str] = set()  # hosts of the portal that were logged
        self._logs = ExitStack()
        self._bucket = self._connection.bucket
        self._methods = MethodLimits()
        self._tasks = anyio.create_task_group()
        self._queue = Queue(self._bucket, self._tasks, self._send)
        self._shared: dict[str, SharedCall[Answer]] = {}
        self.batches = True
        """True if the portal takes batches, as far as is known."""
        self._never_in_batch: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        if self._owns_connection:
            self._logs.enter_context(network_logs_redacted(self._redact))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            if self._owns_connection:
                with anyio.CancelScope(shield=True):
                    await self._connection.close()
            self._logs.close()

    @property
    def identity(self) -> tuple[str, ...]:
        """Unique to this caller on this portal. Raises Bitrix24Error as a call would."""
        return self._credentials.identity

    async def call(self, method: str, params: Mapping[str, Any] | None = None, *, fresh: bool = False) -> Answer:
        """Call one REST method; equal reads under way share one request unless one is `fresh`.

        Waits for the portal's limits, and repeats a call if that can help and the caller's deadline (anyio's) allows.
        Raises Bitrix24Error if the portal does not answer with a `result`.
        """
        if is_read(method):
            return await self._read(method, params or {}, fresh=fresh)
        return await self._retried(method, params or {}, repeatable=False)

    async def _read(self, method: str, params: Mapping[str, Any], *, fresh: bool) -> Answer:
        """Make one request for all equal reads under way."""
        key = json.dumps([method, params], sort_keys=True)
        shared = self._shared.get(key)
        if fresh or shared is None or not shared.under_way:
            shared = SharedCall(partial(self._retried, method, params, repeatable=True))
            self._tasks.start_soon(shared.run)
            self._shared[key] = shared
        shared.add_waiter(anyio.current_effective_deadline())
        try:
            return await shared.wait()
        finally:
            if not shared.under_way and self._shared.get(key) is shared:
                del self._shared[key]

    async def batch(
        self,
        calls: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        halt: bool = False,
        on_outcome: Callable[[Outcome], None] | None = None,
        fresh: bool = False,
        retry: bool = True,
    ) -> list[Outcome]:
        """Make calls in their order, up to 50 a request; return each call's answer or error.

        With `halt` the first error ends the batch: later calls have no outcome. `on_outcome` gets each outcome as soon
        as it is known, for a caller who may be cancelled. Reads are repeated and share requests as in `call`. A request
        with a change is not repeated, and once sent it is waited for in spite of cancellation: until its answer comes,
        or the caller's deadline or the client's timeout has passed. On a portal without batches the calls are made one
        by one, unless `retry` is False, which also keeps reads from being repeated.

        Raises Bitrix24Error if a batch fails as a whole; with `halt` that error is the outcome of each of its calls.
        """
        outcomes: list[Outcome] = []
        pending = [Call(method, params) for method, params in calls]
        while pending and not (halt and any(isinstance(outcome, Bitrix24Error) for outcome in outcomes)):
            group = in_one_request(pending) if self.batches or not retry else pending[:1]
            method, params = group[0].method, group[0].params
            if len(group) > 1:
                method, params = "batch", batch_params(group, halt=halt)
            new: list[Outcome] = []
            try:
                if retry and all(is_read(call.method) for call in group):
                    answer = await self._read(method, params, fresh=fresh)
                else:
                    answer = await self._retried(method, params, repeatable=False)
                new = [answer] if len(group) == 1 else read_batch(answer, group, halt=halt)
            except Bitrix24Error as exc:
                if len(group) > 1 and retry and self._takes_no_batch(group, exc):
                    continue
                if len(group) > 1 and not halt:
                    raise
                new = [exc] * len(group)
            except CutOffError:
                new = [failure("CONNECTION_LOST")] * len(group)
                raise
            finally:
                outcomes += new
                if on_outcome is not None:
                    for outcome in new:
                        on_outcome(outcome)
            pending = pending[len(group) :]
        return outcomes

    def _takes_no_batch(self, group: Sequence[Call], error: Bitrix24Error) -> bool:
        """Return True if `error` means that the portal takes no batches, and has done nothing."""
        if error.kind not in _NO_BATCH or not (error.not_applied or all(is_read(call.method) for call in group)):
            return False
        self.batches = False
        return True

    async def _retried(self, method: str, params: Mapping[str, Any], *, repeatable: bool) -> Answer:
        failures: Counter[str] = Counter()
        refreshed = False
        while True:
            used = frozenset(self._credentials.secrets)
            try:
                return await self._once(method, params, repeatable=repeatable)
            except Bitrix24Error as exc:
                error = exc
            if error.kind in _EXPIRED and not refreshed:
                try:
                    renewal = await self._credentials.renew(used)
                except Bitrix24Error as exc:
                    exc.not_applied = error.not_applied  # the call itself decides
                    raise
                if renewal == "none":
                    raise error
                refreshed = renewal == "refreshed"
                continue
            if error.kind == "OPERATION_TIME_LIMIT":
                self._methods.pause(method, error)
            delay = max(self._bucket.delay(), self._methods.delay(method))
            pause = pause_after(error, failures, limit_delay=delay, repeatable=repeatable)
            with current_wait().waiting_for(f"another try, for the last one failed: {error.happened}"):
                await anyio.sleep(pause)

    async def _once(self, method: str, params: Mapping[str, Any], *, repeatable: bool = True) -> Answer:
        """Make one try once the limits allow it: alone and at once, or with others from the queue."""
        async with self._methods.slot(method):
            if self._queue.try_acquire():
                return await self._post(method, params, repeatable=repeatable)
            wait = self._bucket.delay()
            if wait >= time_left():
                raise failure("QUERY_LIMIT_EXCEEDED", retry_after=wait, never_sent=True)
            if not repeatable:
                await self._queue.acquire_slot()
                return await self._post(method, params, repeatable=False)
            batchable = self.batches and is_read(method) and method not in self._never_in_batch
            return await self._queue.call(Call(method, params, batchable))

    async def _send(self, calls: list[Call]) -> list[Outcome]:
        """Send the calls that leave the queue together: one as its own method, several as a batch."""
        if len(calls) == 1:
            return [await self._post(calls[0].method, calls[0].params)]
        try:
            outcomes = read_batch(await self._post("batch", batch_params(calls)), calls)
        except Bitrix24Error as exc:
            if not self._takes_no_batch(calls, exc):
                raise
            return [await capture(self._once(call.method, call.params)) for call in calls]
        for index, (call, outcome) in enumerate(zip(calls, outcomes, strict=True)):
            if isinstance(outcome, Bitrix24Error) and outcome.kind == "ERROR_BATCH_METHOD_NOT_ALLOWED":
                self._never_in_batch.add(call.method)
                outcomes[index] = await capture(self._once(call.method, call.params))
        return outcomes

    async def _post(self, method: str, params: Mapping[str, Any], *, repeatable: bool = True) -> Answer:
        """Send one request, for which a slot in the bucket has been taken.

        A read gets half of the timeout. A request that is not `repeatable` has until the caller's deadline, and is not
        cancelled after it was sent: nobody would know its effect.
        """
        request = self._credentials.request(method, params)
        with self._bucket.sending():
            await self._connection.reserve()
            if not repeatable:
                await anyio.lowlevel.checkpoint_if_cancelled()  # the last moment: a sent request is shielded
            self._connection.requests += 1
            limit = self._timeout / 2 if is_read(method) else min(self._timeout, time_left())
            sent_at = anyio.current_time()
            try:
                with (
                    _tracer.start_as_current_span(f"bitrix24 {method}", kind=SpanKind.CLIENT),
                    anyio.fail_after(limit, shield=not repeatable),
                ):
                    answer = await post(self._connection.http, request, self._redact, self._logged_hosts)
            except asyncio.CancelledError as exc:
                raise exc if repeatable else CutOffError(*exc.args) from None
            except TimeoutError:
                self._connection.note(reached=False)
                raise failure("TIMEOUT", detail=f"no answer within {limit:.3g} s") from None
            except Bitrix24Error as exc:
                self._connection.note(reached=exc.category != "network")
                if exc.kind in self._bucket.backs_off:
                    await self._connection.on_rate_limited(sent_at, exc.server_retry_after)
                raise
            self._connection.note(reached=True)
            self._bucket.on_success()
            return answer
