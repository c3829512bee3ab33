"""What a model passes for the fields of a record, or of several: `NAME=value` lines, objects, or JSON of either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

from bitrix24_directories.rest import Bitrix24Error, Entry
from bitrix24_directories.text import one_line, quoted

MOST_RECORDS, MOST_FIELDS, VALUE_LIMIT = 50, 200, 65_535
_SHOWN = 60

Pairs = list[tuple[str, Any]]


def read_records(given: object) -> list[Pairs]:
    """The fields and values of each record: of one out of lines or an object, of several out of as many objects.

    Raises Bitrix24Error (INVALID_ARGUMENTS) for what is none of these, and for more than the limits allow.
    """
    if isinstance(given, str):
        text = given.strip()
        lines = [line for line in text.splitlines() if line.strip()]
        given = _from_json(text) if text.startswith(("{", "[")) else lines
    entries = [_opened(one) for one in (given if isinstance(given, list) else [given])]
    several = len(entries) > 1 and all(isinstance(one, dict) for one in entries)
    records = [list(_pairs([one])) for one in entries] if several else [list(_pairs(entries))]
    if len(records) > MOST_RECORDS:
        raise refused_argument("fields", f"expected {MOST_RECORDS} records at most; got {len(records)}")
    for record in records:
        _make_sure_of(record)
    return records


def refused_argument(name: str, why: str) -> Bitrix24Error:
    return Bitrix24Error(
        "INVALID_ARGUMENTS",
        Entry(
            "check_record was called with wrong arguments", f"Correct them and call again:\n- {name}: {why}", "input"
        ),
    )


def _make_sure_of(record: Pairs) -> None:
    if not 0 < len(record) <= MOST_FIELDS:
        raise refused_argument("fields", f"expected 1 to {MOST_FIELDS} fields such as STAGE_ID=WON; got {len(record)}")
    longest = max(len(text) for pair in record for text in pair if isinstance(text, str))
    if longest > VALUE_LIMIT:
        raise refused_argument("fields", f"each may have {VALUE_LIMIT} characters at most; got {longest}")


def _opened(entry: object) -> object:
    """An object that came as JSON."""
    return _from_json(entry) if isinstance(entry, str) and entry.lstrip().startswith("{") else entry


def _pairs(entries: Iterable[object]) -> Iterator[tuple[str, Any]]:
    for one in entries:
        if isinstance(one, dict):
            yield from ((str(name), value) for name, value in one.items())
        elif isinstance(one, str):
            yield _pair(one)
        else:
            raise refused_argument("fields", "expected a list of texts such as STAGE_ID=WON, or an object")


def _pair(line: str) -> tuple[str, str]:
    sign = "=" if "=" in line else ":"
    name, found, value = line.partition(sign)
    if not (found and name.strip()):
        raise refused_argument("fields", f"{quoted(one_line(line, _SHOWN))} is not NAME=value")
    spaced = sign == ":" or name != name.rstrip()
    return name.strip(), value.strip() if spaced else value


def _from_json(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise refused_argument("fields", "broken JSON") from None
