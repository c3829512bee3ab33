"""What becomes of one value that is written into a field of a record, by the field's type. Imports `record_types`.

Facts: PHP reads numbers up to the first character that belongs to none, and dates by strtotime; empty texts, null and
empty lists clear a field, and so does zero where it can be no value; phones and the like in any shape but the method's
own are dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from .record_types import Field
from .store import PortalError

TODAY = date(2026, 1, 15)
"""The demo portal's own day, which `tomorrow` follows."""

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_ZERO_IS_VALUE = {"integer", "double", "string"}
_REFERENCES = {"user", "crm_company"}
_WORDS = {"yesterday": -1, "today": 0, "now": 0, "tomorrow": 1}
_YEAR_FIRST = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\d)")
_MONTH_FIRST = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?!\d)")
_MULTIFIELD_TYPES = {"PHONE", "EMAIL", "WEB", "IM"}


@dataclass(frozen=True)
class Stored:
    """How values are read: whether zero is one, and whether a method of the type's own reads them."""

    zero_is_value: bool
    old_method: bool


def stored_value(field: Field, value: Any, before: Any, stored: Stored) -> Any:
    """What stands in the field after `value` was written; `before` if it is dropped. Raises PortalError."""
    if field.kind == "crm_multifield":
        return _multifield(field, value, before, stored)
    if field.multiple:
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
        case "integer" | "user" | "crm_company":
            number = int(_php_float(text))
            return None if number == 0 and field.kind in _REFERENCES else number
        case "double":
            return _php_float(text)
        case "date":
            return _strtotime(text) or before
        case "datetime":
            return text if _is_moment(text) else before
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
    kept = []
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get(keys[0]), str) or not row[keys[0]]:
            continue
        if field.name == "fm" and row.get("typeId") not in _MULTIFIELD_TYPES:
            continue
        kept.append({keys[1]: "WORK"} | dict(row))
    return kept or before


def _php_float(text: str) -> float:
    """`"12,5"` is 12, `"1.200"` is 1.2, and what begins with no digit is 0."""
    match = _NUMBER.match(text)
    return float(match[0]) if match else 0.0


def _strtotime(text: str) -> str | None:
    """The ISO date that PHP makes of a text; None for what it cannot read."""
    text = text.strip()
    if (days := _WORDS.get(text.lower())) is not None:
        return (TODAY + timedelta(days=days)).isoformat()
    if match := _YEAR_FIRST.match(text):
        year, month, day = map(int, match.groups())
    elif match := _DAY_FIRST.match(text):
        day, month, year = map(int, match.groups())
    elif match := _MONTH_FIRST.match(text):
        month, day, year = map(int, match.groups())
    else:
        return None
    if not 1 <= month <= 12 or not 1 <= day <= 31 or year == 0:
        return None
    return (date(year, month, 1) + timedelta(days=day - 1)).isoformat()  # February 30 is March 2


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
