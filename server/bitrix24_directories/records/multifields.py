"""Phones, mails and sites in the shape that the methods take. Pure.

Facts: `crm.item.*` takes `fm: [{typeId, valueType, value}]`, with stored rows under their ids; the old methods take
`PHONE: [{VALUE, VALUE_TYPE, ID, DELETE}]`. The portal drops any other shape and reports success.
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

_TYPES = tuple(MULTIFIELDS.values())  # not a set: a model may pass an unhashable value
_EXPECTED = {
    "old": 'expected [{"VALUE": "...", "VALUE_TYPE": "WORK"}]',
    "new": 'expected [{"typeId": "PHONE", "valueType": "WORK", "value": "..."}]',
}
_BETWEEN = re.compile("[,;\n]")
_ONE = {"PHONE": re.compile(r"\+?(?:[\s().-]*\d){5,15}"), "EMAIL": re.compile(r"[^\s@]+@[^\s@]+")}
"""The form of each part of a text with commas that holds several phones or mails."""

STORED_AND_NEW = "rows that are stored and new ones need a call each"

_PARTS = frozenset(("typeid", "type", "valuetype", "value", "id", "delete"))


@dataclass(frozen=True, slots=True)
class _MultifieldRow:
    """Phone, mail or site with its type (PHONE), kind (WORK), and id if it is stored."""

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


def judge_multifield(key: Key, field: Field, raw: Any, style: Style, old_types: Sequence[str]) -> Verdict:
    """Judge phones, mails or sites; the value to write holds rows by the name of their field.

    The new methods take stored rows under their ids. `old_types` are the types that the old methods have a field for.
    """
    parsed = as_json(raw)
    type_of_key = field.old_name if field.old_name in _TYPES else multifield_type(key.text)
    # The methods drop rows of any other shape.
    raw_rows = list(raw.values()) if isinstance(raw, Mapping) else raw if isinstance(raw, list) else []
    names = {"VALUE", "DELETE"} if style == "old" else {"value"}
    taken = [
        isinstance(row, Mapping) and not names.isdisjoint(row) and (style == "old" or row.get("typeId") in _TYPES)
        for row in raw_rows
    ]
    otherwise = DROP if not any(taken) else "" if all(taken) else "drop part of it"
    rows = _rows(parsed, type_of_key)
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
    if [*write] == [key.text] and quoted(write[key.text]) == quoted(as_given):
        return Verdict("unchecked", {key.text: raw})
    return Verdict("changed", write, otherwise=otherwise)


def _rows(raw: Any, type_of_key: str) -> list[_MultifieldRow]:
    """Return the rows of a value in any shape; none if a part is no row or of another type."""
    stored: Sequence[tuple[str, Any]] = [("", raw)]  # id of the stored row, row
    if isinstance(raw, str) and type_of_key in _ONE:
        texts = [part.strip() for part in _BETWEEN.split(raw) if part.strip()]
        if len(texts) > 1 and all(_ONE[type_of_key].fullmatch(text) for text in texts):
            stored = [("", text) for text in texts]
    elif isinstance(raw, list):
        stored = [("", part) for part in raw]
    elif isinstance(raw, Mapping) and raw and all(str(name).isdecimal() for name in raw):
        is_list = [*raw] == [str(index) for index in range(len(raw))]
        stored = [("" if is_list else str(name), part) for name, part in raw.items()]
    rows: list[_MultifieldRow] = []
    for stored_under, row in stored:
        fields = row if isinstance(row, Mapping) else {"value": row}
        parts = {folded_name(str(name)): part for name, part in fields.items()}
        if set(parts) - _PARTS or any(isinstance(p, bool) or not isinstance(p, str | int) for p in parts.values()):
            return []
        strings = {name: str(part) for name, part in parts.items()}
        either = strings.get("type", "").upper()  # holds the type in some inputs, the kind in others
        type_id = strings.get("typeid", "").upper() or (either if either in _TYPES else type_of_key)
        value, row_id = strings.get("value", ""), strings.get("id", stored_under)
        deletes = strings.get("delete") == "Y"
        is_filled = value.strip() or (deletes and row_id)
        if type_id not in _TYPES or type_of_key not in ("", type_id) or not is_filled:
            return []
        kind = strings.get("valuetype", "") or ("" if either in _TYPES else either) or "WORK"
        rows.append(_MultifieldRow(type_id, value, kind, row_id, deletes))
    return rows
