"""Metrics for Prometheus: calls and outcomes, portals and caches. No names of people.

Needs the extra `team`; without it there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .members import Portal

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters and gauges of one server."""

    def __init__(self, portals: Mapping[str, Portal], connected: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "bitrix24_tool_calls", "Calls of tools by outcome", ["tool", "outcome"], registry=self._registry
        )
        self._seconds = Histogram(
            "bitrix24_tool_seconds", "How long calls took", ["tool"], buckets=_SECONDS, registry=self._registry
        )
        collector: Any = _Portals(portals, connected)
        self._registry.register(collector)

    def count_call(self, tool: str, outcome: str, seconds: float) -> None:
        """Count a call of a tool, its outcome and its seconds."""
        self._calls.labels(tool, outcome).inc()
        self._seconds.labels(tool).observe(seconds)

    def text(self) -> bytes:
        """Return the metrics in the format of Prometheus."""
        return generate_latest(self._registry)


class _Portals:
    """Collects the counts that portals and their caches keep."""

    def __init__(self, portals: Mapping[str, Portal], connected: Callable[[], int]) -> None:
        self._portals = portals
        self._connected = connected

    def collect(self) -> Iterator[Any]:
        requests = CounterMetricFamily("bitrix24_portal_requests", "Requests to a portal", labels=["portal"])
        refusals = CounterMetricFamily("bitrix24_portal_refusals", "Requests over its limit", labels=["portal"])
        reached = GaugeMetricFamily("bitrix24_portal_up", "Whether the portal answered last", labels=["portal"])
        cached = CounterMetricFamily("bitrix24_cache_reads", "Reads of the cache", labels=["portal", "found"])
        for address, portal in self._portals.items():
            requests.add_metric([address], portal.connection.requests)
            refusals.add_metric([address], portal.connection.refusals)
            reached.add_metric([address], int(not portal.connection.fails))
            cached.add_metric([address, "yes"], portal.cache.hits)
            cached.add_metric([address, "no"], portal.cache.misses)
        people = GaugeMetricFamily("bitrix24_people_connected", "People whose clients are kept", self._connected())
        yield from (requests, refusals, reached, cached, people)
