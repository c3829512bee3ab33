"""The report in a terminal: as wide as that is, wrapped between words, what is wrong in red."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import quoted, shown_code

from .check import message_of
from .language import say
from .report_parts import COUNTED, Report, shown, unknown_why, where

_WRONG = "red"


def print_report(report: Report) -> None:
    """The directories one after the other, and the summary at the end."""
    console = Console()
    for part in report.parts:
        _tell(console, part.title.split(" "), style="bold")
        usage = part.usage
        if isinstance(usage, Bitrix24Error):
            _tell(console, shown(say(f"could not be counted: {message_of(usage)}")).split(" "), style=_WRONG)
            console.print()
            continue
        if labels := [shown(label) for label in usage.labels.values()]:
            _tell(console, ", ".join(labels).split(" "))
        unknown = usage.unknown or ()
        counts = [say(one.count_text) for one in (*usage.items, *unknown)]
        head = say("records")
        wide = max(map(cell_len, [head, *counts]))
        _tell(console, [f"{say('code')}:", say("name")], number=head, wide=wide)
        for item in usage.items:
            words = [f"{shown_code(item.status_id)}:", *shown(item.name).split(" ")]
            _tell(console, words, number=say(item.count_text), wide=wide)
            _tell(console, where(item, usage.labels).split(" "), number="", wide=wide)
        for one in unknown:
            words = [f"{quoted(one.code)}:", *unknown_why(one).split(" ")]
            _tell(console, words, number=say(one.count_text), wide=wide, style=_WRONG)
            ids = f"{shown(usage.labels[one.field])}: {one.ids_text}"
            _tell(console, ids.split(" "), number="", wide=wide, style=_WRONG)
        for what in usage.partial or ():
            _tell(console, shown(say(f"Not counted: {what}")).split(" "), style=_WRONG if usage.failed else "")
        console.print()
    _tell(console, say(COUNTED).split(" "))
    for line in report.summary():
        _tell(console, line.split(" "), style=_WRONG if report.exit_code else "")


def _tell(console: Console, words: Sequence[str], *, number: str | None = None, wide: int = 0, style: str = "") -> None:
    """Print words, behind a number that stands at the right of its column of `wide` cells.

    Lines break between words alone; a word that is longer than a line stands on one of its own.
    """
    if not any(words):
        return
    before = "" if number is None else f"{' ' * (wide - cell_len(number))}{number}  "
    lines, empty = [before], True
    for word in words:
        if not empty and cell_len(lines[-1]) + 1 + cell_len(word) > console.width:
            lines.append(" " * len(before))
            empty = True
        lines[-1] += word if empty else f" {word}"
        empty = False
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)
