"""Takes a merge back by its audit log: the deleted items first, then the records that still carry the new code.

`log` reads the log, `record_updates` writes, `changes` adds items. What has been changed since stays as it is.
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
from bitrix24_directories.records.carriers import places_of
from bitrix24_directories.records.counting import Place, folded_code, record_id_of
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .log import UNDO, LoggedMerge, Where, line_of
from .record_updates import Move, Mover, Rule, same, shown_value, values_of

_AT_ONCE = 50  # records whose values one call reads
_TRIES = 3
_LISTED = 20
_UNSIGNED = "The log is not signed: what it says is taken as it stands."

Told = Callable[[int], None]


def restoring(into: str, old: Any, new: Any) -> Rule:
    """What becomes of a field that a merge made `new` out of `old`: only the merged code is taken back."""

    def rule(value: Any) -> Any:
        if not isinstance(value, list) or not isinstance(old, list):
            return old if folded_code(str(value)) == folded_code(str(new)) else value
        if same(value, new):
            return old
        kept = {folded_code(str(one)) for one in old if folded_code(str(one)) == folded_code(into)}
        gone = [one for one in old if folded_code(str(one)) not in {folded_code(str(other)) for other in new}]
        restored: list[Any] = []
        for one in value:
            merged = folded_code(str(one)) == folded_code(into)
            restored += gone if merged else []
            restored += [one] if not merged or folded_code(str(one)) in kept else []
        return list(dict.fromkeys(restored))

    return rule


@dataclass
class Undoing:
    """What taking a merge back would do: items to add again, and fields to write.

    The other values of the merge are as they were `already`, `carry_another` code now, or are `unread`: deleted, or not
    to be seen by this user.
    """

    merge: LoggedMerge
    items: list[Item]
    moves: list[Move] = field(default_factory=list)
    already: int = 0
    carry_another: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def does_something(self) -> bool:
        return bool(self.items or self.moves)


@dataclass
class Undone:
    """Items that were added again, how many values were given back, and what was not given back, with why."""

    items: list[str] = field(default_factory=list)
    given_back: int = 0
    not_given_back: list[str] = field(default_factory=list)
    error: Bitrix24Error | None = None


class Undo:
    """Takes merges of one portal back."""

    def __init__(self, directories: Directories, changes: Changes, audit: Audit) -> None:
        self._directories = directories
        self._changes = changes
        self._audit = audit

    async def plan(self, merge: LoggedMerge) -> Undoing:
        """Look what is there of a merge. Raises Bitrix24Error: CHANGE_REFUSED for another portal's, and as reading."""
        portal = self._directories.reader.identity[0]
        if merge.portal != portal:
            raise refused(f"that merge was made on {merge.portal}, and this is {portal}", "Use that portal's settings")
        items = (await self._directories.items(merge.entity_id, details=True, fresh=True)).items
        there = {item.status_id for item in items}
        lists = await self._directories.lists(fresh=True)
        directory = only(merge.entity_id, lists.named(merge.entity_id))
        places = places_of(lists, directory)
        by_name = {(place.of.type.id, folded_name(place.name)): place for place in places}
        by_field: defaultdict[tuple[int, str], list[Where]] = defaultdict(list)
        for where in merge.moves:
            by_field[where.type_id, where.field].append(where)
        undoing = Undoing(merge, [item for code, item in merge.deleted.items() if code not in there])
        for (type_id, name), wheres in by_field.items():
            place = by_name.get((type_id, name))
            values = {} if place is None else await self._values(place, [where.record_id for where in wheres])
            for where in wheres:
                if place is None:
                    undoing.unread.append(
                        f"{where.record_id} of type {type_id}, whose field {name} takes no such codes now"
                    )
                elif where.record_id not in values:
                    undoing.unread.append(f"{place.of.type.shown} {where.record_id}")
                else:
                    old, new = merge.moves[where]
                    now = values[where.record_id]
                    move = Move(place, where.record_id, now, restoring(merge.into, old, new), back=True)
                    if same(now, old):
                        undoing.already += 1
                    elif same(now, move.new):
                        undoing.carry_another.append(f"{move.record} ({shown_value(now)})")
                    else:
                        undoing.moves.append(move)
        return undoing

    async def carry_out(self, undoing: Undoing, told: Told = lambda _moved: None) -> Undone:
        """Add the items, then put the codes back, to the end. What failed on the way stands in the answer."""
        undone = Undone()
        merge = undoing.merge
        described = line_of(UNDO, merge.key, merge.portal, merge.entity_id, merge.into)
        for item in undoing.items:
            try:
                there = (await self._directories.items(merge.entity_id, details=True, fresh=True)).items
                before = [one for one in there if one.sort <= item.sort]
                planned = await self._changes.plan_adding(
                    merge.entity_id,
                    item.name,
                    code=item.status_id,
                    after=before[-1].status_id if before else "",
                    color=item.color or "",
                    meaning=item.semantics if item.semantics in ("success", "failure") else "",
                )
                await self._changes.carry_out(UNDO, replace(planned, part_of=described), confirmed=False)
            except Bitrix24Error as exc:
                undone.error = exc
                return undone  # to put its code back into records would orphan them
            undone.items.append(item.status_id)
        mover = Mover(self._directories, self._audit, described, float("inf"))
        by_field: defaultdict[str, list[Move]] = defaultdict(list)
        for move in undoing.moves:
            by_field[move.place.of.path].append(move)
        for moves in by_field.values():
            if not await self._put_back(mover, moves, undone, told):
                break
        return undone

    async def _put_back(self, mover: Mover, moves: Sequence[Move], undone: Undone, told: Told) -> bool:
        """Whether it went to the end."""
        left, tries = list(moves), 0
        while left:
            await anyio.lowlevel.checkpoint_if_cancelled()  # what is sent is not cancelled, and may follow at once
            sent = await mover.send(left[: mover.at_once])
            settled = [one for one in sent.moved if one.outcome not in ("not sent", "unknown") or sent.error is None]
            undone.given_back += sum(one.outcome == "moved" for one in settled)
            undone.not_given_back += [f"{one.move.record}: {one.why}" for one in settled if one.outcome != "moved"]
            told(undone.given_back)
            done = {one.move.record_id for one in settled}
            left = [move for move in left if move.record_id not in done]
            tries = tries + 1 if sent.error is not None else 0
            if sent.error is not None and (sent.error.not_applied or tries >= _TRIES):
                undone.error = sent.error
                return False
        return True

    async def _values(self, place: Place, ids: Sequence[int]) -> dict[int, Any]:
        reads = [values_of(place, ids[start : start + _AT_ONCE]) for start in range(0, len(ids), _AT_ONCE)]
        found = await self._directories.reader.get_many(reads, fresh=True)
        values: dict[int, Any] = {}
        for read in reads:
            kept = found[read]
            if isinstance(kept, Bitrix24Error):
                raise kept
            values |= {record_id_of(row): row[place.name] for row in kept.rows if place.name in row}
        return values


def undoing_text(undoing: Undoing) -> str:
    """What would be put back, for a person."""
    merge = undoing.merge
    lines = [f"Merge {merge.key} of {shown_code(merge.entity_id)} into {shown_code(merge.into)}, begun {merge.began}:"]
    lines += [f"- {shown_code(item.status_id)} ({item.name}) is added again" for item in undoing.items]
    lines.append(f"- {len(undoing.moves)} values of records get their old code back")
    if undoing.already:
        lines.append(f"- {undoing.already} have their old code already")
    others = f"carry another code than {shown_code(merge.into)} now, and stay as they are"
    lines += _listed(undoing.carry_another, others)
    lines += _listed(undoing.unread, "cannot be read: they are deleted, or this user does not see them")
    return "\n".join([*lines, _UNSIGNED])


def _listed(some: Sequence[str], what: str) -> list[str]:
    shown = ", ".join(some[:_LISTED]) + (", ..." if len(some) > _LISTED else "")
    return [f"- {len(some)} {what}: {shown}"] if some else []
