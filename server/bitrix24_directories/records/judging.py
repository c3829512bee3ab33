"""Judges the fields of one record by the context of its type. Pure.

Facts: the portal silently drops unknown keys and values of read-only fields. A value of a multiple field has to be a
list. `crm.deal.update` never changes the pipeline. Title, currency, responsible and a deal's dates cannot be emptied.
REST does not require custom fields, or fields that are required from a certain stage on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitrix24_directories.directories.fields.fields import TYPE_NAMES, Field
from bitrix24_directories.text import quoted, shown_code, shown_id

from .codes import as_json, code_and_name, code_text, judge_code, judge_row
from .context import RecordContext
from .models import ACCEPTED, UNRESOLVED, CheckedField, Outcome, RecordVerdict
from .multifields import STORED_AND_NEW, judge_multifield
from .spelling import Key, Style, old_multifields, read_keys, spelt, style_of, styles_of
from .stages import MISSING, OwnPipeline, own_pipeline
from .values import boolean, day, moment, number, record_id
from .verdicts import CLEAR, DROP, KEEP, REFERENCES, REFUSE, STORE_RAW, Verdict, is_empty, option

_NOT_ASKED_FOR = "unless the portal is set so, Bitrix24 does not ask by REST for fields that the new stage requires"
_MOVED = "Bitrix24 takes the first stage of the same meaning there; name a stage if another is meant"
_IF_MEANT = "send it only if that is meant"
_COMPUTED = {
    "closed": "it follows from the stage; choose the stage instead",
    "isReturnCustomer": "it follows from the client's history",
    "isRepeatedApproach": "it follows from the client's history",
    "stageSemanticId": "it follows from the stage; choose the stage instead",
}
"""Reasons why a field drops values although it is not described as read-only."""

_HAVE_DEFAULTS = {"opened"}
"""Fields that are described as required but have a default."""

_NEVER_EMPTIED = {"title", "currencyId", "assignedById", "begindate", "closedate"}

_BETWEEN = re.compile("[,;\n]")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")  # two numbers, or one
_SHOWN = 100
_MOST_CANDIDATES = 20

_CODED = frozenset(("crm_status", "enumeration", "crm_currency", "crm_category"))
_NUMBERS = frozenset(("integer", "double")) | REFERENCES

_TEXTS = frozenset(("string", "text", "char", "url"))
"""Kinds of fields that take any single text."""

_CHECKED = _CODED | _NUMBERS | _TEXTS | {"boolean", "date", "datetime"}
"""Kinds of fields whose values are checked; all others pass."""


def judge_record(context: RecordContext, values_by_key: Mapping[str, Sequence[Any]]) -> RecordVerdict:
    """Judge a whole record; a right pipeline is reported as the record's, not as a field.

    `values_by_key` holds the values of each key, several for a repeated key.
    """
    style = style_of(context.type.id, context.fields, [*values_by_key], new=context.as_items)
    keys = read_keys(context.fields, [*values_by_key], style)
    values = {id(key.field): values_by_key[key.text] for key in reversed(keys) if key.field and not key.same_as}
    stages = values.get(id(context.stage), ())
    stage = code_and_name(as_json(stages[0])) if len(stages) == 1 else None
    category = next((field for field in context.fields if field.kind == "crm_category" and not field.read_only), None)
    categories = values.get(id(category), ())
    pipeline = own_pipeline(
        context, style, stage[0] if stage else MISSING, categories[0] if len(categories) == 1 else MISSING
    )
    own, pipeline_from = pipeline.own, pipeline.follows_from
    judge = _Judge(context, values_by_key, style, pipeline)
    verdicts = [(key, judge.verdict(key)) for key in keys]
    if not any(verdict.writes and key.field and key.field.is_stage for key, verdict in verdicts):
        pipeline_from = None
    write: dict[str, Any] = {}
    if pipeline_from == "stage" and own and category:
        write[spelt(category, style)] = own.number
    fields: list[CheckedField] = []
    for key, verdict in verdicts:
        reported = verdict
        if verdict.writes and key.field and key.field.kind == "crm_multifield":
            # Combine the rows of several keys.
            if all(type(write.get(name, rows)) is type(rows) for name, rows in verdict.value.items()):
                for name, rows in verdict.value.items():
                    before = write.get(name, type(rows)())
                    write[name] = [*before, *rows] if isinstance(rows, list) else before | rows
            else:
                reported = Verdict("wrong", note=STORED_AND_NEW)
        elif verdict.writes:
            write[key.write_as] = verdict.value
        fields.append(_checked(key, values_by_key[key.text], reported))
    missing, notes = _missing_and_notes(judge, write)
    category_key = spelt(category, style) if category else None
    in_pipeline = own is not None and own.number is not None
    return RecordVerdict(
        given=fields,
        ok=pipeline_from != "stage" and not missing and all(field.outcome in ACCEPTED for field in fields),
        pipeline=own.name if own and in_pipeline else None,
        category_id=own.number if own else None,
        pipeline_from=pipeline_from if in_pipeline else None,
        fields=[field for field in fields if field.outcome != "right" or field.write_as or field.field != category_key],
        write=write,
        open=[field.field for field in fields if field.outcome in UNRESOLVED] or None,
        missing=missing or None,
        notes=notes or None,
    )


@dataclass(frozen=True)
class _Judge:
    """Judges the fields of one record with the spelling `style` and the pipeline `pipeline`."""

    context: RecordContext
    values: Mapping[str, Sequence[Any]]
    style: Style
    pipeline: OwnPipeline

    def verdict(self, key: Key) -> Verdict:
        """Judge all values of a key."""
        field, values = key.field, self.values[key.text]
        if field is None:
            options = tuple(option(spelt(field, self.style) or field.name, field.title) for field in key.candidates)
            if key.ambiguous:
                return Verdict("ambiguous", candidates=options, note="it may be any of these fields", otherwise=DROP)
            return Verdict("dropped", candidates=options)
        if unwritten := self._cannot_be_written(key, field):
            return unwritten
        if field.kind == "crm_multifield":
            rows = values[0] if len(values) == 1 else _as_list(values)
            verdict = judge_multifield(key, field, rows, self.style, old_multifields(self.context.fields))
        elif field.multiple:
            verdict = self._judge_list(field, values)
        elif len(values) > 1:
            verdict = Verdict("wrong", note=f"it takes one value, and was given {len(values)} times")
        elif field.is_stage:
            stage = as_json(values[0])
            otherwise = self.pipeline.instead_of(stage)
            if is_empty(stage, "crm_status"):
                verdict = Verdict("clears", otherwise=otherwise)
            else:
                verdict = judge_row(stage, self.pipeline.judge_stage, otherwise)
        elif field.kind == "crm_category":
            verdict = self.pipeline.category_verdict or Verdict("unchecked", values[0])
        else:
            verdict = self._judge_value(field, values[0])
        if key.text == key.write_as:
            return verdict
        otherwise = verdict.otherwise if key.reads_as_is else f"drop {shown_id(key.text, _SHOWN)}"
        return verdict.as_changed(otherwise=otherwise)

    def _cannot_be_written(self, key: Key, field: Field) -> Verdict | None:
        """Return the verdict for a key whose field takes no values; None if it takes some."""
        if key.same_as:
            note = f"the same field as {shown_id(key.same_as, _SHOWN)}"
            if key.reads_as_is:
                return Verdict("wrong", note=note, otherwise="take one of the two")
            return Verdict("dropped", note=note)
        if not key.write_as:
            methods = ("crm.item", f"crm.{TYPE_NAMES[self.context.type.id]}")
            own, other = methods if self.style == "old" else reversed(methods)
            return Verdict("dropped", note=f"only {own}.* has it, and the other fields are spelt for {other}.*")
        if field.read_only:
            is_id = field.name == "id" and self.context.record_id is None
            return Verdict("dropped", note=f"read-only{'; an existing record is named by recordId' if is_id else ''}")
        if field.name in _COMPUTED:
            # The caller may want to close a record without naming a stage.
            closes = field.name == "closed" and boolean(self.values[key.text][0], self.style).value not in ("N", False)
            stages = self.pipeline.closing_stages() if closes and self.pipeline.stage is MISSING else ()
            return Verdict("dropped", note=_COMPUTED[field.name], candidates=stages)
        if field.immutable and self.context.record_id is not None:
            return Verdict("dropped", note="it cannot be changed once the record is there")
        return None

    def _judge_list(self, field: Field, values: Sequence[Any]) -> Verdict:
        """Judge the values of a multiple field: a list, or PHP's map with numbers as keys."""
        raw, is_list, is_map = _as_list(values), len(values) > 1 or isinstance(values[0], list), False
        if isinstance(raw, dict):
            is_map = [*raw] == [str(index) for index in range(len(raw))]
            if not is_map and all(key.isdecimal() for key in raw):  # {"90": "Y"} has a code as its key
                codes = {item.status_id for item in field.choices}
                lists = [self.context.lists[entity_id] for entity_id in field.directories]
                codes |= {item.status_id for code_list in lists for item in code_list.items}
                is_map = codes.isdisjoint(raw)
        if is_map:
            raw = [*raw.values()]
        if is_empty(raw, field.kind):
            otherwise = f"{REFUSE}, or {CLEAR}"
            if is_list or is_map:
                otherwise = CLEAR if raw else "change nothing"
            return Verdict("clears", note=_IF_MEANT, otherwise=otherwise)
        if field.kind not in _CHECKED:
            if is_list or is_map:
                return Verdict("unchecked", raw)
            return Verdict("changed", raw if isinstance(raw, list) else [raw], otherwise=REFUSE)
        if not isinstance(raw, list):  # one value, or a text with several between commas
            text = raw if isinstance(raw, str) and field.kind not in _TEXTS else ""
            parts = [part.strip() for part in _BETWEEN.split(text) if part.strip()]
            verdict = self._judge_parts(field, [raw])
            several = self._judge_parts(field, parts) if len(parts) > 1 else verdict
            if field.kind in _NUMBERS and _COMMA_IN_NUMBER.search(text):
                verdict = Verdict("wrong", note="expected a list of numbers such as [1500, 20]")
            elif verdict.writes and several.writes and several.value != verdict.value:
                alternatives = (*verdict.value, *several.value)
                items = tuple(option(code_text(part), self._judge_value(field, part).name) for part in alternatives)
                verdict = Verdict("ambiguous", candidates=items, note="it is one name, or several")
            elif several.writes or not verdict.writes:
                verdict = several
            return verdict.as_changed(otherwise="" if isinstance(raw, dict) else REFUSE)  # PHP: an object is a list
        parts = [part for part in raw if not is_empty(part, field.kind)]
        verdict = self._judge_parts(field, parts)
        if not (is_list or is_map):  # a list in a text
            verdict = replace(verdict, otherwise=REFUSE)
        return verdict if is_list and len(parts) == len(raw) else verdict.as_changed()

    def _judge_parts(self, field: Field, parts: Sequence[Any]) -> Verdict:
        """Judge each value of a list; the first that cannot be written decides."""
        judged = [self._judge_value(field, part) for part in parts]
        for part, verdict in zip(parts, judged, strict=True):
            if not verdict.writes:
                prefix = f"{quoted(part)[:_SHOWN]}: " if len(parts) > 1 else ""
                return replace(verdict, note=f"{prefix}{verdict.note}" if verdict.note else prefix.removesuffix(": "))
        outcomes, values = {verdict.outcome for verdict in judged}, [verdict.value for verdict in judged]
        outcome: Outcome = "changed" if "changed" in outcomes else "unchecked" if "unchecked" in outcomes else "right"
        otherwise = "; ".join(dict.fromkeys(verdict.otherwise for verdict in judged if verdict.otherwise))
        if field.kind in _CODED and outcome == "changed":  # ["CALL", "Call"] is a code and its name
            judged = [verdict for index, verdict in enumerate(judged) if verdict.value not in values[:index]]
        names = ", ".join(verdict.name for verdict in judged if verdict.name)
        return Verdict(outcome, [verdict.value for verdict in judged], names, otherwise=otherwise)

    def _judge_value(self, field: Field, value: Any) -> Verdict:
        if field.kind not in _CHECKED:
            return Verdict("unchecked", value)
        if isinstance(value, float) and value.is_integer() and field.kind in _CODED | REFERENCES:
            # 79.0, from programs without integers
            return self._judge_value(field, int(value)).as_changed(otherwise="")
        read = as_json(value) if field.kind in _CODED else value
        if isinstance(read, list | dict) and read:
            otherwise = "" if read is value else self._judge_single(field, value).otherwise
            return judge_row(read, lambda part: self._judge_single(field, part), otherwise)
        return self._judge_single(field, value)

    def _judge_single(self, field: Field, value: Any) -> Verdict:
        """Judge a value that is neither a list nor a row; has a case for each checked kind of field."""
        if field.kind == "boolean":
            return boolean(value, self.style)
        if is_empty(value, field.kind):
            otherwise = CLEAR
            if field.name in _NEVER_EMPTIED:
                otherwise = "" if self.context.record_id is None else KEEP
            elif field.required and not field.custom:
                otherwise = REFUSE
            return Verdict("clears", note=_IF_MEANT, otherwise=otherwise)
        match field.kind:
            case "integer" | "double":
                return number(value, whole=field.kind == "integer")
            case "date":
                return day(value)
            case "datetime":
                return moment(value)
            case "enumeration" if field.choices:
                text = code_text(value).strip()
                otherwise = "store nothing" if isinstance(value, str) else ""
                if text.isdecimal():
                    otherwise = STORE_RAW if isinstance(value, int) or value == text.lstrip("0") else ""
                verdict = judge_code(value, [self.context.choices(field)], otherwise)
                is_number = verdict.writes and str(verdict.value).isdecimal()
                return replace(verdict, value=int(verdict.value)) if is_number else verdict
            case "crm_status" if field.directories:
                return judge_code(value, [self.context.lists[entity_id] for entity_id in field.directories], STORE_RAW)
            case "crm_currency" if self.context.currencies is not None:
                otherwise = f"{REFUSE}, or, on older portals, {STORE_RAW}"
                upper = code_text(value).strip().upper()  # words are never matched to a currency
                if value != upper and any(item.status_id == upper for item in self.context.currencies.items):
                    verdict = judge_code(upper, [self.context.currencies], otherwise)
                    return replace(verdict, outcome="changed", otherwise=otherwise)
                return judge_code(value, [self.context.currencies], otherwise)
            case kind if kind in REFERENCES:
                return record_id(value)
            case kind if kind in _TEXTS:
                return Verdict("unchecked", value)
        return Verdict("unchecked", value, note="its values cannot be read")


