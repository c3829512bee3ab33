"""News of changes, told in all replicas to those who listen on the same portal, and to nobody else."""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable

import anyio.lowlevel
from mcp.server.subscriptions import ResourceUpdated, ServerEvent

from bitrix24_directories.state.shared import State

logger = logging.getLogger(__name__)

Listener = Callable[[ServerEvent], None]


class PortalNews:
    """A bus for the SDK; `portal` tells which portal is that of whoever publishes, or begins to listen, now."""

    def __init__(self, portal: Callable[[], str], state: State) -> None:
        self._portal = portal
        self._state = state
        self._of: defaultdict[str, dict[object, Listener]] = defaultdict(dict)
        state.hear(self._heard)

    async def publish(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated):  # there are no other news here
            await self._state.publish(self._portal(), event.uri)
        await anyio.lowlevel.checkpoint()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        listeners, token = self._of[self._portal()], object()
        listeners[token] = listener

        def unsubscribe() -> None:
            listeners.pop(token, None)

        return unsubscribe

    def _heard(self, portal: str, uri: str) -> None:
        for listener in list(self._of.get(portal, {}).values()):
            with contextlib.suppress(Exception):  # one that fails must not keep the others from hearing
                listener(ResourceUpdated(uri=uri))
