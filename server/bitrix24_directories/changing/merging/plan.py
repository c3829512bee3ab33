"""Which codes of a directory may be merged into one, and what that would do. Pure: nothing here calls anybody.

Facts: Bitrix24 compares codes without letter case and blanks at the end; system items cannot be deleted; a stage of
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
from bitrix24_directories.records.counting import Place, folded_code
from bitrix24_directories.rest import RateLimits
from bitrix24_directories.text import quoted, shown_code
from bitrix24_directories.words import name_key

from .models import Merge, MergedCode
from .record_updates import MOST_AT_ONCE, Rule

_OTHER_REQUESTS = 7  # to count what is left, and to delete
AUTOMATION = "the portal's history and its automation see each record that is moved"


def merging(codes: Sequence[str], into: str) -> Rule:
    """What becomes of a field's value; in multiple fields the other values stay."""
    gone = {folded_code(code) for code in codes}

    def rule(value: Any) -> Any:
        if not isinstance(value, list):
            return into if folded_code(str(value)) in gone else value
        if not any(folded_code(str(one)) in gone for one in value):
            return value
        return list(dict.fromkeys(into if folded_code(str(one)) in gone else one for one in value))

    return rule


@dataclass(frozen=True)
class MergeCodes:
    """Codes of a directory, the items among them, and the item whose code their records are to carry.

    Made by `of`, which refuses what would do harm.
    """

    entity_id: str
    into: Item
    codes: tuple[str, ...]
    items: Mapping[str, Item]
    named: Mapping[str, Item]
    """Items by the text of a code that is in truth their name."""

    @classmethod
    def of(cls, entity_id: str, items: Sequence[Item], codes: Sequence[str], into: str) -> MergeCodes:
        """Raises Bitrix24Error (CHANGE_REFUSED) for codes that cannot be told apart, or stages of another meaning."""
        target, there = item_named(items, into), {item.status_id for item in items}
        alike = {folded_code(code): code for code in reversed(codes)}  # what Bitrix24 does not tell apart counts once
        wanted = tuple(code for code in dict.fromkeys(codes) if code in there or alike[folded_code(code)] == code)
        known = {item.status_id: item for item in items if item.status_id in wanted}
        for code in wanted:
            _refuse_unfit(code, target, items, known)
        if is_stages(entity_id):
            for item in known.values():
                meaning, other = item.semantics or "process", target.semantics or "process"
                if meaning != other:
                    raise refused(
                        f"{shown_code(item.status_id)} ({item.name}) is a stage of {meaning}, "
                        f"{shown_code(target.status_id)} ({target.name}) one of {other}: its records would change "
                        "meaning",
                        "Choose a stage of the same meaning, or tell the user to move the records in Bitrix24",
                    )
        named = {
            code: item
            for code in wanted
            if code not in known
            for item in items
            if name_key(item.name) == name_key(code)
        }
        return cls(entity_id, target, wanted, known, named)

    @property
    def key(self) -> str:
        """Tells this merge from others in the audit log, today and after a restart."""
        return _digest([self.entity_id, sorted(self.codes), self.into.status_id])

    @property
    def rule(self) -> Rule:
        return merging(self.codes, self.into.status_id)

    def plan_id(self, salt: str, places: Sequence[Place], ended: str) -> str:
        """The same for as long as the codes, their names and the fields are, and until the merge is at its end: counts
        may change. `ended` is another text each time that it was."""
        names = [(code, item.name, item.semantics, item.system) for code, item in sorted(self.items.items())]
        to = (self.into.status_id, self.into.name, self.into.semantics)
        return _digest([salt, self.key, to, names, sorted(place.of.path for place in places), ended])

    def spelt_as(self, spellings: Mapping[str, str], items: Sequence[Item]) -> MergeCodes:
        """The same with some codes as records carry them. Raises Bitrix24Error (CHANGE_REFUSED) where one, as it was
        given, may be the name of an item instead."""
        for code, spelling in spellings.items():
            if spelling != code and (item := self.named.get(code)) is not None:
                stored, named = quoted(spelling), shown_code(item.status_id)
                raise refused(
                    f"{quoted(code)} may be the code {stored}, which records carry, or the name of {named}",
                    f"Ask the user which is meant, and call again with {stored} or {named}",
                )
        codes = [spellings.get(code, code) for code in self.codes]
        return self.of(self.entity_id, items, codes, self.into.status_id)

    def check_target(self, items: Sequence[Item], moved: int) -> None:
        """Raises Bitrix24Error (CHANGE_REFUSED) where the item that `moved` values of records were moved to is not
        there any more, or is not called what it was."""
        found = (item for item in items if item.status_id == self.into.status_id)
        if not any(name_key(item.name) == name_key(self.into.name) for item in found):
            into = f"{shown_code(self.into.status_id)} ({self.into.name})"
            raise refused(
                f"{into} is no item of {shown_code(self.entity_id)} any more, or has another name; {moved} values of "
                f"records were moved to it",
                "Tell the user: `bitrix24-directories-mcp undo` gives those records their codes back, by the audit log",
            )

    def deletable(self, found: Carriers) -> list[Item]:
        """The items that are to go when no record carries them: only where all records can be counted."""
        return [] if found.uncounted else [item for item in self.items.values() if not item.system]

    def planned(self, found: Carriers) -> list[MergedCode]:
        """What would become of each code and its item."""
        gone = self.deletable(found)
        planned: list[MergedCode] = []
        for code in self.codes:
            item = self.items.get(code)
            counts = {path: count for path, count in found.counts.get(code, {}).items() if count is not None}
            why = None
            if item is None and code not in found.counts:
                why = f"the directory does not have it, and {found.none_found}"
                if (named := self.named.get(code)) is not None:
                    why += f"; it is the name of {shown_code(named.status_id)}: give that code"
            elif item is not None and item.system:
                why = "a system item, which Bitrix24 needs"
            elif item is not None and item not in gone:
                why = found.none_found
            stays = None if item is None else "to be deleted" if item in gone else "stays"
            planned.append(
                MergedCode(status_id=code, name=item and item.name, fields=counts or None, item=stays, why=why)
            )
        return planned

    def result(self, status: Any, codes: list[MergedCode], **more: Any) -> Merge:
        return Merge(
            entity_id=self.entity_id,
            into=self.into.status_id,
            name=self.into.name,
            status=status,
            codes=codes,
            **more,
        )


