"""Which field a key of a record means, and how it is to be spelt. Pure.

Facts: `crm.deal.add` knows `STAGE_ID` and `UF_CRM_1`, `crm.item.add` knows `stageId` and `ufCrm_1`, and reads built-in
fields in upper case too; each drops custom fields as the other spells them, and some fields only one of them has. Smart
processes and invoices have `crm.item.*` alone.
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
    """A key as it came: the field that it means, None where it means none or one of several (`ambiguous`), and how it
    is to be written: empty where the methods that the record is spelt for have no such field.

    `read_as_it_is`: these methods read the key as it came. `same_as` is another key that means the same field and comes
    before this one.
    """

    given: str
    field: Field | None
    write_as: str = ""
    read_as_it_is: bool = False
    same_as: str = ""
    candidates: tuple[Field, ...] = ()
    ambiguous: bool = False


def style_of(type_id: int, fields: Sequence[Field], keys: Sequence[str], *, new: bool = False) -> Style:
    """The methods that a record is spelt for: those that take its stage as it is spelt, else the first key that only
    one of them takes. `new` if the kind of record was named as `crm.item.*` names it.
    """
    if new or type_id not in OLD_METHODS:
        return "new"
    return next(iter(styles_of(fields, keys)), "old")


def styles_of(fields: Sequence[Field], keys: Sequence[str]) -> list[Style]:
    """The methods that take each key which only one kind of methods takes, the stage's first."""
    found: list[tuple[Field, Style]] = [
        (field, "old" if key == field.old_name else "new")
        for key in keys
        for field in fields
        if key and key in (field.name, field.old_name) and field.name != field.old_name
    ]
    return [style for _, style in sorted(found, key=lambda one: not one[0].is_stage)]


def spelt(field: Field, style: Style) -> str:
    """The field's name for the methods of `style`."""
    return field.old_name if style == "old" else field.name


def read_keys(fields: Sequence[Field], keys: Sequence[str], style: Style) -> list[Key]:
    """What each key means: a name in either spelling, whatever its letter case and underscores, a title or an alias.

    Of several keys that mean one field, the one that is spelt best is taken, and none if two are spelt alike.
    """
    meant: dict[str, tuple[int, list[Field]]] = {}  # how well each key is spelt, 0 for best, and what it may mean
    taken: dict[int, list[tuple[int, str]]] = {}  # the keys of each field, the best spelt first
    for key in keys:
        if found := [field for field in fields if key and key in (field.name, field.old_name)][:1]:
            level = int(key != spelt(found[0], style))
        else:
            name, title = folded_name(key), folded(key)
            titled = [field for field in fields if field.title and folded(field.title) == title]
            if found := [field for field in fields if name and name in map(folded_name, names_of(field))]:
                level, more = 2, titled
            else:
                level, found, more = 3, titled, called_by_alias(key, fields)
            found = found + [field for field in more if field not in found]
        meant[key] = level, found
        if len(found) == 1 and found[0].kind != "crm_multifield":  # phones of several keys are put together
            taken[id(found[0])] = sorted([*taken.get(id(found[0]), []), (level, key)], key=lambda one: one[0])
    read: list[Key] = []
    for key, (level, found) in meant.items():
        if len(found) != 1:
            read.append(Key(key, None, candidates=tuple(found or nearest_fields(key, fields)), ambiguous=bool(found)))
            continue
        (field,) = found
        others = [other for at, other in taken.get(id(field), []) if other != key and at <= level]
        write_as = spelt(field, style)
        if field.kind == "crm_multifield" and style == "new":
            write_as = next((one.name for one in fields if one.kind == "crm_multifield" and one.name), "")
        elif field.kind == "crm_multifield":
            types = old_multifields(fields)
            type_of_key = field.old_name if field.old_name in types else multifield_type(key)
            write_as = type_of_key if type_of_key in types else "" if type_of_key else types[0]
        as_it_is = key == write_as or (style == "new" and key == field.upper_name)
        read.append(Key(key, field, write_as, as_it_is, same_as=others[0] if others and level else ""))
    return read


def old_multifields(fields: Sequence[Field]) -> list[str]:
    """The fields of phones and the like that the old methods have; those that facts name where they tell none."""
    told = [field.old_name for field in fields if field.kind == "crm_multifield" and not field.name]
    return told or [*MULTIFIELDS.values()]
