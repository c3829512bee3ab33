"""Writes codes into records, many per request, and determines the outcome of each.

Reads and writes through `directories`. Facts (`crm.item.update`): it answers with the stored record, and seldom with an
error; a wrong stage is silently ignored or replaced. There is no compare-and-set, so each request reads the records
right before it writes them, and concurrent changes by others are restored.
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
from bitrix24_directories.records.counting import CodeField, record_id_of
from bitrix24_directories.rest import BATCH_LENGTH, Answer, Bitrix24Error, Outcome
from bitrix24_directories.text import quoted

logger = logging.getLogger(__name__)

MOST_AT_ONCE = BATCH_LENGTH - 3
"""Most records in one request; it also reads them before, and the next ones and the directory after."""

_FIRST_AT_ONCE = 12
_SECONDS = 4.0  # target time of a request: a portal may need a second per record, and aborts after 60
_LOOK_SECONDS = 10.0  # to read records after a lost answer
_LOST = "the answer was lost"

Rule = Callable[[Any], Any]
"""Maps a field's value to the new one; returns it unchanged if nothing is to be changed."""


@dataclass(frozen=True)
class Move:
    """Change of a record's field; `old` is its value when it was read."""

    code_field: CodeField
    record_id: int
    old: Any
    rule: Rule
    back: bool = False
    """True if it restores an old value, in any pipeline."""

    @property
    def new(self) -> Any:
        """Value to write."""
        return self.rule(self.old)

    @property
    def record(self) -> str:
        """Record as users know it, such as `deal 12`."""
        return f"{self.code_field.record_field.type.shown} {self.record_id}"


@dataclass(frozen=True)
class Moved:
    """Result of a move; `was` is the value right before it. Nothing happened if `not sent`."""

    move: Move
    outcome: Literal["moved", "not moved", "unknown", "not sent"]
    why: str = ""
    was: Any = None
    stored: Any = None
    """Current value, if it is neither the new one nor the one before."""
    wrong: bool = False
    """True if the stored value has to be replaced by `right`."""
    right: Any = None


@dataclass
class Sent:
    """Results of a request: its moves, the records and directory read along, and its error."""

    moved: list[Moved]
    following: list[dict[str, Any]] | None = None
    directory: list[Item] | None = None
    error: Bitrix24Error | None = None

    @property
    def all_sent(self) -> bool:
        """True if every move of the request was sent."""
        return all(moved.outcome != "not sent" for moved in self.moved)


