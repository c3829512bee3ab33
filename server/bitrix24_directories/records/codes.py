"""Judges a code by its list: of a directory, an enumeration, pipelines, currencies. Pure.

Facts: the portal stores a wrong code unchanged; records hold an enumeration's ID, and its text is stored as nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic_core import from_json

from bitrix24_directories.directories.fields.fields import folded_name
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.matching import Matcher
from bitrix24_directories.text import shown_id
from bitrix24_directories.words import name_key

from .verdicts import Verdict, option

WORDS_LIMIT = 200
"""Longest value, in characters, that is compared with names."""

SHOWN = 20
"""Most items of a list that are shown if nothing fits: all of them, or the nearest of a longer list."""


_SHOWN_ID = 60
_CODES = ("statusid", "currency", "code", "id", "value")
_NAMES = ("name", "fullname", "title", "value")


@dataclass(frozen=True)
class CodeList:
    """List of codes: the directory that names it in texts, and its items."""

    directory: Directory
    items: Sequence[Item]

    @cached_property
    def matcher(self) -> Matcher:
        """Matcher over the items, built once for many records."""
        return Matcher([(self.directory, self.items)])


@dataclass(frozen=True)
class Pipeline(CodeList):
    """Pipeline with its stages; a type without pipelines has a single one with the number None."""

    default: bool

    @property
    def number(self) -> int | None:
        return self.directory.category_id

    @property
    def name(self) -> str:
        """Name of the pipeline, or a text with its number if the user may not see the name."""
        return self.directory.pipeline or (self.directory.name if self.number is None else f"pipeline {self.number}")

    @cached_property
    def codes(self) -> Mapping[str, Item]:
        return {item.status_id: item for item in self.items}


def code_text(value: Any) -> str:
    """Return a value as a code: `79` and `"79"` are the same code."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_json(value: Any) -> Any:
    """Parse a text that is a JSON list or object; return any other value unchanged."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return from_json(value, allow_inf_nan=False)
        except ValueError:
            return value
    return value


def code_and_name(value: Any) -> tuple[Any, str] | None:
    """Return the code and name in a row, `[code, name]` or value; None unless it has one code."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list | dict):
        return code_and_name(value[0])
    if isinstance(value, list):
        code, name = (*value, "") if len(value) == 1 else value if len(value) == 2 else (None, "")
    elif isinstance(value, Mapping):
        row = {folded_name(str(key)): part for key, part in value.items()}
        if list(row) == ["0"]:  # PHP's list of one
            return code_and_name(row["0"])
        code_key = next((key for key in _CODES if key in row), None)
        name = next((row[key] for key in _NAMES if key in row and key != code_key), "")
        code = row[code_key] if code_key else name or None
    else:
        return value, ""
    return None if code is None or isinstance(code, list | dict) or not isinstance(name, str) else (code, name)


def judge_row(value: Any, judge: Callable[[Any], Verdict], otherwise: str) -> Verdict:
    """Judge a code in its list's row or in `[code, name]`; the name has to belong to the code.

    `otherwise` is what Bitrix24 would do with anything that is not a single code.
    """
    pair = code_and_name(value)
    if pair is None:
        return Verdict("wrong", note="expected one value", otherwise=otherwise)
    if isinstance(value, list) and isinstance(value[0], dict):
        value = value[0]
    code, name = pair
    verdict = judge(code)
    if not isinstance(value, list | dict):
        return verdict
    if verdict.writes and name and name_key(name) != name_key(verdict.name):
        by_name = judge(name)
        of_no_list = isinstance(value, dict) and not verdict.name and not by_name.writes  # {"id": 7, "title": "Acme"}
        if by_name.value != verdict.value and not of_no_list:
            choices = [choice for choice in (verdict, by_name) if choice.writes and choice.name]
            items = tuple(option(code_text(choice.value), choice.name) for choice in choices)
            if isinstance(value, list) or not items:
                return Verdict("wrong", candidates=items, note="expected one value", otherwise=otherwise)
            return Verdict("ambiguous", candidates=items, note="its code and its name differ", otherwise=otherwise)
    parts = value.items() if isinstance(value, dict) else ()
    entity_id = next((str(part).upper() for key, part in parts if folded_name(str(key)) == "entityid"), "")
    if verdict.writes and verdict.directory and entity_id not in ("", verdict.directory):
        item = option(code_text(verdict.value), verdict.name)
        note = f"its row is one of {shown_id(entity_id, _SHOWN_ID)}"
        return Verdict("ambiguous", candidates=(item,), note=note, otherwise=otherwise)
    return verdict.as_changed(otherwise=otherwise)


def judge_code(value: Any, lists: Sequence[CodeList], otherwise: str) -> Verdict:
    """Judge `value` among `lists`: a code, another spelling of one, or a whole name.

    `otherwise` is what Bitrix24 would do with a value that is not right.
    """
    text = code_text(value)
    matcher = lists[0].matcher if len(lists) == 1 else Matcher((codes.directory, codes.items) for codes in lists)
    fits = matcher.fits(text, for_code=True) if text.strip() and len(text) <= WORDS_LIMIT else {}
    all_items = [item for code_list in lists for item in code_list.items]
    items = [entry.item for entry in fits] or [
        item for item in all_items if item.status_id == text
    ]  # with leading blanks
    if len(items) == 1:
        right = items[0].status_id == text
        return Verdict(
            "right" if right else "changed",
            value if right else items[0].status_id,
            items[0].name,
            otherwise="" if right else otherwise,
            directory=next((entry.directory.entity_id for entry in fits), ""),
        )
    if items:
        note = "it is the code of one and the name of others" if any(item.status_id == text for item in items) else ""
        return Verdict("ambiguous", candidates=tuple(items), note=note, otherwise=otherwise)
    called = " or ".join(dict.fromkeys(codes.directory.name or codes.directory.entity_id for codes in lists))
    if not all_items:
        return Verdict("wrong", note=f"{called} has no items", otherwise=otherwise)
    note = f"not in {called}"
    if len(all_items) <= SHOWN:
        return Verdict("wrong", candidates=tuple(all_items), note=note, otherwise=otherwise)
    nearest = [entry.item for entry in matcher.nearest(text[:WORDS_LIMIT], SHOWN, filled=True)]
    note = f"{note} ({SHOWN} of {len(all_items)} shown)"
    return Verdict("wrong", candidates=tuple(nearest), note=note, otherwise=otherwise)
