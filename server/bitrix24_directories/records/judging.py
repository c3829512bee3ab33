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
from bitrix24_directories.directories.models import Item
from bitrix24_directories.text import quoted, shown_code, shown_id

from .codes import SHOWN, as_json, code_and_name, code_text, judge_code, judge_row
from .knowledge import Knowledge
from .models import AS_IT_STANDS, OPEN, CheckedField, Outcome, PipelineFrom, RecordVerdict
from .multifields import judge_multifield
from .spelling import Key, Style, is_mixed, old_multifields, read_keys, spelt
from .stages import Pipeline, final_stages, judge_in_any, judge_pipeline, judge_stage, pipeline_of_stage
from .values import boolean, day, moment, number, record_id
from .verdicts import CLEAR, DROP, KEEP, REFERENCES, REFUSE, STORE_RAW, Verdict, is_empty, option

NOTHING = object()

_NEVER_MOVED = "crm.deal.update never changes the pipeline; for crm.item.update spell all as categoryId, stageId"
_NOT_ASKED_FOR = "unless the portal is set so, Bitrix24 does not ask by REST for fields that the new stage requires"
_MOVED = "Bitrix24 takes the first stage of the same meaning there; name a stage if another is meant"
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
_CHECKED = REFERENCES | _CODED | {"boolean", "integer", "double", "date", "datetime"}
"""Kinds of fields whose values are looked at; the others pass."""

_NUMBERS = frozenset(("integer", "double")) | REFERENCES

_TEXTS = frozenset(("string", "text", "char", "url"))
"""Kinds that take any one text."""


def judge_record(known: Knowledge, given: Mapping[str, Sequence[Any]]) -> RecordVerdict:
    """What is said of a record as a whole; a pipeline that is right is said with it alone.

    `given` holds the values under each key, several where it was repeated.
    """
    style = known.style([*given])
    keys = read_keys(known.fields, [*given], style)
    category = next((one for one in known.fields if one.kind == "crm_category" and not one.read_only), None)
    judge = _judge_of(known, given, style, keys, category)
    own, pipeline_from = judge.own, judge.pipeline_from
    verdicts = {key: judge.verdict(key, given[key.given]) for key in keys}
    if not any(verdict.writes and key.field and key.field.is_stage for key, verdict in verdicts.items()):
        pipeline_from = None
    write: dict[str, Any] = {}
    if pipeline_from == "stage" and own and category:
        write[spelt(category, style)] = own.number
    for key, verdict in verdicts.items():
        if verdict.writes and key.field and key.field.kind == "crm_multifield":
            for name, rows in verdict.value.items():  # phones and the like of several keys are put together
                if type(write.get(name, rows)) is not type(rows):
                    verdicts[key] = Verdict("wrong", note="rows that are stored and new ones need a call each")
                    break
                write[name] = [*write.get(name, []), *rows] if isinstance(rows, list) else write.get(name, {}) | rows
        elif verdict.writes:
            write[key.write_as] = verdict.value
    fields = [_checked(key, given[key.given], verdict) for key, verdict in verdicts.items()]
    missing, notes = judge.missing_and_notes([*given], write)
    named = spelt(category, style) if category else None
    in_pipeline = own is not None and own.number is not None
    return RecordVerdict(
        given=fields,
        ok=pipeline_from != "stage" and not missing and all(one.outcome in AS_IT_STANDS for one in fields),
        pipeline=own.name if own and in_pipeline else None,
        category_id=own.number if own else None,
        pipeline_from=pipeline_from if in_pipeline else None,
        fields=[one for one in fields if one.outcome != "right" or one.write_as or one.field != named],
        write=write,
        open=[one.field for one in fields if one.outcome in OPEN] or None,
        missing=missing or None,
        notes=notes or None,
    )


