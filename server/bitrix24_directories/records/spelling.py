"""Matches the keys of a record to fields, and spells them for the methods. Pure.

Facts: `crm.deal.add` reads `STAGE_ID` and `UF_CRM_1`; `crm.item.add` reads `stageId` and `ufCrm_1`, and built-in fields
in upper case too. Each drops custom fields in the other's spelling, and has fields that the other lacks. Smart
processes and invoices have only `crm.item.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitrix24_directories.directories.fields.fields import OLD_METHODS, Field, folded, folded_name

from .aliases import MULTIFIELDS, called_by_alias, multifield_type, names_of, nearest_fields

Style = Literal["old", "new"]


@dataclass(frozen=True, slots=True)
class Key:
    """Key of a record (`text`) with its field.

    `field` is None for no match or several (`ambiguous`). `write_as` is the key to write, empty if the record's methods
    have no such field. `reads_as_is`: they read `text` itself. `same_as` is the key that is taken for the same field.
    """

    text: str
    field: Field | None
    write_as: str = ""
    reads_as_is: bool = False
    same_as: str = ""
    candidates: tuple[Field, ...] = ()
    ambiguous: bool = False


def style_of(type_id: int, fields: Sequence[Field], keys: Sequence[str], *, new: bool = False) -> Style:
    """Return the style of the stage's key, else of the first key that only one style has.

    `new` is true if the caller named the kind of record as `crm.item.*` does.
    """
    if new or type_id not in OLD_METHODS:
        return "new"
    return next(iter(styles_of(fields, keys)), "old")


def styles_of(fields: Sequence[Field], keys: Sequence[str]) -> list[Style]:
    """Return the style of each key that only one style has, the stage's first."""
    styles: list[tuple[Field, Style]] = [
        (field, "old" if key == field.old_name else "new")
        for key in keys
        for field in fields
        if key and key in (field.name, field.old_name) and field.name != field.old_name
    ]
    return [style for _, style in sorted(styles, key=lambda pair: not pair[0].is_stage)]


def spelt(field: Field, style: Style) -> str:
    """Return the field's name for the methods of `style`."""
    return field.old_name if style == "old" else field.name


def read_keys(fields: Sequence[Field], keys: Sequence[str], style: Style) -> list[Key]:
    """Match each key to a field by its name in either spelling, its title or an alias.

    Letter case and underscores don't matter. Of several keys for a field, the best spelt is taken; none on a tie.
    """
    matched: dict[str, tuple[int, list[Field]]] = {}  # by key: quality of its spelling, 0 is best, and fields
    taken: dict[int, list[tuple[int, str]]] = {}  # the keys of each field, best spelt first
    for key in keys:
        if matches := [field for field in fields if key and key in (field.name, field.old_name)][:1]:
            level = int(key != spelt(matches[0], style))
        else:
            name, title = folded_name(key), folded(key)
            titled = [field for field in fields if field.title and folded(field.title) == title]
            if matches := [field for field in fields if name and name in map(folded_name, names_of(field))]:
                level, more = 2, titled
            else:
                level, matches, more = 3, titled, called_by_alias(key, fields)
            matches = matches + [field for field in more if field not in matches]
        matched[key] = level, matches
        if len(matches) == 1 and matches[0].kind != "crm_multifield":  # phones of several keys are combined
            taken[id(matches[0])] = sorted([*taken.get(id(matches[0]), []), (level, key)], key=lambda ranked: ranked[0])
    read: list[Key] = []
    for key, (level, matches) in matched.items():
        if len(matches) != 1:
            candidates = tuple(matches or nearest_fields(key, fields))
            read.append(Key(key, None, candidates=candidates, ambiguous=bool(matches)))
            continue
        (field,) = matches
        better = [other for at, other in taken.get(id(field), []) if other != key and at <= level]
        write_as = spelt(field, style)
        if field.kind == "crm_multifield" and style == "new":
            write_as = next((other.name for other in fields if other.kind == "crm_multifield" and other.name), "")
        elif field.kind == "crm_multifield":
            types = old_multifields(fields)
            type_of_key = field.old_name if field.old_name in types else multifield_type(key)
            write_as = type_of_key if type_of_key in types else "" if type_of_key else types[0]
        as_it_is = key == write_as or (style == "new" and key == field.upper_name)
        read.append(Key(key, field, write_as, as_it_is, same_as=better[0] if better and level else ""))
    return read


def old_multifields(fields: Sequence[Field]) -> list[str]:
    """Return the multifields of the old methods, by default all known ones."""
    old_names = [field.old_name for field in fields if field.kind == "crm_multifield" and not field.name]
    return old_names or [*MULTIFIELDS.values()]
