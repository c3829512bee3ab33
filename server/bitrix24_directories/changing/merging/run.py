"""One run of a merge: field by field, record by record in the order of ids, for as long as there is time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

import anyio
import anyio.lowlevel

from bitrix24_directories.directories.fields.fields import folded_name
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.records.counting import Place, record_id_of
from bitrix24_directories.rest import current_wait, failure
from bitrix24_directories.text import shown_code

from .log import Where
from .models import NotMoved
from .plan import MergeCodes
from .record_updates import Move, Moved, Mover, Sent, same

_LOST_IN_A_ROW = 2
_RESERVE = 2.0  # seconds of a call that are left for its answer

Told = Callable[[int], None]
"""Hears how many values are moved so far."""

Begins = Callable[[Literal["reading", "moving", "deleting"]], None]
"""Hears what a merge does next."""


@dataclass
class Progress:
    """How far a merge has come to which a person agreed, in this process and in others."""

    after: dict[str, int] = field(default_factory=dict)
    """By field the id up to which its records have been tried."""
    moved: set[Where] = field(default_factory=set)
    """What was moved under this plan, and is not moved again under it."""
    back: set[Where] = field(default_factory=set)
    """Of these, what carries its code again."""
    not_moved: dict[Where, NotMoved] = field(default_factory=dict)
    agreed: bool = False
    stored_otherwise: bool = False
    """Whether the portal stored something else in a record, and keeps it."""
    parts: int = 0
    """How many parts of it are in the state that replicas share."""

    @property
    def count(self) -> int:
        """How many values are moved."""
        return len(self.moved) - len(self.back)

    def add(self, moved: Sequence[Moved]) -> None:
        for one in moved:
            where = where_of(one.move)
            if one.outcome == "moved":
                self.moved.add(where)
                self.not_moved.pop(where, None)
            elif one.outcome != "not sent":
                self._not_moved(one.move, one.why)
                self.stored_otherwise |= one.stored is not None

    def came_back(self, move: Move) -> bool:
        """Whether a record that is to be moved was moved before; it is not moved again, then."""
        where = where_of(move)
        if where in self.moved:
            self.back.add(where)
            carried = move.old if isinstance(move.old, list) else [move.old]
            codes = ", ".join(shown_code(str(code)) for code in carried)
            self._not_moved(move, f"it was moved, and carries {codes} again (automation?)")
        return where in self.moved

    def _not_moved(self, move: Move, why: str) -> None:
        self.not_moved[where_of(move)] = NotMoved(record=move.record, field=move.place.of.path, why=why)


def where_of(move: Move) -> Where:
    """The field of the record that a move is of."""
    return Where(move.place.of.type.id, folded_name(move.place.name), move.record_id)


@dataclass
class MergeRun:
    """Moves the records of a merge; what it has done by then stands in `progress`, however it ends.

    `keep` is called with what became of each request.
    """

    merge: MergeCodes
    mover: Mover
    progress: Progress
    total: int
    """Values that there are to move, with those that are moved already."""
    told: Told
    keep: Callable[[Sequence[Moved]], Awaitable[None]]
    _lost: int = 0

    async def move(self, places: Sequence[Place]) -> bool:
        """Whether all records of `places` have been tried; False where the time was up before.

        Raises Bitrix24Error when the portal, or reading from it, fails, and where the item that records are moved to
        has gone or has become another.
        """
        for place in places:
            path = place.of.path
            rows = await self.mover.read(self._next(place))
            while rows:
                await anyio.lowlevel.checkpoint_if_cancelled()  # what is sent is not cancelled, and may follow at once
                ids = [record_id_of(row) for row in rows]
                if ids != sorted(set(ids)) or ids[0] <= self.progress.after.get(path, 0):
                    raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the next records do not lie ahead")
                moves = [
                    Move(place, number, row[place.name], self.merge.rule)
                    for number, row in zip(ids, rows, strict=True)
                    if place.name in row
                ]
                moves = [move for move in moves if not same(move.old, move.new) and not self.progress.came_back(move)]
                some = moves[: self.mover.at_once]
                if anyio.current_time() + 2 * self.mover.took + _RESERVE > self.mover.deadline:
                    return False
                # Those of a page that do not go now are read anew, so that none is written long after it was read.
                last = some[-1].record_id if len(some) < len(moves) else ids[-1]
                if not some:
                    self.progress.after[path] = last
                    rows = await self.mover.read(self._next(place))
                    continue
                so_far = f"{self.progress.count} of {self.total} are moved"
                with current_wait().waiting_for(f"the portal to move records ({so_far})"):
                    sent = await self.mover.send(some, self._next(place, last))
                self.progress.add(sent.moved)
                with anyio.CancelScope(shield=True):
                    await self.keep(sent.moved)
                self.told(self.progress.count)
                if not self._went(path, sent, last):
                    return False
                items = sent.directory
                if items is None:
                    directory = await self.mover.directories.items(self.merge.entity_id, details=True, fresh=True)
                    items = directory.items
                self.merge.check_target(items, self.progress.count)
                rows = await self.mover.read(self._next(place)) if sent.following is None else sent.following
        return True

    def _went(self, path: str, sent: Sent, last: int) -> bool:
        """Take note of how far it went; False where the time was up. Raises the error that keeps from going on."""
        open_outcomes = ("not sent", "unknown") if sent.error is not None else ("not sent",)
        settled = [*takewhile(lambda one: one.outcome not in open_outcomes, sent.moved)]
        if len(settled) == len(sent.moved):
            self.progress.after[path] = last
        elif settled:
            self.progress.after[path] = settled[-1].move.record_id
        self._lost = self._lost + 1 if sent.error is not None else 0
        if sent.error is not None and (sent.error.not_applied or self._lost >= _LOST_IN_A_ROW):
            raise sent.error
        return sent.all_sent or sent.error is not None

    def _next(self, place: Place, after: int | None = None) -> Read[dict[str, Any]]:
        """The next records by id that carry a code that is to go."""
        last = self.progress.after.get(place.of.path, 0) if after is None else after
        return place.carrying(self.merge.codes, after=last)
