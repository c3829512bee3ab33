"""Counts the records that carry given codes, before their items or the records are changed.

Reads through `directories`, never from the cache. Facts: see `usage`, which counts a whole directory and may use it.
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
    """Counts of the records that carry each code, and the reasons for missing counts.

    `code_fields` are all fields that take the codes. `counts` are by code and path; None means at least one record, but
    an unknown number. A code that no record carries is not in it. `uncounted` holds the reasons.
    """

    code_fields: Sequence[CodeField] = ()
    counts: dict[str, dict[str, int | None]] = field(default_factory=dict)
    uncounted: Sequence[str] = ()

    @property
    def carried(self) -> dict[str, str]:
        """Codes that records carry, with a text such as `3 in lead.SOURCE_ID`."""
        return {
            code: ", ".join(f"{'some' if count is None else count} in {path}" for path, count in counts.items())
            for code, counts in self.counts.items()
        }

    @property
    def none_found(self) -> str:
        """Text for a code that no record was found to carry."""
        if not self.uncounted:
            return "no record that this user may read carries it"
        return f"whether records carry it is not known for certain: {'; '.join(self.uncounted)}"


async def count_carriers(directories: Directories, entity_id: str, codes: Sequence[str]) -> Carriers:
    """Count the records with each of `codes` in every field; errors are put into `uncounted`."""
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
        code: {field.path: count for field in carrying if (count := counting.total(field.with_code(code))) != 0}
        for code in codes
    }
    missing = {code_field.path: counting.missing([code_field.with_any_of(codes)]) for code_field in code_fields}
    missing |= {field.path: counting.missing([field.with_code(code) for code in codes]) for field in carrying}
    uncounted = [f"{path}: {reason}" for path, reason in missing.items() if reason]
    for code_field in carrying:
        whole = counting.total(code_field.with_any_of(codes))
        summed = counting.sum_of([code_field.with_code(code) for code in codes])
        if whole is not None and summed is not None and summed < whole:
            uncounted.append(f"{code_field.path}: {whole} carry one of the codes, and {summed} when each is counted")
    nonzero = {code: by_path for code, by_path in counts.items() if by_path}
    return Carriers(code_fields, nonzero, [*unread_in(lists, directory, code_fields), *uncounted])


def code_fields_of(lists: Lists, directory: Directory) -> list[CodeField]:
    """Return the fields that take the directory's codes and can be counted."""
    with_pipelines = {field.type.id for field in lists.fields.all() if field.field.kind == "crm_category"}
    code_fields: list[CodeField] = []
    for record_field in lists.fields.all():
        if record_field.field.name and not record_field.field.read_only and record_field.takes(directory):
            in_one = record_field.field.is_stage and record_field.type.id in with_pipelines
            code_fields.append(CodeField(record_field, directory.category_id if in_one else None))
    return code_fields


def unread_in(lists: Lists, directory: Directory, code_fields: Sequence[CodeField]) -> Iterator[str]:
    """Yield a reason for each field that may take the codes but cannot be counted."""
    counted = {code_field.record_field.shown for code_field in code_fields}
    for path in directory.used_in or ():
        if path in NOT_READ:
            yield f"{path} cannot be counted: no REST method reads these records"
        elif path not in counted:
            yield f"{path} cannot be counted"
    yield from (f"the fields of {kind.shown} cannot be read" for kind in unread_kinds(lists, directory))


def unread_kinds(lists: Lists, directory: Directory) -> list[RecordType]:
    """Return the kinds of records that may take the codes but whose fields could not be read."""
    return [kind for kind in lists.fields.unread() if directory.entity_type_id in (None, kind.id)]
