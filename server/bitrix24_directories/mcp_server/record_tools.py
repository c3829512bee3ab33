"""The tool that checks a record: its schema, what it takes for fields, and its text. What it does is in `records`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import from_json

from bitrix24_directories.records.models import CheckedField, CheckedRecord
from bitrix24_directories.rest import Bitrix24Error, Entry
from bitrix24_directories.text import one_line, quoted, shown_code

from .answers import both
from .context import Portal, directories_of

MOST_FIELDS, VALUE_LIMIT = 200, 65_535
_SHOWN = 60


def pairs(given: object) -> list[tuple[str, Any]]:
    """Fields and values out of `NAME=value` lines, objects, or JSON of either.

    Raises Bitrix24Error (INVALID_ARGUMENTS) for what is none of these.
    """
    if isinstance(given, str):
        text = given.strip()
        given = (
            _from_json(text) if text.startswith(("{", "[")) else [line for line in text.splitlines() if line.strip()]
        )
    found = list(_pairs(given))
    if not 0 < len(found) <= MOST_FIELDS:
        raise _refused(f"expected 1 to {MOST_FIELDS} fields such as STAGE_ID=WON; got {len(found)}")
    longest = max(len(text) for pair in found for text in pair if isinstance(text, str))
    if longest > VALUE_LIMIT:
        raise _refused(f"each may have {VALUE_LIMIT} characters at most; got {longest}")
    return found


def _pairs(given: object) -> Iterator[tuple[str, Any]]:
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, str) and one.lstrip().startswith("{"):
            one = _from_json(one)
        if isinstance(one, dict):
            yield from ((str(name), value) for name, value in one.items())
        elif isinstance(one, str):
            yield _pair(one)
        else:
            raise _refused("expected a list of texts such as STAGE_ID=WON, or an object")


def _pair(line: str) -> tuple[str, str]:
    sign = "=" if "=" in line else ":"
    name, found, value = line.partition(sign)
    if not (found and name.strip()):
        raise _refused(f"{quoted(one_line(line, _SHOWN))} is not NAME=value")
    spaced = sign == ":" or name != name.rstrip()
    return name.strip(), value.strip() if spaced else value


def _from_json(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise _refused("broken JSON") from None


def _refused(why: str) -> Bitrix24Error:
    return Bitrix24Error(
        "INVALID_ARGUMENTS",
        Entry(
            "check_record was called with wrong arguments", f"Correct them and call again:\n- fields: {why}", "input"
        ),
    )


def _as_text(given: object) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


async def check_record(
    entity: Annotated[
        str,
        BeforeValidator(_as_text),
        StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
        Field(description="deal, lead, contact, company, quote, invoice, or a smart process's title or number"),
    ],
    fields: Annotated[
        list[tuple[str, Any]],
        BeforeValidator(pairs),
        WithJsonSchema({"type": "array", "items": {"type": "string", "maxLength": VALUE_LIMIT}}),
        Field(description=f"1 to {MOST_FIELDS} NAME=value", examples=[["STAGE_ID=Deal Won", "SOURCE_ID=CALL"]]),
    ],
    ctx: Context[Portal],
    recordId: Annotated[
        str,
        BeforeValidator(_as_text),
        StringConstraints(strip_whitespace=True, max_length=15, pattern=r"^[0-9]*$"),
        Field(description="Of the record to be updated; empty for a new one"),
    ] = "",
) -> Annotated[CallToolResult, CheckedRecord]:
    """Check a CRM record before it is added or updated: field names, pipeline, stage, codes, custom fields, dates.

    Use it before every write: Bitrix24 stores wrong codes, swaps stages and drops unknown fields without an error.
    Fields are old or new names (STAGE_ID, stageId) or titles, values codes or the user's words. Then write exactly what
    stands under Write, and settle with the user what is left out.
    """
    from bitrix24_directories.records.check import check_record as check  # its matcher is needed by this tool alone

    record_id = int(recordId) if recordId else None
    result = await check(directories_of(ctx), entity, fields, record_id)
    return both(record_text(result, record_id), result)


def record_text(result: CheckedRecord, record_id: int | None) -> str:
    """A line on the record, a line a field, and what to write, such as `STAGE_ID: "won" -> C1:WON (Won), likely`."""
    lines = [_head(result, record_id), *(_field_line(field, result.write) for field in result.fields)]
    if result.write:
        lines.append(f"Write: {quoted(result.write)}")
    if result.open:
        lines.append(f"Left out, to be settled first: {', '.join(result.open)}")
    if result.missing:
        lines.append(f"Missing, if this is a new record: {', '.join(result.missing)}")
    return "\n".join(lines)


def _head(result: CheckedRecord, record_id: int | None) -> str:
    record = result.entity if record_id is None else f"{result.entity} {record_id}"
    if result.pipeline is not None:
        why = {"stage": ", added", "default": ", if it is new", None: ""}[result.pipeline_from]
        record += f" in {result.pipeline} (CATEGORY_ID {result.category_id}{why})"
    if result.ok:
        return f"{record}: may be written as it stands"
    changes, total = sum(field.outcome in ("likely", "changed") for field in result.fields), len(result.fields)
    return f"{record}: {changes} of {total} fields need{'s' if changes == 1 else ''} a change"


def _field_line(field: CheckedField, write: dict[str, Any]) -> str:
    name = f"{field.field} (write as {field.write_as})" if field.write_as else field.field
    given = "" if field.given is None else quoted(field.given)
    would = f"Bitrix24 would {field.otherwise}" if field.otherwise else ""
    why = "; ".join(filter(None, (field.note, would)))
    listed = ", ".join(field.candidates or ())
    match field.outcome:
        case "right" | "likely" | "changed":
            written = write.get(field.write_as or field.field)
            code = shown_code(written) if isinstance(written, str) else quoted(written)
            named = f" ({field.name or field.given})" if field.name or field.outcome == "likely" else ""
            outcome = "" if field.outcome == "changed" else f", {field.outcome}"
            return f"{name}: {given and f'{given} -> '}{code}{named}{outcome}" + (f" ({why})" if why else "")
        case "unchecked":
            return f"{name}: not checked" + (f", {why}" if why else "")
        case "ambiguous":
            return f"{name}: {given} is ambiguous: {listed}; ask the user" + (f" ({why})" if why else "")
        case "dropped":
            return f"{name}: {', '.join(filter(None, (field.note, would)))}" + (f"; nearest {listed}" if listed else "")
        case "wrong" | "clears":
            return f"{name}: {given}, {why}" + (f"; perhaps {listed}" if listed else "")
