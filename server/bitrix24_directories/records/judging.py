"""Judges the fields of one record by what is known of its type. Pure.

Facts: a key that names no field is dropped without a word, and so is a value for a read-only one; a value of a multiple
field has to be a list; `crm.deal.update` never changes the pipeline; title, currency, responsible and a deal's dates
cannot be emptied; REST does not ask for custom fields, nor for those that are required from a stage on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitrix24_directories.directories.fields.fields import TYPE_NAMES, Field
from bitrix24_directories.text import quoted, shown_code, shown_id

from .codes import as_json, code_and_name, code_text, judge_code, judge_row
from .knowledge import RecordContext
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
"""Why a field that is not described as read-only drops what is written all the same."""

_HAVE_DEFAULTS = {"opened"}
"""Fields that are described as required and never missing."""

_NEVER_EMPTIED = {"title", "currencyId", "assignedById", "begindate", "closedate"}

_BETWEEN = re.compile("[,;\n]")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")  # two numbers, or one
_SHOWN = 100
_MOST_CANDIDATES = 20

_CODED = frozenset(("crm_status", "enumeration", "crm_currency", "crm_category"))
_NUMBERS = frozenset(("integer", "double")) | REFERENCES

_TEXTS = frozenset(("string", "text", "char", "url"))
"""Kinds that take any one text."""

_CHECKED = _CODED | _NUMBERS | _TEXTS | {"boolean", "date", "datetime"}
"""Kinds of fields whose values are looked at; the others pass."""


def judge_record(known: RecordContext, given: Mapping[str, Sequence[Any]]) -> RecordVerdict:
    """What is said of a record as a whole; a pipeline that is right is said with it alone.

    `given` holds the values under each key, several where it was repeated.
    """
    style = style_of(known.type.id, known.fields, [*given], new=known.as_items)
    keys = read_keys(known.fields, [*given], style)
    values = {id(key.field): given[key.given] for key in reversed(keys) if key.field and not key.same_as}
    stages = values.get(id(known.stage), ())
    stage = code_and_name(as_json(stages[0])) if len(stages) == 1 else None
    category = next((one for one in known.fields if one.kind == "crm_category" and not one.read_only), None)
    categories = values.get(id(category), ())
    pipeline = own_pipeline(
        known, style, stage[0] if stage else MISSING, categories[0] if len(categories) == 1 else MISSING
    )
    own, pipeline_from = pipeline.own, pipeline.follows_from
    judge = _Judge(known, given, style, pipeline)
    verdicts = [(key, judge.verdict(key)) for key in keys]
    if not any(verdict.writes and key.field and key.field.is_stage for key, verdict in verdicts):
        pipeline_from = None
    write: dict[str, Any] = {}
    if pipeline_from == "stage" and own and category:
        write[spelt(category, style)] = own.number
    fields: list[CheckedField] = []
    for key, verdict in verdicts:
        said = verdict
        if verdict.writes and key.field and key.field.kind == "crm_multifield":
            # The rows of several keys are put together.
            if all(type(write.get(name, rows)) is type(rows) for name, rows in verdict.value.items()):
                for name, rows in verdict.value.items():
                    before = write.get(name, type(rows)())
                    write[name] = [*before, *rows] if isinstance(rows, list) else before | rows
            else:
                said = Verdict("wrong", note=STORED_AND_NEW)
        elif verdict.writes:
            write[key.write_as] = verdict.value
        fields.append(_checked(key, given[key.given], said))
    missing, notes = _missing_and_notes(judge, write)
    named = spelt(category, style) if category else None
    in_pipeline = own is not None and own.number is not None
    return RecordVerdict(
        given=fields,
        ok=pipeline_from != "stage" and not missing and all(one.outcome in ACCEPTED for one in fields),
        pipeline=own.name if own and in_pipeline else None,
        category_id=own.number if own else None,
        pipeline_from=pipeline_from if in_pipeline else None,
        fields=[one for one in fields if one.outcome != "right" or one.write_as or one.field != named],
        write=write,
        open=[one.field for one in fields if one.outcome in UNRESOLVED] or None,
        missing=missing or None,
        notes=notes or None,
    )


@dataclass(frozen=True)
class _Judge:
    """Judges the fields of one record, which is spelt as `style` and is or comes into `pipeline`."""

    known: RecordContext
    given: Mapping[str, Sequence[Any]]
    style: Style
    pipeline: OwnPipeline

    def verdict(self, key: Key) -> Verdict:
        """What is said of all that was given under a key."""
        field, values = key.field, self.given[key.given]
        if field is None:
            named = tuple(option(spelt(one, self.style) or one.name, one.title) for one in key.candidates)
            if key.ambiguous:
                return Verdict("ambiguous", candidates=named, note="it may be any of these fields", otherwise=DROP)
            return Verdict("dropped", candidates=named)
        if unwritten := self._cannot_be_written(key, field):
            return unwritten
        if field.kind == "crm_multifield":
            rows = values[0] if len(values) == 1 else _as_list(values)
            verdict = judge_multifield(key, field, rows, self.style, old_multifields(self.known.fields))
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
            verdict = self.pipeline.given or Verdict("unchecked", values[0])
        else:
            verdict = self._judge_value(field, values[0])
        if key.given == key.write_as:
            return verdict
        otherwise = verdict.otherwise if key.read_as_it_is else f"drop {shown_id(key.given, _SHOWN)}"
        return verdict.as_changed(otherwise=otherwise)

    def _cannot_be_written(self, key: Key, field: Field) -> Verdict | None:
        """What is said of a key whose field takes nothing, whatever the value; None where it takes values."""
        if key.same_as:
            note = f"the same field as {shown_id(key.same_as, _SHOWN)}"
            if key.read_as_it_is:
                return Verdict("wrong", note=note, otherwise="take one of the two")
            return Verdict("dropped", note=note)
        if not key.write_as:
            methods = ("crm.item", f"crm.{TYPE_NAMES[self.known.type.id]}")
            theirs, others = methods if self.style == "old" else reversed(methods)
            return Verdict("dropped", note=f"only {theirs}.* has it, and the other fields are spelt for {others}.*")
        if field.read_only:
            is_id = field.name == "id" and self.known.record_id is None
            return Verdict("dropped", note=f"read-only{'; an existing record is named by recordId' if is_id else ''}")
        if field.name in _COMPUTED:
            # Somebody may want to close a record, and did not say by which stage.
            closes = field.name == "closed" and boolean(self.given[key.given][0], self.style).value not in ("N", False)
            stages = self.pipeline.closing_stages() if closes and self.pipeline.stage is MISSING else ()
            return Verdict("dropped", note=_COMPUTED[field.name], candidates=stages)
        if field.immutable and self.known.record_id is not None:
            return Verdict("dropped", note="it cannot be changed once the record is there")
        return None

    def _judge_list(self, field: Field, values: Sequence[Any]) -> Verdict:
        """The values of a multiple field, which have to come as a list; PHP's map of numbers is one."""
        given, is_list, is_map = _as_list(values), len(values) > 1 or isinstance(values[0], list), False
        if isinstance(given, dict):
            is_map = [*given] == [str(place) for place in range(len(given))]
            if not is_map and all(key.isdecimal() for key in given):  # {"90": "Y"} names a code of the field's own
                codes = {item.status_id for item in field.choices}
                codes |= {item.status_id for one in field.directories for item in self.known.lists[one].items}
                is_map = codes.isdisjoint(given)
        if is_map:
            given = [*given.values()]
        if is_empty(given, field.kind):
            otherwise = f"{REFUSE}, or {CLEAR}"
            if is_list or is_map:
                otherwise = CLEAR if given else "change nothing"
            return Verdict("clears", note=_IF_MEANT, otherwise=otherwise)
        if field.kind not in _CHECKED:
            if is_list or is_map:
                return Verdict("unchecked", given)
            return Verdict("changed", given if isinstance(given, list) else [given], otherwise=REFUSE)
        if not isinstance(given, list):  # one value, or a text of several with commas between
            text = given if isinstance(given, str) and field.kind not in _TEXTS else ""
            parts = [part.strip() for part in _BETWEEN.split(text) if part.strip()]
            verdict = self._judge_parts(field, [given])
            several = self._judge_parts(field, parts) if len(parts) > 1 else verdict
            if field.kind in _NUMBERS and _COMMA_IN_NUMBER.search(text):
                verdict = Verdict("wrong", note="expected a list of numbers such as [1500, 20]")
            elif verdict.writes and several.writes and several.value != verdict.value:
                every = (*verdict.value, *several.value)
                items = tuple(option(code_text(one), self._judge_value(field, one).name) for one in every)
                verdict = Verdict("ambiguous", candidates=items, note="it is one name, or several")
            elif several.writes or not verdict.writes:
                verdict = several
            return verdict.as_changed(otherwise="" if isinstance(given, dict) else REFUSE)  # to PHP an object is a list
        parts = [part for part in given if not is_empty(part, field.kind)]
        verdict = self._judge_parts(field, parts)
        if not (is_list or is_map):  # a list that came as a text
            verdict = replace(verdict, otherwise=REFUSE)
        return verdict if is_list and len(parts) == len(given) else verdict.as_changed()

    def _judge_parts(self, field: Field, parts: Sequence[Any]) -> Verdict:
        """The values of a list, each for itself; the first that cannot be written speaks for all."""
        judged = [self._judge_value(field, part) for part in parts]
        for part, verdict in zip(parts, judged, strict=True):
            if not verdict.writes:
                which = f"{quoted(part)[:_SHOWN]}: " if len(parts) > 1 else ""
                return replace(verdict, note=f"{which}{verdict.note}" if verdict.note else which.removesuffix(": "))
        outcomes, values = {one.outcome for one in judged}, [one.value for one in judged]
        outcome: Outcome = "changed" if "changed" in outcomes else "unchecked" if "unchecked" in outcomes else "right"
        otherwise = "; ".join(dict.fromkeys(one.otherwise for one in judged if one.otherwise))
        if field.kind in _CODED and outcome == "changed":  # ["CALL", "Call"] is a code and its name
            judged = [one for place, one in enumerate(judged) if one.value not in values[:place]]
        names = ", ".join(one.name for one in judged if one.name)
        return Verdict(outcome, [one.value for one in judged], names, otherwise=otherwise)

    def _judge_value(self, field: Field, value: Any) -> Verdict:
        if field.kind not in _CHECKED:
            return Verdict("unchecked", value)
        if isinstance(value, float) and value.is_integer() and field.kind in _CODED | REFERENCES:
            # as programs write 79 that know no whole numbers
            return self._judge_value(field, int(value)).as_changed(otherwise="")
        read = as_json(value) if field.kind in _CODED else value
        if isinstance(read, list | dict) and read:
            otherwise = "" if read is value else self._judge_single(field, value).otherwise
            return judge_row(read, lambda one: self._judge_single(field, one), otherwise)
        return self._judge_single(field, value)

    def _judge_single(self, field: Field, value: Any) -> Verdict:
        """What is said of a value that is no list and no row; a kind of fields that is checked has a case here."""
        if field.kind == "boolean":
            return boolean(value, self.style)
        if is_empty(value, field.kind):
            otherwise = CLEAR
            if field.name in _NEVER_EMPTIED:
                otherwise = "" if self.known.record_id is None else KEEP
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
                verdict = judge_code(value, [self.known.choices(field)], otherwise)
                is_number = verdict.writes and str(verdict.value).isdecimal()
                return replace(verdict, value=int(verdict.value)) if is_number else verdict
            case "crm_status" if field.directories:
                return judge_code(value, [self.known.lists[entity_id] for entity_id in field.directories], STORE_RAW)
            case "crm_currency" if self.known.currencies is not None:
                otherwise = f"{REFUSE}, or, on older portals, {STORE_RAW}"
                upper = code_text(value).strip().upper()  # no word is taken for a currency
                if value != upper and any(item.status_id == upper for item in self.known.currencies.items):
                    verdict = judge_code(upper, [self.known.currencies], otherwise)
                    return replace(verdict, outcome="changed", otherwise=otherwise)
                return judge_code(value, [self.known.currencies], otherwise)
            case kind if kind in REFERENCES:
                return record_id(value)
            case kind if kind in _TEXTS:
                return Verdict("unchecked", value)
        return Verdict("unchecked", value, note="its values cannot be read")


