"""Who carries which code, for the whole portal and for a person: a table, JSON, CSV or one HTML file.

What is counted stands in `records.usage`; the file itself in `report_page`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

import anyio
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from bitrix24_directories.directories.cache import Cache
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.records.models import DirectoryUsage
from bitrix24_directories.records.usage import usages
from bitrix24_directories.rest import Bitrix24Error, Credentials, Transport
from bitrix24_directories.settings import Settings
from bitrix24_directories.text import shown_code

from .arguments import UsageError
from .bar import bar
from .check import message_of, to_a_person
from .configured import client_of, complain, configured, redactor
from .language import say
from .report_page import Part, page

_KEPT = 24 * 3600.0  # seconds: what was counted for one directory is not counted again for the next
_COLUMNS = ("directory", "title", "code", "name", "in the directory", "records", "field", "first ids")


def report(args: argparse.Namespace) -> int:
    """Count and print, or write; gives the exit code."""
    portal, settings, transport = configured(args)
    redact = redactor(portal)
    try:
        if isinstance(portal, Bitrix24Error):
            raise portal
        counting = partial(counted, portal, settings, transport, args.entity_ids, colours=bool(args.html))
        parts = anyio.run(counting)
    except Bitrix24Error as exc:
        complain(redact(to_a_person(exc)))
        return 2
    if args.html:
        try:
            write_page(parts, Path(args.html))
        except OSError as exc:
            raise UsageError(f"{args.html} cannot be written: {exc.strerror}") from None
        print(say(f"Written to {args.html}"))
    elif args.json:
        print_json(parts, sys.stdout)
    elif args.csv:
        print_csv(parts, sys.stdout)
    else:
        print_tables(parts)
    return exit_code(parts)


async def counted(
    portal: Credentials, settings: Settings, transport: Transport | None, named: Sequence[str], *, colours: bool
) -> list[Part]:
    """Count, with a bar on stderr where a person looks. Raises Bitrix24Error when nothing at all can be counted."""
    async with client_of(portal, settings, transport) as client:
        directories = Directories(client, Cache(_KEPT))
        with bar(say("Counting")) as told:
            found = await usages(directories, named, told)
        return [Part(one, usage, await _colours(directories, one) if colours else {}) for one, usage in found]


async def _colours(directories: Directories, directory: Directory) -> dict[str, str]:
    if directory.kind != "stages":
        return {}
    items: list[Item] = []
    try:
        items = (await directories.items(directory.entity_id, details=True)).items
    except Bitrix24Error:
        return {}  # they only adorn
    return {item.status_id: item.color for item in items if item.color}


def exit_code(parts: Sequence[Part]) -> int:
    """1 where a record holds a code that its directory does not have, else 2 where a directory could not be counted."""
    if any(isinstance(part.usage, DirectoryUsage) and part.usage.unknown for part in parts):
        return 1
    return 2 if any(isinstance(part.usage, Bitrix24Error) for part in parts) else 0


def print_tables(parts: Sequence[Part]) -> None:
    console = Console()
    for part in parts:
        usage = part.usage
        if isinstance(usage, Bitrix24Error):
            console.print(
                Text(_title(part.directory)), Text(say(f"could not be counted: {message_of(usage)}")), sep="\n"
            )
            continue
        title = Text("\n".join([_title(part.directory), *usage.fields]))
        table = Table(
            *map(say, ("code", "name")),
            Column(say("records"), justify="right"),
            say("where"),
            title=title,
            title_justify="left",
        )
        for item in usage.items:
            table.add_row(Text(item.status_id), Text(item.name), Text(say(item.count_text)), Text(item.fields_text))
        for one in usage.unknown or ():
            row = (Text(one.code), Text(say(one.why_text)), Text(str(one.count)), Text(f"{one.field}: {one.ids_text}"))
            table.add_row(*row, style="red")
        console.print(table)
        for what in usage.partial or ():
            console.print(Text(say(f"Not counted: {what}")))
    console.print(say("Counted as the webhook's user sees them."))


def _title(directory: Directory) -> str:
    return f"{shown_code(directory.entity_id)}: {directory.name}"


def print_json(parts: Sequence[Part], to: TextIO) -> None:
    told = [
        {"name": part.directory.name}
        | (
            {"entityId": part.directory.entity_id, "error": {"code": part.usage.code, "message": part.usage.message}}
            if isinstance(part.usage, Bitrix24Error)
            else part.usage.structured()
        )
        for part in parts
    ]
    to.write(json.dumps(told, ensure_ascii=False, indent=2) + "\n")


def print_csv(parts: Sequence[Part], to: TextIO) -> None:
    """A row for each code in each field; a spreadsheet takes no name for a formula."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part in parts:
        for row in _rows(part):
            writer.writerow([_no_formula(cell) for cell in row])


def _rows(part: Part) -> Iterator[Sequence[object]]:
    usage, directory = part.usage, part.directory
    if isinstance(usage, Bitrix24Error):
        yield directory.entity_id, directory.name, "", f"could not be counted: {usage.message}", "", "", "", ""
        return
    paths = usage.paths
    for item in usage.items:
        start = (directory.entity_id, directory.name, item.status_id, item.name, "yes")
        if item.count is None:
            yield *start, item.count_text, "", ""
        for path in paths if item.count is not None else ():
            yield *start, item.count if len(paths) == 1 else (item.fields or {}).get(path, 0), path, ""
    for one in usage.unknown or ():
        ids = " ".join(map(str, one.ids))
        yield directory.entity_id, directory.name, one.code, one.perhaps or "", "no", one.count, one.field, ids


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t")) else cell


def write_page(parts: Sequence[Part], path: Path) -> None:
    """Raises OSError where the file cannot be written."""
    path.write_text(page(parts), encoding="utf-8")
