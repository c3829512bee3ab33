"""Turns the portal's rows into models: checks types, makes names safe, leaves codes alone.

Calls nothing. A row that lacks data promised by the REST documentation raises Bitrix24Error (UNEXPECTED_ANSWER) and is
not dropped: a list that silently misses an item is worse than an error.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bitrix24_directories.rest import failure
from bitrix24_directories.text import one_line

from .entity_ids import entity_type_of, is_stages
from .models import Directory, Item, Semantics

NAME_LIMIT = 200

_COLOR = re.compile(r"#?[0-9A-Fa-f]{3,8}")
_MEANINGS: dict[str, Semantics] = {
    "S": "success",
    "F": "failure",
    "P": "process",
    "SUCCESS": "success",
    "FAILURE": "failure",
    "APOLOGY": "failure",
    "PROCESS": "process",
}

_FLAGS = {"isRequired": "required", "isReadOnly": "read-only", "isImmutable": "immutable", "isMultiple": "multiple"}

Name = Annotated[
    str,
    BeforeValidator(lambda value: "" if value is None else value),
    AfterValidator(lambda name: one_line(name, NAME_LIMIT)),
]
Flag = Annotated[bool, BeforeValidator(lambda value: value not in (False, 0, "0", "N", "n", "false"))]
# PHP writes an empty array where an object is expected.
Section = Annotated[dict[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})]


class _Row(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)


class _ItemRow(_Row):
    """A row of `crm.status.entity.items`."""

    status_id: str = Field(alias="STATUS_ID")
    name: Name = Field("", alias="NAME")
    sort: int = Field(0, alias="SORT")


class _StatusRow(_ItemRow):
    """A row of `crm.status.list`."""

    id: int = Field(alias="ID")
    entity_id: str = Field(alias="ENTITY_ID")
    system: str | None = Field(None, alias="SYSTEM")
    color: str | None = Field(None, alias="COLOR")
    semantics: str | None = Field(None, alias="SEMANTICS")
    extra: Section = Field({}, alias="EXTRA")


class PipelineName(NamedTuple):
    """A pipeline's number and its plain name."""

    number: int
    name: str


class _TypeRow(_Row):
    """A row of `crm.status.entity.types`; only ID and NAME are always there."""

    id: str = Field(alias="ID")
    name: Name = Field("", alias="NAME")
    entity_type_id: int | None = Field(None, alias="ENTITY_TYPE_ID")
    semantic_info: Section = Field({}, alias="SEMANTIC_INFO")
    prefix: str | None = Field(None, alias="PREFIX")
    category_id: int | None = Field(None, alias="CATEGORY_ID")
    category_name: Name = Field("", alias="CATEGORY_NAME")
    is_enabled: Flag = Field(True, alias="IS_ENABLED")


_R = TypeVar("_R", bound=_Row)


def read_items(result: Any) -> list[Item]:
    """Items of one directory from `crm.status.entity.items`."""
    return [Item(status_id=row.status_id, name=row.name, sort=row.sort) for row in _read(result, _ItemRow)]


def read_statuses(result: Any, entity_id: str) -> list[Item]:
    """Return the items of one directory from `crm.status.list`.
    Rows of others are left out: the portal ignores filters that it does not understand."""
    return [
        Item(
            status_id=row.status_id,
            name=row.name,
            sort=row.sort,
            id=row.id,
            semantics=meaning_of(row.entity_id, row.extra.get("SEMANTICS"), row.semantics),
            color=f"#{row.color.removeprefix('#')}" if row.color and _COLOR.fullmatch(row.color) else None,
            system=row.system == "Y",
        )
        for row in _read(result, _StatusRow)
        if row.entity_id.upper() == entity_id
    ]


