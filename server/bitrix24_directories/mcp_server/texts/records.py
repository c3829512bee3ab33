"""Checked records as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bitrix24_directories.records.models import CheckedField, CheckedRecord, RecordVerdict
from bitrix24_directories.text import quoted, shown_code


def record_text(result: CheckedRecord, record_id: int | None) -> str:
    """Return a line on the record, one for each field, and the values to write.
    Such as `STAGE_ID: "won" -> C1:WON (Won)`; each of several records has its number."""
    name = result.entity if record_id is None else f"{result.entity} {record_id}"
    if result.records is None:
        return "\n".join(_lines(name, result))
    fine = sum(record.ok for record in result.records)
    lines = [f"{fine} of {len(result.records)} {result.entity} records may be written as they stand"]
    for number, record in enumerate(result.records, 1):
        lines += _lines(f"{number}. {name}", record)
    return "\n".join(lines)


def _lines(name: str, record: RecordVerdict) -> Iterator[str]:
    """Yield a record's head (`deal in Wholesale (1): 2 right, 1 corrected`) and its findings."""
    if record.pipeline is not None:
        assumed = ", assuming a new record" if record.pipeline_from == "default" else ""
        name += f" in {record.pipeline} ({record.category_id}{assumed})"
    counts = Counter(_COUNTED[field.outcome] for field in record.given)
    counted = [f"{counts[words]} {words}" for words in dict.fromkeys(_COUNTED.values()) if counts[words]]
    if record.pipeline_from == "stage":
        counted.append(f"{next(iter(record.write or {}))} added")
    if record.missing:
        counted.append(f"{len(record.missing)} missing")
    yield f"{name}: {', '.join(counted)}"
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
    candidates = ", ".join(field.candidates or ())
    match field.outcome:
        case "right" | "changed":
            value = shown_code(field.value) if isinstance(field.value, str) else quoted(field.value)
            label = f"{value} ({field.name})" if field.name else value
            verdict = f"{label}, right" if field.outcome == "right" else f"{field.as_given} -> {label}"
            return f"{name}: {verdict}" + (f" ({why})" if why else "")
        case "unchecked":
            return f"{name}: not checked" + (f", {why}" if why else "")
        case "ambiguous":
            return f"{name}: {field.as_given} is ambiguous: {candidates}; ask the user" + (f" ({why})" if why else "")
        case "dropped":
            candidates = candidates and f"; {'one of' if field.note else 'nearest'} {candidates}"
            return f"{name}: {field.note or 'no such field'}, Bitrix24 would drop it{candidates}"
        case "wrong" | "clears":
            candidates = candidates and f"; perhaps {candidates}"
            return f"{name}: {field.as_given}{why and f', {why}'}{candidates}"