def _as_list(values: Sequence[Any]) -> Any:
    """Combine the values of a multiple field's key, which may be JSON or repeated, into one."""
    read = [as_json(value) for value in values]
    if len(read) == 1:
        return read[0]
    return [part for value in read for part in (value if isinstance(value, list) else [value])]


def _missing_and_notes(judge: _Judge, write: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the required built-in fields that a new record lacks, and the notes on a record."""
    context, style, pipeline = judge.context, judge.style, judge.pipeline
    missing: list[str] = []
    notes: list[str] = []
    if len(set(styles_of(context.fields, [*judge.values]))) > 1:
        methods = "crm.item" if style == "new" else f"crm.{TYPE_NAMES[context.type.id]}"
        notes.append(f"two spellings were mixed; all is written as {methods}.* reads it")
    if context.record_id is None:
        required = [field for field in context.fields if field.required and not field.read_only and spelt(field, style)]
        lacking = [field for field in required if field.name not in _HAVE_DEFAULTS and spelt(field, style) not in write]
        missing = [spelt(field, style) for field in lacking if not field.custom]
        if custom := ", ".join(spelt(field, style) for field in lacking if field.custom):
            notes.append(f"required in Bitrix24's own form, by REST only if the portal is set so: {custom}")
        return missing, notes
    stage = spelt(context.stage, style) if context.stage else ""
    moves = pipeline.moves and stage not in write
    if moves and pipeline.stage is MISSING:
        notes.append(_MOVED)
    if moves or write.get(stage, context.record_stage) != context.record_stage:
        notes.append(_NOT_ASKED_FOR)
    return missing, notes


def _checked(key: Key, values: Sequence[Any], verdict: Verdict) -> CheckedField:
    is_reported = verdict.outcome not in (*ACCEPTED, "dropped")
    raw = values[0] if len(values) == 1 else values
    text = raw if isinstance(raw, str) else quoted(raw)
    label = shown_id(text, _SHOWN) if is_reported else None
    value, write_as = verdict.value, key.write_as
    if verdict.writes and key.field and key.field.kind == "crm_multifield":
        write_as = ", ".join(verdict.value)
        value = next(iter(value.values())) if len(value) == 1 else value
    candidates = [
        f"{shown_code(item.status_id)} ({item.name})" if item.name else item.status_id for item in verdict.candidates
    ]
    return CheckedField(
        field=shown_id(key.text, _SHOWN),
        outcome=verdict.outcome,
        write_as=write_as or None if write_as != key.text and verdict.outcome != "dropped" else None,
        value=value,
        given=label,
        as_given=quoted(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…") if raw is text else label,
        code=code_text(value) if is_reported and verdict.writes else None,
        name=verdict.name if verdict.name not in ("", label) else None,
        candidates=candidates[:_MOST_CANDIDATES] or None,
        note=verdict.note or None,
        otherwise=verdict.otherwise or None,
    )
