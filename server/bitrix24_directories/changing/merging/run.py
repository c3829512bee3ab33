"""Run of a merge: field by field, record by record in the order of ids, until the deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

import anyio
import anyio.lowlevel

from bitrix24_directories.directories.fields.fields import folded_name
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.records.counting import CodeField, record_id_of
from bitrix24_directories.rest import current_wait, failure
from bitrix24_directories.text import shown_code

from .log import FieldKey
from .models import NotMoved
from .plan import MergeCodes
from .record_updates import Move, Moved, Mover, Sent, same

_LOST_IN_A_ROW = 2
_RESERVE = 2.0  # seconds of a call that are left for its answer

OnProgress = Callable[[int], None]
"""Called with the number of values moved so far."""

OnPhase = Callable[[Literal["reading", "moving", "deleting"]], None]
"""Called with the next phase of a merge."""


@dataclass
class Progress:
    """Progress of a merge with a person's consent, in this process and in others."""

    after: dict[str, int] = field(default_factory=dict)
    """Last record id that was tried, by field."""
    moved: set[FieldKey] = field(default_factory=set)
    """Fields that were moved under this plan, and are not moved again."""
    back: set[FieldKey] = field(default_factory=set)
    """Fields in `moved` that carry their old code again."""
    not_moved: dict[FieldKey, NotMoved] = field(default_factory=dict)
    has_consent: bool = False
    stored_otherwise: bool = False
    """True if the portal stored another value in a record, which stays."""
    parts: int = 0
    """Number of parts in the state that replicas share."""

    @property
    def count(self) -> int:
        """Number of moved values."""
        return len(self.moved) - len(self.back)

    def add(self, moved: Sequence[Moved]) -> None:
        """Record the outcomes of a request."""
        for result in moved:
            field_key = field_key_of(result.move)
            if result.outcome == "moved":
                self.moved.add(field_key)
                self.not_moved.pop(field_key, None)
            elif result.outcome != "not sent":
                self._not_moved(result.move, result.why)
                self.stored_otherwise |= result.stored is not None

    def came_back(self, move: Move) -> bool:
        """Return true if a record was moved before; it is not moved again."""
        field_key = field_key_of(move)
        if field_key in self.moved:
            self.back.add(field_key)
            carried = move.old if isinstance(move.old, list) else [move.old]
            codes = ", ".join(shown_code(str(code)) for code in carried)
            self._not_moved(move, f"it was moved, and carries {codes} again (automation?)")
        return field_key in self.moved

    def _not_moved(self, move: Move, why: str) -> None:
        self.not_moved[field_key_of(move)] = NotMoved(record=move.record, field=move.code_field.path, why=why)


def field_key_of(move: Move) -> FieldKey:
    """Return the key of the move's field."""
    return FieldKey(move.code_field.record_field.type.id, folded_name(move.code_field.name), move.record_id)


@dataclass
class MergeRun:
    """Moves the records of a merge, and updates `progress` after each request.

    `keep` is called with the results of each request.
    """

    merge: MergeCodes
    mover: Mover
    progress: Progress
    total: int
    """Number of values to move, including those already moved."""
    on_progress: OnProgress
    keep: Callable[[Sequence[Moved]], Awaitable[None]]
    _lost: int = 0

    async def move(self, code_fields: Sequence[CodeField]) -> bool:
        """Move the records of `code_fields`; returns false if the time was up before the end.

        Raises Bitrix24Error if the portal or reading fails, or if the target item was removed or renamed.
        """
        for code_field in code_fields:
            path = code_field.path
            rows = await self.mover.read(self._next(code_field))
            while rows:
                await anyio.lowlevel.checkpoint_if_cancelled()  # sending is shielded, and may not yield
                ids = [record_id_of(row) for row in rows]
                if ids != sorted(set(ids)) or ids[0] <= self.progress.after.get(path, 0):
                    raise failure(
                        "UNEXPECTED_ANSWER", http_status=200, detail="the portal returned the same records again"
                    )
                moves = [
                    Move(code_field, number, row[code_field.name], self.merge.rule)
                    for number, row in zip(ids, rows, strict=True)
                    if code_field.name in row
                ]
                moves = [move for move in moves if not same(move.old, move.new) and not self.progress.came_back(move)]
                batch = moves[: self.mover.at_once]
                if anyio.current_time() + 2 * self.mover.took + _RESERVE > self.mover.deadline:
                    return False
                # Records of a page that are not sent now are read again, so none is written long after it was read.
                last = batch[-1].record_id if len(batch) < len(moves) else ids[-1]
                if not batch:
                    self.progress.after[path] = last
                    rows = await self.mover.read(self._next(code_field))
                    continue
                so_far = f"{self.progress.count} of {self.total} are moved"
                with current_wait().waiting_for(f"the portal to move records ({so_far})"):
                    sent = await self.mover.send(batch, self._next(code_field, last))
                self.progress.add(sent.moved)
                with anyio.CancelScope(shield=True):
                    await self.keep(sent.moved)
                self.on_progress(self.progress.count)
                if not self._advance(path, sent, last):
                    return False
                items = sent.directory
                if items is None:
                    directory = await self.mover.directories.items(self.merge.entity_id, details=True, fresh=True)
                    items = directory.items
                self.merge.check_target(items, self.progress.count)
                rows = await self.mover.read(self._next(code_field)) if sent.following is None else sent.following
        return True

    def _advance(self, path: str, sent: Sent, last: int) -> bool:
        """Record the progress; returns false if the time was up. Raises a fatal error."""
        open_outcomes = ("not sent", "unknown") if sent.error is not None else ("not sent",)
        settled = [*takewhile(lambda result: result.outcome not in open_outcomes, sent.moved)]
        if len(settled) == len(sent.moved):
            self.progress.after[path] = last
        elif settled:
            self.progress.after[path] = settled[-1].move.record_id
        self._lost = self._lost + 1 if sent.error is not None else 0
        if sent.error is not None and (sent.error.not_applied or self._lost >= _LOST_IN_A_ROW):
            raise sent.error
        return sent.all_sent or sent.error is not None

    def _next(self, code_field: CodeField, after: int | None = None) -> Read[dict[str, Any]]:
        """Return a read of the next records by id that carry a merged code."""
        last = self.progress.after.get(code_field.path, 0) if after is None else after
        return code_field.carrying(self.merge.codes, after=last)
