"""Rules for merging codes of a directory, and the results of a plan. Pure.

Facts: Bitrix24 compares codes without letter case and trailing blanks; system items cannot be deleted; a stage with
another meaning would win or lose the records.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitrix24_directories.changing.refusals import CHANNEL_COMES_BACK, item_named, refused
from bitrix24_directories.directories.entity_ids import is_channel_source, is_stages
from bitrix24_directories.directories.models import Item
from bitrix24_directories.records.carriers import Carriers
from bitrix24_directories.records.counting import CodeField, folded_code
from bitrix24_directories.rest import RateLimits
from bitrix24_directories.text import quoted, shown_code
from bitrix24_directories.words import name_key

from .models import Merge, MergedCode
from .record_updates import MOST_AT_ONCE, Rule

_OTHER_REQUESTS = 7  # to count the rest, and to delete
AUTOMATION = "the portal's history and its automation see each record that is moved"


def merging(codes: Sequence[str], into: str) -> Rule:
    """Return a rule that replaces `codes` in a field's value; other values of a list stay."""
    folded_codes = {folded_code(code) for code in codes}

    def rule(value: Any) -> Any:
        if not isinstance(value, list):
            return into if folded_code(str(value)) in folded_codes else value
        if not any(folded_code(str(code)) in folded_codes for code in value):
            return value
        return list(dict.fromkeys(into if folded_code(str(code)) in folded_codes else code for code in value))

    return rule


@dataclass(frozen=True)
class MergeCodes:
    """Codes to merge with their items, and the item `into` that their records will carry.

    Made by `create`, which refuses harmful merges.
    """

    entity_id: str
    into: Item
    codes: tuple[str, ...]
    items: Mapping[str, Item]
    items_by_name: Mapping[str, Item]
    """Items by a given code that is really their name."""

    @classmethod
    def create(cls, entity_id: str, items: Sequence[Item], codes: Sequence[str], into: str) -> MergeCodes:
        """Validate a merge. Raises CHANGE_REFUSED for equal codes or stages of another meaning."""
        target, item_codes = item_named(items, into), {item.status_id for item in items}
        alike = {folded_code(code): code for code in reversed(codes)}  # codes equal to Bitrix24 count once
        chosen = tuple(code for code in dict.fromkeys(codes) if code in item_codes or alike[folded_code(code)] == code)
        items_by_code = {item.status_id: item for item in items if item.status_id in chosen}
        for code in chosen:
            _refuse_unfit(code, target, items, items_by_code)
        if is_stages(entity_id):
            for item in items_by_code.values():
                meaning, other = item.semantics or "process", target.semantics or "process"
                if meaning != other:
                    raise refused(
                        f"{shown_code(item.status_id)} ({item.name}) is a stage of {meaning}, "
                        f"{shown_code(target.status_id)} ({target.name}) one of {other}: its records would change "
                        "meaning",
                        "Choose a stage of the same meaning, or tell the user to move the records in Bitrix24",
                    )
        items_by_name = {
            code: item
            for code in chosen
            if code not in items_by_code
            for item in items
            if name_key(item.name) == name_key(code)
        }
        return cls(entity_id, target, chosen, items_by_code, items_by_name)

    @property
    def key(self) -> str:
        """Key of this merge in the audit log; the same after a restart."""
        return _digest([self.entity_id, sorted(self.codes), self.into.status_id])

    @property
    def rule(self) -> Rule:
        """New value of a field, by its old one."""
        return merging(self.codes, self.into.status_id)

    def plan_id(self, salt: str, code_fields: Sequence[CodeField], ended: str) -> str:
        """Return the planId: the same until the codes, names or fields change, or the merge ends.

        Counts may change. `ended` is the merge's generation, a new text each time it ended.
        """
        names = [(code, item.name, item.semantics, item.system) for code, item in sorted(self.items.items())]
        to = (self.into.status_id, self.into.name, self.into.semantics)
        return _digest([salt, self.key, to, names, sorted(code_field.path for code_field in code_fields), ended])

    def spelt_as(self, spellings: Mapping[str, str], items: Sequence[Item]) -> MergeCodes:
        """Return a copy spelt as in records. Raises CHANGE_REFUSED if a code may be a name."""
        for code, spelling in spellings.items():
            if spelling != code and (item := self.items_by_name.get(code)) is not None:
                stored, named_code = quoted(spelling), shown_code(item.status_id)
                raise refused(
                    f"{quoted(code)} may be the code {stored}, which records carry, or the name of {named_code}",
                    f"Ask the user which is meant, and call again with {stored} or {named_code}",
                )
        codes = [spellings.get(code, code) for code in self.codes]
        return self.create(self.entity_id, items, codes, self.into.status_id)

    def check_target(self, items: Sequence[Item], moved: int) -> None:
        """Raise CHANGE_REFUSED if `into` was removed or renamed; `moved` values are moved so far."""
        matches = (item for item in items if item.status_id == self.into.status_id)
        if not any(name_key(item.name) == name_key(self.into.name) for item in matches):
            into = f"{shown_code(self.into.status_id)} ({self.into.name})"
            raise refused(
                f"{into} is no item of {shown_code(self.entity_id)} any more, or has another name; {moved} values of "
                f"records were moved to it",
                "Tell the user: `bitrix24-directories-mcp undo` gives those records their codes back, by the audit log",
            )

    def deletable(self, carriers: Carriers) -> list[Item]:
        """Return the items to delete once no record carries them; none if some cannot be counted."""
        return [] if carriers.uncounted else [item for item in self.items.values() if not item.system]

    def planned(self, carriers: Carriers) -> list[MergedCode]:
        """Return the codes with the planned outcome of their items."""
        deletable = self.deletable(carriers)
        planned: list[MergedCode] = []
        for code in self.codes:
            item = self.items.get(code)
            counts = {path: count for path, count in carriers.counts.get(code, {}).items() if count is not None}
            why = None
            if item is None and code not in carriers.counts:
                why = f"the directory does not have it, and {carriers.none_found}"
                if (named_item := self.items_by_name.get(code)) is not None:
                    why += f"; it is the name of {shown_code(named_item.status_id)}: give that code"
            elif item is not None and item.system:
                why = "a system item, which Bitrix24 needs"
            elif item is not None and item not in deletable:
                why = carriers.none_found
            stays = None if item is None else "to be deleted" if item in deletable else "stays"
            planned.append(
                MergedCode(status_id=code, name=item and item.name, fields=counts or None, item=stays, why=why)
            )
        return planned

    def result(self, status: Any, codes: list[MergedCode], **more: Any) -> Merge:
        """Return the result of the merge with this status."""
        return Merge(
            entity_id=self.entity_id,
            into=self.into.status_id,
            name=self.into.name,
            status=status,
            codes=codes,
            **more,
        )


