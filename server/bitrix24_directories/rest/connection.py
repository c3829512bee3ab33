"""A portal's request limit and connections, which all its callers in a process share."""

from __future__ import annotations

import anyio
import httpx

from bitrix24_directories.errors.errors import Bitrix24Error, failure
from bitrix24_directories.state.shared import State

from .limits.pacing import STANDARD, Bucket, RateLimits, time_left
from .limits.waiting import current_wait
from .wire.exchange import connections

_PROBE_SECONDS = 2.0


class PortalConnection:
    """One portal's request limit and connections.

    `transport` replaces the network, `ca_file` names one more trusted authority, and other replicas share the limit of
    `address` through `state`. `requests` were sent, and `refusals` of them met the portal's limit. `reached_at` and
    `failed_at` are the times (anyio's clock) of the last answer of any kind, and of the last call without one because
    of the network; None before the first.
    """

    def __init__(
        self,
        limits: RateLimits = STANDARD,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        ca_file: str = "",
        address: str = "",
        state: State | None = None,
    ) -> None:
        self.bucket = Bucket(limits)
        self._limits, self._address, self._state, self._replicas = limits, address, state, 1
        self._transport, self._ca_file = transport, ca_file
        self._http: httpx.AsyncClient | None = None
        self.requests = self.refusals = 0
        self.reached_at: float | None = None
        self.failed_at: float | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """HTTP client, made for the first call: reading certificates would delay the start.

        The first call may raise Bitrix24Error.
        """
        if self._http is None:
            self._http = connections(self._transport, self._ca_file)
        return self._http

    async def reserve(self) -> None:
        """Wait for a slot under the limit that replicas share, after one in this process' bucket.

        Raises Bitrix24Error (QUERY_LIMIT_EXCEEDED) if the slot would come too late. While the state is unavailable,
        each replica keeps to its part of the limit.
        """
        if self._state is None or not self._state.shared:
            return
        burst = max(1, self._limits.burst - 1)  # clocks differ by a little
        reserved = await self._state.reserve(self._address, burst, self._limits.per_second, time_left())
        if reserved is None:
            self.bucket.share(self._limits, self._replicas)
            return
        self._replicas = max(1, reserved.replicas)
        self.bucket.share(self._limits, 1)
        self.bucket.pause(reserved.following)  # so that the next calls gather in the queue
        if not reserved.granted:
            raise failure("QUERY_LIMIT_EXCEEDED", retry_after=reserved.wait, never_sent=True)
        if reserved.wait:
            with current_wait().waiting_for("a free place under the portal's request limit"):
                await anyio.sleep(reserved.wait)

    async def on_rate_limited(self, sent_at: float, retry_after: float | None) -> None:
        """Note a QUERY_LIMIT_EXCEEDED, as Bucket.on_rate_limited does, for all replicas."""
        self.refusals += 1
        self.bucket.on_rate_limited(sent_at, retry_after)
        if self._state is not None:
            with anyio.CancelScope(shield=True):
                await self._state.pause(self._address, self.bucket.delay())

    def note(self, *, reached: bool) -> None:
        """Note if the call just now reached the portal."""
        if reached:
            self.reached_at = anyio.current_time()
        else:
            self.failed_at = anyio.current_time()

    @property
    def fails(self) -> bool:
        """True if the network kept the last call from being answered."""
        return self.failed_at is not None and (self.reached_at is None or self.reached_at < self.failed_at)

    async def probe(self, address: str) -> None:
        """Find out if the portal at `address` answers at all; not a REST call, which limits count."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                await self.http.head(str(httpx.URL(address).copy_with(path="/")))
        except (httpx.HTTPError, TimeoutError, Bitrix24Error):
            self.note(reached=False)
        else:
            self.note(reached=True)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