def records_to_move(found: Carriers) -> int:
    """Values, to be exact; what could not be counted is not among them."""
    return sum(count or 0 for of in found.counts.values() for count in of.values())


def notes(merge: MergeCodes, found: Carriers, limits: RateLimits, *, logged: bool) -> Iterator[str]:
    """What else a person should know before they agree."""
    if records := records_to_move(found):
        yield AUTOMATION
        by_field: Counter[str] = Counter()
        for of in found.counts.values():
            by_field.update({path: count or 0 for path, count in of.items()})
        requests = _OTHER_REQUESTS + sum(1 + math.ceil(count / MOST_AT_ONCE) for count in by_field.values())
        seconds = math.ceil(max(0.0, requests - limits.burst) / limits.per_second)
        yield f"about {requests} requests" + (f"; the portal's limits alone take {seconds} s" if seconds else "")
    if records and not logged:
        yield "BITRIX24_AUDIT_LOG is not set, so `bitrix24-directories-mcp undo` could not take it back"
    for code in merge.codes:
        if is_channel_source(merge.entity_id, code):
            yield f"{shown_code(code)}: {CHANNEL_COMES_BACK}"
    yield from (f"not counted and so not moved: {what}" for what in found.uncounted)


def stored_spelling(code: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A code as the first of some records carries it; as it is where none does."""
    for row in rows:
        for field in row.values():
            for value in map(str, field if isinstance(field, list) else [field]):
                if folded_code(value) == folded_code(code):
                    return value
    return code


def _refuse_unfit(code: str, target: Item, items: Sequence[Item], known: Mapping[str, Item]) -> None:
    if not code.strip():
        raise refused("a code is empty", "Leave it out, and call again")
    if folded_code(code) == folded_code(target.status_id):
        raise refused(
            f"{quoted(code)} cannot be merged into {shown_code(target.status_id)}: to Bitrix24 they are the same code",
            "Leave it out, and call again",
        )
    alike = [item for item in items if folded_code(item.status_id) == folded_code(code) and item.status_id != code]
    if alike and code not in known:
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
