"""Plans the steps that turn a directory into the requested one, by the portal's rules. Pure.

Rules (crm.status.add, update, delete): an item sent without SORT jumps to the front; codes have a maximum length, codes
of stages an alphabet, and the portal adds their pipeline's prefix; long names are cut; a meaning cannot change; system
items cannot be deleted; only failed stages may stand after the winning one.
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
    """Item of the target order: an existing one, or a new one if `item` is None."""

    line: Line | None
    item: Item | None
    name: str
    code: str
    meaning: str
    color: str


class Planner:
    """Plans changes of one directory from its items with details, in their order.

    `carried` describes by code the records that carry an item: Bitrix24 itself protects only stages.
    """

    def __init__(self, entity_id: str, items: Sequence[Item], carried: Mapping[str, str] | None = None) -> None:
        self._carried = carried or {}
        self._entity_id = entity_id
        self._items = list(items)
        self._stages = is_stages(entity_id)
        self._refused: list[Step] = []
        self._misplaced: dict[str, tuple[str, str]] = {}  # by code: place of a stage instead, reason
        self._written: set[str] = set()  # codes of the declared lines, lower case; not to be made from names

    def declare(self, lines: Sequence[str]) -> ChangePlan:
        """Plan the declared items in their order, and the removal of all others."""
        targets: list[_TargetItem] = []
        taken: set[str] = set()
        read = read_lines(lines, self._items)
        prefixes = ("", prefix_of(self._entity_id).casefold())
        self._written = {prefix + line.code.casefold() for line in read if line.code for prefix in prefixes}
        found_by_code = [self._find_item(line, set()) for line in read if line.code]
        claimed = {item.status_id for item in found_by_code if isinstance(item, Item)}
        for line in read:
            target = self._read_line(line, taken, claimed)
            if target is not None:
                targets.append(target)
                taken.add(target.code)
        names = Counter(name_key(target.name) for target in targets)
        for target in list(targets):  # without codes, the next declaration could not distinguish new items of one name
            if target.item is None and target.line and target.line.code is None and names[name_key(target.name)] > 1:
                self._refuse(target.line, "two items would have this name; write CODE: name")
                targets.remove(target)
        staying, removed = self._split_undeclared(targets, all_read=not self._refused)
        return self._build_plan(self._arrange(targets, staying), removed)

    def add(
        self, name: str, *, code: str = "", after: Item | None = None, color: str = "", meaning: str = ""
    ) -> ChangePlan:
        """Plan a new item, last by default; a stage stands before the winning one unless failed."""
        line = Line(name, code or None, name, meaning or None, color or None)
        if (existing_step := self._already_there(line, after)) is not None:
            return ChangePlan(refused=[existing_step])
        target = self._new_target(line, self._codes)
        if target is None:
            return ChangePlan(refused=self._refused)
        targets = [self._target_of(item) for item in self._items]
        targets.insert(self._last_index(targets, target) if after is None else self._items.index(after) + 1, target)
        return self._build_plan(self._fix_stage_sides(targets), [])

    def _already_there(self, line: Line, after: Item | None) -> Step | None:
        """Return the step for a new item that is there already, such as after a lost answer.

        Done if the item matches the request; refused if the name is taken and no code asks for a second item.
        """
        same = [item for item in self._items if name_key(item.name) == name_key(line.name)]
        if line.code is not None:
            same = [item for item in same if item in coded(self._items, line.code)]
        if not same or not line.name:
            return None
        for item in same:
            if item.name == line.name and self._is_result_of(item, line, after):
                why = "it already exists; to add a second one with this name, give a statusId"
                code = item.status_id
                return Step(action="add", status_id=code, name=item.name, why=why, outcome="done")
        if line.code is not None:
            return None
        why = (
            f"there is an item of this name already ({_listing(same)}); change it with update_directory_item, or "
            "give a statusId to have a second one"
        )
        return Step(action="refused", name=line.name, why=why)

    def _is_result_of(self, item: Item, line: Line, after: Item | None) -> bool:
        """Return true if `item` is the result of adding `line`."""
        target = _TargetItem(line, None, line.name, item.status_id, line.meaning or "", line.color or "")
        targets = [self._target_of(other) for other in self._items if other is not item]
        before = [other.item for other in targets]
        if after is None:
            targets.insert(self._last_index(targets, target), target)
        elif after in before:
            targets.insert(before.index(after) + 1, target)
        return (
            [other.code for other in self._fix_stage_sides(targets)] == [other.status_id for other in self._items]
            and (target.meaning or "process") == (item.semantics or "process")
            and (not target.color or target.color.casefold() == (item.color or "").casefold())
        )

    def _last_index(self, targets: Sequence[_TargetItem], target: _TargetItem) -> int:
        """Return the index of the end, for a stage in progress that of the winning one."""
        if self._stages and target.meaning != "failure":
            for index, other in enumerate(targets):
                if other.meaning == "success":
                    return index
        return len(targets)

    @property
    def _codes(self) -> set[str]:
        """Codes of the existing items, in lower case."""
        return {item.status_id.casefold() for item in self._items}

    def update(self, item: Item, *, name: str = "", color: str = "", after: Item | None = None) -> ChangePlan:
        """Plan another name, colour or place for an item."""
        line = Line(name or item.name, item.status_id, name, None, color or None)
        if not self._has_valid_colour(line) or not self._has_valid_name(line, item):
            return ChangePlan(refused=self._refused)
        targets = [self._target_of(other) for other in self._items if after is None or other is not item]
        changed = self._target_of(item, line=line, name=name, color=color)
        if after is None:
            targets[self._items.index(item)] = changed
        else:
            order = [target.item for target in targets]
            targets.insert(order.index(after) + 1 if after in order else self._items.index(item), changed)
        return self._build_plan(self._fix_stage_sides(targets), [])

    def remove(self, *items: Item) -> ChangePlan:
        """Plan the removal of `items`, except those that cannot be removed."""
        self._refused += [stays for item in items if (stays := self._refusal_of(item)) is not None]
        removed = [item for item in items if self._refusal_of(item) is None]
        if not removed:
            return ChangePlan(refused=self._refused)
        return self._build_plan([self._target_of(other) for other in self._items if other not in removed], removed)

    def _read_line(self, line: Line, taken: set[str], claimed: set[str]) -> _TargetItem | None:
        item = self._find_item(line, claimed)
        if isinstance(item, str):
            self._refuse(line, item)
            return None
        if item is None:
            return self._new_target(line, {code.casefold() for code in taken} | self._codes)
        if item.status_id in taken:
            self._refuse(line, f"{shown_code(item.status_id)} is declared twice")
            return None
        if line.meaning not in (None, item.semantics or "process"):
            self._refuse(line, "its meaning cannot change; add a new item and move the records")
            return None
        if line.color is not None and line.color.casefold() == (item.color or "").casefold():
            line = replace(line, color=None)
        if not self._has_valid_colour(line) or not self._has_valid_name(line, item):
            return None
        return self._target_of(item, line=line, name=line.name, color=line.color or "")

    def _find_item(self, line: Line, claimed: set[str]) -> Item | str | None:
        """Return the item of a line by its code, or by its name unless another line `claimed` it.

        A text is the reason why the line is ambiguous.
        """
        if line.code is not None:
            matches = coded(self._items, line.code)
            if len(matches) > 1:
                return f"{shown_code(line.code)} fits several codes ({_listing(matches)}): write one of them as it is"
            return matches[0] if matches else None
        unclaimed = [item for item in self._items if item.status_id not in claimed]
        same_name = [item for item in unclaimed if line.name and name_key(item.name) == name_key(line.name)]
        if len(same_name) > 1:
            return f"several items are called so ({_listing(same_name)}): write the code before the name"
        return same_name[0] if same_name else None

    def _new_target(self, line: Line, taken: set[str]) -> _TargetItem | None:
        if not line.name:
            self._refuse(line, "a new item needs a name")
            return None
        if not self._has_valid_colour(line) or not self._has_valid_name(line):
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

    def _split_undeclared(self, targets: list[_TargetItem], *, all_read: bool) -> tuple[list[_TargetItem], list[Item]]:
        """Return the undeclared items that stay, and those to remove.

        System items stay, and items that records carry. All stay if a line was refused, because it may have meant one.
        """
        declared = {target.item.status_id for target in targets if target.item is not None}
        staying: list[_TargetItem] = []
        removed: list[Item] = []
        for item in self._items:
            if item.status_id in declared:
                continue
            stays = self._refusal_of(item) or (None if all_read else refused_unsure(item))
            if stays is None:
                removed.append(item)
            else:
                self._refused.append(stays)
                staying.append(self._target_of(item))
        return staying, removed

    def _refusal_of(self, item: Item) -> Step | None:
        """Return a refusal for an item that cannot be removed, else None."""
        if item.system:
            return refused_system(item)
        records = self._carried.get(item.status_id)
        return None if records is None else refused_carried(item, records)

    def _arrange(self, targets: list[_TargetItem], staying: list[_TargetItem]) -> list[_TargetItem]:
        """Return the declared order, with the staying items after the same item as now.

        Stages in progress stand before the winning stage, if there is one, and failed ones after it.
        """
        merged = self._merge(targets, staying)
        codes = [target.code for target in merged]
        if codes == [item.status_id for item in self._items if item.status_id in codes]:
            return merged  # the current order, which the portal has accepted
        if not self._stages or all(target.meaning != "success" for target in merged):
            return merged
        arranged: list[_TargetItem] = []
        for group in (("", "process"), ("success",), ("failure",)):
            ours, theirs = ([target for target in order if target.meaning in group] for order in (targets, staying))
            arranged += self._merge(ours, theirs)
        winner_at = next((index for index, target in enumerate(targets) if target.meaning == "success"), None)
        if winner_at is not None:
            winning, before, behind = targets[winner_at], targets[:winner_at], targets[winner_at + 1 :]
            self._note_misplaced(winning, (target for target in behind if target.meaning != "failure"))
            self._note_misplaced(winning, (target for target in before if target.meaning == "failure"))
        return arranged

    def _note_misplaced(self, winning: _TargetItem, targets: Iterable[_TargetItem]) -> None:
        """Record stages that were put on the wrong side of the winning one."""
        for target in targets:
            side, why = ("after", _FAILED_AFTER) if target.meaning == "failure" else ("before", _ONLY_FAILED_AFTER)
            self._misplaced[target.code] = f"{side} {shown_code(winning.code)}", why

    def _merge(self, targets: list[_TargetItem], staying: list[_TargetItem]) -> list[_TargetItem]:
        merged = list(targets)
        for target in staying:
            indexes = {other.code: index for index, other in enumerate(merged)}
            now = [item.status_id for item in self._items]
            before = [code for code in now[: now.index(target.code)] if code in indexes]
            merged.insert(indexes[before[-1]] + 1 if before else 0, target)
        return merged

    def _fix_stage_sides(self, targets: list[_TargetItem]) -> list[_TargetItem]:
        """Move stages in progress before the winning one, and new failed ones after it."""
        winner_at = next((index for index, target in enumerate(targets) if target.meaning == "success"), None)
        if not self._stages or winner_at is None:
            return targets
        late = [target for target in targets[winner_at + 1 :] if target.meaning != "failure"]
        early = [target for target in targets[:winner_at] if target.meaning == "failure" and target.item is None]
        self._note_misplaced(targets[winner_at], (target for target in (*late, *early) if target.line is not None))
        return [
            *(target for target in targets[:winner_at] if target not in early),
            *late,
            targets[winner_at],
            *early,
            *(target for target in targets[winner_at + 1 :] if target not in late),
        ]

    def _build_plan(self, targets: list[_TargetItem], removed: Sequence[Item]) -> ChangePlan:
        as_it_is = [target.item for target in targets] == self._items and all(
            target.name == item.name and target.color.casefold() == (item.color or "").casefold()
            for target, item in zip(targets, self._items, strict=True)
        )
        if as_it_is and not removed:
            self._refused += self._misplaced_steps(targets, ())
            return ChangePlan([], self._refused)  # a SORT of 0 is valid until it is sent
        order = [None if target.item is None else (target.item.sort, target.item.id or 0) for target in targets]
        sorts = sorts_for(order)
        updates: list[Operation] = []
        adds: list[Operation] = []
        for index, (target, sort) in enumerate(zip(targets, sorts, strict=True)):
            after = targets[index - 1].code if index else ""
            if target.item is None:
                adds.append(self._addition(target, sort, after))
            elif (operation := self._correction(target, target.item, sort, after)) is not None:
                updates.append(operation)
        for operation in (*adds, *updates):
            if (placed := self._misplaced.get(operation.step.status_id or "")) is not None:
                why = f"placed {placed[0]} instead: {placed[1]}"
                operation.step = operation.step.model_copy(update={"why": why})
        self._refused += self._misplaced_steps(targets, (*adds, *updates))
        deletions = [deletion(item) for item in removed]
        # A new winning stage is refused while the old one exists; all other removals come last.
        first = [removal for removal in deletions if removal.item and removal.item.semantics == "success"]
        last = [removal for removal in deletions if removal not in first]
        return ChangePlan([*first, *updates, *adds, *last], self._refused)

    def _misplaced_steps(self, targets: Iterable[_TargetItem], operations: Iterable[Operation]) -> list[Step]:
        """Return steps for misplaced items without any other operation."""
        changed = {operation.step.status_id for operation in operations}
        steps: list[Step] = []
        for target in targets:
            if target.code in self._misplaced and target.code not in changed:
                where, why = self._misplaced[target.code]
                step = Step(action="refused", status_id=target.code, name=target.name, why=f"it stays {where}: {why}")
                steps.append(step)
        return steps

    def _addition(self, target: _TargetItem, sort: int, after: str) -> Operation:
        changes = [f"after {shown_code(after)}" if after else "first"]
        changes += [f"meaning {target.meaning}"] if target.meaning in _SEMANTICS else []
        changes += [f"colour {target.color}"] if target.color else []
        fields = {
            "ENTITY_ID": self._entity_id,
            "STATUS_ID": target.code.removeprefix(prefix_of(self._entity_id)),
            "NAME": target.name,
            "SORT": sort,
        }
        fields |= {"COLOR": target.color} if target.color else {}
        fields |= {"SEMANTICS": _SEMANTICS[target.meaning]} if target.meaning in _SEMANTICS else {}
        read_from = target.line.text if target.line and target.line.text != target.name else None
        step = Step(action="add", status_id=target.code, name=target.name, read_from=read_from, changes=changes)
        return Operation("crm.status.add", {"fields": fields}, step)

    def _correction(self, target: _TargetItem, item: Item, sort: int, after: str) -> Operation | None:
        """Return the update of an item. SORT is always sent: the portal sets a missing one to 10."""
        changes: list[str] = []
        fields: dict[str, Any] = {"SORT": sort}
        if target.name != item.name:
            changes.append(f"renamed from {item.name}")
            fields["NAME"] = target.name
        if target.color.casefold() != (item.color or "").casefold():
            changes.append(f"colour {item.color or 'none'} -> {target.color}")
            fields["COLOR"] = target.color
        if sort != item.sort:
            changes.append(f"SORT {item.sort} -> {sort}, " + (f"after {shown_code(after)}" if after else "first"))
        if not changes:
            return None
        step = Step(action="update", status_id=item.status_id, name=target.name, changes=changes)
        return Operation("crm.status.update", {"id": item.id, "fields": fields}, step, item)

    def _target_of(self, item: Item, *, line: Line | None = None, name: str = "", color: str = "") -> _TargetItem:
        meaning = item.semantics or ""
        return _TargetItem(line, item, name or item.name, item.status_id, meaning, color or item.color or "")

    def _has_valid_colour(self, line: Line) -> bool:
        if line.color is None or _COLOR.fullmatch(line.color):
            return True
        self._refuse(line, "a colour is written like #39A8EF")
        return False

    def _has_valid_name(self, line: Line, item: Item | None = None) -> bool:
        """Return true if the portal would store the line's name; a wrong one is refused."""
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


def _listing(items: Sequence[Item]) -> str:
    return ", ".join(shown_code(item.status_id) for item in items)


def differences(before: Sequence[Item], now: Sequence[Item]) -> Iterator[str]:
    """Yield a sentence for each change between two readings of a directory."""
    old, new = ({item.status_id: item for item in items} for items in (before, now))
    yield from (f"{shown_code(code)} ({new[code].name}) was added" for code in new if code not in old)
    yield from (f"{shown_code(code)} ({old[code].name}) was removed" for code in old if code not in new)
    for code in old:
        if code in new and old[code] != new[code]:
            yield f"{shown_code(code)} was changed: {_described(old[code])} -> {_described(new[code])}"


def _described(item: Item) -> str:
    return f"{item.name}, SORT {item.sort}, colour {item.color or 'none'}"
