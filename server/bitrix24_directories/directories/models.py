"""Shapes shared by modules and sent to programs as structured results. Imports nothing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

Semantics = Literal["process", "success", "failure"]
Kind = Literal["stages", "list", "enumeration"]
JsonSchema = dict[str, Any]

WORTH_SAYING = 5
"""Age in seconds from which on an answer shows its age."""


def lean(schema: JsonSchema) -> None:
    """Remove titles, docstrings and null types from a generated schema: its readers need none."""
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
    """A model with camelCase keys that leaves out None."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, json_schema_extra=lambda schema: lean(schema)
    )

    def structured(self) -> dict[str, Any]:
        """Return the model as JSON, without None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Failure(Shape):
    """An error result for programs, and for models that see structured results alone."""

    code: str
    message: str
    next: str
    http_status: int | None = None
    category: Literal["input", "configuration", "authorization", "limit", "portal", "network"] | None = None
    retryable: bool
    retry_after_seconds: int | None = None


def _add_failure(schema: JsonSchema) -> None:
    """Let a tool's schema describe its error results too.

    Some clients check errors against the schema and refuse all others. So nothing is required: to require one or the
    other takes an `anyOf`, which strict validators refuse.
    """
    lean(schema)
    schema["properties"]["error"] = Failure.model_json_schema()
    del schema["required"]


class Result(Shape):
    """A tool's whole structured result; its schema also describes `{"error": ...}`."""

    model_config = ConfigDict(json_schema_extra=_add_failure)

    def structured(self) -> dict[str, Any]:
        data = super().structured()
        if data.get("ageSeconds", WORTH_SAYING) < WORTH_SAYING:
            del data["ageSeconds"]
        return data


def _adapt_item(schema: JsonSchema) -> None:
    lean(schema)
    del schema["properties"]["sort"]["default"]


class Item(Shape):
    """One entry of a directory. `status_id` is the unaltered code that other CRM calls carry.

    `id` (the record's number), `sort`, `semantics` (stages only), `color` and `system` come with details only: without
    them, items are in order.
    """

    model_config = ConfigDict(json_schema_extra=_adapt_item)

    status_id: str
    name: str
    sort: int = 0
    id: int | None = None
    semantics: Semantics | None = None
    color: str | None = None
    system: bool | None = None

    @model_serializer(mode="wrap")
    def _without_sort(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = serialize(self)
        if self.id is None:
            data.pop("sort", None)
        return data


class DirectoryItems(Result):
    """The items of one directory in SORT order, and the fields that take their codes.

    `used_in` is as in Directory. `total` counts all items, `fitting` those that match a query, `more` those after the
    last one shown. Codes of stages that are `switched_off` are of no use in records. `age_seconds` is None for data
    read for this call; less than WORTH_SAYING is not shown.
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
    """A directory, or the values of a custom enumeration field under that field's path.

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
    """Directories and enumerations that match a query, and the number of all directories.
    `left_out` counts further matches by their sort (`list`, `stages for deal.STAGE_ID`). `age_seconds` as in
    DirectoryItems."""

    directories: list[Directory]
    left_out: dict[str, int] | None = None
    total: int
    age_seconds: int | None = None


class Match(Shape):
    """One item that a query may mean, with the `reason` if the match is certain.

    `semantics` is that of final stages, if it is known.
    """

    entity_id: str
    status_id: str
    name: str
    semantics: Literal["success", "failure"] | None = None
    reason: str | None = None


class QueryResult(Shape):
    """The meaning of one query.

    `exact`: this code or whole name, and no other; `ambiguous`: several items, distinguished by `tell_apart`, `more` of
    them not listed; `none`: nothing certain, only the nearest matches. `elsewhere` has certain matches of other
    directories if the named ones have none. Only `exact` is sure.
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
    """A directory of matches: its title, `used_in` and `switched_off` as in Directory."""

    entity_id: str
    name: str
    used_in: list[str] | None = None
    switched_off: bool | None = None


class FoundItems(Result):
    """One result for each query, in the order of the queries.

    `searched` counts directories; `note` limits the meaning of the results. `directories` are those of the matches. If
    a result is not certain, `choices` has all items of the named directories as `CODE: name` by entityId; if these are
    too many, only the directories without items.
    """

    results: list[QueryResult]
    directories: list[FoundIn]
    choices: dict[str, list[str]] | None = None
    searched: int
    unsearched: list[Unsearched] | None = None
    note: str | None = None
    age_seconds: int | None = None


class Step(Shape):
    """One item of a plan with its action, or the reason for none; later also its outcome.

    `done`: the directory has the requested value; `done otherwise`: the portal stored something else, in `stored`.
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
    """One of many items that a plan adds: a step without its action."""

    status_id: str
    name: str
    changes: list[str] | None = None


class Change(Result):
    """A planned, made or refused change, and the affected part of the directory as it is now.

    `status`: `planned` (nothing is done yet; `plan_id` carries it out), `done`, `done otherwise` (as in Step),
    `unchanged` (nothing to do), `declined` (the person said no), `cancelled` (the person did not answer), `stopped` (a
    step was not done, or its outcome is unknown). If a plan adds many items, they are its `additions`, each after the
    one before, and `steps` are all others. `news` lists the portal's changes since an earlier plan. `counts` of actions
    replace steps that are left out; `items` are the changed ones with their neighbours, of `total`.
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
