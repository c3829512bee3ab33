"""What all callers of one portal share in a process: its request limit, and the connections to it."""

from __future__ import annotations

import anyio
import httpx

from .errors import Bitrix24Error
from .limits.pacing import STANDARD, Bucket, Plan
from .wire.exchange import Connections

_PROBE_SECONDS = 2.0


class Link:
    """One portal's limit and connections. `transport` replaces the network.

    `requests` went out, `refusals` of them met the portal's limit. `reached_at` and `failed_at` are the times (anyio's
    clock) of the last answer of any kind, and of the last call that the network kept from being answered; None before
    the first.
    """

    def __init__(self, plan: Plan = STANDARD, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.bucket = Bucket(plan)
        self.connections = Connections(transport)
        self.requests = self.refusals = 0
        self.reached_at: float | None = None
        self.failed_at: float | None = None

    def note(self, *, reached: bool) -> None:
        """Take note of what became of a call just now."""
        if reached:
            self.reached_at = anyio.current_time()
        else:
            self.failed_at = anyio.current_time()

    @property
    def fails(self) -> bool:
        """Whether the network has kept the last call from being answered."""
        return self.failed_at is not None and (self.reached_at is None or self.reached_at < self.failed_at)

    async def probe(self, address: str) -> None:
        """Find out whether the portal at `address` answers anything at all; not a REST call, which limits count."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                await self.connections.http.head(str(httpx.URL(address).copy_with(path="/")))
        except (httpx.HTTPError, TimeoutError, Bitrix24Error):
            self.note(reached=False)
        else:
            self.note(reached=True)

    async def close(self) -> None:
        await self.connections.close()
