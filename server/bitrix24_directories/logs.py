"""Logging to stderr, without secrets. Imports only `redaction`."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from .redaction import Redactor

_OF_THE_NETWORK = ["httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))]
_OF_STRANGERS = [
    "asyncio",
    "uvicorn.error",
    "mcp.server.transport_security",
    *(f"bitrix24_directories.team.{part}" for part in ("access", "door", "keys")),
]
_LIMITED_SECONDS = 10.0


class _RedactingFormatter(logging.Formatter):
    """Redacts the finished line: httpx logs whole URLs, and tracebacks can hold anything."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure_logging(level: str, redact: Redactor) -> None:
    """Send all logging of the process to stderr, in place of earlier handlers."""
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactingFormatter(redact))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def network_logs_redacted(redact: Redactor) -> AbstractContextManager[None]:
    """Remove secrets from httpx's lines, which hold whole URLs, in any logging configuration."""

    def filtered(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True

    return _filtering(_OF_THE_NETWORK, filtered)


@contextmanager
def _filtering(names: Iterable[str], accepts: logging.Filter | Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(accepts)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(accepts)


class _Limited(logging.Filter):
    """Passes one line of each kind in ten seconds; it says how many were left out before it."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int, str], float] = {}
        self._left_out: Counter[tuple[str, int, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.pathname, record.lineno, record.getMessage().partition(":")[0][:60])
        now = time.monotonic()
        if now - self._last.get(kind, -_LIMITED_SECONDS) < _LIMITED_SECONDS:
            self._left_out[kind] += 1
            return False
        if len(self._last) > 1000:
            self._last.clear()
        self._last[kind] = now
        if left_out := self._left_out.pop(kind, 0):
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more lines like this)", None
        return True


def refusals_limited() -> AbstractContextManager[None]:
    """Limit the log lines that strangers cause, who could fill the disk.

    These are bad requests, foreign hosts and too many connections.
    """
    return _filtering(_OF_STRANGERS, _Limited())
