"""Change events of each portal, sent in all replicas to that portal's listeners only."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import anyio.lowlevel
from mcp.server.subscriptions import ResourceUpdated, ServerEvent

from bitrix24_directories.state.shared import State

EventListener = Callable[[ServerEvent], None]


class PortalSubscriptions:
    """The SDK's bus for each portal; events reach all replicas that share `state`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._listeners: defaultdict[str, dict[object, EventListener]] = defaultdict(dict)
        state.subscribe(self._notify)

    def bus(self, portal: str) -> PortalBus:
        """Return a portal's bus."""
        return PortalBus(portal, self._state, self._listeners[portal])

    def _notify(self, portal: str, uri: str) -> None:
        for listener in list(self._listeners.get(portal, {}).values()):
            with contextlib.suppress(Exception):  # a listener that fails must not stop the others
                listener(ResourceUpdated(uri=uri))


@dataclass
class PortalBus:
    """The bus of one portal, for the SDK."""

    portal: str
    state: State
    listeners: dict[object, EventListener]

    async def publish(self, event: ServerEvent) -> None:
        """Publish an event to all replicas."""
        if isinstance(event, ResourceUpdated):  # there are no other events here
            await self.state.publish(self.portal, event.uri)
        await anyio.lowlevel.checkpoint()

    def subscribe(self, listener: EventListener) -> Callable[[], None]:
        """Add a listener; return the function that removes it."""
        token = object()
        self.listeners[token] = listener

        def unsubscribe() -> None:
            self.listeners.pop(token, None)

        return unsubscribe