def _judge_of(
    known: Knowledge, given: Mapping[str, Sequence[Any]], style: Style, keys: Sequence[Key], category: Field | None
) -> _Judge:
    """Who judges a record's values, once its pipeline is settled: the one that it is in, or comes into."""
    pipelines, is_new = known.pipelines, known.record_id is None
    taken = {id(key.field): given[key.given] for key in reversed(keys) if key.field and not key.same_as}
    stages = taken.get(id(next((one for one in known.fields if one.is_stage), None)), ())
    code = code_and_name(as_json(stages[0])) if len(stages) == 1 else None
    stage = code[0] if code else NOTHING
    judge = _Judge(known, style, stage)
    numbered = [one for one in pipelines if one.number is not None]
    values = taken.get(id(category), ())
    if len(values) == 1 and numbered:
        value = as_json(values[0])
        if value in (None, "", [], {}):
            verdict = Verdict("clears", otherwise="take the main pipeline" if is_new else "change nothing")
        else:
            verdict = judge_row(value, lambda one: judge_pipeline(one, numbered), "")
            if not is_new and style == "old":
                if not verdict.writes or verdict.value != known.record_pipeline:
                    verdict = Verdict("dropped", note=_NEVER_MOVED)
                else:
                    verdict = replace(verdict, otherwise=DROP if verdict.otherwise else "")
        own = next((one for one in pipelines if verdict.writes and one.number == verdict.value), None)
        return replace(judge, category=verdict, own=own)
    if len(pipelines) == 1:
        return replace(judge, own=pipelines[0])
    if not is_new:
        return replace(judge, own=next((one for one in pipelines if one.number == known.record_pipeline), None))
    if stage is not NOTHING and not is_empty(stage, "crm_status"):
        possible = pipeline_of_stage(stage, pipelines)
        if len(possible) == 1:
            return replace(judge, own=possible[0], pipeline_from="default" if possible[0].default else "stage")
    return judge


