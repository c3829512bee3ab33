"""Phones, mails and sites in the one shape that the methods take. Pure.

Facts: `crm.item.*` takes `fm: [{typeId, valueType, value}]`, a stored row under its id; the old methods take
`PHONE: [{VALUE, VALUE_TYPE, ID, DELETE}]`. Any other shape is dropped with success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitrix24_directories.directories.fields.fields import Field, folded_name
from bitrix24_directories.text import quoted

from .aliases import MULTIFIELDS, multifield_type
from .codes import as_json
from .spelling import Key, Style
from .verdicts import DROP, Verdict

_TYPES = frozenset(MULTIFIELDS.values())
_EXPECTED = {
    "old": 'expected [{"VALUE": "...", "VALUE_TYPE": "WORK"}]',
    "new": 'expected [{"typeId": "PHONE", "valueType": "WORK", "value": "..."}]',
}
_BETWEEN = re.compile("[,;\n]")
_ONE = {"PHONE": re.compile(r"\+?(?:[\s().-]*\d){5,15}"), "EMAIL": re.compile(r"[^\s@]+@[^\s@]+")}
"""What a part of a text with commas has to look like, for the text to be several phones or mails."""

_PARTS = frozenset(("typeid", "type", "valuetype", "value", "id", "delete"))


@dataclass(frozen=True, slots=True)
class _Row:
    """One phone: what it is (PHONE), of what kind (WORK), its value; the id that it is stored under, and whether it is
    to be deleted.
    """

    type: str
    value: str
    kind: str
    id: str = ""
    deletes: bool = False

    def spelt(self, style: Style) -> dict[str, str]:
        if style == "new":
            return {"typeId": self.type, "valueType": self.kind, "value": self.value}
        if self.deletes:
            return {"ID": self.id, "DELETE": "Y"}
        return ({"ID": self.id} if self.id else {}) | {"VALUE": self.value, "VALUE_TYPE": self.kind}


def judge_multifield(key: Key, field: Field, given: Any, style: Style, old_types: Sequence[str]) -> Verdict:
    """What is to be written of phones, mails or sites: rows by the name of the field that takes them, of the new
    methods under their ids where they have some. `old_types` are those that the old methods have a field for.
    """
    raw, given = given, as_json(given)
    type_of_key = field.old_name if field.old_name in _TYPES else multifield_type(key.given)
    parts: list[tuple[str, Any]] = [("", given)]  # with the ids that they are stored under
    if isinstance(given, str) and type_of_key in _ONE:
        texts = [text.strip() for text in _BETWEEN.split(given) if text.strip()]
        if len(texts) > 1 and all(_ONE[type_of_key].fullmatch(text) for text in texts):
            parts = [("", text) for text in texts]
    elif isinstance(given, list):
        parts = [("", one) for one in given]
    elif isinstance(given, Mapping) and given and all(str(name).isdecimal() for name in given):
        is_list = [*given] == [str(place) for place in range(len(given))]
        parts = [("" if is_list else str(name), one) for name, one in given.items()]
    found = [_row(one, type_of_key, stored_under) for stored_under, one in parts]
    rows = [row for row in found if row is not None]
    if not rows or None in found:
        return Verdict("wrong", note=_EXPECTED[style], otherwise=_otherwise(raw, style))
    unknown = sorted({row.type for row in rows if row.type not in old_types})
    if style == "old" and unknown:
        return Verdict("wrong", note=f"only crm.item.* takes {', '.join(unknown)}", otherwise=_otherwise(raw, style))
    write: dict[str, Any]
    if style == "old":
        types = dict.fromkeys(row.type for row in rows)
        write = {of: [row.spelt(style) for row in rows if row.type == of] for of in types}
    elif any(row.deletes for row in rows) or len({bool(row.id) for row in rows}) > 1:
        return Verdict("wrong", note="rows that are stored and new ones need a call each")
    elif rows[0].id:
        write = {"fm": {row.id: row.spelt(style) for row in rows}}
    else:
        write = {"fm": [row.spelt(style) for row in rows]}
    as_read = raw
    if isinstance(raw, list) and all(isinstance(row, dict) for row in raw):  # an ID of 15 is read as one of "15"
        as_read = [{name: str(part) if name == "ID" else part for name, part in row.items()} for row in raw]
    if [*write] == [key.given] and quoted(write[key.given]) == quoted(as_read):
        return Verdict("unchecked", {key.given: raw})
    return Verdict("changed", write, otherwise=_otherwise(raw, style))


def _otherwise(given: Any, style: Style) -> str:
    """What the methods do with rows as they came: those of another shape they drop."""
    rows = list(given.values()) if isinstance(given, Mapping) else given if isinstance(given, list) else []
    names = {"VALUE", "DELETE"} if style == "old" else {"value"}
    taken = [
        isinstance(one, Mapping) and not names.isdisjoint(one) and (style == "old" or one.get("typeId") in _TYPES)
        for one in rows
    ]
    return DROP if not any(taken) else "" if all(taken) else "drop part of it"


def _row(given: Any, type_of_key: str, stored_under: str) -> _Row | None:
    """One row, whatever its names are spelt like; None if it is none, or is of another type than its key says."""
    parts = given if isinstance(given, Mapping) else {"value": given}
    told = {folded_name(str(name)): part for name, part in parts.items()}
    if set(told) - _PARTS or any(isinstance(part, bool) or not isinstance(part, str | int) for part in told.values()):
        return None
    told = {name: str(part) for name, part in told.items()}
    either = told.get("type", "").upper()  # some write the type there, some the kind
    row = _Row(
        type=told.get("typeid", "").upper() or (either if either in _TYPES else type_of_key),
        value=told.get("value", ""),
        kind=told.get("valuetype", "") or ("" if either in _TYPES else either) or "WORK",
        id=told.get("id", stored_under),
        deletes=told.get("delete", "") == "Y",
    )
    if row.type not in _TYPES or type_of_key not in ("", row.type):
        return None
    return row if row.value.strip() or (row.deletes and row.id) else None
