"""Audit log: JSON lines for every change tried or done, on stderr and optionally in a file.

A change affects an item of a directory, or a field of a record. An `intent` line is written before a change is sent,
and an `outcome` line with the same `id` after it, so a process that ends in between leaves a trace. Imports no module
of ours.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # independent of the level of other logs

_NAMES = ("entityId", "statusId", "entityTypeId", "recordId")
"""Keys of a line that identify its item or record."""

_CUT_OFF = "unknown: interrupted before it was answered"

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
# Opening a pipe without a reader would wait forever.
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


class Audit:
    """Writes to stderr through logging unless it is `quiet`, and to the file `path` if given.

    `person` is the caller's name. Every method raises OSError if `path` is not a regular writable file: a pipe, a
    device, a folder, or a link to another user's file.
    """

    def __init__(self, path: str = "", *, quiet: bool = False, person: str = "") -> None:
        self._path = path
        self._common = {"person": person} if person else {}
        self._quiet = quiet
        self._unanswered: dict[str, Mapping[str, Any]] = {}
        self.said: Counter[str] = Counter()
        """Number of changes by the first words of their outcomes."""

    @property
    def writes_file(self) -> bool:
        """True if the log is written to a file."""
        return bool(self._path)

    def check_writable(self) -> None:
        """Raise OSError before a change if it could not be recorded."""
        if self._path:
            os.close(self._open())

    def intend(self, **record: Any) -> str:
        """Record a change before it is sent; returns the id for its outcome."""
        (number,) = self.intend_all([record])
        return number

    def intend_all(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Record changes that are sent together; returns their ids."""
        numbers = [secrets.token_hex(8) for _ in records]
        self._write(
            *({"id": number, "event": "intent", **record} for number, record in zip(numbers, records, strict=True))
        )
        self._unanswered |= zip(numbers, records, strict=True)
        return numbers

    def outcome(self, number: str, outcome: str, **record: Any) -> None:
        """Record the outcome of the change with this id."""
        self.outcomes([(number, outcome, record)])

    def outcomes(self, outcomes: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
        """Record outcomes of changes that were sent together: id, outcome, other keys."""
        written = [*outcomes]
        self._write(
            *({"id": number, "event": "outcome", **keys, "outcome": outcome} for number, outcome, keys in written)
        )
        for number, outcome, _ in written:
            self._unanswered.pop(number, None)
            self.said[outcome.partition(":")[0]] += 1

    def cut_off(self) -> None:
        """Record `unknown` for all changes without an outcome, because the process is ending."""
        self.outcomes(
            [
                (number, _CUT_OFF, {name: record[name] for name in _NAMES if name in record})
                for number, record in self._unanswered.items()
            ]
        )

    def rejected(self, how: str, **record: Any) -> None:
        """Record a change that a person declined (`declined`) or did not answer (`cancelled`)."""
        self._write({"id": secrets.token_hex(8), "event": how, **record})

    def ended(self, **record: Any) -> None:
        """Record the end of a merge; later lines belong to another plan."""
        self._write({"id": secrets.token_hex(8), "event": "ended", **record})

    def _write(self, *records: dict[str, Any]) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [json.dumps({"when": when} | self._common | record, ensure_ascii=False) for record in records]
        try:
            if self._path:
                left = memoryview("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
                opened = self._open()
                try:
                    while left:  # usually one write: other processes may append to the same file
                        left = left[os.write(opened, left) :]
                finally:
                    os.close(opened)
        finally:  # after the file, because stderr may be busy in a signal handler
            for line in () if self._quiet else lines:
                logger.info("%s", line)

    def _open(self) -> int:
        path = Path(self._path)
        if path.exists():  # checked first, because opening a device may have effects
            _check_regular_file(path, path.stat())
        opened = os.open(path, _FLAGS, 0o600)
        try:
            _check_regular_file(path, os.fstat(opened))
        except OSError:
            os.close(opened)
            raise
        return opened


def _check_regular_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
    if path.is_symlink() and hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise OSError("it is a link to another user's file")