@dataclass(frozen=True)
class _Judge:
    """Judges the values of one record. `stage` is the one code that was given for its stage, in whatever shape;
    `category` what is said of the pipeline that was given, None where none was, or where there are none to choose from.

    `own` is the pipeline that the record is in or comes into, and `pipeline_from` from what that follows where neither
    it nor the record was given.
    """

    known: Knowledge
    style: Style
    stage: Any
    category: Verdict | None = None
    own: Pipeline | None = None
    pipeline_from: PipelineFrom | None = None

    def missing_and_notes(self, keys: Sequence[str], write: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Required fields of a new record that are not written, and the notes on a record.

        Custom fields that are required are noted alone: REST does without.
        """
        known, notes, missing = self.known, [], []
        if is_mixed(known.fields, keys):
            methods = "crm.item" if self.style == "new" else f"crm.{TYPE_NAMES[known.type.id]}"
            notes.append(f"two spellings were mixed; all is written as {methods}.* reads it")
        if known.record_id is None:
            lacking = [
                one
                for one in known.fields
                if one.required and not one.read_only and one.name not in _HAVE_DEFAULTS
                if (name := spelt(one, self.style)) and name not in write
            ]
            missing = [spelt(one, self.style) for one in lacking if not one.custom]
            if custom := [spelt(one, self.style) for one in lacking if one.custom]:
                asked_for = "required in Bitrix24's own form, by REST only if the portal is set so"
                notes.append(f"{asked_for}: {', '.join(custom)}")
            return missing, notes
        stage = next((spelt(one, self.style) for one in known.fields if one.is_stage), "")
        moves = self.own is not None and self.own.number != known.record_pipeline and stage not in write
        if moves and self.stage is NOTHING:
            notes.append(_MOVED)
        if moves or write.get(stage, known.record_stage) != known.record_stage:
            notes.append(_NOT_ASKED_FOR)
        return missing, notes

    def verdict(self, key: Key, values: Sequence[Any]) -> Verdict:
        """What is said of the values that were given under a key."""
        known, field = self.known, key.field
        if field is None:
            named = tuple(option(spelt(one, self.style) or one.name, one.title) for one in key.candidates)
            if key.ambiguous:
                return Verdict("ambiguous", candidates=named, note="it may be any of these fields", otherwise=DROP)
            return Verdict("dropped", candidates=named)
        if key.same_as:
            note = f"the same field as {shown_id(key.same_as, _SHOWN)}"
            if key.read_as_it_is:
                return Verdict("wrong", note=note, otherwise="take one of the two")
            return Verdict("dropped", note=note)
        if not key.write_as:
            methods = ("crm.item", f"crm.{TYPE_NAMES[known.type.id]}")
            theirs, others = methods if self.style == "old" else reversed(methods)
            note = f"only {theirs}.* has it, and the other fields are spelt for {others}.*"
            return Verdict("dropped", note=note)
        if field.read_only:
            is_id = field.name == "id" and known.record_id is None
            note = "read-only; an existing record is named by recordId" if is_id else "read-only"
            return Verdict("dropped", note=note)
        if field.name in _COMPUTED:
            stages: list[Item] = []
            closes = field.name == "closed" and boolean(values[0], self.style).value not in ("N", False)
            if closes and self.stage is NOTHING:  # somebody wants to close the record, and did not say by which stage
                own = self.own or next((one for one in known.pipelines if one.default), None)
                stages = final_stages(own) if own else []
            return Verdict("dropped", note=_COMPUTED[field.name], candidates=tuple(stages))
        if field.immutable and known.record_id is not None:
            return Verdict("dropped", note="it cannot be changed once the record is there")
        verdict = self._judge_values(key, field, values)
        if key.given == key.write_as:
            return verdict
        otherwise = verdict.otherwise if key.read_as_it_is else f"drop {shown_id(key.given, _SHOWN)}"
        return replace(verdict, outcome="changed" if verdict.writes else verdict.outcome, otherwise=otherwise)

    def _judge_values(self, key: Key, field: Field, values: Sequence[Any]) -> Verdict:
        read: Any = [as_json(value) for value in values]
        if len(read) == 1:
            (read,) = read
        else:  # the key was repeated
            read = [part for value in read for part in (value if isinstance(value, list) else [value])]
        if field.kind == "crm_multifield":
            given = values[0] if len(values) == 1 else read
            return judge_multifield(key, field, given, self.style, old_multifields(self.known.fields))
        if field.multiple:
            return self._judge_list(field, read, is_list=len(values) > 1 or isinstance(values[0], list))
        if len(values) > 1:
            return Verdict("wrong", note=f"it takes one value, and was given {len(values)} times")
        if field.is_stage:
            if is_empty(read, "crm_status"):
                return Verdict("clears", otherwise=self._instead(read))
            return judge_row(read, self._judge_stage, self._instead(read))
        if field.kind == "crm_category":
            return self.category or Verdict("unchecked", values[0])
        return self._judge_value(field, values[0])

    def _judge_list(self, field: Field, given: Any, *, is_list: bool) -> Verdict:
        """The values of a multiple field, which have to come as a list; PHP's map of numbers is one."""
        is_map = isinstance(given, dict) and [*given] == [str(place) for place in range(len(given))]
        if isinstance(given, dict) and not is_map:  # `{"90": "Y"}` names a code of the field's own
            codes = {item.status_id for item in field.choices}
            codes |= {item.status_id for one in field.directories for item in self.known.lists[one].items}
            is_map = all(key.isdecimal() for key in given) and codes.isdisjoint(given)
        if is_map:
            given = [*given.values()]
        if is_empty(given, field.kind):
            otherwise = f"{REFUSE}, or {CLEAR}"
            if is_list or is_map:
                otherwise = CLEAR if given else "change nothing"
            return Verdict("clears", note="send it only if that is meant", otherwise=otherwise)
        if field.kind not in _CHECKED | _TEXTS:
            if is_list or is_map:
                return Verdict("unchecked", given)
            return Verdict("changed", given if isinstance(given, list) else [given], otherwise=REFUSE)
        if not isinstance(given, list):
            otherwise = "" if isinstance(given, dict) else REFUSE  # to PHP an object is a list
            return replace(self._judge_text_of_several(field, given), otherwise=otherwise)
        parts = [part for part in given if not is_empty(part, field.kind)]
        verdict = self._judge_parts(field, parts)
        if not (is_list or is_map):  # a list that came as a text
            verdict = replace(verdict, otherwise=REFUSE)
        if verdict.writes and (not is_list or len(parts) < len(given)):
            return replace(verdict, outcome="changed")
        return verdict

    def _judge_text_of_several(self, field: Field, given: Any) -> Verdict:
        """What stands for a list and is none: one value, or a text of several with commas between."""
        verdict = self._judge_parts(field, [given])
        if not isinstance(given, str) or field.kind in _TEXTS:
            return replace(verdict, outcome="changed" if verdict.writes else verdict.outcome)
        if field.kind in _NUMBERS and _COMMA_IN_NUMBER.search(given):
            return Verdict("wrong", note="expected a list of numbers such as [1500, 20]")
        parts = [part.strip() for part in _BETWEEN.split(given) if part.strip()]
        several = self._judge_parts(field, parts) if len(parts) > 1 else verdict
        if verdict.writes and several.writes and several.value != verdict.value:
            every = (*verdict.value, *several.value)
            items = tuple(option(code_text(one), self._judge_value(field, one).name) for one in every)
            return Verdict("ambiguous", candidates=items, note="it is one name, or several")
        found = several if several.writes or not verdict.writes else verdict
        return replace(found, outcome="changed" if found.writes else found.outcome)

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
        if field.kind not in _CHECKED | _TEXTS:
            return Verdict("unchecked", value)
        if isinstance(value, float) and value.is_integer() and field.kind in _CODED | REFERENCES:
            verdict = self._judge_value(field, int(value))  # as programs write 79 that know no whole numbers
            return replace(verdict, outcome="changed" if verdict.writes else verdict.outcome, otherwise="")
        read = as_json(value) if field.kind in _CODED else value
        if isinstance(read, list | dict) and read:
            otherwise = "" if read is value else self._judge_single(field, value).otherwise
            return judge_row(read, lambda one: self._judge_single(field, one), otherwise)
        return self._judge_single(field, value)

    def _judge_single(self, field: Field, value: Any) -> Verdict:
        if field.kind == "boolean":
            return boolean(value, self.style)
        if is_empty(value, field.kind):
            otherwise = CLEAR
            if field.name in _NEVER_EMPTIED:
                otherwise = "" if self.known.record_id is None else KEEP
            elif field.required and not field.custom:
                otherwise = REFUSE
            return Verdict("clears", note="send it only if that is meant", otherwise=otherwise)
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
                upper = code_text(value).strip().upper()  # small letters are another spelling, no word is one
                if value == upper or all(item.status_id != upper for item in self.known.currencies.items):
                    return judge_code(value, [self.known.currencies], otherwise)
                verdict = judge_code(upper, [self.known.currencies], otherwise)
                return replace(verdict, outcome="changed", otherwise=otherwise)
            case kind if kind in REFERENCES:
                return record_id(value)
            case kind if kind in _TEXTS:
                return Verdict("unchecked", value)
        return Verdict("unchecked", value, note="its values cannot be read")

    def _instead(self, value: Any) -> str:
        """What Bitrix24 would take in the place of a stage that the record's pipeline does not have."""
        known = self.known
        if known.record_id is not None and (self.own is None or self.own.number == known.record_pipeline):
            today = "keep the old stage"
        elif isinstance(value, str) and any(value in one.codes for one in known.pipelines):
            today = "take the first stage of the same meaning"
        else:
            today = "take the first stage"
        stored_raw = self.style == "old" and isinstance(value, str | int) and not is_empty(value, "crm_status")
        return f"{today}, or, on older portals, {STORE_RAW}" if stored_raw else today

    def _judge_stage(self, value: Any) -> Verdict:
        known, otherwise = self.known, self._instead(value)
        if self.own is not None:
            verdict = judge_stage(value, self.own, known.pipelines, otherwise)
            if self.pipeline_from == "stage" and verdict.writes:
                main = next((one.name for one in known.pipelines if one.default), "the main pipeline")
                return replace(verdict, note=f"{self.own.name} follows from it", otherwise=f"put it into {main}")
            return verdict
        if self.category is not None or known.record_id is not None or not known.pipelines:
            return Verdict("wrong", note="its pipeline has to be settled first")
        possible = pipeline_of_stage(value, known.pipelines)
        if not possible:
            return judge_in_any(value, known.pipelines, otherwise)
        candidates: list[Item] = []
        for pipeline in possible:
            verdict = judge_code(value, [pipeline], "")
            items = [option(verdict.value, verdict.name)] if verdict.writes else verdict.candidates
            candidates += [option(item.status_id, f"{item.name}, in {pipeline.name}") for item in items]
        note = "name the pipeline, or the record that is changed"
        if len(candidates) > SHOWN:
            note = f"{SHOWN} of {len(candidates)} stages are shown; {note}"
        return Verdict("ambiguous", candidates=tuple(candidates), note=note, otherwise=otherwise)


def _checked(key: Key, values: Sequence[Any], verdict: Verdict) -> CheckedField:
    said = verdict.outcome not in (*AS_IT_STANDS, "dropped")
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
