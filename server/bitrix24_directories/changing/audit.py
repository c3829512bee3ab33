"""The audit log: JSON lines for every change, tried or done, on stderr and in a file if one is set. A leaf.

Before a change is sent there is an `intent` line, after it an `outcome` line with the same `id`; so whatever ends the
process in between leaves a trace.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # whatever the level of the other logs

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
# To open a pipe that nobody reads would wait for ever.
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


class Audit:
    """Writes to stderr through logging, and to `path` where it is not empty.

    Every method raises OSError where that is no regular file that can be written: a pipe, a device, a folder, or a link
    to somebody else's file.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path

    def make_sure(self) -> None:
        """No change may go unrecorded: find out before it is tried."""
        if self._path:
            os.close(self._open())

    def intend(self, **record: Any) -> str:
        """Write down what is about to be sent; gives the id for its outcome."""
        number = secrets.token_hex(8)
        self._write({"id": number, "event": "intent", **record})
        return number

    def outcome(self, number: str, outcome: str, **record: Any) -> None:
        """Write down what became of the change with this id."""
        self._write({"id": number, "event": "outcome", **record, "outcome": outcome})

    def not_wanted(self, how: str, **record: Any) -> None:
        """Write down a change to which a person said no (`declined`) or nothing (`cancelled`)."""
        self._write({"id": secrets.token_hex(8), "event": how, **record})

    def _write(self, record: dict[str, Any]) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"when": when} | record, ensure_ascii=False)
        logger.info("%s", line)
        if self._path:
            with os.fdopen(self._open(), "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{line}\n")

    def _open(self) -> int:
        path = Path(self._path)
        if path.exists():  # looked at first: to open a device can do something by itself
            _make_sure_of(path, path.stat())
        opened = os.open(path, _FLAGS, 0o600)
        try:
            _make_sure_of(path, os.fstat(opened))
        except OSError:
            os.close(opened)
            raise
        return opened


def _make_sure_of(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if path.is_symlink() and hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise OSError("it is a link to another user's file")
