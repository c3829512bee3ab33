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

from .aliases import MULTIFIELDS, alike_by_meaning, called_by_alias, multifield_type

Style = Literal["old", "new"]

_NEAREST = 2
_CLOSE = 75


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
    styles = [style for _, style in _spelt_for_one(fields, keys)]
    return styles[0] if styles else "old"


def is_mixed(fields: Sequence[Field], keys: Sequence[str]) -> bool:
    """Whether some keys are spelt for the one kind of methods, and some for the other."""
    return len({style for _, style in _spelt_for_one(fields, keys)}) > 1


def _spelt_for_one(fields: Sequence[Field], keys: Sequence[str]) -> list[tuple[Field, Style]]:
    """The fields whose keys only one kind of methods takes, the stage first."""
    found: list[tuple[Field, Style]] = [
        (field, "old" if key == field.old_name else "new")
        for key in keys
        for field in fields
        if key and key in (field.name, field.old_name) and field.name != field.old_name
    ]
    return sorted(found, key=lambda one: not one[0].is_stage)


def spelt(field: Field, style: Style) -> str:
    """The field's name for the methods of `style`."""
    return field.old_name if style == "old" else field.name


def read_keys(fields: Sequence[Field], keys: Sequence[str], style: Style) -> list[Key]:
    """What each key means: a name in either spelling, whatever its letter case and underscores, a title or an alias.

    Of several keys that mean one field, the one that is spelt best is taken, and none if two are spelt alike.
    """
    meant: dict[str, tuple[int, list[Field]]] = {}  # how well each is spelt, 0 for the best, and what it may mean
    for key in keys:
        if exact := [field for field in fields if key and key in (field.name, field.old_name)]:
            meant[key] = int(key != spelt(exact[0], style)), exact[:1]
            continue
        text = key.strip()
        name = folded_name(text)
        titled = [field for field in fields if field.title and folded(field.title) == folded(text)]
        if loose := [field for field in fields if name and name in map(folded_name, _names(field))]:
            meant[key] = 2, loose + [field for field in titled if field not in loose]
        else:
            meant[key] = 3, titled + [field for field in called_by_alias(text, fields) if field not in titled]
    taken: dict[int, list[tuple[int, str]]] = {}  # the keys of each field, the best spelt first
    for key in keys:
        level, found = meant[key]
        if len(found) == 1 and found[0].kind != "crm_multifield":  # phones of several keys are put together
            taken[id(found[0])] = sorted([*taken.get(id(found[0]), []), (level, key)], key=lambda one: one[0])
    read: list[Key] = []
    for key in keys:
        level, found = meant[key]
        if len(found) != 1:
            candidates = found or _nearest(key, fields)
            read.append(Key(key, None, candidates=tuple(candidates), ambiguous=bool(found)))
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
        same_as = others[0] if others and level else ""
        read.append(Key(key, field, write_as, as_it_is, same_as))
    return read


def old_multifields(fields: Sequence[Field]) -> list[str]:
    """The fields of phones and the like that the old methods have; those that facts name where they tell none."""
    told = [field.old_name for field in fields if field.kind == "crm_multifield" and not field.name]
    return told or [*MULTIFIELDS.values()]


def _names(field: Field) -> tuple[str, str, str]:
    return field.name, field.old_name, field.upper_name


def _nearest(key: str, fields: Sequence[Field]) -> list[Field]:
    """Fields that a key speaks of, then those that it may be a misspelling of."""
    from rapidfuzz import fuzz  # only a mistake needs it, and start-up time counts

    def nearness(field: Field) -> tuple[int, float]:
        words = key.casefold().replace("_", " ")
        names = (name.casefold().replace("_", " ") for name in (*_names(field), field.title))
        return alike_by_meaning(key, field), max(fuzz.WRatio(words, name) for name in names)

    ranked = [(nearness(field), field) for field in fields if not field.read_only]
    ranked.sort(key=lambda one: one[0], reverse=True)
    return [field for (alike, close), field in ranked[:_NEAREST] if alike or close >= _CLOSE]
