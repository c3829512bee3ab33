"""News of changes, told to those who listen on the same portal alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from mcp.server.subscriptions import InMemorySubscriptionBus, ServerEvent


class PortalNews:
    """A bus for the SDK; `portal` tells which portal is that of whoever publishes, or begins to listen, now."""

    def __init__(self, portal: Callable[[], str]) -> None:
        self._portal = portal
        self._of: defaultdict[str, InMemorySubscriptionBus] = defaultdict(InMemorySubscriptionBus)

    async def publish(self, event: ServerEvent) -> None:
        await self._of[self._portal()].publish(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        return self._of[self._portal()].subscribe(listener)
