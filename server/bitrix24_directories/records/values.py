"""Judges values by their form: booleans, numbers, dates, ids. Pure.

Facts: `crm.item.*` stores N unless the value is true, "true", "y" or "Y"; the old methods store Y unless it is N or
empty. PHP reads a number up to the first character that cannot belong to one. It reads a date with strtotime: February
30 becomes a day in March, 1/2 is January 2, and unreadable text is dropped.
"""

from __future__ import annotations

import contextlib
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from .spelling import Style
from .verdicts import DROP, Verdict, option

_YES = frozenset({"y", "yes", "true", "1", "on", "да", "так", "иә", "sí", "si", "sim", "tak", "ja", "oui", "evet"})
_NO = frozenset({"n", "no", "false", "0", "off", "нет", "ні", "жоқ", "não", "nie", "nein", "non", "hayır"})
_LARGEST = 2**31 - 1
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_DECIMAL = re.compile(r"\+?\d+(?:\.\d+)?|-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_PHP_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_EITHER = re.compile(r"([+-]?[1-9]\d{0,2})[.,](\d{3})", re.ASCII)
"""Numbers with two readings: "1,500" and "1.500" are 1500 in some countries and 1.5 in others."""

_WITH_MARKS = [
    re.compile(rf"(\d{{1,3}}(?:{blank}\d{{3}})+)(?:{point}(\d+))?", re.ASCII)
    for blank, point in (("[ \u00a0\u202f'’]", "[.,]"), (r"\.", ","), (",", r"\."))
]
_WITH_MARKS.append(re.compile(r"(\d+),(\d+)", re.ASCII))
"""Numbers with separators between thousands, and with a decimal comma."""

_TIME = r"(?P<time>\d{1,2}:\d{2}(?::\d{2})?)(?:\.\d+)?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
_YEAR_FIRST = re.compile(rf"(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}})(?:[T ]\s*{_TIME})?", re.ASCII)
_DAY_FIRST = re.compile(rf"(?P<d>\d{{1,2}})\.(?P<m>\d{{1,2}})\.(?P<y>\d{{4}})(?:,?\s+{_TIME})?", re.ASCII)
_DASHED = re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})", re.ASCII)
_DOTTED = re.compile(r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})", re.ASCII)
_SLASHED = re.compile(r"(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})", re.ASCII)
_READ_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{2}\.\d{2}\.\d{4}", re.ASCII)
_READ_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2})?|\d{2}\.\d{2}\.\d{4}(?: \d{2}:\d{2}(?::\d{2})?)?",
    re.ASCII,
)
_LATE_IN_UTC = re.compile(r"T(?:1\d|2\d):.*(?:Z|\+00:00)")
_DAYS = frozenset(("yesterday", "today", "now", "tomorrow"))


def boolean(value: Any, style: Style) -> Verdict:
    """Judge a value of a boolean field."""
    if isinstance(value, bool) or value in ("Y", "N", "y", "true"):
        return Verdict("right", value)
    text = str(value).strip().casefold()
    stored = "N" if style == "new" or value in (None, "", 0, "0", [], {}) else "Y"
    otherwise = f"store {stored}"
    if text not in _YES | _NO:
        return Verdict("wrong", candidates=(option("Y"), option("N")), otherwise=otherwise)
    flag = "Y" if text in _YES else "N"
    return Verdict("changed", flag, otherwise="" if stored == flag else otherwise)


def number(value: Any, *, whole: bool) -> Verdict:
    """Judge a number; the value to write has a form that the portal reads correctly, `1500.5`."""
    text = str(value).strip()
    otherwise, readings = "", []
    if not isinstance(value, bool):
        match = _PHP_NUMBER.match(text)
        by_php = Decimal(match[0]) if match else Decimal(0)
        if not by_php or 1e-6 < abs(by_php) < _LARGEST:  # the result for very large and very small numbers is not known
            otherwise = f"store {_digits(Decimal(int(by_php)) if whole else by_php)}"
        # All readings of the text.
        sign, bare = ("-", text[1:]) if text.startswith("-") else ("", text)
        marked = next((marked_match for pattern in _WITH_MARKS if (marked_match := pattern.fullmatch(bare))), None)
        if isinstance(value, str) and (either := _EITHER.fullmatch(text)):
            readings = [Decimal(either[1] + either[2]), Decimal(f"{either[1]}.{either[2]}")]
        elif not isinstance(value, str) or _DECIMAL.fullmatch(text):
            readings = [Decimal(text)]
        elif marked:
            readings = [Decimal(sign + re.sub(r"\D", "", marked[1]) + (f".{marked[2]}" if marked[2] else ""))]
    if whole:
        readings = [reading for reading in readings if reading == reading.to_integral_value()]
    if not readings:
        return Verdict("wrong", note=f"expected a {'whole ' if whole else ''}number such as 1500", otherwise=otherwise)
    if len(readings) > 1:
        candidates = tuple(option(_digits(reading)) for reading in readings)
        return Verdict("ambiguous", candidates=candidates, otherwise=otherwise)
    (exact_number,) = readings
    if whole and not -_LARGEST - 1 <= exact_number <= _LARGEST:
        return Verdict("wrong", note=f"a whole number has 32 bits here, {-_LARGEST - 1} to {_LARGEST}")
    digits = _digits(exact_number)
    as_double = float(exact_number)
    if not whole and Decimal(repr(as_double)) != exact_number:
        if as_double in (float("inf"), float("-inf")):
            return Verdict("wrong", note="it is larger than any number that the portal can keep")
        return Verdict("changed", as_double, note="the portal keeps no more digits of it")
    if not isinstance(value, str) or value == digits or (not whole and _PLAIN.fullmatch(value)):
        return Verdict("right", value)
    exact = int(digits) if "." not in digits else as_double
    return Verdict("changed", exact, otherwise="" if otherwise == f"store {digits}" else otherwise)