def records_to_move(carriers: Carriers) -> int:
    """Return the number of values to move, without those that could not be counted."""
    return sum(count or 0 for counts in carriers.counts.values() for count in counts.values())


def notes(merge: MergeCodes, carriers: Carriers, limits: RateLimits, *, logged: bool) -> Iterator[str]:
    """Yield remarks for a person before they consent."""
    if records := records_to_move(carriers):
        yield AUTOMATION
        by_field: Counter[str] = Counter()
        for counts in carriers.counts.values():
            by_field.update({path: count or 0 for path, count in counts.items()})
        requests = _OTHER_REQUESTS + sum(1 + math.ceil(count / MOST_AT_ONCE) for count in by_field.values())
        seconds = math.ceil(max(0.0, requests - limits.burst) / limits.per_second)
        yield f"about {requests} requests" + (f"; the portal's limits alone take {seconds} s" if seconds else "")
    if records and not logged:
        yield "BITRIX24_AUDIT_LOG is not set, so `bitrix24-directories-mcp undo` could not take it back"
    for code in merge.codes:
        if is_channel_source(merge.entity_id, code):
            yield f"{shown_code(code)}: {CHANNEL_COMES_BACK}"
    yield from (f"not counted and so not moved: {reason}" for reason in carriers.uncounted)


def stored_spelling(code: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the spelling of a code in the first record that carries it, else the code."""
    for row in rows:
        for field in row.values():
            for value in map(str, field if isinstance(field, list) else [field]):
                if folded_code(value) == folded_code(code):
                    return value
    return code


def _refuse_unfit(code: str, target: Item, items: Sequence[Item], items_by_code: Mapping[str, Item]) -> None:
    if not code.strip():
        raise refused("a code is empty", "Leave it out, and call again")
    if folded_code(code) == folded_code(target.status_id):
        raise refused(
            f"{quoted(code)} cannot be merged into {shown_code(target.status_id)}: to Bitrix24 they are the same code",
            "Leave it out, and call again",
        )
    alike = [item for item in items if folded_code(item.status_id) == folded_code(code) and item.status_id != code]
    if alike and code not in items_by_code:
        raise refused(
            f"Bitrix24 does not tell {quoted(code)} from {shown_code(alike[0].status_id)} ({alike[0].name})",
            f"If its records are to be moved, write {shown_code(alike[0].status_id)}",
        )
    if alike:
        raise refused(
            f"Bitrix24 does not tell the records of {shown_code(code)} from those of {shown_code(alike[0].status_id)}",
            "Tell the user to move them in Bitrix24",
        )


def _digest(state: Any) -> str:
    return hashlib.sha256(json.dumps(state, ensure_ascii=False).encode()).hexdigest()[:12]
