"""Finds likely mistakes in a portal's directories. Pure: calls nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bitrix24_directories.text import shown_code
from bitrix24_directories.words import name_key

from .models import Directory, Item


def troubles(directory: Directory, items: Sequence[Item]) -> Iterator[str]:
    """Yield the likely mistakes in one directory, one sentence each."""
    if not items:
        yield "it is empty"
        return
    if len(items) == 1:
        yield "it has a single item: is it used at all?"
    names = Counter(name_key(item.name) for item in items)
    for item in items:
        if not item.name:
            yield f"{shown_code(item.status_id)} has no name"
        elif names.pop(name_key(item.name), 0) > 1:
            same = [other for other in items if name_key(other.name) == name_key(item.name)]
            codes = ", ".join(shown_code(other.status_id) for other in same)
            yield f"{len(same)} items have the same name, {item.name}: {codes}"
    if directory.kind != "stages":
        return
    item_codes = {item.status_id for item in items}
    for meaning, code in (("success", directory.success), ("failure", directory.failure)):
        if code is None:
            yield f"it has no stage of {meaning}"
        elif code not in item_codes:
            yield f"its stage of {meaning}, {shown_code(code)}, is none of its items"
    prefixes = Counter(item.status_id.rpartition(":")[0] for item in items)
    usual, _ = prefixes.most_common(1)[0]
    for item in items:
        prefix = item.status_id.rpartition(":")[0]
        if prefix != usual:
            yield f"{shown_code(item.status_id)} is outside the prefix of the others, {usual or 'none'}"
