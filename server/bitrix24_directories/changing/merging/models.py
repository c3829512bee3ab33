"""Results of merging codes, planned or done. Imports only the shapes of `directories`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import WithJsonSchema

from bitrix24_directories.directories.models import Result, Shape

MergeStatus = Literal["planned", "moving", "done", "incomplete", "unchanged", "declined", "cancelled", "stopped"]


class MergedCode(Shape):
    """Code to merge into another one; `name` is None if the directory does not have it.

    `fields` counts the records that carry it, by field, in a plan. `item` is the outcome for the directory's item, and
    `why` the reason why it stays, or why there is nothing to move.
    """

    status_id: str
    name: str | None = None
    fields: Annotated[dict[str, int] | None, WithJsonSchema({"type": "object"})] = None
    item: Literal["to be deleted", "stays", "deleted", "unknown"] | None = None
    why: str | None = None


class NotMoved(Shape):
    """Record whose code was not changed, or perhaps not: `deal 12`, the field, the reason."""

    record: str
    field: str
    why: str


class Merge(Result):
    """Merge of several codes of a directory into the code `into` with the name `name`.

    `status`: `planned` (nothing is done yet; `plan_id` carries it out), `moving` (the same call continues), `done`,
    `incomplete` (records still carry a code, or may), `unchanged` (no record carries the codes, no item to delete),
    `declined`, `cancelled` (the person did not answer), `stopped` (by an error).

    `moved` and `left` count values of fields: a record with two fields counts twice. `not_moved` holds the first ones
    of `not_moved_total`. `notes` have further remarks.
    """

    entity_id: str
    into: str
    name: str
    status: MergeStatus
    codes: list[MergedCode]
    moved: int | None = None
    left: int | None = None
    not_moved: list[NotMoved] | None = None
    not_moved_total: int | None = None
    plan_id: str | None = None
    notes: list[str] | None = None
