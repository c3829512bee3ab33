"""The tool that checks records: its schema and its text. What it does is in `records`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.mcp_server.texts.directories import both
from bitrix24_directories.records.models import CheckedField, CheckedRecord, RecordVerdict
from bitrix24_directories.text import quoted, shown_code, shown_id

from .record_arguments import MOST_FIELDS, MOST_RECORDS, VALUE_LIMIT, GivenRecord, read_records, refused_argument
from .spec import ToolSpec


def _as_text(given: object) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


async def check_record(
    session: Session,
    entity: Annotated[
        str,
        BeforeValidator(_as_text),
        StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
        Field(description="deal, lead, contact, company, quote, invoice, or a smart process's title or number"),
    ],
    fields: Annotated[
        list[GivenRecord],
        BeforeValidator(read_records),
        WithJsonSchema({"type": "array", "items": {"type": "string", "maxLength": VALUE_LIMIT}}),
        Field(
            description=f"1 to {MOST_FIELDS} NAME=value, or a JSON object for each of up to {MOST_RECORDS} records",
            examples=[["STAGE_ID=Deal Won", "SOURCE_ID=CALL"]],
        ),
    ],
    recordId: Annotated[
        str,
        BeforeValidator(_as_text),
        StringConstraints(strip_whitespace=True, max_length=15),
        Field(description="Of an existing record; empty for a new one"),
    ] = "",
) -> Annotated[CallToolResult, CheckedRecord]:
    """Check a CRM record before every write: field names, stage, codes, dates, phones.

    Bitrix24 stores wrong codes, swaps stages and drops fields without an error. Fields are names (STAGE_ID, stageId) or
    titles, values codes or the user's words. Then write exactly what stands under Write, and ask the user about what is
    left out.
    """
    from bitrix24_directories.records.check import check_record as check  # its matcher is needed by this tool alone

    record_id = _record_id(recordId, fields)
    types = sorted({one.entity_type_id for one in fields if one.entity_type_id is not None})
    if len(types) > 1:
        listed = ", ".join(map(str, types))
        why = f"the records have several entityTypeIds ({listed}): check those of each kind in a call of their own"
        raise refused_argument("fields", why)
    records = [one.pairs for one in fields]
    result = await check(session.directories, entity, records, record_id, entity_type_id=types[0] if types else None)
    return both(record_text(result, record_id), result)


def _record_id(given: str, records: Sequence[GivenRecord]) -> int | None:
    """The number of the record that there is: from `recordId`, or from beside its fields."""
    if given and not (given.isascii() and given.isdecimal()):
        why = f'expected the record\'s number, such as 15, or nothing for a new record; got "{shown_id(given, 15)}"'
        raise refused_argument("recordId", why)
    inside = next((one.record_id for one in records if one.record_id is not None), None)
    record_id = int(given) if given else inside
    if record_id is not None and len(records) > 1:
        raise refused_argument("fields", "with recordId it has to be one record")
    if inside not in (None, record_id):
        raise refused_argument("recordId", f"{record_id}, and the id beside fields is {inside}: give one of them")
    return record_id


SPEC = ToolSpec(check_record, "Check a record before it is written", scopes=READING)


def record_text(result: CheckedRecord, record_id: int | None) -> str:
    """A line on the record, a line a field, and what to write, such as `STAGE_ID: "won" -> C1:WON (Won)`; of
    several records each has its number."""
    name = result.entity if record_id is None else f"{result.entity} {record_id}"
    if result.records is None:
        return "\n".join(_lines(name, result))
    fine = sum(record.ok for record in result.records)
    lines = [f"{fine} of {len(result.records)} {result.entity} records may be written as they stand"]
    for number, record in enumerate(result.records, 1):
        lines += _lines(f"{number}. {name}", record)
    return "\n".join(lines)


def _lines(name: str, record: RecordVerdict) -> Iterator[str]:
    yield _head(name, record)
    for field in record.fields or ():
        yield _field_line(field)
    if record.write:
        yield f"Write: {quoted(record.write)}"
    if record.open:
        yield f"Left out, to be settled first: {', '.join(record.open)}"
    if record.missing:
        yield f"Missing, if this is a new record: {', '.join(record.missing)}"
    for note in record.notes or ():
        yield f"Note: {note}"


def _head(name: str, record: RecordVerdict) -> str:
    """`deal in Wholesale (1): 2 right, 1 corrected, 2 cannot be written as given`."""
    if record.pipeline is not None:
        name += f" in {record.pipeline} ({record.category_id}{', if it is new' * (record.pipeline_from == 'default')})"
    counts = Counter(_COUNTED[field.outcome] for field in record.given)
    counted = [f"{counts[words]} {words}" for words in dict.fromkeys(_COUNTED.values()) if counts[words]]
    if record.pipeline_from == "stage":
        counted.append(f"{next(iter(record.write or {}))} added")
    if record.missing:
        counted.append(f"{len(record.missing)} missing")
    return f"{name}: {', '.join(counted)}"


_COUNTED = {
    "right": "right",
    "unchecked": "not checked",
    "changed": "corrected",
    "ambiguous": "cannot be written as given",
    "wrong": "cannot be written as given",
    "dropped": "cannot be written as given",
    "clears": "would empty a field",
}


def _field_line(field: CheckedField) -> str:
    name = f"{field.field} (write as {field.write_as})" if field.write_as else field.field
    would = f"Bitrix24 would {field.otherwise}" if field.otherwise else ""
    why = "; ".join(filter(None, (field.note, would)))
    listed = ", ".join(field.candidates or ())
    match field.outcome:
        case "right" | "changed":
            value = shown_code(field.value) if isinstance(field.value, str) else quoted(field.value)
            named = f"{value} ({field.name})" if field.name else value
            said = f"{named}, right" if field.outcome == "right" else f"{field.as_given} -> {named}"
            return f"{name}: {said}" + (f" ({why})" if why else "")
        case "unchecked":
            return f"{name}: not checked" + (f", {why}" if why else "")
        case "ambiguous":
            return f"{name}: {field.as_given} is ambiguous: {listed}; ask the user" + (f" ({why})" if why else "")
        case "dropped":
            listed = listed and f"; {'one of' if field.note else 'nearest'} {listed}"
            return f"{name}: {field.note or 'no such field'}, Bitrix24 would drop it{listed}"
        case "wrong" | "clears":
            listed = listed and f"; perhaps {listed}"
            return f"{name}: {field.as_given}{why and f', {why}'}{listed}"