def fields_text(result: Any) -> str:
    """`STATUS_ID: string, Status ID [required, immutable]` and so on, from `crm.status.fields`."""
    lines = ["Fields of a directory item in Bitrix24 REST (field: type, title [what holds of it])"]
    for name, row in expect_object(result).items():
        described = row if isinstance(row, dict) else {}
        flags = [flag for key, flag in _FLAGS.items() if described.get(key) is True]
        kind, title = (one_line(str(described.get(key) or ""), NAME_LIMIT) for key in ("type", "title"))
        lines.append(f"{one_line(name, 50)}: {kind}, {title}" + (f" [{', '.join(flags)}]" if flags else ""))
    return "\n".join(lines)


def read_directories(result: Any) -> list[Directory]:
    """Return the portal's directories from `crm.status.entity.types`.
    Stages come first, directories that are switched off last, each kind in natural order of ids."""
    directories: list[Directory] = []
    for row in _read(result, _TypeRow):
        entity_id = row.id.upper()
        directory = Directory(
            entity_id=entity_id,
            name=row.name,
            kind="stages" if is_stages(entity_id) or row.semantic_info else "list",
            pipeline=row.category_name or None,
            category_id=row.category_id,
            entity_type_id=row.entity_type_id or entity_type_of(entity_id),
            start=_stage(row, "START_FIELD"),
            success=_stage(row, "FINAL_SUCCESS_FIELD"),
            failure=_stage(row, "FINAL_UNSUCCESS_FIELD"),
            switched_off=None if row.is_enabled else True,
        )
        directories.append(directory)

    def sort_key(directory: Directory) -> tuple[bool, bool, list[tuple[int, str]]]:
        parts = re.split(r"(\d+)", directory.entity_id)
        natural = [(int(part) if part.isdecimal() else -1, part) for part in parts]
        return directory.switched_off is True, directory.kind == "list", natural

    return sorted(directories, key=sort_key)


def read_pipelines(result: Any) -> list[PipelineName]:
    """Pipelines with a name from `crm.category.list`."""
    rows = [row for row in expect_list(expect_object(result).get("categories")) if isinstance(row, dict)]
    named_rows = [row for row in rows if str(row.get("id", "")).isdecimal() and isinstance(row.get("name"), str)]
    return [PipelineName(int(row["id"]), name) for row in named_rows if (name := one_line(row["name"], NAME_LIMIT))]


def expect_list(result: Any) -> list[Any]:
    """Return a method's result as a list. Raises Bitrix24Error (UNEXPECTED_ANSWER) if it isn't."""
    if not isinstance(result, list):
        raise failure("UNEXPECTED_ANSWER", http_status=200, detail="a list was expected")
    return result


def expect_object(result: Any) -> dict[str, Any]:
    """Return a method's result as an object. Raises Bitrix24Error as `expect_list` does."""
    if not isinstance(result, dict):
        raise failure("UNEXPECTED_ANSWER", http_status=200, detail="an object was expected")
    return result


def confirms(method: str, result: Any) -> bool:
    """True if the `result` of a changing method confirms the change: a new id, or true."""
    if method == "crm.status.add":
        return str(result).isdecimal() and int(result) > 0
    return result is True


def _read(result: Any, kind: type[_R]) -> list[_R]:
    try:
        return [kind.model_validate(row) for row in expect_list(result)]
    except ValidationError as exc:
        keys = sorted({str(error["loc"][0]) for error in exc.errors(include_input=False) if error["loc"]})
        raise failure(
            "UNEXPECTED_ANSWER", http_status=200, detail=f"a row of the list has no proper {', '.join(keys)}"
        ) from None


def meaning_of(entity_id: str, *semantics: object) -> Semantics | None:
    """Return the meaning of an item by the first known one of SEMANTICS; only stages have one."""
    for meaning in semantics:
        if isinstance(meaning, str) and meaning.upper() in _MEANINGS:
            return _MEANINGS[meaning.upper()]
    return "process" if is_stages(entity_id.upper()) else None


def _stage(row: _TypeRow, key: str) -> str | None:
    code = row.semantic_info.get(key)
    if not isinstance(code, str) or not code:
        return None
    return code if not row.prefix or ":" in code else f"{row.prefix}:{code}"
