"""What all callers of one portal share in a process: its request limit, and the connections to it."""

from __future__ import annotations

import anyio
import httpx

from .limits.pacing import STANDARD, Bucket, Plan
from .wire.exchange import Connections


class Link:
    """One portal's limit and connections. `transport` replaces the network.

    `reached_at` and `failed_at` are the times (anyio's clock) of the last answer of any kind, and of the last call that
    the network kept from being answered; None before the first.
    """

    def __init__(self, plan: Plan = STANDARD, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.bucket = Bucket(plan)
        self.connections = Connections(transport)
        self.reached_at: float | None = None
        self.failed_at: float | None = None

    def note(self, *, reached: bool) -> None:
        """Take note of what became of a call just now."""
        if reached:
            self.reached_at = anyio.current_time()
        else:
            self.failed_at = anyio.current_time()

    async def close(self) -> None:
        await self.connections.close()
