"""The notation of items, printed and read back: `WON: Deal Won [success] #7BD500 (id 40)`.

Reading gives back the printed item: a code or name that could be mistaken for something else is in JSON quotes. Each
line before or after the items has one template that writes and recognises it. Pure: imports `models` and `text` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Protocol, TypeVar

from bitrix24_directories.text import one_line, quoted, shown_code, spellings

from .models import Item

_ID = re.compile(r"\s*\(id \d+(?:, system)?\)$")
_COLOR = re.compile(r"\s*(#[0-9A-Fa-f]{3,8})$")
_MEANING = re.compile(r"\s*\[(success|failure|process)\]$", re.IGNORECASE)
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*"):(?:\s+(.*))?', re.DOTALL)
_CODED = re.compile(r"(\S+?):(?:\s+(.*))?", re.DOTALL)
_NEW_CODE = re.compile(r"(?:[A-Za-z]+\d+(?:_\d+)?:)?[A-Z0-9_-]*[A-Z][A-Z0-9_-]*")


class Coded(Protocol):
    """An object with a code."""

    @property
    def status_id(self) -> str: ...


C = TypeVar("C", bound=Coded)


class FrameLine:
    """A printed line that is not an item. `fields` are patterns for the template's open parts."""

    def __init__(self, template: str, **fields: str) -> None:
        self.format = template.format
        parts = Formatter().parse(template)
        self.pattern = "".join(re.escape(text) + (f"(?:{fields[field]})" if field else "") for text, field, *_ in parts)
        self.match = re.compile(self.pattern).fullmatch


_CODE = r'"(?:[^"\\]|\\.)*"|[^\s"]+'  # as shown_code writes it
_ITEMS = r"(\d+) items?"
_AGE = r"(?:, read \d+ s ago)?"

HEAD = FrameLine(
    "{entity}: {part}{items}, in order ({notation}){age}",
    entity=_CODE,
    part=r"(?:(\d+) of )?",
    items=_ITEMS,
    notation=r"code: name(?: \[meaning\] colour \(id\))?",
    age=_AGE,
)
NO_ITEMS = FrameLine("{entity}: the directory exists and has no items{age}.", entity=_CODE, age=_AGE)
NONE_SHOWN = FrameLine(
    "{entity}: none of its {items} {why}{age}.",
    entity=_CODE,
    items=_ITEMS,
    why="fits|stands behind that code",
    age=_AGE,
)
MORE = FrameLine(
    "{number} more are not shown: go on with after={code}, or narrow with query", number=r"\d+", code=_CODE
)
USED_IN = FrameLine(
    "The codes go into {fields}",
    fields=r"(?:[^\s.]+\.\S+|call list status)(?: .*)?",  # `deal.UF_CRM_1724 (Any title)`
)
SWITCHED_OFF = FrameLine("Stages of this type are switched off: the codes are of no use in records")

_FRAME = re.compile("|".join(line.pattern for line in (HEAD, NO_ITEMS, NONE_SHOWN, MORE, USED_IN, SWITCHED_OFF)))


def item_line(item: Item) -> str:
    """One item as the tools print it."""
    parts = [f"{shown_code(item.status_id)}: {shown_name(item.name)}"]
    if item.semantics in ("success", "failure"):
        parts.append(f"[{item.semantics}]")
    if item.color:
        parts.append(item.color)
    if item.id is not None:
        parts.append(f"(id {item.id}, system)" if item.system else f"(id {item.id})")
    return " ".join(parts)


def shown_name(name: str) -> str:
    """A name for a text: as it is, or as a JSON string if it could be mistaken for notation."""
    mistaken = not name or name.startswith('"') or _FRAME.fullmatch(name) or _FRAME.fullmatch(f"CODE: {name}")
    if mistaken or any(suffix.search(name) for suffix in (_ID, _COLOR, _MEANING)):
        return quoted(name)
    return name


@dataclass(frozen=True, slots=True)
class Line:
    """One line read back. `code` is None for a bare name; other None fields were not given."""

    text: str
    code: str | None
    name: str
    meaning: str | None = None
    color: str | None = None


def coded(items: Sequence[C], text: str) -> list[C]:
    """Return the items whose STATUS_ID is `text`: the exact match, else all approximate ones.
    These differ in letter case, or lack their pipeline's prefix."""
    exact = [item for item in items if item.status_id == text]
    return exact or [item for item in items if text.casefold() in spellings(item.status_id)]


def is_part(lines: Sequence[str]) -> bool:
    """True if lines are a directory printed in part: items that they lack still exist."""
    written = _non_empty_lines(lines)
    heads = [match.groups() for line in written if (match := HEAD.match(line))]
    totals = [total for _, total in heads] + [match[1] for line in written if (match := NONE_SHOWN.match(line))]
    if totals:
        return sum(int(part or total) for part, total in heads) < max(map(int, totals))
    return any(map(MORE.match, written))


def read_lines(lines: Sequence[str], items: Sequence[Item]) -> list[Line]:
    """Read lines of items, without empty lines and lines of the frame.
    Text before a colon is a code if an item has it, or if it looks like a code."""
    read: list[Line] = []
    for line in _non_empty_lines(lines):
        if _FRAME.fullmatch(line):
            continue
        rest = _ID.sub("", line)
        color = meaning = None
        if (match := _COLOR.search(rest)) is not None:
            color, rest = match[1].upper(), rest[: match.start()]
        if (match := _MEANING.search(rest)) is not None:
            meaning, rest = match[1].lower(), rest[: match.start()]
        code, name = _split(rest, items)
        read.append(Line(line, code, one_line(unquoted(name), 255), meaning, color))
    return read


def _non_empty_lines(lines: Sequence[str]) -> list[str]:
    stripped = (line.strip() for text in lines for line in text.splitlines())
    return [line for line in stripped if line]


def _split(text: str, items: Sequence[Item]) -> tuple[str | None, str]:
    if text.startswith('"') and unquoted(text) != text:
        return None, text
    if (match := _QUOTED.fullmatch(text)) is not None:
        code = unquoted(match[1])
        return (code, match[2] or "") if code != match[1] else (None, text)
    if (match := _CODED.fullmatch(text)) is not None:
        code = match[1]
        if coded(items, code) or _NEW_CODE.fullmatch(code):
            return code, match[2] or ""
    if any(item.status_id == text for item in items) or (_NEW_CODE.fullmatch(text) and coded(items, text)):
        return text, ""
    return None, text


def without_marks(text: str) -> str:
    """Return a printed item without the marks after its name: id, colour, meaning."""
    for mark in (_ID, _COLOR, _MEANING):
        text = mark.sub("", text)
    return text


def unquoted(text: str) -> str:
    """The text of a JSON string; any other text as it is."""
    if text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        if isinstance(value, str):
            return value
    return text
