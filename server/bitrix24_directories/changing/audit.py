"""The audit log: one JSON line for every change, tried or done, on stderr and in a file if one is set. A leaf."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # whatever the level of the other logs


class Audit:
    """Writes to stderr through logging, and to `path` where it is not empty."""

    def __init__(self, path: str = "") -> None:
        self._path = path

    def make_sure(self) -> None:
        """Raise OSError where the file cannot be written: no change may go unrecorded."""
        if self._path:
            os.close(self._open())

    def write(self, **record: Any) -> None:
        """Add a line: when, and what is given. Raises OSError where the file cannot be written."""
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"when": when} | record, ensure_ascii=False)
        logger.info("%s", line)
        if self._path:
            with os.fdopen(self._open(), "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
