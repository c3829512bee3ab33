"""Counts of the records that carry codes, as text."""

from __future__ import annotations

import shlex
from collections import Counter

from bitrix24_directories.records.counting import folded_code
from bitrix24_directories.records.models import DirectoryUsage
from bitrix24_directories.text import quoted, shown_code

from .directories import counted, shown_age


def usage_text(result: DirectoryUsage) -> str:
    """Return `CALL: Call - 310 deals, 402 leads` and so on, then unknown codes; also of a part."""
    # Singular and plural of records with a code in a field: `deal`, `deals`; or the field itself if a type has several,
    # or if REST calls the records items.
    types = Counter(path.rpartition(".")[0] for path in result.paths)
    names: dict[str, tuple[str, str]] = {}
    for path in result.paths:
        kind = path.rpartition(".")[0]
        plural = "companies" if kind == "company" else f"{kind}s"
        names[path] = (path, path) if types[kind] > 1 or kind.startswith("item(") else (kind, plural)

    records = _records(result.records, "record")
    where = f" in {', '.join(result.fields)}" if result.fields else ""
    in_use = f"{counted(result.in_use or 0, 'code')} in use, {result.unused or 0} unused"
    lines = [f"{shown_code(result.entity_id)}: {records}{where}; {in_use}{shown_age(result.age_seconds)}"]
    for item in result.items:
        if item.count:
            parted = item.fields or dict.fromkeys(names, item.count)
            uses = ", ".join(counted(count, *names[path]) for path, count in parted.items())
        else:
            uses = item.count_text if item.count is None else "unused"
        lines.append(f"{shown_code(item.status_id)}: {item.name} - {uses}")
    if result.more:
        last = shown_code(result.items[-1].status_id)
        lines.append(f"{result.more} more are not shown: go on with after={last}")
    elif not result.items and (result.in_use or result.unused):
        lines.append("No code stands behind that one.")
    if result.unknown_codes:
        codes, carried = counted(result.unknown_codes, "code"), _records(result.unknown_records, "record")
        lines.append(f"Not in the directory: {codes}, in {carried}")
        for unknown in result.unknown or ():
            perhaps = f" - perhaps {unknown.perhaps}" if unknown.perhaps else ""
            records = _records(unknown.count, *names[unknown.field])
            lines.append(f"{quoted(unknown.code)}: {records} ({unknown.ids_text}){perhaps}")
        left = result.unknown_codes - len({folded_code(unknown.code) for unknown in result.unknown or ()})
        if left:
            command = f"bitrix24-directories-mcp report {shlex.quote(result.entity_id)}"
            lines.append(f"{counted(left, 'more code is', 'more codes are')} not shown: `{command}` lists all")
    lines += [f"Not counted: {part}" for part in result.partial or ()]
    return "\n".join([*lines, "Counted as the webhook's user sees them."])


def _records(count: int | None, singular: str, plural: str = "") -> str:
    return f"an unknown number of {plural or f'{singular}s'}" if count is None else counted(count, singular, plural)
