"""The report in a terminal: as wide as that is, wrapped between words, what is wrong in red."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bitrix24_directories.records.models import DirectoryUsage
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .check import message_of
from .language import say
from .report_parts import COUNTED, Report, shown, unknown_code, unknown_why, where

_WRONG = "red"


def print_report(report: Report) -> None:
    """The directories one after the other, and the summary at the end."""
    console = Console()
    for part in report.parts:
        _tell(console, part.title.split(" "), style="bold")
        usage = part.usage
        if isinstance(usage, Bitrix24Error):
            _tell(console, shown(say(f"could not be counted: {message_of(usage)}")).split(" "), style=_WRONG)
        else:
            _tell_usage(console, usage)
        console.print()
    _tell(console, say(COUNTED).split(" "))
    for line in report.summary():
        _tell(console, line.split(" "), style=_WRONG if report.exit_code else "")


def _tell_usage(console: Console, usage: DirectoryUsage) -> None:
    labels = [shown(label) for label in usage.labels.values()]
    if labels:
        _tell(console, ", ".join(labels).split(" "))
    counts = [say(item.count_text) for item in usage.items] + [say(one.count_text) for one in usage.unknown or ()]
    head = say("records")
    wide = max(map(cell_len, [head, *counts]), default=0)
    _tell(console, [f"{say('code')}:", say("name")], number=head, wide=wide)
    for item in usage.items:
        words = [f"{shown_code(item.status_id)}:", *shown(item.name).split(" ")]
        _tell(console, words, number=say(item.count_text), wide=wide)
        _tell(console, where(item, usage.labels).split(" "), number="", wide=wide)
    for one in usage.unknown or ():
        words = [f"{unknown_code(one)}:", *unknown_why(one).split(" ")]
        _tell(console, words, number=say(one.count_text), wide=wide, style=_WRONG)
        ids = f"{shown(usage.labels[one.field])}: {one.ids_text}"
        _tell(console, ids.split(" "), number="", wide=wide, style=_WRONG)
    for what in usage.partial or ():
        _tell(console, shown(say(f"Not counted: {what}")).split(" "), style=_WRONG if usage.failed else "")


def _tell(console: Console, words: Sequence[str], *, number: str | None = None, wide: int = 0, style: str = "") -> None:
    """Print words, behind a number that stands at the right of its column of `wide` cells."""
    if not any(words):
        return
    before = "" if number is None else f"{' ' * (wide - cell_len(number))}{number}  "
    for line in _lines(words, console.width, before):
        console.print(Text(line, style=style), soft_wrap=True)


def _lines(words: Iterable[str], width: int, before: str) -> Iterator[str]:
    """Lines that break between words alone; a word that is longer than a line stands on one of its own."""
    line, empty = before, True
    for word in words:
        if not empty and cell_len(line) + 1 + cell_len(word) > width:
            yield line
            line, empty = " " * len(before), True
        line, empty = (line + word if empty else f"{line} {word}"), False
    yield line
