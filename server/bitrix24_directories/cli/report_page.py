"""The report as one HTML file, which loads nothing, runs nothing, and escapes every text.

Colours and bars are those of the picture in the chat.
"""

from __future__ import annotations

import re
from html import escape

from bitrix24_directories.mcp_server.picture.page import part as page_part
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import quoted, shown_code

from .configured import message_of
from .language import say, spoken
from .report_parts import COUNTED, Report, field_counts, single_line, unknown_reason

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
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; overflow-wrap: break-word }
.scrolls { overflow-x: auto; margin-bottom: 2rem }
table { border-collapse: collapse; width: 100% }
caption { text-align: start; font-weight: 600; padding: .5rem 0 }
small { font-weight: 400; color: var(--soft) }
.bad small { color: inherit }
th, td { text-align: start; padding: .25rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top }
.n { text-align: end; font-variant-numeric: tabular-nums }
.s { width: 30% }
.s .bar { display: inline-block; vertical-align: middle }
.s > span { display: grid; grid-template-columns: minmax(0, 1fr) 4rem; gap: .5rem; align-items: center }
.s small { text-align: end; font-variant-numeric: tabular-nums }
@media (max-width: 40rem) {
  table, caption, thead, tbody { display: block }
  tr { display: grid; grid-template-columns: minmax(0, 1fr) auto; border-bottom: 1px solid var(--line) }
  th, td { border: 0; min-width: 0 }
  .t, .s { grid-column: 1 / -1; width: auto }
  .n { grid-area: 1 / 2 }
}
</style>
</head>
<body>
<h1>{title}</h1>
"""
_COLUMNS = (("c", "Code"), ("t", "Name"), ("n", "Records"), ("s", "Share"))


def page(report: Report) -> str:
    """Return the whole file."""
    words = {"lang": spoken(), "title": say("Codes in CRM records")}
    head = re.sub(r"\{(lang|title)\}", lambda match: escape(words[match[1]], quote=False), _HEAD)
    head = head.replace("/* picture.css */\n", page_part("picture.css"))
    wrong = " class=bad" if report.exit_code else ""
    summary = "".join(f"<p{wrong}>{_text(line)}</p>\n" for line in report.summary())
    lines = [f"{head}{summary}<p>{_text(say(COUNTED))}</p>"]
    for part in report.parts:
        usage = part.usage
        if isinstance(usage, Bitrix24Error):
            why = _text(single_line(say(f"Could not be counted: {message_of(usage)}")))
            lines.append(f"<h2>{_text(part.title)}</h2><p class=bad>{why}</p>")
            continue
        fields = _text(", ".join(map(single_line, usage.labels.values())))
        lines.append(f'<div class=scrolls role=region tabindex=0 aria-label="{escape(part.title)}"><table>')
        lines.append(f"<caption>{_text(part.title)}<br><small>{fields}</small></caption>")
        columns = "".join(f"<th class={name}>{say(title)}" for name, title in _COLUMNS)
        lines.append(f"<thead><tr>{columns}</thead><tbody>")
        counts = [*(item.count for item in usage.items), *(unknown.count for unknown in part.unknown)]
        whole = 0 if None in counts else sum(count or 0 for count in counts)  # of a part of them there is no share
        for item in usage.items:
            name = _text(single_line(item.name)) + _small(field_counts(item, usage.labels))
            share = _share(item.count, whole, part.colours.get(item.status_id, ""))
            code = _text(shown_code(item.status_id))
            lines.append(f"<tr><td class=c>{code}<td class=t>{name}<td class=n>{say(item.count_text)}{share}</tr>")
        for unknown in part.unknown:
            ids = f"{single_line(usage.labels[unknown.field])}: {unknown.ids_text}"
            name = _text(unknown_reason(unknown)) + _small(ids)
            cells = f"<td class=c>{_text(quoted(unknown.code))}<td class=t>{name}<td class=n>{say(unknown.count_text)}"
            lines.append(f"<tr class=bad>{cells}{_share(unknown.count, whole)}</tr>")
        lines.append("</tbody></table></div>")
        wrong = " class=bad" if usage.failed else ""
        lines += [f"<p{wrong}>{_text(single_line(say(f'Not counted: {text}')))}</p>" for text in usage.partial or ()]
    return "\n".join([*lines, "</body>", "</html>", ""])


def _share(count: int | None, whole: int, colour: str = "") -> str:
    """Return a cell with a bar for the share of `whole`; all bars have one edge and one scale."""
    if not count or not whole:
        return "<td class=s>"
    share = 100 * count / whole
    style = f"width:{share:.1f}%" + (f";background:{colour}" if _COLOUR.fullmatch(colour) else "")
    bar = f'<span><span class="bar" style="{style}"></span></span>'
    return f"<td class=s><span>{bar}<small>{share:.1f} %</small></span>"


def _small(text: str) -> str:
    return f"<br><small>{_text(text)}</small>" if text else ""


def _text(text: str) -> str:
    """Return a text of the portal as HTML, in its own direction."""
    return f"<bdi>{escape(text)}</bdi>" if text else ""
