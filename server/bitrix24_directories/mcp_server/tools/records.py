"""The tool that checks records: its schema and text. `records` does the work."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.mcp_server.session import Session
from bitrix24_directories.mcp_server.texts.records import record_text
from bitrix24_directories.records.models import CheckedRecord
from bitrix24_directories.text import shown_id

from .record_arguments import MOST_FIELDS, MOST_RECORDS, VALUE_LIMIT, GivenRecord, read_records, refused_argument
from .results import both
from .spec import ToolSpec


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
    from bitrix24_directories.records.check import check_record as check  # only this tool needs its matcher

    if recordId and not (recordId.isascii() and recordId.isdecimal()):
        why = f'expected the record\'s number, such as 15, or nothing for a new record; got "{shown_id(recordId, 15)}"'
        raise refused_argument("recordId", why)
    beside = next((record.record_id for record in fields if record.record_id is not None), None)
    record_id = int(recordId) if recordId else beside
    if record_id is not None and len(fields) > 1:
        raise refused_argument("fields", "with recordId it has to be one record")
    if beside not in (None, record_id):
        raise refused_argument("recordId", f"{record_id}, and the id beside fields is {beside}: give one of them")
    types = sorted({record.entity_type_id for record in fields if record.entity_type_id is not None})
    if len(types) > 1:
        numbers = ", ".join(map(str, types))
        why = f"the records have several entityTypeIds ({numbers}): check those of each kind in a call of their own"
        raise refused_argument("fields", why)
    records = [record.pairs for record in fields]
    result = await check(session.directories, entity, records, record_id, entity_type_id=types[0] if types else None)
    return both(record_text(result, record_id), result)


SPEC = ToolSpec(check_record, "Check a record before it is written", scopes=READING)
