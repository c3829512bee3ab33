"""What people and models call a list of codes: a directory's id, a field that takes its codes, or a title.

Pure: nothing here calls anybody. What names nothing is refused with the nearest that there is.
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
_LISTED = 20


def named(text: str, directories: Sequence[Directory], fields: FieldMap) -> list[Directory]:
    """The directories that `text` means: by id, by title, or by a field whose codes stand in them. A stage field has
    one for each pipeline; a custom field of type enumeration is a list by itself.

    Raises Bitrix24Error: UNKNOWN_DIRECTORY for what names none, NO_CODES for a field that takes no codes.
    """
    found = [one for one in directories if folded(one.entity_id) == folded(as_id(text))]
    found = found or [one for one in directories if one.name and folded(one.name) == folded(text)]
    if found:
        return found
    meant = fields.named(text)
    lists = {one.entity_id: one for field in meant for one in lists_of(field, directories, fields)}
    if lists:
        return list(lists.values())
    if not meant:
        raise unknown(text, directories, fields)
    one = meant[0]
    takes = f"its type is {one.field.kind or 'not known'}"
    if one.field.directories:
        takes = f"its directory {', '.join(map(shown_code, one.field.directories))} is gone"
    if one.field.kind == "crm_category":
        pipelines = [found for found in directories if found.entity_type_id == one.type.id]
        listed = ", ".join(f"{found.category_id} ({found.pipeline or found.name})" for found in pipelines[:_LISTED])
        takes = f"it takes the number of a pipeline: {listed}"
    raise Bitrix24Error(
        "NO_CODES",
        ErrorKind(
            f"The field {one.shown} takes no codes of a directory; {takes}",
            "To know what may be written into it, call check_record with the value.",
            "input",
        ),
    )


def only(text: str, found: Sequence[Directory]) -> Directory:
    """The one directory that `text` means. Raises Bitrix24Error (SEVERAL_DIRECTORIES) where there are more."""
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{shown_code(one.entity_id)} ({one.pipeline or one.name})" for one in found[:_LISTED])
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise Bitrix24Error(
        "SEVERAL_DIRECTORIES",
        ErrorKind(
            f'"{shown_id(text, ENTITY_ID_LIMIT)}" has a directory for each pipeline or field: {listed}{more}',
            "Ask the user which of them is meant, unless you know, and call again with its entityId.",
            "input",
        ),
    )


def nearest_text(text: str, directories: Sequence[Directory], fields: FieldMap | None = None) -> str:
    """The closest directories and fields with their titles; empty where nothing is close."""
    known = [(one.entity_id, one.name) for one in directories]
    if fields is not None and "." in text:
        known += [(one.path, one.field.title) for one in fields.all() if one.takes_codes]
    found = nearest(text[:ENTITY_ID_LIMIT], known, lambda one: one, most=SUGGESTIONS, close=_CLOSE)
    return "; ".join(f"{shown_code(name)} ({title})" for name, title in found)


def unknown(text: str, directories: Sequence[Directory], fields: FieldMap | None = None) -> Bitrix24Error:
    """The error for what names no directory of the portal."""
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


def lists_of(one: FieldOf, directories: Sequence[Directory], fields: FieldMap) -> Iterator[Directory]:
    """The directories whose codes a field takes, or the enumeration that it holds."""
    if one.path in fields.enumerations and not one.field.is_stage:
        yield fields.enumerations[one.path].directory
    else:
        yield from (found for found in directories if one.takes(found))


def nearest(text: str, known: Iterable[T], called: Callable[[T], Iterable[str]], *, most: int, close: float) -> list[T]:
    """Those of `known` that `text` may be a misspelling of by one of their names, the closest first; `close` is out of
    100."""
    # Imported here: only a mistake needs it, and start-up time counts.
    from rapidfuzz import fuzz

    def words(text: str) -> str:
        return text.casefold().replace("_", " ")

    wanted = words(text)
    ranked = [(max((fuzz.WRatio(wanted, words(name)) for name in called(one)), default=0.0), one) for one in known]
    ranked.sort(key=lambda found: found[0], reverse=True)
    return [one for closeness, one in ranked[:most] if closeness >= close]
