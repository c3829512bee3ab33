"""The audit log: JSON lines for every change, tried or done, on stderr and in a file if one is set. A leaf.

A change is that of an item of a directory, or of a field of a record.

Before a change is sent there is an `intent` line, after it an `outcome` line with the same `id`; so whatever ends the
process in between leaves a trace.
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
logger.setLevel(logging.INFO)  # whatever the level of the other logs

_NAMES = ("entityId", "statusId", "entityTypeId", "recordId")
"""What says in a line which item or record it is about."""

_CUT_OFF = "unknown: interrupted before it was answered"

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
# To open a pipe that nobody reads would wait for ever.
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


class Audit:
    """Writes to stderr through logging unless it is `quiet`, and to `path` where there is one; `person` is who calls.

    Every method raises OSError where that is no regular file that can be written: a pipe, a device, a folder, or a link
    to somebody else's file.
    """

    def __init__(self, path: str = "", *, quiet: bool = False, person: str = "") -> None:
        self._path = path
        self._said = {"person": person} if person else {}
        self._quiet = quiet
        self._unanswered: dict[str, Mapping[str, Any]] = {}
        self.said: Counter[str] = Counter()
        """How many changes have come out how, by the first words of their outcomes."""

    @property
    def writes_file(self) -> bool:
        """Whether it is written to a file."""
        return bool(self._path)

    def check_writable(self) -> None:
        """No change may go unrecorded: find out before it is tried."""
        if self._path:
            os.close(self._open())

    def intend(self, **record: Any) -> str:
        """Write down what is about to be sent; gives the id for its outcome."""
        (number,) = self.intend_all([record])
        return number

    def intend_all(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """The same for what is sent together."""
        numbers = [secrets.token_hex(8) for _ in records]
        self._write(
            *({"id": number, "event": "intent", **record} for number, record in zip(numbers, records, strict=True))
        )
        self._unanswered |= zip(numbers, records, strict=True)
        return numbers

    def outcome(self, number: str, outcome: str, **record: Any) -> None:
        """Write down what became of the change with this id."""
        self.outcomes([(number, outcome, record)])

    def outcomes(self, all_of_them: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
        """The same for what was sent together."""
        known = [*all_of_them]
        self._write(*({"id": number, "event": "outcome", **of, "outcome": outcome} for number, outcome, of in known))
        for number, outcome, _ in known:
            self._unanswered.pop(number, None)
            self.said[outcome.partition(":")[0]] += 1

    def cut_off(self) -> None:
        """Write `unknown` of all that has no outcome: the process ends before the portal has answered."""
        self.outcomes(
            [
                (number, _CUT_OFF, {name: record[name] for name in _NAMES if name in record})
                for number, record in self._unanswered.items()
            ]
        )

    def rejected(self, how: str, **record: Any) -> None:
        """Write down a change to which a person said no (`declined`) or nothing (`cancelled`)."""
        self._write({"id": secrets.token_hex(8), "event": how, **record})

    def ended(self, **record: Any) -> None:
        """Write down that a merge is at its end: what is done after this is of another plan."""
        self._write({"id": secrets.token_hex(8), "event": "ended", **record})

    def _write(self, *records: dict[str, Any]) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [json.dumps({"when": when} | self._said | record, ensure_ascii=False) for record in records]
        try:
            if self._path:
                left = memoryview("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
                opened = self._open()
                try:
                    while left:  # at once, as a rule: other processes may append to the same file
                        left = left[os.write(opened, left) :]
                finally:
                    os.close(opened)
        finally:  # after the file: stderr may be in the middle of something, in a handler of signals
            for line in () if self._quiet else lines:
                logger.info("%s", line)

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
