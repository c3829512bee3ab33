"""From how a directory is and how it should be to the steps between, by the portal's rules. Pure: calls nobody.

Rules (crm.status.add, update, delete): what is sent without SORT jumps to the front; codes have a length, those of
stages an alphabet, and get their pipeline's prefix from the portal; names are cut; meaning cannot change; system items
stay; no stage but a failed one may stand after the winning one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitrix24_directories.directories.entity_ids import is_stages, prefix_of
from bitrix24_directories.directories.models import Item, Step
from bitrix24_directories.directories.notation import Line, coded, read_lines
from bitrix24_directories.text import shown_code
from bitrix24_directories.words import name_key

from .item_codes import checked_code, checked_name, made_code
from .operations import ChangePlan, Operation, deletion, refused_carried, refused_system, refused_unsure
from .sorting import sorts_for

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
_ONLY_FAILED_AFTER = "only failed stages may stand after the winning one"
_FAILED_AFTER = "a failed stage has to stand after the winning one"
_SEMANTICS = {"success": "S", "failure": "F"}


@dataclass(slots=True)
class _TargetItem:
    """One place of the wanted order: an item that exists, or a new one."""

    line: Line | None
    item: Item | None
    name: str
    code: str
    meaning: str
    color: str


class Planner:
    """Plans changes of one directory, given its items with details in their order.

    `carried` tells by code of items that records carry, and which: Bitrix24 itself looks at stages alone.
    """

    def __init__(self, entity_id: str, items: Sequence[Item], carried: Mapping[str, str] | None = None) -> None:
        self._carried = carried or {}
        self._entity_id = entity_id
        self._items = list(items)
        self._stages = is_stages(entity_id)
        self._refused: list[Step] = []
        self._placed: dict[str, tuple[str, str]] = {}  # by code, where a stage goes instead, and why
        self._written: set[str] = set()  # codes of the declared lines, in lower case, which no name is to be made into

    def declare(self, lines: Sequence[str]) -> ChangePlan:
        """How the directory should look, in order; what is not declared is to be removed."""
        wanted: list[_TargetItem] = []
        taken: set[str] = set()
        read = read_lines(lines, self._items)
        prefixes = ("", prefix_of(self._entity_id).casefold())
        self._written = {prefix + line.code.casefold() for line in read if line.code for prefix in prefixes}
        claimed = {item.status_id for line in read if line.code and isinstance(item := self._meant(line, set()), Item)}
        for line in read:
            one = self._read(line, taken, claimed)
            if one is not None:
                wanted.append(one)
                taken.add(one.code)
        names = Counter(name_key(one.name) for one in wanted)
        for one in list(wanted):  # of new items of one name without a code, the next declaration could not tell which
            if one.item is None and one.line and one.line.code is None and names[name_key(one.name)] > 1:
                self._refuse(one.line, "another item is to be called so: write a code before the name")
                wanted.remove(one)
        kept, gone = self._undeclared(wanted, all_read=not self._refused)
        return self._plan(self._arranged(wanted, kept), gone)

    def add(
        self, name: str, *, code: str = "", after: Item | None = None, color: str = "", meaning: str = ""
    ) -> ChangePlan:
        """A new item, after the one named or last; a stage comes before the winning one unless it is a failed one."""
        line = Line(name, code or None, name, meaning or None, color or None)
        if (there := self._already_there(line, after)) is not None:
            return ChangePlan(refused=[there])
        one = self._new(line, self._codes)
        if one is None:
            return ChangePlan(refused=self._refused)
        wanted = [self._kept(item) for item in self._items]
        wanted.insert(self._last_place(wanted, one) if after is None else self._items.index(after) + 1, one)
        return self._plan(self._with_winner_last(wanted), [])

    def _already_there(self, line: Line, after: Item | None) -> Step | None:
        """The step for a new item whose like is there, as it is after an addition whose answer was lost.

        Done where it stands as asked; refused where the name is taken and no code says that a second one is wanted.
        """
        same = [item for item in self._items if name_key(item.name) == name_key(line.name)]
        if line.code is not None:
            same = [item for item in same if item in coded(self._items, line.code)]
        if not same or not line.name:
            return None
        for item in same:
            if item.name == line.name and self._stands_as(item, line, after):
                why = "it stands there already; to have a second one of this name, give a statusId"
                code = item.status_id
                return Step(action="add", status_id=code, name=item.name, why=why, outcome="done")
        if line.code is not None:
            return None
        why = (
            f"there is an item of this name already ({_listed(same)}); change it with update_directory_item, or give a "
            "statusId to have a second one"
        )
        return Step(action="refused", name=line.name, why=why)

    def _stands_as(self, item: Item, line: Line, after: Item | None) -> bool:
        """Whether `item` is what adding `line` would have given."""
        one = _TargetItem(line, None, line.name, item.status_id, line.meaning or "", line.color or "")
        wanted = [self._kept(other) for other in self._items if other is not item]
        before = [other.item for other in wanted]
        if after is None:
            wanted.insert(self._last_place(wanted, one), one)
        elif after in before:
            wanted.insert(before.index(after) + 1, one)
        return (
            [other.code for other in self._with_winner_last(wanted)] == [other.status_id for other in self._items]
            and (one.meaning or "process") == (item.semantics or "process")
            and (not one.color or one.color.casefold() == (item.color or "").casefold())
        )

    def _last_place(self, wanted: Sequence[_TargetItem], one: _TargetItem) -> int:
        """The end; for a stage in progress the place before the winning one."""
        if self._stages and one.meaning != "failure":
            for place, other in enumerate(wanted):
                if other.meaning == "success":
                    return place
        return len(wanted)

    @property
    def _codes(self) -> set[str]:
        """Of the items that there are, in lower case."""
        return {item.status_id.casefold() for item in self._items}

    def update(self, item: Item, *, name: str = "", color: str = "", after: Item | None = None) -> ChangePlan:
        """Another name, colour or place for an item."""
        line = Line(name or item.name, item.status_id, name, None, color or None)
        if not self._colour_is_one(line) or not self._name_is_one(line, item):
            return ChangePlan(refused=self._refused)
        wanted = [self._kept(one) for one in self._items if after is None or one is not item]
        changed = self._kept(item, line=line, name=name, color=color)
        if after is None:
            wanted[self._items.index(item)] = changed
        else:
            places = [one.item for one in wanted]
            wanted.insert(places.index(after) + 1 if after in places else self._items.index(item), changed)
        return self._plan(self._with_winner_last(wanted), [])

    def remove(self, *items: Item) -> ChangePlan:
        """Without `items`, but for those that stay."""
        self._refused += [stays for item in items if (stays := self._stays(item)) is not None]
        gone = [item for item in items if self._stays(item) is None]
        if not gone:
            return ChangePlan(refused=self._refused)
        return self._plan([self._kept(one) for one in self._items if one not in gone], gone)

    def _read(self, line: Line, taken: set[str], claimed: set[str]) -> _TargetItem | None:
        item = self._meant(line, claimed)
        if isinstance(item, str):
            self._refuse(line, item)
            return None
        if item is None:
            return self._new(line, {code.casefold() for code in taken} | self._codes)
        if item.status_id in taken:
            self._refuse(line, f"{shown_code(item.status_id)} is declared twice")
            return None
        if line.meaning not in (None, item.semantics or "process"):
            self._refuse(line, "its meaning cannot change; add a new item and move the records")
            return None
        if line.color is not None and line.color.casefold() == (item.color or "").casefold():
            line = replace(line, color=None)
        if not self._colour_is_one(line) or not self._name_is_one(line, item):
            return None
        return self._kept(item, line=line, name=line.name, color=line.color or "")

    def _meant(self, line: Line, claimed: set[str]) -> Item | str | None:
        """The item that a line names: by code, or by name where no other line has `claimed` it by code.

        A text says why that cannot be told.
        """
        if line.code is not None:
            found = coded(self._items, line.code)
            if len(found) > 1:
                return f"{shown_code(line.code)} fits several codes ({_listed(found)}): write one of them as it is"
            return found[0] if found else None
        unclaimed = [item for item in self._items if item.status_id not in claimed]
        named = [item for item in unclaimed if line.name and name_key(item.name) == name_key(line.name)]
        if len(named) > 1:
            return f"several items are called so ({_listed(named)}): write the code before the name"
        return named[0] if named else None

    def _new(self, line: Line, taken: set[str]) -> _TargetItem | None:
        if not line.name:
            self._refuse(line, "a new item needs a name")
            return None
        if not self._colour_is_one(line) or not self._name_is_one(line):
            return None
        meaning = line.meaning or ""
        if meaning == "success" and any(item.semantics == "success" for item in self._items):
            self._refuse(line, "there is a stage of success already, and there can be only one")
            return None
        if meaning in _SEMANTICS and not self._stages:
            self._refuse(line, "only stages mean success or failure")
            return None
        if not line.code:
            code = made_code(self._entity_id, line.name, taken | self._written)
            return _TargetItem(line, None, line.name, code, meaning, line.color or "")
        try:
            code = checked_code(self._entity_id, line.code, taken)
        except ValueError as exc:
            self._refuse(line, str(exc))
            return None
        return _TargetItem(line, None, line.name, code, meaning, line.color or "")

    def _undeclared(self, wanted: list[_TargetItem], *, all_read: bool) -> tuple[list[_TargetItem], list[Item]]:
        """Items that are not declared: those that stay, and those that go.

        System items stay, those that records carry, and all of them when a line was refused, for it may have meant one.
        """
        declared = {one.item.status_id for one in wanted if one.item is not None}
        kept: list[_TargetItem] = []
        gone: list[Item] = []
        for item in self._items:
            if item.status_id in declared:
                continue
            stays = self._stays(item) or (None if all_read else refused_unsure(item))
            if stays is None:
                gone.append(item)
            else:
                self._refused.append(stays)
                kept.append(self._kept(item))
        return kept, gone

    def _stays(self, item: Item) -> Step | None:
        """The step that says why an item cannot be removed."""
        if item.system:
            return refused_system(item)
        records = self._carried.get(item.status_id)
        return None if records is None else refused_carried(item, records)

    def _arranged(self, wanted: list[_TargetItem], kept: list[_TargetItem]) -> list[_TargetItem]:
        """The declared order, with the kept ones after the same item as now.

        Where there is a winning stage, stages in progress stand before it and failed ones after.
        """
        merged = self._merged(wanted, kept)
        codes = [one.code for one in merged]
        if codes == [item.status_id for item in self._items if item.status_id in codes]:
            return merged  # it stands so, and the portal has taken it
        if not self._stages or all(one.meaning != "success" for one in merged):
            return merged
        arranged: list[_TargetItem] = []
        for group in (("", "process"), ("success",), ("failure",)):
            ours, theirs = ([one for one in some if one.meaning in group] for some in (wanted, kept))
            arranged += self._merged(ours, theirs)
        won = next((place for place, one in enumerate(wanted) if one.meaning == "success"), None)
        if won is not None:
            self._place(wanted[won], (one for one in wanted[won + 1 :] if one.meaning != "failure"))
            self._place(wanted[won], (one for one in wanted[:won] if one.meaning == "failure"))
        return arranged

    def _place(self, winning: _TargetItem, others: Iterable[_TargetItem]) -> None:
        """Take note of stages that were put on the wrong side of the winning one."""
        for one in others:
            side, why = ("after", _FAILED_AFTER) if one.meaning == "failure" else ("before", _ONLY_FAILED_AFTER)
            self._placed[one.code] = f"{side} {shown_code(winning.code)}", why

    def _merged(self, wanted: list[_TargetItem], kept: list[_TargetItem]) -> list[_TargetItem]:
        merged = list(wanted)
        for one in kept:
            places = {other.code: place for place, other in enumerate(merged)}
            now = [item.status_id for item in self._items]
            before = [code for code in now[: now.index(one.code)] if code in places]
            merged.insert(places[before[-1]] + 1 if before else 0, one)
        return merged

    def _with_winner_last(self, wanted: list[_TargetItem]) -> list[_TargetItem]:
        """The same order, but stages in progress that were put after the winning one stand before it, and new failed
        ones that were put before it stand after it."""
        won = next((place for place, one in enumerate(wanted) if one.meaning == "success"), None)
        if not self._stages or won is None:
            return wanted
        late = [one for one in wanted[won + 1 :] if one.meaning != "failure"]
        early = [one for one in wanted[:won] if one.meaning == "failure" and one.item is None]
        self._place(wanted[won], (one for one in (*late, *early) if one.line is not None))
        return [
            *(one for one in wanted[:won] if one not in early),
            *late,
            wanted[won],
            *early,
            *(one for one in wanted[won + 1 :] if one not in late),
        ]

    def _plan(self, wanted: list[_TargetItem], removed: Sequence[Item]) -> ChangePlan:
        as_it_is = [one.item for one in wanted] == self._items and all(
            one.name == item.name and one.color.casefold() == (item.color or "").casefold()
            for one, item in zip(wanted, self._items, strict=True)
        )
        if as_it_is and not removed:
            self._refused += self._not_placed(wanted, ())
            return ChangePlan(
                [], self._refused
            )  # items with a SORT of 0 may stand as they do, until one of them is sent
        order = [None if one.item is None else (one.item.sort, one.item.id or 0) for one in wanted]
        sorts = sorts_for(order)
        updates: list[Operation] = []
        adds: list[Operation] = []
        for place, (one, sort) in enumerate(zip(wanted, sorts, strict=True)):
            after = wanted[place - 1].code if place else ""
            if one.item is None:
                adds.append(self._addition(one, sort, after))
            elif (operation := self._correction(one, one.item, sort, after)) is not None:
                updates.append(operation)
        for operation in (*adds, *updates):
            if (placed := self._placed.get(operation.step.status_id or "")) is not None:
                why = f"placed {placed[0]} instead: {placed[1]}"
                operation.step = operation.step.model_copy(update={"why": why})
        self._refused += self._not_placed(wanted, (*adds, *updates))
        deletions = [deletion(item) for item in removed]
        # A new winning stage is refused while the old one is there; all other removals come last, when the rest stands.
        first = [one for one in deletions if one.item is not None and one.item.semantics == "success"]
        last = [one for one in deletions if one not in first]
        return ChangePlan([*first, *updates, *adds, *last], self._refused)

    def _not_placed(self, wanted: Iterable[_TargetItem], operations: Iterable[Operation]) -> list[Step]:
        """The steps for items that cannot stand where they were put, and that nothing else is done with."""
        changed = {operation.step.status_id for operation in operations}
        steps: list[Step] = []
        for one in wanted:
            if one.code in self._placed and one.code not in changed:
                where, why = self._placed[one.code]
                step = Step(action="refused", status_id=one.code, name=one.name, why=f"it stays {where}: {why}")
                steps.append(step)
        return steps

    def _addition(self, one: _TargetItem, sort: int, after: str) -> Operation:
        changes = [f"after {shown_code(after)}" if after else "first"]
        changes += [f"meaning {one.meaning}"] if one.meaning in _SEMANTICS else []
        changes += [f"colour {one.color}"] if one.color else []
        fields = {
            "ENTITY_ID": self._entity_id,
            "STATUS_ID": one.code.removeprefix(prefix_of(self._entity_id)),
            "NAME": one.name,
            "SORT": sort,
        }
        fields |= {"COLOR": one.color} if one.color else {}
        fields |= {"SEMANTICS": _SEMANTICS[one.meaning]} if one.meaning in _SEMANTICS else {}
        read_from = one.line.text if one.line and one.line.text != one.name else None
        step = Step(action="add", status_id=one.code, name=one.name, read_from=read_from, changes=changes)
        return Operation("crm.status.add", {"fields": fields}, step)

    def _correction(self, one: _TargetItem, item: Item, sort: int, after: str) -> Operation | None:
        """SORT is always sent: the portal takes a missing one for 10."""
        changes: list[str] = []
        fields: dict[str, Any] = {"SORT": sort}
        if one.name != item.name:
            changes.append(f"renamed from {item.name}")
            fields["NAME"] = one.name
        if one.color.casefold() != (item.color or "").casefold():
            changes.append(f"colour {item.color or 'none'} -> {one.color}")
            fields["COLOR"] = one.color
        if sort != item.sort:
            changes.append(f"SORT {item.sort} -> {sort}, " + (f"after {shown_code(after)}" if after else "first"))
        if not changes:
            return None
        step = Step(action="update", status_id=item.status_id, name=one.name, changes=changes)
        return Operation("crm.status.update", {"id": item.id, "fields": fields}, step, item)

    def _kept(self, item: Item, *, line: Line | None = None, name: str = "", color: str = "") -> _TargetItem:
        meaning = item.semantics or ""
        return _TargetItem(line, item, name or item.name, item.status_id, meaning, color or item.color or "")

    def _colour_is_one(self, line: Line) -> bool:
        if line.color is None or _COLOR.fullmatch(line.color):
            return True
        self._refuse(line, "a colour is written like #39A8EF")
        return False

    def _name_is_one(self, line: Line, item: Item | None = None) -> bool:
        """Whether the portal would store the name that a line gives to a new item, or to one that has another."""
        if item is not None and line.name in ("", item.name):
            return True
        try:
            checked_name(line.name)
        except ValueError as exc:
            self._refuse(line, str(exc))
            return False
        return True

    def _refuse(self, line: Line, why: str) -> None:
        step = Step(action="refused", status_id=line.code, name=line.name or line.text, read_from=line.text, why=why)
        self._refused.append(step)


def _listed(items: Sequence[Item]) -> str:
    return ", ".join(shown_code(item.status_id) for item in items)


def differences(before: Sequence[Item], now: Sequence[Item]) -> Iterator[str]:
    """What has changed between two readings of a directory, a sentence each."""
    old, new = ({item.status_id: item for item in items} for items in (before, now))
    yield from (f"{shown_code(code)} ({new[code].name}) was added" for code in new if code not in old)
    yield from (f"{shown_code(code)} ({old[code].name}) was removed" for code in old if code not in new)
    for code in old:
        if code in new and old[code] != new[code]:
            yield f"{shown_code(code)} was changed: {_described(old[code])} -> {_described(new[code])}"


def _described(item: Item) -> str:
    return f"{item.name}, SORT {item.sort}, colour {item.color or 'none'}"
