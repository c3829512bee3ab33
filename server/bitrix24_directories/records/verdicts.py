"""What is said of one value, and the values whose form alone is checked: booleans, numbers, dates, ids. Pure.

Facts: booleans are `Y` and `N`, and what is none of true, "true", "y", "Y" silently becomes N; an invalid number or
date is dropped; an empty text, 0, "0" and an empty list clear a field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bitrix24_directories.directories.models import Item

from .models import Outcome

DROP, STORE_RAW, STORE_N = "drop it", "store it raw", "store N"
"""What Bitrix24 would do with a wrong value."""

_YES = frozenset({"y", "yes", "true", "1", "on", "да", "так", "иә", "sí", "si", "sim", "tak", "ja", "oui", "evet"})
_NO = frozenset({"n", "no", "false", "0", "off", "нет", "ні", "жоқ", "não", "nie", "nein", "non", "hayır"})
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_DECIMAL = re.compile(r"\+?\d+(?:\.\d+)?|-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_GROUPED = r"\d{1,3}(?:%s\d{3})+"
_BLANKS = "[ \u00a0\u202f'’]"
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_TIME = r"(?P<time>\d{1,2}:\d{2}(?::\d{2})?)(?:\.\d+)?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
_DATES = (
    re.compile(rf"(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}})(?:[T ]\s*{_TIME})?", re.ASCII),
    re.compile(rf"(?P<d>\d{{1,2}})\.(?P<m>\d{{1,2}})\.(?P<y>\d{{4}})(?:,?\s+{_TIME})?", re.ASCII),
)
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a value: `value` is what to write, where something is, `note` why; `otherwise` is what Bitrix24
    would do with it as it was given.
    """

    outcome: Outcome
    value: Any = None
    name: str = ""
    candidates: tuple[Item, ...] = ()
    note: str = ""
    otherwise: str = ""

    @property
    def writes(self) -> bool:
        return self.outcome in ("right", "changed", "unchecked")


def clears(value: Any) -> bool:
    """Whether a value empties its field, unless that is a boolean."""
    return value is None or value is False or value in ("", "0", [], {}) or (value == 0 and not isinstance(value, bool))


def boolean(value: Any) -> Verdict:
    if isinstance(value, bool) or value in ("Y", "N", "y", "true"):
        return Verdict("right", value)
    text = str(value).strip().casefold()
    if text in _YES:
        return Verdict("changed", "Y", otherwise=STORE_N)
    if text in _NO:
        return Verdict("changed", "N")
    return Verdict("wrong", candidates=(option("Y"), option("N")), otherwise=STORE_N)


def number(value: Any, *, whole: bool) -> Verdict:
    """A number in the form that the portal keeps, `1500.5`."""
    given = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    meant = _numbers(given.strip()) if isinstance(given, str) else []
    if whole:
        meant = [one for one in meant if one == one.to_integral_value()]
    if not meant:
        return Verdict("wrong", note=f"expected a {'whole ' if whole else ''}number such as 1500", otherwise=DROP)
    if len(meant) > 1:
        return Verdict("ambiguous", candidates=tuple(option(_digits(one)) for one in meant), otherwise=DROP)
    digits = _digits(meant[0].to_integral_value() if whole else meant[0])
    if given == digits or (_PLAIN.fullmatch(given) and not whole):
        return Verdict("right", value)
    exact = int(digits) if "." not in digits else float(digits)
    return Verdict("changed", exact if str(exact) == digits else digits, otherwise=DROP)


def _numbers(text: str) -> list[Decimal]:
    """All that a text may mean: "1,500" is 1500 to some and 1.5 to others."""
    if _DECIMAL.fullmatch(text):
        return [Decimal(text)]
    sign, bare = ("-", text[1:]) if text.startswith("-") else ("", text)
    for blank, point in ((_BLANKS, "[.,]"), (r"\.", ","), (",", r"\.")):
        if match := re.fullmatch(rf"({_GROUPED % blank})(?:{point}(\d+))?", bare, re.ASCII):
            grouped = Decimal(sign + re.sub(r"\D", "", match[1]) + (f".{match[2]}" if match[2] else ""))
            parts = re.split(r"\D", match[1])
            one_comma = blank == "," and not match[2] and len(parts) == 2
            return [grouped, Decimal(f"{sign}{parts[0]}.{parts[1]}")] if one_comma else [grouped]
    if match := re.fullmatch(r"(\d+),(\d+)", bare, re.ASCII):
        return [Decimal(f"{sign}{match[1]}.{match[2]}")]
    return []


def _digits(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def day(value: Any) -> Verdict:
    """A date as the portal keeps it, `2026-01-15`."""
    if isinstance(value, str) and _DATE.fullmatch(value) and _real(value):
        return Verdict("right", value)
    meant = [moment[:10] for moment in _moments(value)]
    return _one_of(meant, "expected a date such as 2026-01-15")


def moment(value: Any) -> Verdict:
    """A time as the portal keeps it, `2026-01-15T09:00:00+03:00`; without a zone it is the portal's own."""
    if isinstance(value, str) and _MOMENT.fullmatch(value) and _real(value):
        return Verdict("right", value)
    return _one_of(_moments(value), "expected a time such as 2026-01-15T09:00:00+03:00")


def _one_of(meant: list[str], expected: str) -> Verdict:
    if not meant:
        return Verdict("wrong", note=expected, otherwise=DROP)
    if len(meant) > 1:
        return Verdict("ambiguous", candidates=tuple(option(one) for one in meant), otherwise=DROP)
    return Verdict("changed", meant[0], otherwise=DROP)


def _moments(value: Any) -> list[str]:
    """All times that a text may mean: "1/2/2026" is a day in January to some and in February to others."""
    text = value.strip() if isinstance(value, str) else ""
    if match := _SLASHED.fullmatch(text):
        first, second, year = match.groups()
        read = [f"{year}-{month:0>2}-{of_month:0>2}T00:00:00" for month, of_month in ((first, second), (second, first))]
        return [one for one in dict.fromkeys(read) if _real(one)]
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            hour, minute, *second = (match["time"] or "0:00").split(":")
            zone = re.sub(r"(\d\d)(\d\d)$", r"\1:\2", match["zone"] or "")
            date_part = f"{match['y']}-{match['m']:0>2}-{match['d']:0>2}"
            found = f"{date_part}T{hour:0>2}:{minute}:{''.join(second) or '00'}{zone}"
            return [found] if _real(found) else []
    return []


def _real(text: str) -> bool:
    """Whether there is such a day and such a time."""
    try:
        date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def record_id(value: Any) -> Verdict:
    """The id of a user or of another record; whether there is one is not looked at."""
    text = str(value) if not isinstance(value, bool) else ""
    if text.isascii() and text.isdecimal():
        return Verdict("unchecked", value)
    if text.isascii() and text.strip().isdecimal():
        return Verdict("changed", int(text.strip()), otherwise=DROP)
    return Verdict("wrong", note="expected an id, a whole number", otherwise=DROP)


def option(code: str, name: str = "") -> Item:
    return Item(status_id=code, name=name, sort=0)