def _as_list(values: Sequence[Any]) -> Any:
    """What stands under the key of a multiple field, a list where it is one: as JSON too, or under the key repeated."""
    read = [as_json(value) for value in values]
    if len(read) == 1:
        return read[0]
    return [part for value in read for part in (value if isinstance(value, list) else [value])]


def _missing_and_notes(judge: _Judge, write: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The required built-in fields of a new record that are not written, and what there is to be noted of a record."""
    known, style, pipeline = judge.known, judge.style, judge.pipeline
    missing: list[str] = []
    notes: list[str] = []
    if len(set(styles_of(known.fields, [*judge.given]))) > 1:
        methods = "crm.item" if style == "new" else f"crm.{TYPE_NAMES[known.type.id]}"
        notes.append(f"two spellings were mixed; all is written as {methods}.* reads it")
    if known.record_id is None:
        required = [one for one in known.fields if one.required and not one.read_only and spelt(one, style)]
        lacking = [one for one in required if one.name not in _HAVE_DEFAULTS and spelt(one, style) not in write]
        missing = [spelt(one, style) for one in lacking if not one.custom]
        if custom := ", ".join(spelt(one, style) for one in lacking if one.custom):
            notes.append(f"required in Bitrix24's own form, by REST only if the portal is set so: {custom}")
        return missing, notes
    stage = spelt(known.stage, style) if known.stage else ""
    moves = pipeline.moves and stage not in write
    if moves and pipeline.stage is MISSING:
        notes.append(_MOVED)
    if moves or write.get(stage, known.record_stage) != known.record_stage:
        notes.append(_NOT_ASKED_FOR)
    return missing, notes


def _checked(key: Key, values: Sequence[Any], verdict: Verdict) -> CheckedField:
    said = verdict.outcome not in (*ACCEPTED, "dropped")
    given = values[0] if len(values) == 1 else values
    text = given if isinstance(given, str) else quoted(given)
    shown = shown_id(text, _SHOWN) if said else None
    value, write_as = verdict.value, key.write_as
    if verdict.writes and key.field and key.field.kind == "crm_multifield":
        write_as = ", ".join(verdict.value)
        value = next(iter(value.values())) if len(value) == 1 else value
    candidates = [
        f"{shown_code(one.status_id)} ({one.name})" if one.name else one.status_id for one in verdict.candidates
    ]
    return CheckedField(
        field=shown_id(key.given, _SHOWN),
        outcome=verdict.outcome,
        write_as=write_as or None if write_as != key.given and verdict.outcome != "dropped" else None,
        value=value,
        given=shown,
        as_given=quoted(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…") if given is text else shown,
        code=code_text(value) if said and verdict.writes else None,
        name=verdict.name if verdict.name not in ("", shown) else None,
        candidates=candidates[:_MOST_CANDIDATES] or None,
        note=verdict.note or None,
        otherwise=verdict.otherwise or None,
    )
