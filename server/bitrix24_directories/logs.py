"""Logging to stderr, with every secret taken out of whatever is written. A leaf: imports nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

MASK = "***"


class Redactor:
    """Takes secrets out of texts. `secrets` gives those known at the moment: tokens come and go."""

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def __call__(self, text: str) -> str:
        for secret in tuple(self._secrets()):
            text = text.replace(secret, MASK)
        return text


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
