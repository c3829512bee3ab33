"""Reads the fields of records from a model's arguments.

They are `NAME=value` lines, objects, or JSON of either; also the bodies of REST calls, and the lists of names and
values that other tools take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json

from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import one_line, quoted, shown_id

MOST_RECORDS, MOST_FIELDS, VALUE_LIMIT = 50, 200, 65_535
_SHOWN = 60
_DEPTH = 3  # of nested lists and bodies
_DIGITS = 15

_NAMES = {"name", "field", "key", "code"}  # keys of a field's name, beside its value
_SEVERAL = {"data", "records", "items"}  # keys of a list of records: `data` in crm.item.batchImport
_ONE_RECORD = {"fields", "data", "record"}
_FIELD_EXTRAS = {"title", "label", "type", "description"}  # from other tools, beside name and value
_BESIDE = {"entitytypeid", "id", "recordid", "params"}
_BULLET = re.compile(r"\s*[-*•·–—]\s+")
_FENCE = re.compile(r"\s*```\w*\n(?P<inside>.*)\n```\s*", re.DOTALL)
_NAME_BEFORE_COLON = re.compile(r"\s*(?:[A-Z][A-Z0-9_]+|[a-z]\w*):\s", re.ASCII)
_ANOTHER_FIELD = re.compile(r"[,;]\s*(?:[A-Z]+_[A-Z0-9_]+|[a-z]+[A-Z]\w*)\s*=", re.ASCII)

Pairs = list[tuple[str, Any]]


@dataclass(frozen=True)
class GivenRecord:
    """Fields and values of a record, and the numbers beside them in the body of a REST call."""

    pairs: Pairs
    entity_type_id: int | None = None
    record_id: int | None = None


def read_records(argument: object) -> list[GivenRecord]:
    """Return one record from lines, names with values or an object; several from a list.

    Raises Bitrix24Error (INVALID_ARGUMENTS) for anything else, and for more than the limits allow.
    """
    records = _records(argument, _DEPTH)
    if len(records) > MOST_RECORDS:
        raise refused_argument("fields", f"expected {MOST_RECORDS} records at most; got {len(records)}")
    for record in records:
        if not 0 < len(record.pairs) <= MOST_FIELDS:
            why = f"expected 1 to {MOST_FIELDS} fields such as STAGE_ID=WON; got {len(record.pairs)}"
            raise refused_argument("fields", why)
        longest = max(len(text) for pair in record.pairs for text in pair if isinstance(text, str))
        if longest > VALUE_LIMIT:
            raise refused_argument("fields", f"each may have {VALUE_LIMIT} characters at most; got {longest}")
    return records


def refused_argument(name: str, why: str) -> Bitrix24Error:
    """Return the error INVALID_ARGUMENTS for one argument."""
    return Bitrix24Error(
        "INVALID_ARGUMENTS",
        ErrorKind(
            "check_record was called with wrong arguments", f"Correct them and call again:\n- {name}: {why}", "input"
        ),
    )


def _records(argument: object, depth: int) -> list[GivenRecord]:
    entries = list(_entries(argument))
    whole = [entry for entry in entries if isinstance(entry, list) or (isinstance(entry, dict) and not _is_pair(entry))]
    if depth and entries and len(whole) == len(entries):
        return [record for entry in whole for record in _records_of(entry, depth - 1)]
    return [GivenRecord([pair for entry in entries for pair in _pairs(entry)])]


def _entries(argument: object) -> Iterator[object]:
    """Yield the lines of a text or the items of a list, and parsed objects for JSON.
    Bullets and comments are removed."""
    if isinstance(argument, str):
        fenced = _FENCE.fullmatch(argument)
        text = (fenced["inside"] if fenced else argument).strip()
        argument = _from_json(text) if text.startswith(("{", "[")) else text.splitlines()
    for entry in argument if isinstance(argument, list) else [argument]:
        if not isinstance(entry, str):
            yield entry
            continue
        bullet = _BULLET.match(entry)
        line = entry[bullet.end() :] if bullet else entry
        if line.strip() and not line.lstrip().startswith("#"):
            yield _from_json(line) if line.lstrip().startswith(("{", "[{")) else line


def _records_of(entry: list[Any] | dict[str, Any], depth: int) -> list[GivenRecord]:
    if isinstance(entry, list):
        return _records(entry, depth)
    inside = next((key for key, value in entry.items() if _holds_records(key, value)), None)
    if inside is None:
        return [GivenRecord(list(_pairs(entry)))]
    for key in entry:
        if key == inside or _folded(key) in _BESIDE:
            continue
        if _folded(key) == "useoriginalufnames":
            why = f"leave {key} out: names are written as crm.item.* takes them without it"
        else:
            why = (
                f"{shown_id(key, _SHOWN)} stands beside {inside}, where only entityTypeId, id and params may: leave it "
                f"out, or put it into {inside} if it is a field"
            )
        raise refused_argument("fields", why)
    type_id, record_id = _number(entry, ("entitytypeid",), 2), _number(entry, ("id", "recordid"), 15)
    records = _records(entry[inside], depth)
    records = [record if record.entity_type_id else replace(record, entity_type_id=type_id) for record in records]
    return [record if record.record_id else replace(record, record_id=record_id) for record in records]


def _holds_records(key: str, value: object) -> bool:
    """True if the value under a key of an object is whole records, not the values of a field."""
    if _folded(key) == "fields" or (_folded(key) in _ONE_RECORD and isinstance(value, dict)):
        return isinstance(value, dict | list | str)
    if _folded(key) not in _SEVERAL or not isinstance(value, list):
        return False
    return bool(value) and all(isinstance(item, dict | list) or str(item).lstrip().startswith("{") for item in value)


def _number(body: Mapping[str, Any], names: tuple[str, ...], example: int) -> int | None:
    for key, value in body.items():
        if _folded(key) not in names or value in (None, ""):
            continue
        text = "" if isinstance(value, bool) else str(value)
        if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
            got = one_line(quoted(value), _SHOWN)
            raise refused_argument("fields", f"{key}: expected a number such as {example}; got {got}")
        return int(text)
    return None


def _folded(key: str) -> str:
    return key.replace("_", "").casefold()


def _is_pair(entry: Mapping[str, Any]) -> bool:
    """True if it has a field's name and its value, whatever else: no field is called VALUE."""
    names = {key.casefold() for key in entry}
    return "value" in names and not names.isdisjoint(_NAMES)


