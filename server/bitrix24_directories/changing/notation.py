"""The notation of a directory's items that the tools print, read back: `WON: Deal Won [success] #7BD500 (id 40)`.

Pure: imports `models` and `text` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bitrix24_directories.directories.models import Item
from bitrix24_directories.text import one_line, spellings

_ID = re.compile(r"\s*\(id \d+(?:, system)?\)$")
_COLOR = re.compile(r"\s*(#[0-9A-Fa-f]{6})$")
_MEANING = re.compile(r"\s*\[(success|failure|process)\]$", re.IGNORECASE)
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*"):\s+(.*)', re.DOTALL)
_CODED = re.compile(r"(\S+?):\s+(.*)", re.DOTALL)
_NEW_CODE = re.compile(r"(?:[A-Za-z]+\d+(?:_\d+)?:)?[A-Z0-9_-]*[A-Z][A-Z0-9_-]*")
_FRAME = re.compile(r".*: \d+ items?, in order \(|The codes go into |.*: the directory exists and has no items")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was read. `code` is None for a bare name; None elsewhere: nothing was said."""

    text: str
    code: str | None
    name: str
    meaning: str | None = None
    color: str | None = None


def read_lines(lines: Sequence[str], items: Sequence[Item]) -> list[Line]:
    """Read lines, given the items that there are: what stands before a colon is a code if it is one of theirs, or looks
    like one. The first and the last line of a printed directory, and empty ones, are passed over."""
    known = {spelling for item in items for spelling in spellings(item.status_id)}
    written = [line.strip() for text in lines for line in text.splitlines()]
    return [_read(line, known) for line in written if line and not _FRAME.match(line)]


def _read(line: str, known: set[str]) -> Line:
    rest = _ID.sub("", line)
    color = meaning = None
    if (found := _COLOR.search(rest)) is not None:
        color, rest = found[1].upper(), rest[: found.start()]
    if (found := _MEANING.search(rest)) is not None:
        meaning, rest = found[1].lower(), rest[: found.start()]
    code, name = _split(rest, known)
    return Line(line, code, one_line(name, 255), meaning, color)


def _split(text: str, known: set[str]) -> tuple[str | None, str]:
    if (quoted := _QUOTED.fullmatch(text)) is not None:
        try:
            return str(json.loads(quoted[1])), quoted[2]
        except ValueError:
            return None, text
    if (coded := _CODED.fullmatch(text)) is not None:
        code = coded[1]
        if code.casefold() in known or _NEW_CODE.fullmatch(code):
            return code, coded[2]
    return (text, "") if text.casefold() in known and _NEW_CODE.fullmatch(text) else (None, text)
