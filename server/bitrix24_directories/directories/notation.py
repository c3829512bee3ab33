"""The notation of a directory's items, printed and read back: `WON: Deal Won [success] #7BD500 (id 40)`.

What is printed is read back as it was: a code or name that could be mistaken for something else stands in JSON quotes.
Pure: imports `models` and `text` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bitrix24_directories.text import one_line, quoted, shown_code, spellings

from .models import Item

_ID = re.compile(r"\s*\(id \d+(?:, system)?\)$")
_COLOR = re.compile(r"\s*(#[0-9A-Fa-f]{3,8})$")
_MEANING = re.compile(r"\s*\[(success|failure|process)\]$", re.IGNORECASE)
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*"):(?:\s+(.*))?', re.DOTALL)
_CODED = re.compile(r"(\S+?):(?:\s+(.*))?", re.DOTALL)
_NEW_CODE = re.compile(r"(?:[A-Za-z]+\d+(?:_\d+)?:)?[A-Z0-9_-]*[A-Z][A-Z0-9_-]*")
_HEADING = re.compile(r"(?:\d+ of )?\d+ items?, in order \(|the directory exists and has no items")
_PART = re.compile(r".*: (\d+) of (\d+) items?, in order \(")
_REST = re.compile(r"\d+ more are not shown: go on with after=")
_FRAME = re.compile(rf".*: (?:{_HEADING.pattern})|\d+ more are not shown: |The codes go into ")


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
    """A name for a text: as it is, or as a JSON string where it could be mistaken for notation."""
    mistaken = not name or name.startswith('"') or _HEADING.match(name)
    if mistaken or any(suffix.search(name) for suffix in (_ID, _COLOR, _MEANING)):
        return quoted(name)
    return name


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was read. `code` is None for a bare name; None elsewhere: nothing was said."""

    text: str
    code: str | None
    name: str
    meaning: str | None = None
    color: str | None = None


def coded(items: Sequence[Item], text: str) -> list[Item]:
    """Items whose STATUS_ID is `text`: the one that is spelt so, else all that fit in another letter case or with their
    pipeline's prefix left out."""
    exact = [item for item in items if item.status_id == text]
    return exact or [item for item in items if text.casefold() in spellings(item.status_id)]


def is_part(lines: Sequence[str]) -> bool:
    """Whether lines are those of a directory that was printed in part: what is missing in them is still there."""
    written = [line.strip() for text in lines for line in text.splitlines()]
    parts = [found for line in written if (found := _PART.match(line))]
    if parts:
        return sum(int(part[1]) for part in parts) < max(int(part[2]) for part in parts)
    return any(map(_REST.match, written))


def read_lines(lines: Sequence[str], items: Sequence[Item]) -> list[Line]:
    """Read lines, given the items that there are: what stands before a colon is a code if it is one of theirs, or looks
    like one. The first and the last line of a printed directory, and empty ones, are passed over."""
    written = [line.strip() for text in lines for line in text.splitlines()]
    return [_read(line, items) for line in written if line and not _FRAME.match(line)]


def _read(line: str, items: Sequence[Item]) -> Line:
    rest = _ID.sub("", line)
    color = meaning = None
    if (found := _COLOR.search(rest)) is not None:
        color, rest = found[1].upper(), rest[: found.start()]
    if (found := _MEANING.search(rest)) is not None:
        meaning, rest = found[1].lower(), rest[: found.start()]
    code, name = _split(rest, items)
    return Line(line, code, one_line(_unquoted(name), 255), meaning, color)


def _split(text: str, items: Sequence[Item]) -> tuple[str | None, str]:
    if (found := _QUOTED.fullmatch(text)) is not None:
        code = _unquoted(found[1])
        return (code, found[2] or "") if code != found[1] else (None, text)
    if (found := _CODED.fullmatch(text)) is not None:
        code = found[1]
        if coded(items, code) or _NEW_CODE.fullmatch(code):
            return code, found[2] or ""
    if any(item.status_id == text for item in items) or (_NEW_CODE.fullmatch(text) and coded(items, text)):
        return text, ""
    return None, text


def _unquoted(text: str) -> str:
    """What a JSON string says; any other text as it is."""
    if text.startswith('"'):
        try:
            said = json.loads(text)
        except ValueError:
            return text
        if isinstance(said, str):
            return said
    return text