def _pairs(entry: object) -> Iterator[tuple[str, Any]]:
    if isinstance(entry, str):
        yield _split_pair(entry)
    elif isinstance(entry, dict) and _is_pair(entry):
        name, *other_keys = (key for key in entry if key.casefold() in _NAMES)
        value = next(key for key in entry if key.casefold() == "value")
        other_keys += [key for key in entry if key.casefold() not in _NAMES | _FIELD_EXTRAS | {"value"}]
        if other_keys:
            other = shown_id(other_keys[0], _SHOWN)
            why = f"{name} and {value} are a field's name and value, and {other} stands beside them"
            raise refused_argument("fields", f"{why}: leave it out, or pass NAME=value")
        if not (isinstance(entry[name], str) and entry[name].strip()):
            got = one_line(quoted(entry[name]), _SHOWN)
            raise refused_argument("fields", f"expected the name of a field as text; got {got}")
        yield entry[name].strip(), entry[value]
    elif isinstance(entry, dict) and not any(_holds_records(key, value) for key, value in entry.items()):
        yield from entry.items()
    else:
        raise refused_argument("fields", "expected a list of texts such as STAGE_ID=WON, or an object")


def _split_pair(line: str) -> tuple[str, str]:
    sign = "=" if "=" in line and not _NAME_BEFORE_COLON.match(line) else ":"
    name, separator, value = line.partition(sign)
    if not (separator and name.strip()):
        raise refused_argument("fields", f'"{shown_id(line, _SHOWN)}" is not NAME=value')
    if another := _ANOTHER_FIELD.search(value):
        why = f"{shown_id(another[0].strip(', ;='), _SHOWN)} stands in the value of {shown_id(name.strip(), _SHOWN)}"
        raise refused_argument("fields", f"{why}: give each field a text of its own, or pass an object")
    spaced = sign == ":" or name != name.rstrip()
    return name.strip(), value.strip() if spaced else value


def _from_json(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise refused_argument("fields", "broken JSON") from None