def _digits(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def day(value: Any) -> Verdict:
    """Judge a date; the portal reads `2026-01-15` and `15.01.2026`."""
    if isinstance(value, str) and _READ_DATE.fullmatch(value) and _moments(value):
        return Verdict("right", value)
    moments = _moments(value)
    if moments and _LATE_IN_UTC.search(moments[0]):  # midnight of the next day east of Greenwich, in JSON
        moments.append((datetime.fromisoformat(moments[0][:10]) + timedelta(days=1)).isoformat())
    return _judge_readings(value, [moment[:10] for moment in moments], "expected a date such as 2026-01-15")


def moment(value: Any) -> Verdict:
    """Judge a time such as `2026-01-15T09:00:00+03:00`; without a zone the portal uses its own."""
    if isinstance(value, str) and _READ_TIME.fullmatch(value) and _moments(value):
        return Verdict("right", value)
    return _judge_readings(value, _moments(value), "expected a time such as 2026-01-15T09:00:00+03:00")


def _judge_readings(value: Any, readings: list[str], expected: str) -> Verdict:
    """Judge a date or time by its `readings`, and predict the result of strtotime if possible."""
    text = value.strip() if isinstance(value, str) else str(value)
    match = _DASHED.fullmatch(text) or _DOTTED.fullmatch(text) or _SLASHED.fullmatch(text)
    if text.casefold() in _DAYS:
        otherwise = "store the day that it is then"
    elif match is None:
        otherwise = f"{DROP}, or read some date in it"
    elif not 1 <= int(match["m"]) <= 12 or not 1 <= int(match["d"]) <= 31:
        otherwise = DROP
    else:
        year, month, of_month = int(match["y"]), int(match["m"]), int(match["d"])
        otherwise = f"store {date(year, month, 1) + timedelta(days=of_month - 1)}" if year else ""
    if not readings:
        return Verdict("wrong", note=expected, otherwise=otherwise)
    if len(readings) > 1:
        return Verdict("ambiguous", candidates=tuple(map(option, readings)), otherwise=otherwise)
    return Verdict("changed", readings[0], otherwise=otherwise if otherwise == DROP else "")


def _moments(value: Any) -> list[str]:
    """Return all readings of a text as a time: "1/2/2026" may be in January or in February."""
    text = value.strip() if isinstance(value, str) else ""
    read: list[str] = []
    if match := _SLASHED.fullmatch(text):
        first, second, year = match["m"], match["d"], match["y"]
        read = [f"{year}-{month:0>2}-{of_month:0>2}T00:00:00" for month, of_month in ((first, second), (second, first))]
    elif match := _YEAR_FIRST.fullmatch(text) or _DAY_FIRST.fullmatch(text):
        hour, minute, *seconds = (match["time"] or "0:00").split(":")
        zone = re.sub(r"(\d\d)(\d\d)$", r"\1:\2", match["zone"] or "")
        date_part = f"{match['y']}-{match['m']:0>2}-{match['d']:0>2}"
        read = [f"{date_part}T{hour:0>2}:{minute}:{''.join(seconds) or '00'}{zone}"]
    real: list[str] = []
    for moment_text in dict.fromkeys(read):
        with contextlib.suppress(ValueError):  # no such day or time
            datetime.fromisoformat(moment_text)
            real.append(moment_text)
    return real


def record_id(value: Any) -> Verdict:
    """Judge the id of a user or of another record; its existence is not checked."""
    text = str(value) if not isinstance(value, bool) else ""
    expected = "expected an id, a whole number"
    if not (text.isascii() and text.strip().isdecimal()):
        return Verdict("wrong", note=expected)
    if len(text.strip()) > 10 or int(text) > _LARGEST:
        return Verdict("wrong", note=f"{expected} of {_LARGEST} at most")
    return Verdict("unchecked", value) if text == text.strip() else Verdict("changed", int(text))
