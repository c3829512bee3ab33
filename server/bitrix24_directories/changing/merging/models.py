"""What a merge of codes would do, did, or did not do, as programs get it. A leaf beside the shapes of `directories`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import WithJsonSchema

from bitrix24_directories.directories.models import Result, Shape

MergeStatus = Literal["planned", "moving", "done", "incomplete", "unchanged", "declined", "cancelled", "stopped"]


class MergedCode(Shape):
    """A code whose records go to another one; `name` is None where the directory does not have it.

    `fields` counts the records that carry it, by field, in a plan. `item` is what becomes of the directory's item, and
    `why` why it stays, or why there is nothing to move.
    """

    status_id: str
    name: str | None = None
    fields: Annotated[dict[str, int] | None, WithJsonSchema({"type": "object"})] = None
    item: Literal["to be deleted", "stays", "deleted", "unknown"] | None = None
    why: str | None = None


class NotMoved(Shape):
    """A record that was to carry another code and may not: `deal 12`, the field, and why."""

    record: str
    field: str
    why: str


class Merge(Result):
    """Several codes of a directory made one, `into`, whose name is `name`.

    `status`: `planned` (nothing is done yet; `plan_id` carries it out), `moving` (the same call goes on), `done`,
    `incomplete` (records still carry a code, or may), `unchanged` (no record carries the codes, no item is to go),
    `declined`, `cancelled` (the person did not answer), `stopped` (by an error).

    `moved` and `left` count values of fields: a record with two fields counts twice. `not_moved` holds the first ones
    of `not_moved_total`. `notes` say what else there is to know.
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
