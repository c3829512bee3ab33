"""The report as one HTML file: nothing is loaded from elsewhere, nothing runs, and text is only ever text.

Colours and bars are those of the picture in the chat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from bitrix24_directories.directories.models import Directory
from bitrix24_directories.mcp_server.page import part as page_part
from bitrix24_directories.records.models import DirectoryUsage
from bitrix24_directories.rest import Bitrix24Error

from .check import message_of
from .language import say, spoken

_COUNTED = "Counted as the webhook's user sees them."
_COLOUR = re.compile(r"#[0-9A-Fa-f]{3,8}")
_HEAD = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
/* picture.css */
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem }
caption { text-align: start; font-weight: 600; padding: .5rem 0 }
th, td { text-align: start; padding: .25rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere }
td.n { text-align: end; font-variant-numeric: tabular-nums }
td.b { width: 35% }
</style>
</head>
<body>
<h1>{title}</h1>
<p>{counted}</p>
"""


@dataclass(frozen=True)
class Part:
    """One directory of a report; `colours` are those of its stages, by code."""

    directory: Directory
    usage: DirectoryUsage | Bitrix24Error
    colours: dict[str, str] = field(default_factory=dict)


def page(parts: Sequence[Part]) -> str:
    """The whole file."""
    words = {"lang": spoken(), "title": say("Codes in CRM records"), "counted": say(_COUNTED)}
    head = re.sub(r"\{(lang|title|counted)\}", lambda found: escape(words[found[1]], quote=False), _HEAD)
    head = head.replace("/* picture.css */\n", page_part("picture.css"))
    return head + "\n".join(line for part in parts for line in _section(part)) + "\n</body>\n</html>\n"


def _section(part: Part) -> Iterator[str]:
    title = _text(f"{part.directory.entity_id}: {part.directory.name}")
    usage = part.usage
    if isinstance(usage, Bitrix24Error):
        yield f"<h2>{title}</h2><p class=bad>{_text(say(f'Could not be counted: {message_of(usage)}'))}</p>"
        return
    yield f"<table><caption>{title}<br><small>{_text(', '.join(usage.fields))}</small></caption>"
    yield f"<thead><tr>{''.join(f'<th>{say(name)}' for name in ('Code', 'Name', 'Records', 'Share'))}</thead><tbody>"
    yield from _rows(part, usage)
    yield "</tbody></table>"
    yield from (f"<p class=bad>{_text(say(f'Not counted: {what}'))}</p>" for what in usage.partial or ())


def _rows(part: Part, usage: DirectoryUsage) -> Iterator[str]:
    most = max((item.count or 0 for item in usage.items), default=0) or 1
    for item in usage.items:
        width = 100 * (item.count or 0) / most
        colour = part.colours.get(item.status_id, "")
        style = f"width:{width:.1f}%" + (f";background:{colour}" if _COLOUR.fullmatch(colour) else "")
        bar = f'<span class="bar" style="{style}"></span>' if item.count else ""
        number = f'<td class=n title="{escape(item.fields_text)}">{say(item.count_text)}'
        yield f"<tr><td>{_text(item.status_id)}<td>{_text(item.name)}{number}<td class=b>{bar}</tr>"
    for one in usage.unknown or ():
        yield (
            f"<tr class=bad><td>{_text(one.code)}<td>{_text(say(f'unknown, {one.why_text}'))}<td class=n>{one.count}"
            f"<td class=b>{_text(one.field)}: {one.ids_text}</tr>"
        )


def _text(text: str) -> str:
    """A text of the portal's, in its own direction."""
    return f"<bdi>{escape(text)}</bdi>" if text else ""
