"""The shapes that cross module borders and that programs get as structured results. A leaf: imports nothing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

Semantics = Literal["process", "success", "failure"]
Kind = Literal["stages", "list", "enumeration"]
JsonSchema = dict[str, Any]

WORTH_SAYING = 5
"""Seconds from which on it is said how old an answer is."""


def lean(schema: JsonSchema) -> None:
    """Cut a generated schema to what its readers need: no titles, no docstrings, no null for what is left out."""
    schema.pop("title", None)
    schema.pop("description", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
        options = [option for option in field.pop("anyOf", []) if option != {"type": "null"}]
        if options:
            (only,) = options
            field |= only
        if field.get("default", field) is None:
            del field["default"]


class Shape(BaseModel):
    """Written with camelCase keys; what is None is left out."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, json_schema_extra=lambda schema: lean(schema)
    )

    def structured(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Failure(Shape):
    """What an error result says to programs, and to models that are shown structured results alone."""

    code: str
    message: str
    next: str
    http_status: int | None = None
    category: Literal["input", "configuration", "authorization", "limit", "portal", "network"] | None = None
    retryable: bool
    retry_after_seconds: int | None = None


def _or_failure(schema: JsonSchema) -> None:
    """Let a tool's schema describe its error results too: some clients check those against it and refuse the rest.

    Nothing is required, then: to require one or the other takes an `anyOf` that strict validators refuse.
    """
    lean(schema)
    schema["properties"]["error"] = Failure.model_json_schema()
    del schema["required"]


class Result(Shape):
    """A tool's whole structured result; its schema also describes `{"error": ...}`."""

    model_config = ConfigDict(json_schema_extra=_or_failure)

    def structured(self) -> dict[str, Any]:
        said = super().structured()
        if said.get("ageSeconds", WORTH_SAYING) < WORTH_SAYING:
            del said["ageSeconds"]
        return said


def _item(schema: JsonSchema) -> None:
    lean(schema)
    del schema["properties"]["sort"]["default"]


class Item(Shape):
    """One entry of a directory. `status_id` is the code that other CRM calls carry, never altered.

    `id` (the record's number), `sort`, `semantics` (stages only), `color` and `system` are said with details: items
    stand in their order without.
    """

    model_config = ConfigDict(json_schema_extra=_item)

    status_id: str
    name: str
    sort: int = 0
    id: int | None = None
    semantics: Semantics | None = None
    color: str | None = None
    system: bool | None = None

    @model_serializer(mode="wrap")
    def _without_sort(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = serialize(self)
        if self.id is None:
            said.pop("sort", None)
        return said


class DirectoryItems(Result):
    """One directory's items in SORT order, and the fields that take their codes (`used_in` as in Directory).

    `total` counts all items of the directory, `fitting` those that a query asks for, `more` those that are left to be
    read behind the last one shown. Codes of stages that are `switched_off` are of no use in records. `age_seconds` is
    None for what was read for this call; less than WORTH_SAYING is not shown.
    """

    entity_id: str
    items: list[Item]
    total: int
    fitting: int | None = None
    more: int | None = None
    used_in: list[str] | None = None
    switched_off: bool | None = None
    age_seconds: int | None = None


class Directory(Shape):
    """One directory of a portal, or the values of a custom field of type enumeration under that field's path.

    `used_in` names the fields that take its codes, custom ones with their titles (`deal.STAGE_ID`, `deal.UF_CRM_1724
    (Size)`). For stages: `pipeline` is the pipeline's name, `category_id` its number; `start`, `success` and `failure`
    are codes; `entity_type_id` is the type of the records. Stages that are `switched_off` are of no use in records.
    """

    entity_id: str
    name: str
    kind: Kind
    used_in: list[str] | None = None
    pipeline: str | None = None
    category_id: int | None = None
    entity_type_id: SkipJsonSchema[int | None] = Field(default=None, exclude=True)
    start: str | None = None
    success: str | None = None
    failure: str | None = None
    switched_off: bool | None = None


class DirectoryList(Result):
    """Directories and enumerations that fit a query, and how many directories the portal has in all; `left_out` counts
    those that fit as well, by their sort (`list`, `stages for deal.STAGE_ID`). `age_seconds` as with items.
    """

    directories: list[Directory]
    left_out: dict[str, int] | None = None
    total: int
    age_seconds: int | None = None


class Match(Shape):
    """One item that a query may mean; `reason` says why it is certain, and is left out where it is only near.

    `semantics` is said of final stages, as far as it is known.
    """

    entity_id: str
    status_id: str
    name: str
    semantics: Literal["success", "failure"] | None = None
    reason: str | None = None


class QueryResult(Shape):
    """What one query means.

    `exact`: this code, or this whole name, and no other; `ambiguous`: of several items, which `tell_apart` would tell
    apart, and `more` beyond those listed; `none`: nothing is certain, and the matches are only the nearest. What the
    named directories do not have and others certainly do is `elsewhere`. Only `exact` is sure.
    """

    query: str
    status: Literal["exact", "ambiguous", "none"]
    matches: list[Match]
    tell_apart: Literal["pipeline", "directory", "code"] | None = None
    more: int | None = None
    elsewhere: list[Match] | None = None


class Unsearched(Shape):
    """A directory that could not be searched, and why."""

    entity_id: str
    why: str


class FoundIn(Shape):
    """A directory that matches stand in: its title, `used_in` and `switched_off` as in Directory."""

    entity_id: str
    name: str
    used_in: list[str] | None = None
    switched_off: bool | None = None


class FoundItems(Result):
    """One result for each query, in the order asked; `searched` counts directories, `note` limits what that means.

    `directories` are those of the matches. If a result is not certain, `choices` has all items of the named directories
    as `CODE: name` by entityId; if these are too many, only those directories that have none.
    """

    results: list[QueryResult]
    directories: list[FoundIn]
    choices: dict[str, list[str]] | None = None
    searched: int
    unsearched: list[Unsearched] | None = None
    note: str | None = None
    age_seconds: int | None = None


class Step(Shape):
    """One item of a plan: what is to happen to it, or why nothing will; after carrying out also its outcome.

    `done`: what was asked for stands in the directory; `done otherwise`: the portal stored something else, in `stored`.
    """

    action: Literal["add", "update", "remove", "refused"]
    status_id: str | None = None
    name: str
    read_from: str | None = None
    changes: list[str] | None = None
    why: str | None = None
    outcome: Literal["done", "done otherwise", "not done", "unknown"] | None = None
    stored: list[str] | None = None


class Addition(Shape):
    """One of the many items that a plan adds: each a step that adds, without saying so."""

    status_id: str
    name: str
    changes: list[str] | None = None


class Change(Result):
    """What a change would do, did, or did not do, and what of the directory it concerns, as the portal has it now.

    `status`: `planned` (nothing is done yet; `plan_id` carries it out), `done`, `done otherwise` (as a step says),
    `unchanged` (nothing to do), `declined` (the person said no), `cancelled` (the person did not answer), `stopped` (a
    step was not done, or it is not known whether it was). If a plan adds many items, they are its `additions`, each
    behind the one before, and `steps` are all others. `news` tells what has changed on the portal since an earlier
    plan. `counts` of actions stand for steps that are not said; `items` are those that were changed, with their
    neighbours, of `total`.
    """

    entity_id: str
    status: Literal["planned", "done", "done otherwise", "unchanged", "declined", "cancelled", "stopped"]
    steps: list[Step]
    additions: list[Addition] | None = None
    plan_id: str | None = None
    news: list[str] | None = None
    counts: dict[str, int] | None = None
    items: list[Item] | None = None
    total: int | None = None
