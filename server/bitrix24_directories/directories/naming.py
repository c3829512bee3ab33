"""Finds lists of codes by name: a directory's id, a field that takes its codes, or a title.

Pure: calls nothing. An unknown name is refused with the nearest ones that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import shown_code, shown_id

from .entity_ids import as_id
from .fields.fields import FieldMap, FieldOf, folded
from .models import Directory

T = TypeVar("T")

ENTITY_ID_LIMIT = 100
SUGGESTIONS = 5
_CLOSE = 60
_MOST_LABELS = 20


def find_directories(text: str, directories: Sequence[Directory], fields: FieldMap) -> list[Directory]:
    """Return the directories that `text` means by id, by title, or by a field with their codes.
    A stage field has one for each pipeline; a custom field of type enumeration is a list by itself.

    Raises Bitrix24Error: UNKNOWN_DIRECTORY for an unknown name, NO_CODES for a field that takes no codes.
    """
    matches = [directory for directory in directories if folded(directory.entity_id) == folded(as_id(text))]
    matches = matches or [
        directory for directory in directories if directory.name and folded(directory.name) == folded(text)
    ]
    if matches:
        return matches
    record_fields = fields.named(text)
    lists = {
        directory.entity_id: directory for field in record_fields for directory in lists_of(field, directories, fields)
    }
    if lists:
        return list(lists.values())
    if not record_fields:
        raise unknown(text, directories, fields)
    record_field = record_fields[0]
    takes = f"its type is {record_field.field.kind or 'not known'}"
    if record_field.field.directories:
        takes = f"its directory {', '.join(map(shown_code, record_field.field.directories))} is gone"
    if record_field.field.kind == "crm_category":
        pipelines = [directory for directory in directories if directory.entity_type_id == record_field.type.id]
        labels = ", ".join(
            f"{directory.category_id} ({directory.pipeline or directory.name})"
            for directory in pipelines[:_MOST_LABELS]
        )
        takes = f"it takes the number of a pipeline: {labels}"
    raise Bitrix24Error(
        "NO_CODES",
        ErrorKind(
            f"The field {record_field.shown} takes no codes of a directory; {takes}",
            "To know what may be written into it, call check_record with the value.",
            "input",
        ),
    )


def only(text: str, directories: Sequence[Directory]) -> Directory:
    """Return the one directory of `text`. Raises Bitrix24Error (SEVERAL_DIRECTORIES) for more."""
    if len(directories) == 1:
        return directories[0]
    labels = ", ".join(
        f"{shown_code(directory.entity_id)} ({directory.pipeline or directory.name})"
        for directory in directories[:_MOST_LABELS]
    )
    more = f", and {len(directories) - _MOST_LABELS} more" if len(directories) > _MOST_LABELS else ""
    raise Bitrix24Error(
        "SEVERAL_DIRECTORIES",
        ErrorKind(
            f'"{shown_id(text, ENTITY_ID_LIMIT)}" has a directory for each pipeline or field: {labels}{more}',
            "Ask the user which of them is meant, unless you know, and call again with its entityId.",
            "input",
        ),
    )


def nearest_text(text: str, directories: Sequence[Directory], fields: FieldMap | None = None) -> str:
    """Return the closest directories and fields with their titles; "" if nothing is close."""
    candidates = [(directory.entity_id, directory.name) for directory in directories]
    if fields is not None and "." in text:
        candidates += [
            (record_field.path, record_field.field.title) for record_field in fields.all() if record_field.takes_codes
        ]
    matches = nearest(text[:ENTITY_ID_LIMIT], candidates, lambda candidate: candidate, most=SUGGESTIONS, close=_CLOSE)
    return "; ".join(f"{shown_code(name)} ({title})" for name, title in matches)


def unknown(text: str, directories: Sequence[Directory], fields: FieldMap | None = None) -> Bitrix24Error:
    """Return the error for a text that means no directory of the portal."""
    nearest = nearest_text(text, directories, fields)
    todo = f"Use one of the nearest: {nearest}. " if nearest else ""
    return Bitrix24Error(
        "UNKNOWN_DIRECTORY",
        ErrorKind(
            f'This portal has no directory "{shown_id(text, ENTITY_ID_LIMIT)}"',
            f"{todo}Call list_directories to see all {len(directories)} with their titles.",
            "input",
        ),
    )


def lists_of(record_field: FieldOf, directories: Sequence[Directory], fields: FieldMap) -> Iterator[Directory]:
    """Yield the directories whose codes a field takes, or the enumeration that it holds."""
    if record_field.path in fields.enumerations and not record_field.field.is_stage:
        yield fields.enumerations[record_field.path].directory
    else:
        yield from (directory for directory in directories if record_field.takes(directory))


def nearest(
    text: str, candidates: Iterable[T], names_of: Callable[[T], Iterable[str]], *, most: int, close: float
) -> list[T]:
    """Return the candidates of which `text` may be a misspelling, the closest first.
    It is compared with each of their names; `close` is out of 100."""
    # Imported here: only a mistake needs it, and start-up time counts.
    from rapidfuzz import fuzz

    def words(text: str) -> str:
        return text.casefold().replace("_", " ")

    query = words(text)
    ranked = [
        (max((fuzz.WRatio(query, words(name)) for name in names_of(candidate)), default=0.0), candidate)
        for candidate in candidates
    ]
    ranked.sort(key=lambda pair: pair[0], reverse=True)
    return [candidate for closeness, candidate in ranked[:most] if closeness >= close]
