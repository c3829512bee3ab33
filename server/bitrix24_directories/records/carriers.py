"""Counts now which records carry some codes of a directory, before anything is done to its items or to the records.

Asks through `directories`. Facts: as `usage`, which tells the same of a whole directory, out of the cache where it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bitrix24_directories.directories.directories import Directories, Lists
from bitrix24_directories.directories.fields.fields import NOT_READ, RecordType
from bitrix24_directories.directories.models import Directory
from bitrix24_directories.directories.naming import only
from bitrix24_directories.rest import Bitrix24Error

from .counting import CodeField, Counting


@dataclass(frozen=True)
class Carriers:
    """How many records carry each of some codes, and what keeps that from being the whole truth (`uncounted`).

    `places` are all fields that take the codes; `counts` are by code and path, None where there are some and how many
    is not known; a code that no record carries has none.
    """

    code_fields: Sequence[CodeField] = ()
    counts: dict[str, dict[str, int | None]] = field(default_factory=dict)
    uncounted: Sequence[str] = ()

    @property
    def carried(self) -> dict[str, str]:
        """The codes that records carry, with how many and where, as `3 in lead.SOURCE_ID`."""
        return {
            code: ", ".join(f"{'some' if count is None else count} in {path}" for path, count in of.items())
            for code, of in self.counts.items()
        }

    @property
    def none_found(self) -> str:
        """What is to be said of a code that is not carried."""
        if not self.uncounted:
            return "no record that this user may read carries it"
        return f"whether records carry it is not known for certain: {'; '.join(self.uncounted)}"


async def carriers(directories: Directories, entity_id: str, codes: Sequence[str]) -> Carriers:
    """Count now which of `codes` records carry, in every field that takes them now. What cannot be counted is said."""
    try:
        lists = await directories.lists(fresh=True)
        directory = only(entity_id, lists.named(entity_id))
        code_fields, counting = code_fields_of(lists, directory), Counting(directories.reader, fresh=True)
        await counting.ask([code_field.with_any_of(codes) for code_field in code_fields])
        carrying = [code_field for code_field in code_fields if counting.total(code_field.with_any_of(codes))]
        await counting.ask([code_field.with_code(code) for code_field in carrying for code in codes])
    except Bitrix24Error as exc:
        return Carriers(uncounted=[exc.happened])
    counts = {
        code: {
            code_field.path: count
            for code_field in carrying
            if (count := counting.total(code_field.with_code(code))) != 0
        }
        for code in codes
    }
    missing = {code_field.path: counting.missing([code_field.with_any_of(codes)]) for code_field in code_fields}
    missing |= {
        code_field.path: counting.missing([code_field.with_code(code) for code in codes]) for code_field in carrying
    }
    uncounted = [f"{path}: {what}" for path, what in missing.items() if what]
    for code_field in carrying:
        whole = counting.total(code_field.with_any_of(codes))
        each = counting.sum_of([code_field.with_code(code) for code in codes])
        if whole is not None and each is not None and each < whole:
            uncounted.append(f"{code_field.path}: {whole} carry one of the codes, and {each} when each is counted")
    found = {code: of for code, of in counts.items() if of}
    return Carriers(code_fields, found, [*unread_in(lists, directory, code_fields), *uncounted])


def code_fields_of(lists: Lists, directory: Directory) -> list[CodeField]:
    """The fields that take the directory's codes and can be counted."""
    with_pipelines = {one.type.id for one in lists.fields.all() if one.field.kind == "crm_category"}
    code_fields: list[CodeField] = []
    for one in lists.fields.all():
        if one.field.name and not one.field.read_only and one.takes(directory):
            in_one = one.field.is_stage and one.type.id in with_pipelines
            code_fields.append(CodeField(one, directory.category_id if in_one else None))
    return code_fields


def unread_in(lists: Lists, directory: Directory, code_fields: Sequence[CodeField]) -> Iterator[str]:
    """What takes the codes, or may take them, and is none of the `places` that can be counted."""
    counted = {code_field.record_field.shown for code_field in code_fields}
    for path in directory.used_in or ():
        if path in NOT_READ:
            yield f"{path} cannot be counted: no REST method reads these records"
        elif path not in counted:
            yield f"{path} cannot be counted"
    yield from (f"the fields of {kind.shown} cannot be read" for kind in unread_kinds(lists, directory))


def unread_kinds(lists: Lists, directory: Directory) -> list[RecordType]:
    """The kinds of records that may take the codes, as far as is known: their fields could not be read."""
    return [kind for kind in lists.fields.unread() if directory.entity_type_id in (None, kind.id)]
