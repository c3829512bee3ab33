"""Results of checking records and counting codes. Imports only the shapes of `directories`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from bitrix24_directories.directories.models import Result, Shape

Outcome = Literal["right", "changed", "ambiguous", "wrong", "dropped", "clears", "unchecked"]

ACCEPTED: tuple[Outcome, ...] = ("right", "unchecked")
"""Outcomes of values that may be written unchanged."""

UNRESOLVED: tuple[Outcome, ...] = ("ambiguous", "wrong", "dropped", "clears")
"""Outcomes of values that are not part of `write`."""

PipelineFrom = Literal["stage", "default"]


class CheckedField(Shape):
    """Field of a record with its original value, and the value to write.

    `right`: may be written unchanged; `changed`: `code` is the same in the form that Bitrix24 stores, or belongs to the
    given name; `unchecked`: of a kind that is not checked, passed on. The other outcomes are not written: `ambiguous`
    (one of `candidates`), `wrong` (no code of its list), `clears` (would empty the field), `dropped` (no such field, or
    one that cannot be written, with the reason in `note`: Bitrix24 would silently drop it). `given` is None if it is
    right, unchecked or dropped; `write_as` is the field's name if another was given; `name` is the name of the code, if
    they differ; `candidates` are codes with their names, `SALE (Sales)`; `otherwise` is what today's Bitrix24 would do
    with the original value, and older ones if that harms; `as_given` is `given` for a text, a string in quotes, and
    `value` the value to write.
    """

    field: str
    outcome: Outcome
    write_as: str | None = None
    given: str | None = None
    value: SkipJsonSchema[Any] = Field(default=None, exclude=True)
    as_given: SkipJsonSchema[str | None] = Field(default=None, exclude=True)
    code: str | None = None
    name: str | None = None
    candidates: list[str] | None = None
    note: str | None = None
    otherwise: str | None = None


class RecordVerdict(Shape):
    """Verdict on one record; `ok` if all fields may be written unchanged and none is missing.

    `write` is the record to write, `open` names the fields that are not in it, `missing` the built-in fields without
    which Bitrix24 refuses a new record. `given` has all fields, also those that are not reported; `notes` are on the
    record. `category_id` and `pipeline` are the record's own, if stages depend on them. If neither a pipeline nor an
    existing record was given, `pipeline_from` is their source: the `stage` belongs to no other pipeline, so `write`
    names the pipeline too; or it is the `default` of new records.
    """

    ok: bool
    pipeline: str | None = None
    category_id: int | None = None
    pipeline_from: PipelineFrom | None = None
    given: SkipJsonSchema[list[CheckedField]] = Field(default_factory=list, exclude=True)
    fields: list[CheckedField] | None = None
    write: Annotated[dict[str, Any] | None, WithJsonSchema({"type": "object"})] = None
    open: list[str] | None = None
    missing: list[str] | None = None
    notes: list[str] | None = None


class CheckedRecord(RecordVerdict, Result):
    """Verdict on one record, or on several in `records`, without their right fields.

    `entity` is their name in texts; `ok` is true if all of them are.
    """

    entity_type_id: int
    entity: SkipJsonSchema[str] = Field(default="", exclude=True)
    records: list[RecordVerdict] | None = None


class UsedItem(Shape):
    """Item with the number of records that carry its code; None if that could not be counted.

    `fields` splits the count if several fields take the codes; a record with the code in two fields counts in each.
    `ids` are the ids of the first records by field, for pictures only.
    """

    status_id: str
    name: str
    count: int | None = None
    fields: Annotated[dict[str, int] | None, WithJsonSchema({"type": "object"})] = None
    ids: SkipJsonSchema[dict[str, list[int]]] = Field(default_factory=dict, exclude=True)

    @property
    def count_text(self) -> str:
        """Count for a text."""
        return "not counted" if self.count is None else str(self.count)


class UnknownCode(Shape):
    """Code that records carry but the directory lacks, with their number and first ids.

    `count` is None if it could not be counted; `perhaps` is the item that may be meant, or the likely source.
    """

    code: str
    field: str
    count: int | None = None
    ids: list[int]
    perhaps: str | None = None

    @property
    def count_text(self) -> str:
        """Count for a text."""
        return "not counted" if self.count is None else str(self.count)

    @property
    def ids_text(self) -> str:
        """Ids for a text; it ends with `...` if there are more."""
        return ", ".join(map(str, self.ids)) + (", ..." if self.count is None or self.count > len(self.ids) else "")


class DirectoryUsage(Result):
    """Counts of the records that carry each code of a directory.

    Only records that the caller may read count. `records` counts each once; None if that could not be counted. `in_use`
    and `unused` count items; `more` items follow these. `unknown_codes` counts the codes that the directory lacks.
    `unknown` has the most frequent ones of each field; `unknown_records` counts the records that carry one, in each
    field, with `unlisted` records whose codes are not in `unknown`. `partial` lists what is missing from the counts;
    `failed` is true if some of it could have been counted; `unreadable` is true if no record method reads the records
    that carry the codes. `labels` are user-friendly names of the fields by path. Codes are compared as the portal does,
    without letter case and trailing blanks.
    """

    entity_id: str
    fields: list[str]
    records: int | None = None
    in_use: int | None = None
    unused: int | None = None
    items: list[UsedItem]
    more: int | None = None
    unknown: list[UnknownCode] | None = None
    unknown_codes: int | None = None
    unknown_records: SkipJsonSchema[int | None] = Field(default=None, exclude=True)
    labels: SkipJsonSchema[dict[str, str]] = Field(default_factory=dict, exclude=True)
    unlisted: SkipJsonSchema[int] = Field(default=0, exclude=True)
    unreadable: SkipJsonSchema[bool] = Field(default=False, exclude=True)
    failed: SkipJsonSchema[bool] = Field(default=False, exclude=True)
    partial: list[str] | None = None
    age_seconds: int | None = None

    @property
    def paths(self) -> list[str]:
        """Paths of the fields, the keys of the counts."""
        return [*self.labels]
