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

_TYPES = tuple(MULTIFIELDS.values())  # no set: what a model passes may be unhashable
_EXPECTED = {
    "old": 'expected [{"VALUE": "...", "VALUE_TYPE": "WORK"}]',
    "new": 'expected [{"typeId": "PHONE", "valueType": "WORK", "value": "..."}]',
}
_BETWEEN = re.compile("[,;\n]")
_ONE = {"PHONE": re.compile(r"\+?(?:[\s().-]*\d){5,15}"), "EMAIL": re.compile(r"[^\s@]+@[^\s@]+")}
"""What a part of a text with commas has to look like, for the text to be several phones or mails."""

STORED_AND_NEW = "rows that are stored and new ones need a call each"

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
    # The methods drop rows of another shape than theirs.
    came = list(raw.values()) if isinstance(raw, Mapping) else raw if isinstance(raw, list) else []
    names = {"VALUE", "DELETE"} if style == "old" else {"value"}
    taken = [
        isinstance(one, Mapping) and not names.isdisjoint(one) and (style == "old" or one.get("typeId") in _TYPES)
        for one in came
    ]
    otherwise = DROP if not any(taken) else "" if all(taken) else "drop part of it"
    rows = _rows(given, type_of_key)
    if not rows:
        return Verdict("wrong", note=_EXPECTED[style], otherwise=otherwise)
    unknown = sorted({row.type for row in rows if row.type not in old_types})
    if style == "old" and unknown:
        return Verdict("wrong", note=f"only crm.item.* takes {', '.join(unknown)}", otherwise=otherwise)
    as_given = raw
    write: dict[str, Any] = {}
    if style == "old":
        for row in rows:
            write.setdefault(row.type, []).append(row.spelt(style))
        if isinstance(raw, list) and all(isinstance(row, dict) for row in raw):  # an ID of 15 is read as one of "15"
            as_given = [{name: str(part) if name == "ID" else part for name, part in row.items()} for row in raw]
    elif any(row.deletes for row in rows) or len({bool(row.id) for row in rows}) > 1:
        return Verdict("wrong", note=STORED_AND_NEW)
    else:
        spelt = [row.spelt(style) for row in rows]
        write["fm"] = {row.id: row.spelt(style) for row in rows} if rows[0].id else spelt
    if [*write] == [key.given] and quoted(write[key.given]) == quoted(as_given):
        return Verdict("unchecked", {key.given: raw})
    return Verdict("changed", write, otherwise=otherwise)


def _rows(given: Any, type_of_key: str) -> list[_Row]:
    """The rows in any shape that phones come in, whatever their names are spelt like; none if one of them is no row, or
    is of another type than its key says."""
    stored: Sequence[tuple[str, Any]] = [("", given)]  # each under the id that it is stored under
    if isinstance(given, str) and type_of_key in _ONE:
        texts = [part.strip() for part in _BETWEEN.split(given) if part.strip()]
        if len(texts) > 1 and all(_ONE[type_of_key].fullmatch(text) for text in texts):
            stored = [("", text) for text in texts]
    elif isinstance(given, list):
        stored = [("", one) for one in given]
    elif isinstance(given, Mapping) and given and all(str(name).isdecimal() for name in given):
        is_list = [*given] == [str(place) for place in range(len(given))]
        stored = [("" if is_list else str(name), one) for name, one in given.items()]
    rows: list[_Row] = []
    for stored_under, one in stored:
        named = one if isinstance(one, Mapping) else {"value": one}
        parts = {folded_name(str(name)): part for name, part in named.items()}
        if set(parts) - _PARTS or any(isinstance(it, bool) or not isinstance(it, str | int) for it in parts.values()):
            return []
        told = {name: str(part) for name, part in parts.items()}
        either = told.get("type", "").upper()  # some write the type there, some the kind
        of = told.get("typeid", "").upper() or (either if either in _TYPES else type_of_key)
        value, row_id, deletes = told.get("value", ""), told.get("id", stored_under), told.get("delete") == "Y"
        is_filled = value.strip() or (deletes and row_id)
        if of not in _TYPES or type_of_key not in ("", of) or not is_filled:
            return []
        kind = told.get("valuetype", "") or ("" if either in _TYPES else either) or "WORK"
        rows.append(_Row(of, value, kind, row_id, deletes))
    return rows
