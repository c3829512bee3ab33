"""Which field a key of a record means, and how it is to be spelt. Pure.

Facts: `crm.deal.add` knows `STAGE_ID` and `UF_CRM_1`, `crm.item.add` knows `stageId` and `ufCrm_1`; each drops custom
fields as the other spells them, and some fields only one of them has. Smart processes and invoices have `crm.item.*`
alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitrix24_directories.directories.fields import OLD_METHODS, Field, folded, folded_name
from bitrix24_directories.directories.naming import nearest

Style = Literal["old", "new"]

_LIKE_A_NAME = re.compile("[A-Z0-9_]+")
_NEAREST = 2
_CLOSE = 75


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it came: the field that it means, None where it means none or one of several (`ambiguous`), and how it
    is to be written: empty where the methods that the record is spelt for have no such field.
    """

    given: str
    field: Field | None
    write_as: str = ""
    candidates: tuple[Field, ...] = ()
    ambiguous: bool = False


def style_of(type_id: int, fields: Sequence[Field], keys: Sequence[str]) -> Style:
    """The methods that a record is spelt for: those of the first key that only one of them takes."""
    if type_id not in OLD_METHODS:
        return "new"
    for key in keys:
        for field in fields:
            if key == field.old_name and key != field.name:
                return "old"
            if key == field.name and key != field.old_name:
                return "new"
    return "old"


def spelt(field: Field, style: Style) -> str:
    """The field's name for the methods of `style`."""
    return field.old_name if style == "old" else field.name


def read_keys(fields: Sequence[Field], keys: Sequence[str], style: Style) -> list[Key]:
    """What each key means: a name in either spelling, whatever its letter case and underscores, or a title."""
    exact = {key: field for key in keys for field in fields if key and key in (field.name, field.old_name)}
    taken = [id(field) for field in exact.values()]
    free = [field for field in fields if id(field) not in taken]
    read: list[Key] = []
    for key in keys:
        found = [exact[key]] if key in exact else _loosely(key, free)
        if len(found) == 1:
            read.append(Key(key, found[0], spelt(found[0], style)))
        else:
            read.append(Key(key, None, candidates=tuple(found or _nearest(key, fields)), ambiguous=bool(found)))
    return read


def _loosely(key: str, fields: Sequence[Field]) -> list[Field]:
    """Fields that differ from a key in letter case and underscores, or bear it as their title."""
    name = folded_name(key.strip())
    by_name = [field for field in fields if name and name in (folded_name(field.name), folded_name(field.old_name))]
    if by_name or _LIKE_A_NAME.fullmatch(key):  # STAGE is no title, though there is a title Stage
        return by_name
    return [field for field in fields if field.title and folded(field.title) == folded(key)]


def _nearest(key: str, fields: Sequence[Field]) -> list[Field]:
    def names(field: Field) -> tuple[str, ...]:
        return field.name, field.old_name, field.title

    writable = (field for field in fields if not field.read_only)
    return nearest(key, writable, names, most=_NEAREST, close=_CLOSE)
