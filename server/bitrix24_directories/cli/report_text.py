"""The report in a terminal: wrapped between words, with problems in red."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import quoted, shown_code

from .configured import message_of
from .language import say
from .report_parts import COUNTED, Report, field_counts, single_line, unknown_reason

_WRONG = "red"


def print_report(report: Report) -> None:
    """Print the directories one after the other, and the summary at the end."""
    console = Console()
    for part in report.parts:
        _print(console, part.title.split(" "), style="bold")
        usage = part.usage
        if isinstance(usage, Bitrix24Error):
            _print(console, single_line(say(f"could not be counted: {message_of(usage)}")).split(" "), style=_WRONG)
            console.print()
            continue
        if labels := [single_line(label) for label in usage.labels.values()]:
            _print(console, ", ".join(labels).split(" "))
        unknown = usage.unknown or ()
        counts = [say(row.count_text) for row in (*usage.items, *unknown)]
        head = say("records")
        wide = max(map(cell_len, [head, *counts]))
        _print(console, [f"{say('code')}:", say("name")], number=head, wide=wide)
        for item in usage.items:
            words = [f"{shown_code(item.status_id)}:", *single_line(item.name).split(" ")]
            _print(console, words, number=say(item.count_text), wide=wide)
            _print(console, field_counts(item, usage.labels).split(" "), number="", wide=wide)
        for code in unknown:
            words = [f"{quoted(code.code)}:", *unknown_reason(code).split(" ")]
            _print(console, words, number=say(code.count_text), wide=wide, style=_WRONG)
            ids = f"{single_line(usage.labels[code.field])}: {code.ids_text}"
            _print(console, ids.split(" "), number="", wide=wide, style=_WRONG)
        for reason in usage.partial or ():
            _print(console, single_line(say(f"Not counted: {reason}")).split(" "), style=_WRONG if usage.failed else "")
        console.print()
    _print(console, say(COUNTED).split(" "))
    for line in report.summary():
        _print(console, line.split(" "), style=_WRONG if report.exit_code else "")


def _print(
    console: Console, words: Sequence[str], *, number: str | None = None, wide: int = 0, style: str = ""
) -> None:
    """Print words behind a number, which is right-aligned in a column of `wide` cells.

    Lines break only between words; a word that is longer than a line has a line of its own.
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
