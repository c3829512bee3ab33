"""What a check says of a record and of each of its fields. A leaf beside the shapes of `directories`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from bitrix24_directories.directories.models import Result, Shape

Outcome = Literal["right", "changed", "ambiguous", "wrong", "dropped", "clears", "unchecked"]

ACCEPTED: tuple[Outcome, ...] = ("right", "unchecked")
"""Outcomes of what may be written as it was given."""

UNRESOLVED: tuple[Outcome, ...] = ("ambiguous", "wrong", "dropped", "clears")
"""Outcomes of what is left out of what is to be written."""

PipelineFrom = Literal["stage", "default"]


class CheckedField(Shape):
    """One field as it was given, and what is to be written into it.

    `right`: may be written as it stands; `changed`: `code` is the same in the form that Bitrix24 keeps, or belongs to
    the name that was given; `unchecked`: of a kind that is not checked, passed on. The rest is left out of what is to
    be written: `ambiguous` (one of `candidates`), `wrong` (no code of its list), `clears` (would empty the field),
    `dropped` (no such field, or one that cannot be written, as `note` then says: Bitrix24 would drop it without a
    word). `given` is left out where it is right, unchecked or dropped; `write_as` is the field's name where another was
    given; `name` belongs to the code, where the two differ; `candidates` are codes with their names, `SALE (Sales)`;
    `otherwise` is what today's Bitrix24 would do with it as it was given, and what older ones would where that harms;
    `as_given` is `given` for a text, in quotes where it is one, and `value` what is written.
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
    """What is said of one record. `ok`: everything given may be written as it stands, in the spelling in which it came,
    and nothing is missing.

    `write` is what to write, `open` names the fields that are left out of it, `missing` the built-in ones without which
    Bitrix24 refuses a new record; `given` has all fields, with those that are not said; `notes` are on the record.
    `category_id` and `pipeline` are the record's own, where stages depend on them. Where neither the pipeline nor the
    record was given, `pipeline_from` tells why: the `stage` is of no other, so that it is added to `write`; or it is
    the `default` of new records.
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
    """A record as a whole; or several in `records`, of whose fields only those are said that are not right.

    `entity` is what a text calls them; `ok` means all of them.
    """

    entity_type_id: int
    entity: SkipJsonSchema[str] = Field(default="", exclude=True)
    records: list[RecordVerdict] | None = None


class UsedItem(Shape):
    """An item and how many records carry its code; None where that could not be counted.

    `fields` parts the count where several fields take the codes; a record that has it in two of them counts in each.
    `ids` are those of the first records by field, for a picture alone.
    """

    status_id: str
    name: str
    count: int | None = None
    fields: Annotated[dict[str, int] | None, WithJsonSchema({"type": "object"})] = None
    ids: SkipJsonSchema[dict[str, list[int]]] = Field(default_factory=dict, exclude=True)

    @property
    def count_text(self) -> str:
        return "not counted" if self.count is None else str(self.count)


class UnknownCode(Shape):
    """A code that records carry in a field and that the directory does not have: how many, and the first ones' ids.

    `count` is None where that could not be counted; `perhaps` says what it may be, or where it comes from.
    """

    code: str
    field: str
    count: int | None = None
    ids: list[int]
    perhaps: str | None = None

    @property
    def count_text(self) -> str:
        return "not counted" if self.count is None else str(self.count)

    @property
    def ids_text(self) -> str:
        """The ids for a text, with a sign that there are more."""
        return ", ".join(map(str, self.ids)) + (", ..." if self.count is None or self.count > len(self.ids) else "")


class DirectoryUsage(Result):
    """How many records carry each code of a directory, as far as the caller may read them.

    `records` counts each record once; None where that could not be counted. `in_use` and `unused` count items; `more`
    are left to be shown behind these. `unknown_codes` counts the codes that the directory does not have, of which
    `unknown` has the most frequent in each field, and `unknown_records` the records that carry one, in each field;
    `unlisted` more carry others still.
    `partial` says what is missing from the counts, and `failed` whether something is that could have been counted;
    `unreadable` tells that no record method reads what carries the codes.
    `labels` are the fields by path, as a person knows them. As the portal compares, neither letter case nor blanks at
    the end of a code matter.
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
        """The fields as the counts name them."""
        return [*self.labels]