@dataclass
class Mover:
    """Sends moves until `deadline`.

    `described` has the common keys of the audit log's intents; `directory` is read along with each request.
    """

    directories: Directories
    audit: Audit
    described: Mapping[str, Any]
    deadline: float
    directory: Read[Item] | None = None
    at_once: int = _FIRST_AT_ONCE
    """Number of moves in the next request."""
    took: float = 1.0
    """Duration of the last request in seconds."""

    async def read(self, reading: Read[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the records of `reading`. Raises Bitrix24Error."""
        return (await self.directories.reader.get(reading, fresh=True)).rows

    async def send(self, moves: Sequence[Move], following: Read[dict[str, Any]] | None = None) -> Sent:
        """Write moves of one field, and read `following` after them.

        Sent requests are awaited and recorded even if the caller is cancelled. Raises Bitrix24Error (AUDIT_LOG_FAILED)
        if nothing was sent because the log cannot be written.
        """
        sent = await self._send_once(moves, following)
        wrong = {moved.move.record_id: moved for moved in sent.moved if moved.wrong}
        if wrong:
            back = [
                replace(
                    moved.move,
                    old=moved.move.new if moved.stored is None else moved.stored,
                    rule=partial(lambda right, _: right, moved.right),
                    back=True,
                )
                for moved in wrong.values()
            ]
            with anyio.CancelScope(shield=True):  # part of the request: others' changes must be restored
                corrected = await self._send_once(back)
            for correction in corrected.moved:
                original = wrong[correction.move.record_id]
                wrong[original.move.record_id] = _corrected(original, is_back=correction.outcome == "moved")
            sent.moved = [wrong.get(moved.move.record_id, moved) for moved in sent.moved]
            sent.error = sent.error or corrected.error
        return sent

    async def _send_once(self, moves: Sequence[Move], following: Read[dict[str, Any]] | None = None) -> Sent:
        before = values_of(moves[0].code_field, [move.record_id for move in moves])
        calls: list[tuple[str, dict[str, Any]]] = [(before.method, dict(before.params))]
        intents: list[dict[str, Any]] = []
        for move in moves:
            record = {"entityTypeId": move.code_field.record_field.type.id, "id": move.record_id}
            fields = {move.code_field.name: move.new}
            calls.append(("crm.item.update", record | {"fields": fields, "useOriginalUfNames": "Y"}))
            change = {"field": move.code_field.name, "old": move.old, "new": move.new}
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
                sent = await self._judge_request(moves, before, outcomes, error)
                self._log_outcomes(lines, sent.moved)
        if len(outcomes) == len(calls):
            answers = dict(zip(along, outcomes[len(calls) - len(along) :], strict=True))
            sent.following, sent.directory = (_rows(read, answers) for read in (following, self.directory))
        return sent

    async def _judge_request(
        self,
        moves: Sequence[Move],
        before: Read[dict[str, Any]],
        outcomes: Sequence[Outcome],
        error: Bitrix24Error | None,
    ) -> Sent:
        rows_by_id: dict[int, dict[str, Any]] = {}
        if outcomes and isinstance(first := outcomes[0], Answer):
            rows_by_id = {record_id_of(row): row for row in before.rows(first)}
        nothing_sent = error is None or error.not_applied
        verdicts = [
            _judge_move(move, outcome, rows_by_id.get(move.record_id, {}))
            for move, outcome in zip(moves, outcomes[1:], strict=False)
        ]
        verdicts += [Moved(move, "not sent" if nothing_sent else "unknown") for move in moves[len(verdicts) :]]
        verdicts = await self._check_lost(verdicts)
        for outcome in outcomes:
            if isinstance(outcome, Bitrix24Error) and outcome.not_applied and outcome.retryable:
                error = error or outcome
        return Sent(verdicts, error=error)

    async def _check_lost(self, verdicts: list[Moved]) -> list[Moved]:
        """Judge moves with lost answers by the current records."""
        lost = [verdict.move for verdict in verdicts if verdict.outcome == "unknown"]
        if not lost:
            return verdicts
        code_field = lost[0].code_field
        now: dict[int, Any] = {}
        with anyio.move_on_after(_LOOK_SECONDS, shield=True), contextlib.suppress(Bitrix24Error):
            rows = await self.read(values_of(code_field, [move.record_id for move in lost]))
            now = {record_id_of(row): row[code_field.name] for row in rows if code_field.name in row}
        seen: list[Moved] = []
        for verdict in verdicts:
            move, why = verdict.move, verdict.why or _LOST
            if verdict.outcome != "unknown":
                seen.append(verdict)
            elif move.record_id not in now:
                seen.append(Moved(move, "unknown", f"{why}; the record could not be read again"))
            elif same(now[move.record_id], move.new):
                seen.append(Moved(move, "moved", was=move.old))
            else:
                seen.append(Moved(move, "unknown", f"{why}; the record does not show the change so far"))
        return seen

    def _log_outcomes(self, lines: Sequence[str], moved: Sequence[Moved]) -> None:
        outcomes: list[tuple[str, str, dict[str, Any]]] = []
        for line, result in zip(lines, moved, strict=True):
            record = _audited(result.move)
            if result.wrong and result.stored is not None:
                record |= {"was": result.was, "stored": result.stored}
            elif result.outcome == "moved" and not same(result.was, result.move.old):
                record |= {"was": result.was}
            outcomes.append((line, f"{result.outcome}: {result.why}" if result.why else result.outcome, record))
        try:
            self.audit.outcomes(outcomes)
        except OSError:  # the file was writable a moment ago; the lines are on stderr, and the records are moved
            logger.exception("The audit log's file could not be written")


def values_of(code_field: CodeField, ids: Sequence[int]) -> Read[dict[str, Any]]:
    """Return a read of a field's current values, and of the records' pipelines if it is a stage."""
    pipeline = [] if code_field.category_id is None else ["categoryId"]
    return records_after(code_field.record_field.type.id, {"@id": list(ids)}, ["id", code_field.name, *pipeline])


def same(first: Any, second: Any) -> bool:
    """Return true if two values are equal: the portal answers 4 for "4", null for an empty text."""
    return _texts(first) == _texts(second)


def shown_value(value: Any) -> str:
    """Return a field's value as text."""
    return ", ".join(map(quoted, _texts(value))) or "nothing"


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(part) for part in values if part not in (None, "")]


def _audited(move: Move) -> dict[str, Any]:
    """Return the keys of a move's record in the audit log."""
    return {"entityTypeId": move.code_field.record_field.type.id, "recordId": move.record_id}


def _rows(read: Read[Any] | None, answers: Mapping[Read[Any], Outcome]) -> list[Any] | None:
    """Return the rows of a read that was sent along; None if there was none or it failed."""
    answer = None if read is None else answers[read]
    if read is None or not isinstance(answer, Answer):
        return None
    try:
        return read.rows(answer)
    except Bitrix24Error:
        return None


def _judge_move(move: Move, outcome: Outcome, before: Mapping[str, Any]) -> Moved:
    """Judge a move; `before` is the record as read right before the write."""
    if isinstance(outcome, Bitrix24Error):
        if not outcome.not_applied:
            return Moved(move, "unknown", outcome.portal_message or outcome.happened)
        if outcome.retryable:
            return Moved(move, "not sent")
        return Moved(move, "not moved", outcome.portal_message or outcome.happened)
    item = outcome.result.get("item") if isinstance(outcome.result, dict) else None
    if not isinstance(item, dict) or move.code_field.name not in item:
        return Moved(move, "unknown")
    stored, was = item[move.code_field.name], before.get(move.code_field.name, move.old)
    if not move.back and not _in_pipeline(move.code_field, before):
        if same(stored, was):
            return Moved(move, "not moved", "somebody had just moved it to another pipeline")
        why = f"somebody had just moved it to another pipeline, and Bitrix24 put {shown_value(stored)}"
        return Moved(move, "not moved", why, was=was, stored=stored, wrong=True, right=was)
    if not move.back and not _in_pipeline(move.code_field, item):  # moved between the read and the write
        why = f"somebody moved it to another pipeline at the same time, where it has {shown_value(stored)} now"
        return Moved(move, "not moved", why, was=was, stored=stored)
    right = move.rule(was)
    if same(stored, right) and not same(right, was):
        return Moved(move, "moved", was=was)
    if same(stored, was):
        changed = f"somebody had just changed it to {shown_value(was)}"
        return Moved(move, "not moved", f"Bitrix24 kept {shown_value(stored)}" if same(was, move.old) else changed)
    if same(stored, move.new):  # a concurrent change was overwritten
        return Moved(move, "moved", was=was, wrong=True, right=right)
    return Moved(
        move, "not moved", f"Bitrix24 put {shown_value(stored)}", was=was, stored=stored, wrong=True, right=was
    )


def _in_pipeline(code_field: CodeField, record: Mapping[str, Any]) -> bool:
    """Return true if a record is in the pipeline of the merged stages, or if that was not read."""
    category_id = code_field.category_id
    return category_id is None or str(record.get("categoryId", category_id)) == str(category_id)


def _corrected(moved: Moved, *, is_back: bool) -> Moved:
    """Return the result of a move after the attempt to restore `right`."""
    if moved.stored is not None:
        why = f"{moved.why}; it has {shown_value(moved.right)} again"
        return Moved(moved.move, "not moved", why, was=moved.was) if is_back else moved
    if not is_back:
        why = f"somebody changed it to {shown_value(moved.was)} at the same time, and that was written over"
        return Moved(moved.move, "unknown", why)
    if same(moved.was, moved.right):
        return Moved(moved.move, "not moved", f"somebody had just changed it to {shown_value(moved.was)}")
    return moved
