"""Subscriptions of clients to changes: permissions, resources, and the end of each.

Newer clients keep a stream open (`subscriptions/listen`). Earlier ones use `resources/subscribe` and get notifications
on their connection; over HTTP without sessions they have none.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ListenHandler, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from bitrix24_directories.rest import Bitrix24Error

from .resources import NO_SUCH_RESOURCE
from .session import Identity, Request, Sessions

URIS = 100
"""Largest number of resources of one stream."""
STREAMS = 1_024
"""Largest number of streams at the same time; of one person STREAMS_OF_ONE."""
STREAMS_OF_ONE = 20
_LOOK_SECONDS = 30.0
_SHORTEST_LOOK = 1.0

ReadableUris = Callable[[Request, Sequence[str]], Awaitable[list[str]]]
"""Returns the URIs that are resources. Raises Bitrix24Error if the caller may not read them."""


class Subscriptions:
    """All streams and subscriptions; `bus` returns the bus of a portal's changes.
    Loss of the right to a stream is noticed within `seconds`. Over HTTP no subscription is stored
    (`keeps_subscriptions`); `most` streams are open at the same time. `refusal` converts our errors to protocol errors.
    """

    def __init__(
        self,
        bus: Callable[[str], SubscriptionBus],
        sessions: Sessions,
        readable: ReadableUris,
        refusal: Callable[[Request, Bitrix24Error], MCPError],
        seconds: float,
    ) -> None:
        self.keeps_subscriptions = True
        self.most = STREAMS
        self._bus = bus
        self._sessions = sessions
        self._readable = readable
        self._refusal = refusal
        self._subscribed: dict[str, ServerSession] = {}
        self._pause = max(_SHORTEST_LOOK, min(_LOOK_SECONDS, seconds / 10))
        self._streams: defaultdict[Identity, set[ListenHandler]] = defaultdict(set)

    async def __call__(self, request: Request, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream for the resources that exist. Raises MCPError if it is not allowed."""
        uris = await self._resources(request, params.notifications.resource_subscriptions or ())
        heard = params.notifications.model_copy(update={"resource_subscriptions": uris or None})
        identity, portal_key = self._sessions.identity(request), self._sessions.portal_key(request)
        of_one, of_all = len(self._streams.get(identity, ())), sum(map(len, self._streams.values()))
        if of_one >= (STREAMS_OF_ONE if identity else self.most) or of_all >= self.most:
            raise MCPError(INVALID_REQUEST, "There are too many streams already: end one before you listen again")
        stream = ListenHandler(self._bus(portal_key))
        self._streams[identity].add(stream)
        try:
            async with in_background(partial(self._watch, request, identity, stream)):
                return await stream(request, params.model_copy(update={"notifications": heard}))
        finally:
            self._streams[identity].discard(stream)
            if not self._streams[identity]:
                del self._streams[identity]

    async def _watch(self, request: Request, identity: Identity, stream: ListenHandler) -> None:
        """End a stream once its person is removed, is refused, or has another token or webhook."""
        with contextlib.suppress(Bitrix24Error):
            while self._sessions.identity(request) == identity:
                await anyio.sleep(self._pause)
                try:
                    await self._readable(request, ())
                except Bitrix24Error as exc:
                    if exc.category == "authorization":  # else the portal has trouble, which means nothing
                        raise
        stream.close()

    def end(self, identity: Identity) -> None:
        """End the streams of a person who may not listen any more."""
        for stream in [*self._streams.get(identity, ())]:
            stream.close()

    def close(self) -> None:
        """End all streams, in order."""
        for identity in [*self._streams]:
            self.end(identity)

    async def subscribe(self, request: Request, params: SubscribeRequestParams) -> EmptyResult:
        """Store an earlier client's session, one for each resource: a stdio process has one client."""
        (uri,) = await self._resources(request, [str(params.uri)])
        if self.keeps_subscriptions:
            self._subscribed[uri] = request.session
        return EmptyResult()

    async def unsubscribe(self, _: Request, params: UnsubscribeRequestParams) -> EmptyResult:
        """Forget the session of an earlier client."""
        self._subscribed.pop(str(params.uri), None)
        return EmptyResult()

    async def publish(self, portal_key: str, uri: str) -> None:
        """Notify all streams and subscriptions of a portal that a resource was changed."""
        await self._bus(portal_key).publish(ResourceUpdated(uri=uri))
        if uri in self._subscribed:
            await self._subscribed[uri].send_resource_updated(uri)

    async def _resources(self, request: Request, uris: Sequence[str]) -> list[str]:
        """Return the URIs that are resources.
        Raises MCPError if there are none or too many, or if the caller may not read them."""
        if len({*uris}) > URIS:
            message = f"These are more than {URIS} resources; bitrix24://directories changes with each of them"
            raise MCPError(INVALID_PARAMS, message)
        try:
            readable = await self._readable(request, uris)
        except Bitrix24Error as exc:
            raise self._refusal(request, exc) from None
        if uris and not readable:
            raise MCPError(INVALID_PARAMS, NO_SUCH_RESOURCE)
        return readable


@asynccontextmanager
async def in_background(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Do `work` while the statement runs, whose errors stay unwrapped; then cancel it."""
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        try:
            yield
        except Exception as exc:  # not through the task group, which would wrap it
            error = exc
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
