"""Undoes a merge by its audit log: the deleted items first, then records with the new code.

`log` reads the log, `record_updates` writes, `changes` adds items. Values that were changed since stay unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio.lowlevel

from bitrix24_directories.changing.audit import Audit
from bitrix24_directories.changing.changes import Changes
from bitrix24_directories.changing.refusals import refused
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.fields.fields import folded_name
from bitrix24_directories.directories.models import Item
from bitrix24_directories.directories.naming import only
from bitrix24_directories.records.carriers import code_fields_of
from bitrix24_directories.records.counting import CodeField, folded_code, record_id_of
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .log import UNDO, FieldKey, LoggedMerge, line_of
from .record_updates import Move, Mover, Rule, same, shown_value, values_of

_AT_ONCE = 50  # records whose values one call reads
_TRIES = 3
_LISTED = 20
_UNSIGNED = "The log is not signed: what it says is taken as it stands."

OnRestored = Callable[[int], None]


def restoring(into: str, old: Any, new: Any) -> Rule:
    """Return a rule that restores the merged code in a field that a merge changed to `new`."""

    def rule(value: Any) -> Any:
        if not isinstance(value, list) or not isinstance(old, list):
            return old if folded_code(str(value)) == folded_code(str(new)) else value
        if same(value, new):
            return old
        kept_codes = {folded_code(str(code)) for code in old if folded_code(str(code)) == folded_code(into)}
        removed = [code for code in old if folded_code(str(code)) not in {folded_code(str(other)) for other in new}]
        restored: list[Any] = []
        for code in value:
            merged = folded_code(str(code)) == folded_code(into)
            restored += removed if merged else []
            restored += [code] if not merged or folded_code(str(code)) in kept_codes else []
        return list(dict.fromkeys(restored))

    return rule


@dataclass
class Undoing:
    """Plan to undo a merge: items to add again, and fields to write.

    Other values of the merge have the old code `already`, `carry_another` code now, or are `unread`: deleted, or not
    visible to this user.
    """

    merge: LoggedMerge
    items: list[Item]
    moves: list[Move] = field(default_factory=list)
    already: int = 0
    carry_another: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def does_something(self) -> bool:
        """True if there are items to add or fields to write."""
        return bool(self.items or self.moves)


@dataclass
class Undone:
    """Result of undoing a merge: added items, number of restored values, and the failed ones."""

    items: list[str] = field(default_factory=list)
    given_back: int = 0
    not_given_back: list[str] = field(default_factory=list)
    error: Bitrix24Error | None = None


class Undo:
    """Undoes merges of one portal."""

    def __init__(self, directories: Directories, changes: Changes, audit: Audit) -> None:
        self._directories = directories
        self._changes = changes
        self._audit = audit

    async def plan(self, merge: LoggedMerge) -> Undoing:
        """Compare a merge with its records. Raises CHANGE_REFUSED for another portal, or as reading."""
        portal = self._directories.reader.identity[0]
        if merge.portal != portal:
            raise refused(f"that merge was made on {merge.portal}, and this is {portal}", "Use that portal's settings")
        items = (await self._directories.items(merge.entity_id, details=True, fresh=True)).items
        item_codes = {item.status_id for item in items}
        lists = await self._directories.lists(fresh=True)
        directory = only(merge.entity_id, lists.named(merge.entity_id))
        code_fields = code_fields_of(lists, directory)
        by_name = {
            (code_field.record_field.type.id, folded_name(code_field.name)): code_field for code_field in code_fields
        }
        by_field: defaultdict[tuple[int, str], list[FieldKey]] = defaultdict(list)
        for field_key in merge.moves:
            by_field[field_key.type_id, field_key.field].append(field_key)
        undoing = Undoing(merge, [item for code, item in merge.deleted.items() if code not in item_codes])
        for (type_id, name), field_keys in by_field.items():
            code_field = by_name.get((type_id, name))
            ids = [field_key.record_id for field_key in field_keys]
            values = {} if code_field is None else await self._values(code_field, ids)
            for field_key in field_keys:
                if code_field is None:
                    undoing.unread.append(
                        f"{field_key.record_id} of type {type_id}, whose field {name} takes no such codes now"
                    )
                elif field_key.record_id not in values:
                    undoing.unread.append(f"{code_field.record_field.type.shown} {field_key.record_id}")
                else:
                    old, new = merge.moves[field_key]
                    now = values[field_key.record_id]
                    move = Move(code_field, field_key.record_id, now, restoring(merge.into, old, new), back=True)
                    if same(now, old):
                        undoing.already += 1
                    elif same(now, move.new):
                        undoing.carry_another.append(f"{move.record} ({shown_value(now)})")
                    else:
                        undoing.moves.append(move)
        return undoing

    async def carry_out(self, undoing: Undoing, on_restored: OnRestored = lambda _moved: None) -> Undone:
        """Add the items, then restore all codes. Failures are in the result."""
        undone = Undone()
        merge = undoing.merge
        described = line_of(UNDO, merge.key, merge.portal, merge.entity_id, merge.into)
        for item in undoing.items:
            try:
                items = (await self._directories.items(merge.entity_id, details=True, fresh=True)).items
                before = [existing for existing in items if existing.sort <= item.sort]
                planned = await self._changes.plan_adding(
                    merge.entity_id,
                    item.name,
                    code=item.status_id,
                    after=before[-1].status_id if before else "",
                    color=item.color or "",
                    meaning=item.semantics if item.semantics in ("success", "failure") else "",
                )
                await self._changes.carry_out(UNDO, replace(planned, audit_context=described), confirmed=False)
            except Bitrix24Error as exc:
                undone.error = exc
                return undone  # its code would orphan the records
            undone.items.append(item.status_id)
        mover = Mover(self._directories, self._audit, described, float("inf"))
        by_field: defaultdict[str, list[Move]] = defaultdict(list)
        for move in undoing.moves:
            by_field[move.code_field.path].append(move)
        for moves in by_field.values():
            if not await self._put_back(mover, moves, undone, on_restored):
                break
        return undone

    async def _put_back(self, mover: Mover, moves: Sequence[Move], undone: Undone, on_restored: OnRestored) -> bool:
        """Restore the codes of one field; returns false if an error stopped it."""
        left, tries = list(moves), 0
        while left:
            await anyio.lowlevel.checkpoint_if_cancelled()  # sending is shielded from cancellation and may not yield
            sent = await mover.send(left[: mover.at_once])
            is_final = sent.error is None
            settled = [result for result in sent.moved if is_final or result.outcome not in ("not sent", "unknown")]
            undone.given_back += sum(result.outcome == "moved" for result in settled)
            failed = [result for result in settled if result.outcome != "moved"]
            undone.not_given_back += [f"{result.move.record}: {result.why}" for result in failed]
            on_restored(undone.given_back)
            done = {result.move.record_id for result in settled}
            left = [move for move in left if move.record_id not in done]
            tries = tries + 1 if sent.error is not None else 0
            if sent.error is not None and (sent.error.not_applied or tries >= _TRIES):
                undone.error = sent.error
                return False
        return True

    async def _values(self, code_field: CodeField, ids: Sequence[int]) -> dict[int, Any]:
        reads = [values_of(code_field, ids[start : start + _AT_ONCE]) for start in range(0, len(ids), _AT_ONCE)]
        results = await self._directories.reader.get_many(reads, fresh=True)
        values: dict[int, Any] = {}
        for read in reads:
            result = results[read]
            if isinstance(result, Bitrix24Error):
                raise result
            values |= {record_id_of(row): row[code_field.name] for row in result.rows if code_field.name in row}
        return values


def undoing_text(undoing: Undoing) -> str:
    """Return a text of the plan for a person."""
    merge = undoing.merge
    lines = [f"Merge {merge.key} of {shown_code(merge.entity_id)} into {shown_code(merge.into)}, begun {merge.began}:"]
    lines += [f"- {shown_code(item.status_id)} ({item.name}) is added again" for item in undoing.items]
    lines.append(f"- {len(undoing.moves)} values of records get their old code back")
    if undoing.already:
        lines.append(f"- {undoing.already} have their old code already")
    reason = f"carry another code than {shown_code(merge.into)} now, and stay as they are"
    lines += _summary_lines(undoing.carry_another, reason)
    lines += _summary_lines(undoing.unread, "cannot be read: they are deleted, or this user does not see them")
    return "\n".join([*lines, _UNSIGNED])


def _summary_lines(labels: Sequence[str], reason: str) -> list[str]:
    listing = ", ".join(labels[:_LISTED]) + (", ..." if len(labels) > _LISTED else "")
    return [f"- {len(labels)} {reason}: {listing}"] if labels else []
