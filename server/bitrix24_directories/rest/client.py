"""The shared Bitrix24 client: `call` and `batch`, which give Answers or raise Bitrix24Error. Knows nothing of MCP.

A call passes, in this order: the one request that equal reads share, its retries, the limits of its method and of the
portal, and one exchange.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import httpx
from opentelemetry.trace import SpanKind, get_tracer

from bitrix24_directories.logs import network_logs_redacted
from bitrix24_directories.redaction import Redactor

from .authorization.credentials import Credentials, Renewal
from .errors import TOKEN_REFUSED, Bitrix24Error, failure
from .limits.pacing import STANDARD, MethodLimits, Plan, Retries, is_read, time_left
from .limits.queue import Queue
from .limits.shared_calls import SharedCall
from .limits.waiting import current_wait
from .link import Link
from .wire.answers import Answer, Outcome, capture
from .wire.batches import Call, batch_params, in_one_request, in_requests, read_batch, read_halting_batch
from .wire.exchange import Exchange, Request

Transport = httpx.AsyncBaseTransport
"""What carries the calls: the network, unless another is given."""

_tracer = get_tracer("bitrix24_directories")  # does nothing unless the process sets tracing up
_EXPIRED = TOKEN_REFUSED | {"NO_TOKEN"}
_NO_BATCH = {"ERROR_METHOD_NOT_FOUND", "ERROR_BATCH_METHOD_NOT_ALLOWED", "ACCESS_DENIED", "WRONG_AUTH_TYPE"}


class CutOffError(asyncio.CancelledError):
    """A request that had left was cancelled past its shield, as asyncio itself does when a program ends."""


@contextmanager
def _lost_if_cut_off(outcomes: list[Any], calls: int) -> Iterator[None]:
    """Give each of the calls of a request that was cut off an error that tells that its answer is lost."""
    try:
        yield
    except CutOffError:
        outcomes += [failure("CONNECTION_LOST")] * calls
        raise


def in_process(app: Callable[..., Awaitable[None]]) -> Transport:
    """A transport that calls an ASGI application inside this process, without a socket."""
    return httpx.ASGITransport(app)


class Bitrix24Client:
    """Calls the REST methods of one portal for one caller; all calls share connections, limits and waiting lines.

    To be made in an event loop, and entered as an async context manager before the first call. `timeout` is what a
    caller will wait, in seconds; one attempt of a read gets half of it, so that a second one is possible. `transport`
    replaces the network, and `ca_file` names an authority that is trusted besides. Several callers of one portal share
    a `link` instead of these; whoever made it closes it, and keeps their secrets out of the network's logs.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        timeout: float = 30,
        plan: Plan = STANDARD,
        transport: Transport | None = None,
        ca_file: str = "",
        link: Link | None = None,
    ) -> None:
        self._credentials = credentials
        self._timeout = timeout
        self._redact = Redactor(lambda: credentials.secrets)
        self._link = link or Link(plan, transport, ca_file=ca_file)
        self._owns_link = link is None
        self._exchange = Exchange(self._redact, self._link.connections)
        self._logs = ExitStack()
        self._bucket = self._link.bucket
        self._methods = MethodLimits()
        self._tasks = anyio.create_task_group()
        self._queue = Queue(self._bucket, self._tasks, self._send)
        self._shared: dict[str, SharedCall[Answer]] = {}
        self._batch_works = True
        self._never_in_batch: set[str] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        if self._owns_link:
            self._logs.enter_context(network_logs_redacted(self._redact))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            if self._owns_link:
                with anyio.CancelScope(shield=True):
                    await self._link.close()
            self._logs.close()

    @property
    def identity(self) -> tuple[str, ...]:
        """Tells this caller of this portal from all others. Raises Bitrix24Error as a call would."""
        return self._credentials.identity

    @property
    def batches(self) -> bool:
        """Whether the portal takes batches, as far as is known."""
        return self._batch_works

    async def call(self, method: str, params: Mapping[str, Any] | None = None, *, fresh: bool = False) -> Answer:
        """Call one REST method. Equal reads that are under way share one request, unless `fresh` asks for a new one.

        Waits for the portal's limits and repeats what can heal, as long as the caller's deadline (anyio's) allows.
        Raises Bitrix24Error for whatever keeps the portal from answering with a `result`.
        """
        params = params or {}
        if not is_read(method):
            return await self._retried(method, params, repeatable=False)
        return await self._read(method, params, fresh=fresh)

    async def _read(self, method: str, params: Mapping[str, Any], *, fresh: bool) -> Answer:
        """Make one request for all equal reads that are under way."""
        key = json.dumps([method, params], sort_keys=True)
        shared = self._shared.get(key)
        if fresh or shared is None or not shared.under_way:
            work = partial(self._retried, method, params, repeatable=True)
            shared = self._shared[key] = SharedCall(self._tasks, work)
        try:
            return await shared.join()
        finally:
            if not shared.under_way and self._shared.get(key) is shared:
                del self._shared[key]

    async def batch(
        self, calls: Mapping[str, tuple[str, Mapping[str, Any]]], *, fresh: bool = False
    ) -> dict[str, Outcome]:
        """Make any number of reading calls, up to 50 a request, and give each key its answer or its error.

        Equal batches that are under way share one request, unless `fresh` asks for a new one.
        Raises Bitrix24Error when the portal does not answer a batch as a whole; on a portal without `batch` the calls
        are made one by one.
        """
        outcomes: list[Outcome] = []
        for group in in_requests([Call(method, params) for method, params in calls.values()]):
            outcomes += await self._batch_or_singles(group, fresh=fresh)
        return dict(zip(calls, outcomes, strict=True))

    async def one_batch(self, calls: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Outcome]:
        """Make at most 50 reading calls in one request, which is not repeated; what no batch may hold goes by itself.

        Raises Bitrix24Error when the portal does not answer it as a whole, or takes no batches.
        """
        outcomes: list[Outcome] = []
        for group in in_requests([Call(method, params) for method, params in calls.values()]):
            if group[0].alone:
                outcomes.append(await capture(self._retried(group[0].method, group[0].params, repeatable=False)))
            else:
                answer = await self._retried("batch", batch_params(group), repeatable=False)
                outcomes += read_batch(answer, group)
        return dict(zip(calls, outcomes, strict=True))

    async def change(self, calls: Sequence[tuple[str, Mapping[str, Any]]], outcomes: list[Outcome | None]) -> None:
        """Make changing calls in their order, up to 50 a request, until one fails.

        `outcomes` gets one for each call as soon as it is known: its answer, its error (whose `nothing_was_done` tells
        whether that is certain), or None where the portal was not asked. It is filled in place so that whoever is
        cancelled still knows. A request that has left is waited for in spite of cancellation: until it is answered, or
        the caller's deadline or the client's timeout has passed.
        """
        pending = [Call(method, params) for method, params in calls]
        while pending and not any(isinstance(outcome, Bitrix24Error) for outcome in outcomes):
            group = in_one_request(pending) if self._batch_works else pending[:1]
            pending = pending[len(group) :]
            try:
                with _lost_if_cut_off(outcomes, len(group)):
                    outcomes += await self._change(group)
            except Bitrix24Error as exc:
                if len(group) > 1 and exc.kind in _NO_BATCH and exc.nothing_was_done:
                    self._batch_works = False
                    pending = group + pending
                else:
                    outcomes += [exc] * len(group)
        outcomes += [None] * len(pending)

    async def change_each(self, calls: Sequence[tuple[str, Mapping[str, Any]]], outcomes: list[Outcome]) -> None:
        """Make at most 50 calls, some of them changing, that do not depend on each other, in one request.

        What no batch may hold goes by itself, in its turn. `outcomes` gets one for each call, as with `change`; one
        that the portal says nothing of is an error.
        Raises Bitrix24Error when a request fails as a whole; `outcomes` then holds those of the requests before it.
        """
        for group in in_requests([Call(method, params) for method, params in calls]):
            if self._batch_works and not group[0].alone:
                try:
                    with _lost_if_cut_off(outcomes, len(group)):
                        answer = await self._retried("batch", batch_params(group), repeatable=False)
                except Bitrix24Error as exc:
                    if exc.kind not in _NO_BATCH or not exc.nothing_was_done:
                        raise
                    self._batch_works = False
                else:
                    outcomes += read_batch(answer, group)
                    continue
            for call in group:
                with _lost_if_cut_off(outcomes, 1):
                    outcomes.append(await capture(self.call(call.method, call.params)))

    async def _change(self, group: list[Call]) -> Sequence[Outcome | None]:
        if len(group) == 1:
            return [await self._retried(group[0].method, group[0].params, repeatable=False)]
        answer = await self._retried("batch", batch_params(group, halt=True), repeatable=False)
        return read_halting_batch(answer, group)

    async def _batch_or_singles(self, group: list[Call], *, fresh: bool) -> list[Outcome]:
        if self._batch_works and not group[0].alone:
            try:
                return read_batch(await self._read("batch", batch_params(group), fresh=fresh), group)
            except Bitrix24Error as exc:
                if exc.kind not in _NO_BATCH:
                    raise
                self._batch_works = False
        return [await capture(self.call(call.method, call.params, fresh=fresh)) for call in group]

    async def _retried(self, method: str, params: Mapping[str, Any], *, repeatable: bool) -> Answer:
        retries = Retries(repeatable)
        refreshed = False
        while True:
            used = frozenset(self._credentials.secrets)
            try:
                return await self._once(method, params, repeatable=repeatable)
            except Bitrix24Error as exc:
                if exc.kind in _EXPIRED and not refreshed:
                    renewal = await self._renewed(used, exc)
                    if renewal == "none":
                        raise
                    refreshed = renewal == "refreshed"
                    continue
                if exc.kind == "OPERATION_TIME_LIMIT":
                    self._methods.close(method, exc)
                pause = retries.pause_after(exc, max(self._bucket.opens_in(), self._methods.opens_in(method)))
                with current_wait().waiting_for(f"another try, for the last one failed: {exc.happened}"):
                    await anyio.sleep(pause)

    async def _renewed(self, refused: Collection[str], refusal: Bitrix24Error) -> Renewal:
        """Get other secrets. Whatever keeps them away, the call that came to `refusal` has done nothing."""
        try:
            return await self._credentials.renew(refused)
        except Bitrix24Error as exc:
            exc.nothing_was_done = refusal.nothing_was_done
            raise

    async def _once(self, method: str, params: Mapping[str, Any], *, repeatable: bool = True) -> Answer:
        """One try, when the limits allow it: alone and at once, or with others out of the queue."""
        async with self._methods.passing(method):
            if self._queue.may_send_now():
                self._bucket.take()
                return await self._post(method, params, repeatable=repeatable)
            wait = self._bucket.opens_in()
            if wait >= time_left():
                raise failure("QUERY_LIMIT_EXCEEDED", retry_after=wait, never_sent=True)
            if not repeatable:
                await self._queue.place()
                return await self._post(method, params, repeatable=False)
            batchable = self._batch_works and is_read(method) and method not in self._never_in_batch
            return await self._queue.call(Call(method, params, batchable))

    async def _send(self, calls: list[Call]) -> list[Outcome]:
        """Send what has left the queue together: one call as its own method, several as a batch."""
        if len(calls) == 1:
            return [await self._post(calls[0].method, calls[0].params)]
        try:
            outcomes = read_batch(await self._post("batch", batch_params(calls)), calls)
        except Bitrix24Error as exc:
            if exc.kind not in _NO_BATCH:
                raise
            self._batch_works = False
            return [await capture(self._once(call.method, call.params)) for call in calls]
        for place, (call, outcome) in enumerate(zip(calls, outcomes, strict=True)):
            if isinstance(outcome, Bitrix24Error) and outcome.kind == "ERROR_BATCH_METHOD_NOT_ALLOWED":
                self._never_in_batch.add(call.method)
                outcomes[place] = await capture(self._once(call.method, call.params))
        return outcomes

    async def _post(self, method: str, params: Mapping[str, Any], *, repeatable: bool = True) -> Answer:
        """One request, for which a place in the bucket has been taken.

        A read gets half of the timeout. What is not `repeatable` has until the caller's deadline, and is not cancelled
        on the way: nobody would know what became of it.
        """
        request = self._credentials.request(method, params)
        with self._bucket.sending():
            await self._link.reserve()
            if not repeatable:
                await anyio.lowlevel.checkpoint_if_cancelled()  # the last moment: what is sent is shielded
            return await self._answer(method, request, repeatable=repeatable)

    async def _answer(self, method: str, request: Request, *, repeatable: bool) -> Answer:
        self._link.requests += 1
        limit = self._timeout / 2 if is_read(method) else min(self._timeout, time_left())
        sent_at = anyio.current_time()
        try:
            with (
                _tracer.start_as_current_span(f"bitrix24 {method}", kind=SpanKind.CLIENT),
                anyio.fail_after(limit, shield=not repeatable),
            ):
                answer = await self._exchange.post(request)
        except asyncio.CancelledError as exc:
            raise exc if repeatable else CutOffError(*exc.args) from None
        except TimeoutError:
            self._link.note(reached=False)
            raise failure("TIMEOUT", detail=f"no answer within {limit:.3g} s") from None
        except Bitrix24Error as exc:
            self._link.note(reached=exc.category != "network")
            if exc.kind in self._bucket.backs_off:
                await self._link.refused(sent_at, exc.asked_to_wait)
            raise
        self._link.note(reached=True)
        self._bucket.accepted()
        return answer
