"""Command that reports the codes in a portal's records as text, JSON, CSV or an HTML file.

`records.usage` counts, `report_text` prints to the terminal, and `report_page` makes the file.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.records.usage import usages
from bitrix24_directories.rest import Bitrix24Error, Credentials, Transport
from bitrix24_directories.settings import Settings
from bitrix24_directories.text import escaped, quoted, shown_code

from .arguments import UsageError
from .bar import bar
from .configured import client_of, configured, format_for_terminal, print_error, redactor
from .language import say
from .report_page import page
from .report_parts import Part, Report, single_line
from .report_text import print_report

_KEPT = 24 * 3600.0  # seconds: records counted for one directory are not counted again for the next
# A sign that begins a formula in a spreadsheet, with the characters that may precede it: at the start of a cell, or of
# its part behind a separator, which a spreadsheet may take for the file's.
_FORMULA = re.compile(r"""(^|[;,|\t\r\n])(?=[\s"']*[=+\-@＝＋－＠])""")
_COLUMNS = ("directory", "title", "code", "name", "in the directory", "records", "field", "first ids")


def report(args: argparse.Namespace) -> int:
    """Count and print, or write; return the exit code."""
    portal, settings, transport = configured(args)
    redact = redactor(portal)
    try:
        if isinstance(portal, Bitrix24Error):
            raise portal
        counting = partial(counted, portal, settings, transport, args.entity_ids, colours=bool(args.html))
        result = Report(urlsplit(portal.identity[0]).netloc, datetime.now().astimezone(), anyio.run(counting))
    except Bitrix24Error as exc:
        print_error(redact(format_for_terminal(exc)))
        return 2
    if args.html:
        try:
            Path(args.html).write_text(page(result), encoding="utf-8")
        except OSError as exc:
            raise UsageError(f"{args.html} cannot be written: {exc.strerror}") from None
        print(say(f"Written to {args.html}"))
    elif args.json:
        print_json(result.parts)
    elif args.csv:
        print_csv(result.parts)
    else:
        print_report(result)
    return result.exit_code


async def counted(
    portal: Credentials, settings: Settings, transport: Transport | None, entity_ids: Sequence[str], *, colours: bool
) -> list[Part]:
    """Count, with a bar on stderr. Raises Bitrix24Error if nothing at all can be counted."""
    async with client_of(portal, settings, transport) as client:
        directories = Directories(client, Cache(_KEPT))
        with bar(say("Counting")) as progress:
            results = await usages(directories, entity_ids, progress)
        parts = []
        for directory, usage in results:
            stage_colours: dict[str, str] = {}
            if colours and directory.kind == "stages":
                with suppress(Bitrix24Error):  # they only adorn
                    items = (await directories.items(directory.entity_id, details=True)).items
                    stage_colours = {item.status_id: item.color for item in items if item.color}
            parts.append(Part(directory, usage, stage_colours))
        return parts


def print_json(parts: Sequence[Part]) -> None:
    """Print the report as JSON."""
    directories = [
        {"name": part.directory.name}
        | (
            {"entityId": part.directory.entity_id, "error": {"code": part.usage.code, "message": part.usage.message}}
            if isinstance(part.usage, Bitrix24Error)
            else part.usage.structured()
        )
        for part in parts
    ]
    print(quoted(directories, indent=2))


def print_csv(parts: Sequence[Part]) -> None:
    """Print a row for each code in each field; spreadsheets take no cell for a formula."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for part in parts:
        usage = part.usage
        head = (shown_code(part.directory.entity_id), single_line(part.directory.name))
        if isinstance(usage, Bitrix24Error):
            rows.append((*head, "", f"could not be counted: {usage.message}", "", "", "", ""))
            continue
        for item in usage.items:
            start = (*head, shown_code(item.status_id), single_line(item.name), "yes")
            if item.count is None:
                rows.append((*start, item.count_text, "", ""))
                continue
            for path in usage.paths:
                count = item.count if len(usage.paths) == 1 else (item.fields or {}).get(path, 0)
                rows.append((*start, count, path, ""))
        for unknown in usage.unknown or ():
            ids = " ".join(map(str, unknown.ids))
            name = single_line(unknown.perhaps or "")
            rows.append((*head, shown_code(unknown.code), name, "no", unknown.count_text, unknown.field, ids))
    writer = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([_FORMULA.sub(r"\1'", escaped(str(cell))) for cell in row] for row in rows)
