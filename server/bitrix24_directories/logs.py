"""Logging to stderr, with every secret taken out of whatever is written. Imports only `redaction`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .redaction import Redactor

_OF_THE_NETWORK = [
    "httpx",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
]


class _RedactingFormatter(logging.Formatter):
    """Works on the finished line: httpx logs whole URLs, and tracebacks hold what they like."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure_logging(level: str, redact: Redactor) -> None:
    """Send all logging of the process to stderr; whatever was set up before is replaced."""
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactingFormatter(redact))
    logging.basicConfig(level=level, handlers=[handler], force=True)


@contextmanager
def network_logs_redacted(redact: Redactor) -> Iterator[None]:
    """Take secrets out of httpx's lines, which hold whole URLs, whoever has set logging up and at whatever level."""

    def filtered(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True

    loggers = [logging.getLogger(name) for name in _OF_THE_NETWORK]
    for logger in loggers:
        logger.addFilter(filtered)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(filtered)
