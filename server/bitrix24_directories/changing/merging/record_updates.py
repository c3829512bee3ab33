"""Writes other codes into records, many with one request, and finds out what became of each.

Asks and writes through `directories`. Facts (`crm.item.update`): it answers with the record as stored, and seldom with
an error; a wrong stage is kept or swapped in silence. There is no compare-and-set: so each request reads the records
right before it writes them, and what somebody else had changed by then is put back.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import anyio

from bitrix24_directories.changing.audit import Audit
from bitrix24_directories.changing.changes import audit_needed
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.models import Item
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.directories.reads import records_after
from bitrix24_directories.records.counting import Place, record_id_of
from bitrix24_directories.rest import BATCH_LENGTH, Answer, Bitrix24Error, Outcome
from bitrix24_directories.text import quoted

logger = logging.getLogger(__name__)

MOST_AT_ONCE = BATCH_LENGTH - 3
"""Records in one request, which also reads them before, and the next ones and the directory after."""

_FIRST_AT_ONCE = 12
_SECONDS = 4.0  # that a request should take: a portal may need a second for each record, and ends it after 60
_LOOK_SECONDS = 10.0  # to find out what became of a request whose answer was lost
_LOST = "the answer was lost"

Rule = Callable[[Any], Any]
"""From what stands in a field to what should; the same where nothing is to be changed."""


@dataclass(frozen=True)
class Move:
    """What is to be written into a field of a record, in which `old` stood when it was read."""

    place: Place
    record_id: int
    old: Any
    rule: Rule
    back: bool = False
    """Whether it gives back what stood there, in whatever pipeline the record is now."""

    @property
    def new(self) -> Any:
        return self.rule(self.old)

    @property
    def record(self) -> str:
        return f"{self.place.of.type.shown} {self.record_id}"


@dataclass(frozen=True)
class Moved:
    """What became of a move; of what was `not sent`, nothing. `was` is what stood there right before."""

    move: Move
    outcome: Literal["moved", "not moved", "unknown", "not sent"]
    why: str = ""
    was: Any = None
    stored: Any = None
    """What stands there now, where that is neither what was to be written nor what stood there before."""
    wrong: bool = False
    """Whether `right` has to be put in the place of what was stored."""
    right: Any = None


@dataclass
class Sent:
    """What became of each move of a request, the records and the directory that were read along with it, and what
    stopped it."""

    moved: list[Moved]
    following: list[dict[str, Any]] | None = None
    directory: list[Item] | None = None
    error: Bitrix24Error | None = None

    @property
    def all_sent(self) -> bool:
        return all(one.outcome != "not sent" for one in self.moved)


@dataclass
class Mover:
    """Sends moves, not later than `deadline`. `described` stands in each intent of the audit log; `directory` is read
    along with each request."""

    directories: Directories
    audit: Audit
    described: Mapping[str, Any]
    deadline: float
    directory: Read[Item] | None = None
    at_once: int = _FIRST_AT_ONCE
    """How many go into the next request."""
    took: float = 1.0
    """Seconds of the last request."""

    async def read(self, reading: Read[dict[str, Any]]) -> list[dict[str, Any]]:
        """The records of `reading`. Raises Bitrix24Error."""
        return (await self.directories.reader.get(reading, fresh=True)).rows

    async def send(self, moves: Sequence[Move], following: Read[dict[str, Any]] | None = None) -> Sent:
        """Write moves of one place, and read `following` after them.

        What has left is waited for and written down although the caller is cancelled. Raises Bitrix24Error
        (AUDIT_LOG_FAILED) where nothing could be sent for want of it.
        """
        sent = await self._sent(moves, following)
        wrong = {one.move.record_id: one for one in sent.moved if one.wrong}
        if wrong:
            back = [
                replace(
                    one.move,
                    old=one.move.new if one.stored is None else one.stored,
                    rule=partial(lambda right, _: right, one.right),
                    back=True,
                )
                for one in wrong.values()
            ]
            with anyio.CancelScope(shield=True):  # it belongs to what has left: somebody's change must come back
                corrected = await self._sent(back)
            for correction in corrected.moved:
                one = wrong[correction.move.record_id]
                wrong[one.move.record_id] = _corrected(one, is_back=correction.outcome == "moved")
            sent.moved = [wrong.get(one.move.record_id, one) for one in sent.moved]
            sent.error = sent.error or corrected.error
        return sent

    async def _sent(self, moves: Sequence[Move], following: Read[dict[str, Any]] | None = None) -> Sent:
        before = values_of(moves[0].place, [move.record_id for move in moves])
        calls: list[tuple[str, dict[str, Any]]] = [(before.method, dict(before.params))]
        intents: list[dict[str, Any]] = []
        for move in moves:
            record = {"entityTypeId": move.place.of.type.id, "id": move.record_id}
            fields = {move.place.name: move.new}
            calls.append(("crm.item.update", record | {"fields": fields, "useOriginalUfNames": "Y"}))
            change = {"field": move.place.name, "old": move.old, "new": move.new}
            intents.append({**self.described, **_audited(move), **change})
        along = [read for read in (following, self.directory) if read is not None]
        calls += [(read.method, dict(read.params)) for read in along]
        with audit_needed():
            lines = self.audit.intend_all(intents)
        outcomes: list[Outcome] = []
        error: Bitrix24Error | None = None
        started = anyio.current_time()
        try:
            with anyio.CancelScope(deadline=self.deadline):
                await self.directories.client.batch(calls, on_outcome=outcomes.append)
        except Bitrix24Error as exc:
            error = exc
        finally:
            self.took = anyio.current_time() - started
            if error is not None:
                self.at_once = max(1, self.at_once // 2)
            elif self.took > _SECONDS:
                self.at_once = max(1, int(self.at_once * _SECONDS / self.took))
            elif self.took < _SECONDS / 2:
                self.at_once = min(MOST_AT_ONCE, self.at_once * 2)
            with anyio.CancelScope(shield=True):
                sent = await self._judged(moves, before, outcomes, error)
                self._record(lines, sent.moved)
        if len(outcomes) == len(calls):
            answers = dict(zip(along, outcomes[len(calls) - len(along) :], strict=True))
            sent.following, sent.directory = (_rows(read, answers) for read in (following, self.directory))
        return sent

    async def _judged(
        self,
        moves: Sequence[Move],
        before: Read[dict[str, Any]],
        outcomes: Sequence[Outcome],
        error: Bitrix24Error | None,
    ) -> Sent:
        found: dict[int, dict[str, Any]] = {}
        if outcomes and isinstance(first := outcomes[0], Answer):
            found = {record_id_of(row): row for row in before.rows(first)}
        nothing_sent = error is None or error.not_applied
        verdicts = [
            _judged(move, outcome, found.get(move.record_id, {}))
            for move, outcome in zip(moves, outcomes[1:], strict=False)
        ]
        verdicts += [Moved(move, "not sent" if nothing_sent else "unknown") for move in moves[len(verdicts) :]]
        verdicts = await self._looked_at(verdicts)
        for outcome in outcomes:
            if isinstance(outcome, Bitrix24Error) and outcome.not_applied and outcome.retryable:
                error = error or outcome
        return Sent(verdicts, error=error)

    async def _looked_at(self, verdicts: list[Moved]) -> list[Moved]:
        """What became of moves whose answers were lost, by what stands there now."""
        lost = [one.move for one in verdicts if one.outcome == "unknown"]
        if not lost:
            return verdicts
        place = lost[0].place
        now: dict[int, Any] = {}
        with anyio.move_on_after(_LOOK_SECONDS, shield=True), contextlib.suppress(Bitrix24Error):
            rows = await self.read(values_of(place, [move.record_id for move in lost]))
            now = {record_id_of(row): row[place.name] for row in rows if place.name in row}
        seen: list[Moved] = []
        for one in verdicts:
            move, why = one.move, one.why or _LOST
            if one.outcome != "unknown":
                seen.append(one)
            elif move.record_id not in now:
                seen.append(Moved(move, "unknown", f"{why}; the record could not be read again"))
            elif same(now[move.record_id], move.new):
                seen.append(Moved(move, "moved", was=move.old))
            else:
                seen.append(Moved(move, "unknown", f"{why}; the record does not show the change so far"))
        return seen

    def _record(self, lines: Sequence[str], moved: Sequence[Moved]) -> None:
        said: list[tuple[str, str, dict[str, Any]]] = []
        for line, one in zip(lines, moved, strict=True):
            record = _audited(one.move)
            if one.wrong and one.stored is not None:
                record |= {"was": one.was, "stored": one.stored}
            elif one.outcome == "moved" and not same(one.was, one.move.old):
                record |= {"was": one.was}
            said.append((line, f"{one.outcome}: {one.why}" if one.why else one.outcome, record))
        try:
            self.audit.outcomes(said)
        except OSError:  # it could be written a moment ago; the lines are on stderr, and the records are moved
            logger.exception("The audit log's file could not be written")


def values_of(place: Place, ids: Sequence[int]) -> Read[dict[str, Any]]:
    """What stands now in a field of some records, and in which pipeline they are if that is a stage."""
    pipeline = [] if place.category_id is None else ["categoryId"]
    return records_after(place.of.type.id, {"@id": list(ids)}, ["id", place.name, *pipeline])


def same(one: Any, other: Any) -> bool:
    """Whether two values of a field are the same: the portal answers 4 for "4", and null for an empty text."""
    return _texts(one) == _texts(other)


def shown_value(value: Any) -> str:
    return ", ".join(map(quoted, _texts(value))) or "nothing"


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values if one not in (None, "")]


def _audited(move: Move) -> dict[str, Any]:
    """The record of a move, as the audit log has it."""
    return {"entityTypeId": move.place.of.type.id, "recordId": move.record_id}


def _rows(read: Read[Any] | None, answers: Mapping[Read[Any], Outcome]) -> list[Any] | None:
    """The rows of a read that went along; None where there was none, or where it failed."""
    answer = None if read is None else answers[read]
    if read is None or not isinstance(answer, Answer):
        return None
    try:
        return read.rows(answer)
    except Bitrix24Error:
        return None


def _judged(move: Move, outcome: Outcome, before: Mapping[str, Any]) -> Moved:
    """What became of a move, `before` being the record as it was read right before it was written."""
    if isinstance(outcome, Bitrix24Error):
        if not outcome.not_applied:
            return Moved(move, "unknown", outcome.portal_message or outcome.happened)
        if outcome.retryable:
            return Moved(move, "not sent")
        return Moved(move, "not moved", outcome.portal_message or outcome.happened)
    item = outcome.result.get("item") if isinstance(outcome.result, dict) else None
    if not isinstance(item, dict) or move.place.name not in item:
        return Moved(move, "unknown")
    stored, was = item[move.place.name], before.get(move.place.name, move.old)
    if not move.back and not _in_pipeline(move.place, before):
        if same(stored, was):
            return Moved(move, "not moved", "somebody had just moved it to another pipeline")
        why = f"somebody had just moved it to another pipeline, and Bitrix24 put {shown_value(stored)}"
        return Moved(move, "not moved", why, was=was, stored=stored, wrong=True, right=was)
    if not move.back and not _in_pipeline(
        move.place, item
    ):  # between reading and writing: what it had there is not known
        why = f"somebody moved it to another pipeline at the same time, where it has {shown_value(stored)} now"
        return Moved(move, "not moved", why, was=was, stored=stored)
    right = move.rule(was)
    if same(stored, right) and not same(right, was):
        return Moved(move, "moved", was=was)
    if same(stored, was):
        changed = f"somebody had just changed it to {shown_value(was)}"
        return Moved(move, "not moved", f"Bitrix24 kept {shown_value(stored)}" if same(was, move.old) else changed)
    if same(stored, move.new):  # what somebody had just written was written over
        return Moved(move, "moved", was=was, wrong=True, right=right)
    return Moved(
        move, "not moved", f"Bitrix24 put {shown_value(stored)}", was=was, stored=stored, wrong=True, right=was
    )


def _in_pipeline(place: Place, record: Mapping[str, Any]) -> bool:
    """Whether a record is in the pipeline whose stages are merged, as far as that was read."""
    return place.category_id is None or str(record.get("categoryId", place.category_id)) == str(place.category_id)


def _corrected(one: Moved, *, is_back: bool) -> Moved:
    """What became of a move after `right` was to be put back in its place."""
    if one.stored is not None:
        why = f"{one.why}; it has {shown_value(one.right)} again"
        return Moved(one.move, "not moved", why, was=one.was) if is_back else one
    if not is_back:
        why = f"somebody changed it to {shown_value(one.was)} at the same time, and that was written over"
        return Moved(one.move, "unknown", why)
    if same(one.was, one.right):
        return Moved(one.move, "not moved", f"somebody had just changed it to {shown_value(one.was)}")
    return one
