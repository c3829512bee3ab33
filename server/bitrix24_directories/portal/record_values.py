"""Conversion of a value that is written into a record's field. Imports `record_types`.

Facts: PHP reads numbers up to the first character that belongs to none, and dates by strtotime; empty texts, null and
empty lists clear a field, and so does zero if it can be no value; phones and the like in any shape other than the
method's own are dropped silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from .record_types import Field
from .store import PortalError

TODAY = date(2026, 1, 15)
"""The demo portal's own day, which `tomorrow` follows."""

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_ZERO_IS_VALUE = {"integer", "double", "string"}
_REFERENCES = {"user", "employee", "crm_lead", "crm_deal", "crm_contact", "crm_company", "crm_quote"}
_WORDS = {"yesterday": -1, "today": 0, "now": 0, "tomorrow": 1}
_TIME = r"(?:(?:T|\s+)(?P<time>\d{1,2}:\d{2}(?::\d{2})?)(?:\.\d+)?(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
_DATES = [
    re.compile(date + _TIME, re.ASCII)
    for date in (
        r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
        r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})",
    )
]
_ZONE = "+03:00"
"""The demo portal's own, for times without one."""
_MULTIFIELD_TYPES = {"PHONE", "EMAIL", "WEB", "IM"}


@dataclass(frozen=True)
class Stored:
    """Rules for values: zero is a value or clears a field, and an old or a new method reads it."""

    zero_is_value: bool
    old_method: bool


def stored_value(field: Field, value: Any, before: Any, stored: Stored) -> Any:
    """Return the field's value after `value` was written; `before` if that is dropped.

    Raises PortalError.
    """
    if field.kind == "crm_multifield":
        return _multifield(field, value, before, stored)
    if field.multiple:
        if isinstance(value, Mapping):  # to PHP an object is an array, too
            value = [*value.values()]
        if not isinstance(value, list):
            raise PortalError(f'Value of field "{field.title}" must be an array', code="100")
        parts = [_single(field, part, None, stored) for part in value]
        return [part for part in parts if part is not None] if value else before
    if isinstance(value, list | dict) and value:
        return before
    return _single(field, value, before, stored)


def _single(field: Field, value: Any, before: Any, stored: Stored) -> Any:
    if field.kind == "boolean":
        return _boolean(value, old_method=stored.old_method)
    text = "1" if value is True else str(value)
    zero = value == 0 if isinstance(value, int | float) and value is not False else text == "0"
    if value in (None, "", False, []) and not zero:
        return None
    if zero and not (stored.zero_is_value and field.kind in _ZERO_IS_VALUE):
        return None
    match field.kind:
        case "integer":
            return int(_php_float(text))
        case kind if kind in _REFERENCES:
            return int(_php_float(text)) or None
        case "double":
            return _php_float(text)
        case "date" | "datetime":
            moment = _strtotime(text)
            return before if not moment else moment[:10] if field.kind == "date" else moment
        case "enumeration":
            return int(text) if text.isdecimal() else None
    return text


def _boolean(value: Any, *, old_method: bool) -> str:
    if old_method:
        return "N" if value in (None, "", "0", 0, "N", [], {}) else "Y"
    return "Y" if value is True or (isinstance(value, str) and value in ("true", "y", "Y")) else "N"


def _multifield(field: Field, value: Any, before: Any, stored: Stored) -> Any:
    rows = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    keys = ("VALUE", "VALUE_TYPE") if stored.old_method else ("value", "valueType")
    accepted = []
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get(keys[0]), str) or not row[keys[0]]:
            continue
        if field.name == "fm" and row.get("typeId") not in _MULTIFIELD_TYPES:
            continue
        accepted.append({keys[1]: "WORK"} | dict(row))
    return accepted or before


def _php_float(text: str) -> float:
    """Return 12 for `"12,5"`, 1.2 for `"1.200"`, and 0 for a text that begins with no digit."""
    match = _NUMBER.match(text)
    return float(match[0]) if match else 0.0


def _strtotime(text: str) -> str:
    """Return the ISO time that PHP makes of a text; empty if it cannot read it."""
    text = text.strip()
    if (days := _WORDS.get(text.lower())) is not None:
        return f"{TODAY + timedelta(days=days)}T00:00:00{_ZONE}"
    match = next((parsed for pattern in _DATES if (parsed := pattern.fullmatch(text))), None)
    if match is None:
        return ""
    year, month, day = (int(match[part]) for part in ("year", "month", "day"))
    hour, minute, second = [int(part) for part in f"{match['time'] or '0:00'}:0".split(":")][:3]
    if not 1 <= month <= 12 or not 1 <= day <= 31 or year == 0 or hour > 23 or minute > 59 or second > 59:
        return ""
    zone = re.sub(r"(\d\d)(\d\d)$", r"\1:\2", (match["zone"] or _ZONE).replace("Z", "+00:00"))
    on = date(year, month, 1) + timedelta(days=day - 1)  # February 30 is March 2
    return f"{on}T{hour:02}:{minute:02}:{second:02}{zone}"
