"""Clients that hear of changes: who may, of what, and when they do not any more.

Newer ones keep a stream open, `subscriptions/listen`; earlier ones ask with `resources/subscribe`, and are told where
they have a connection to be told over, which over HTTP without sessions they do not.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

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
"""Resources that one stream may be about."""
STREAMS = 1_024
"""Streams at the same time, where there is room for them; of one person at most STREAMS_OF_ONE."""
STREAMS_OF_ONE = 20
_LOOK_SECONDS = 30.0
_SHORTEST_LOOK = 1.0

Known = Callable[[Request, Sequence[str]], Awaitable[list[str]]]
"""Those of some URIs that are resources, if whoever asks may read them. Raises Bitrix24Error where they may not."""


class Listening:
    """All who listen, or have subscribed; `bus` is the one of a portal's news. Whether who listens still may is looked
    at so often that it is seen within `seconds`. Over HTTP no subscription is `kept`; `most` streams are open at the
    same time. `refusal` makes an error of the protocol of one of ours."""

    def __init__(
        self,
        bus: Callable[[str], SubscriptionBus],
        sessions: Sessions,
        known: Known,
        refusal: Callable[[Request, Bitrix24Error], MCPError],
        seconds: float,
    ) -> None:
        self.kept = True
        self.most = STREAMS
        self._bus = bus
        self._sessions = sessions
        self._known = known
        self._refusal = refusal
        self._subscribed: dict[str, ServerSession] = {}
        self._pause = max(_SHORTEST_LOOK, min(_LOOK_SECONDS, seconds / 10))
        self._streams: defaultdict[Identity, set[ListenHandler]] = defaultdict(set)

    async def __call__(self, request: Request, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream, for those of its resources that there are. Raises MCPError where nobody may listen so."""
        uris = await self._resources(request, params.notifications.resource_subscriptions or ())
        heard = params.notifications.model_copy(update={"resource_subscriptions": uris or None})
        who, portal = self._sessions.identity(request), self._sessions.portal(request)
        of_one, of_all = len(self._streams.get(who, ())), sum(map(len, self._streams.values()))
        if of_one >= (STREAMS_OF_ONE if who else self.most) or of_all >= self.most:
            raise MCPError(INVALID_REQUEST, "There are too many streams already: end one before you listen again")
        stream = ListenHandler(self._bus(portal))
        self._streams[who].add(stream)
        result, error = None, None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, request, who, stream)
                try:
                    result = await stream(request, params.model_copy(update={"notifications": heard}))
                except Exception as exc:  # kept out of the task group, which would wrap it
                    error = exc
                tasks.cancel_scope.cancel()
        finally:
            self._streams[who].discard(stream)
            if not self._streams[who]:
                del self._streams[who]
        if result is None:
            raise error or AssertionError("it ends with a result or an error")
        return result

    async def _watch(self, request: Request, who: Identity, stream: ListenHandler) -> None:
        """End a stream whose person was taken out, is refused, or has another token or webhook now."""
        with contextlib.suppress(Bitrix24Error):
            while self._sessions.identity(request) == who:
                await anyio.sleep(self._pause)
                try:
                    await self._known(request, ())
                except Bitrix24Error as exc:
                    if not exc.retryable:  # or the portal does not answer, which tells nothing
                        raise
        stream.close()

    def end(self, who: Identity) -> None:
        """End the streams of somebody who may not listen any more."""
        for stream in [*self._streams.get(who, ())]:
            stream.close()

    def close(self) -> None:
        """End all streams, in order."""
        for who in [*self._streams]:
            self.end(who)

    async def subscribe(self, request: Request, params: SubscribeRequestParams) -> EmptyResult:
        """Remember an earlier client's session; as a process on stdio has one client, at most one for a resource."""
        (uri,) = await self._resources(request, [str(params.uri)])
        if self.kept:
            self._subscribed[uri] = request.session
        return EmptyResult()

    async def unsubscribe(self, _: Request, params: UnsubscribeRequestParams) -> EmptyResult:
        self._subscribed.pop(str(params.uri), None)
        return EmptyResult()

    async def tell(self, portal: str, uri: str) -> None:
        """Tell all who listen to a portal's news, or have subscribed, that a resource was changed."""
        await self._bus(portal).publish(ResourceUpdated(uri=uri))
        if uri in self._subscribed:
            await self._subscribed[uri].send_resource_updated(uri)

    async def _resources(self, request: Request, uris: Sequence[str]) -> list[str]:
        """Those of `uris` that are resources. Raises MCPError where none is, where there are too many, or where whoever
        calls may not read them."""
        if len({*uris}) > URIS:
            said = f"These are more than {URIS} resources; bitrix24://directories changes with each of them"
            raise MCPError(INVALID_PARAMS, said)
        try:
            found = await self._known(request, uris)
        except Bitrix24Error as exc:
            raise self._refusal(request, exc) from None
        if uris and not found:
            raise MCPError(INVALID_PARAMS, NO_SUCH_RESOURCE)
        return found
