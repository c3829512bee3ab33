"""Judges the fields of one record by what is known of its type. Pure.

Facts: a key that names no field is dropped without a word, and so is a value for a read-only one; a value of a multiple
field has to be a list; `crm.deal.update` never changes the pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from bitrix24_directories.directories.fields import TYPE_NAMES, Field
from bitrix24_directories.directories.models import Item
from bitrix24_directories.text import one_line, shown_code

from .codes import CodeList, code_text, judge_code
from .knowledge import Knowledge
from .models import AS_IT_STANDS, CheckedField, PipelineFrom, RecordVerdict
from .spelling import Key, read_keys, spelt, style_of
from .stages import (
    WRONG_IN_NEW_METHODS,
    WRONG_IN_OLD_METHODS,
    Pipeline,
    judge_in_any,
    judge_pipeline,
    judge_stage,
    judge_stage_of,
    pipeline_of_stage,
)
from .verdicts import DROP, STORE_RAW, Verdict, boolean, clears, day, moment, number, option, record_id

_NEVER_MOVED = "crm.deal.update never changes the pipeline; for crm.item.update spell all as categoryId, stageId"
REFUSE_SINGLE = "refuse a single value"
NOTHING = object()
_COMPUTED = {
    "closed": "it follows from the stage",
    "isReturnCustomer": "it follows from the client's history",
    "isRepeatedApproach": "it follows from the client's history",
    "stageSemanticId": "it follows from the stage",
}
"""Why a field that is not described as read-only drops what is written all the same."""

_HAVE_DEFAULTS = {"opened"}
"""Fields that are described as required and never missing."""

_BETWEEN = re.compile(r"[;\n]|,(?!(?<=\d,)\d)")  # not the comma of "1,5"
_SHOWN = 100
_MOST_CANDIDATES = 20
OPEN = ("ambiguous", "wrong", "dropped", "clears")
"""Outcomes of what is left out of what is to be written."""

RECORDS = frozenset(("user", "employee", "crm_lead", "crm_deal", "crm_contact", "crm_company", "crm_quote"))
CHECKED = RECORDS | {"crm_status", "enumeration", "crm_currency", "boolean", "integer", "double", "date", "datetime"}
"""Kinds of fields whose values are looked at; the others pass."""

TEXTS = frozenset(("string", "text", "char", "url"))
"""Kinds that take any one text."""


class Judge:
    """Judges the fields of a record; `given` holds the values under each key, several where it was repeated."""

    def __init__(self, known: Knowledge, given: Mapping[str, Sequence[Any]]) -> None:
        self._known = known
        self._given = given
        self._style = style_of(known.type.id, known.fields, list(given))
        self._keys = read_keys(known.fields, list(given), self._style)
        self._stage_otherwise = WRONG_IN_OLD_METHODS if self._style == "old" else WRONG_IN_NEW_METHODS
        self._category = self._judge_category()
        self._own, self._pipeline_from = self._own_pipeline()

    def record(self) -> RecordVerdict:
        """What is said of the record as a whole; a pipeline that is right is said with it alone."""
        fields: list[CheckedField] = []
        write: dict[str, Any] = {}
        seen: list[Field] = []
        if self._pipeline_from == "stage" and self._own and (category := self._field("crm_category")):
            write[spelt(category, self._style)] = self._own.number
        for key in self._keys:
            verdict = self._judge(key, seen)
            if verdict.writes:
                write[key.write_as] = verdict.value
            if not (verdict is self._category and verdict.outcome == "right" and key.given == key.write_as):
                fields.append(_checked(key, self._given[key.given], verdict))
            seen += [key.field] if key.field else []
        return RecordVerdict(
            given=len(fields),
            ok=self._pipeline_from != "stage" and all(one.outcome in AS_IT_STANDS for one in fields),
            pipeline=self._own.name if self._own and self._own.number is not None else None,
            category_id=self._own.number if self._own else None,
            pipeline_from=self._pipeline_from if self._own and self._own.number is not None else None,
            fields=fields,
            write=write,
            open=[one.field for one in fields if one.outcome in OPEN] or None,
            missing=self._missing(seen) or None,
        )

    def _missing(self, seen: Sequence[Field]) -> list[str]:
        """Required fields of a new record that were not given."""
        if self._known.record_id is not None:
            return []
        required = (
            one
            for one in self._known.fields
            if one.required and not one.read_only and one not in seen and one.name not in _HAVE_DEFAULTS
        )
        return [name for one in required if (name := spelt(one, self._style))]

    def _judge(self, key: Key, seen: Sequence[Field]) -> Verdict:
        field = key.field
        if field is None:
            named = tuple(option(spelt(one, self._style) or one.name, one.title) for one in key.candidates)
            if key.ambiguous:
                return Verdict("ambiguous", candidates=named, note="several fields are called so", otherwise=DROP)
            return Verdict("dropped", candidates=named)
        if trouble := self._cannot_be_written(key, field, seen):
            return Verdict("dropped", note=trouble)
        verdict = self._judge_values(field, self._given[key.given])
        if key.given != key.write_as and verdict.outcome in AS_IT_STANDS:
            return replace(verdict, outcome="changed", otherwise=f"drop {key.given}")
        return verdict

    def _cannot_be_written(self, key: Key, field: Field, seen: Sequence[Field]) -> str:
        if field in seen:
            return "the same field as another of these"
        if not key.write_as:
            methods = ("crm.item", f"crm.{TYPE_NAMES[self._known.type.id]}")
            theirs, others = methods if self._style == "old" else reversed(methods)
            return f"only {theirs}.* has it, and the other fields are spelt for {others}.*"
        if field.read_only:
            return "read-only"
        if note := _COMPUTED.get(field.name):
            return note
        if field.immutable and self._known.record_id is not None:
            return "it cannot be changed once the record is there"
        return ""

    def _judge_values(self, field: Field, values: Sequence[Any]) -> Verdict:
        if field.multiple:
            return self._judge_list(field, _as_list(values))
        if len(values) > 1:
            return Verdict("wrong", note=f"it takes one value, and was given {len(values)} times")
        if field.is_stage:
            return self._judge_stage(values[0])
        if field.kind == "crm_category":
            return self._category or Verdict("unchecked", values[0])
        return self._judge_value(field, values[0])

    def _judge_list(self, field: Field, given: Any) -> Verdict:
        """The values of a multiple field, which have to come as a list."""
        if clears(given):
            return Verdict("clears", otherwise="change nothing, or clear the field")
        if field.kind not in CHECKED:
            if isinstance(given, list):
                return Verdict("unchecked", given)
            if field.kind == "crm_multifield":
                return Verdict("wrong", note='expected [{"VALUE": "...", "VALUE_TYPE": "WORK"}]', otherwise=DROP)
            return Verdict("changed", [given], otherwise=REFUSE_SINGLE)
        judged = [self._judge_value(field, part) for part in self._parts(field, given)]
        for verdict in judged:
            if not verdict.writes:
                return verdict
        value, names = [one.value for one in judged], ", ".join(one.name for one in judged if one.name)
        outcomes = {one.outcome for one in judged}
        otherwise = "; ".join(dict.fromkeys(one.otherwise for one in judged if one.otherwise))
        for outcome in ("changed", "unchecked"):
            if outcome in outcomes:
                return Verdict(outcome, value, names, otherwise=otherwise)
        if not isinstance(given, list):
            return Verdict("changed", value, names, otherwise=REFUSE_SINGLE)
        return Verdict("right", value, names)

    def _parts(self, field: Field, given: Any) -> list[Any]:
        """A list as it is; a text as one value, unless it is several with commas between."""
        if isinstance(given, list):
            return given
        parts = [part.strip() for part in _BETWEEN.split(given) if part.strip()] if isinstance(given, str) else []
        return parts if len(parts) > 1 and not self._judge_value(field, given).writes else [given]

    def _judge_value(self, field: Field, value: Any) -> Verdict:
        if field.kind == "boolean":
            return boolean(value)
        if clears(value):
            return Verdict("clears", note="send it only if that is meant", otherwise="clear the field")
        if field.kind not in CHECKED | TEXTS:
            return Verdict("unchecked", value)
        if isinstance(value, list) and len(value) == 1:
            verdict = self._judge_value(field, value[0])
            return replace(verdict, outcome="changed", otherwise=DROP) if verdict.outcome in AS_IT_STANDS else verdict
        if isinstance(value, list | dict):
            return Verdict("wrong", note="it takes one value", otherwise=DROP)
        return self._judge_single(field, value)

    def _judge_single(self, field: Field, value: Any) -> Verdict:
        match field.kind:
            case kind if kind in TEXTS:
                return Verdict("unchecked", value)
            case "integer" | "double":
                return number(value, whole=field.kind == "integer")
            case "date":
                return day(value)
            case "datetime":
                return moment(value)
            case "enumeration" if field.choices:
                return _judge_choice(self._known.choices(field), value)
            case "crm_status" if field.directories:
                return judge_code(value, [self._known.lists[entity_id] for entity_id in field.directories], STORE_RAW)
            case "crm_currency" if self._known.currencies is not None:
                return _judge_currency(value, self._known.currencies)
            case kind if kind in RECORDS:
                return record_id(value)
        return Verdict("unchecked", value, note="its values cannot be read")

    def _field(self, kind: str) -> Field | None:
        return next((one for one in self._known.fields if one.kind == kind and not one.read_only), None)

    def _value_of(self, field: Field | None) -> Any:
        """The one value that was given for a field; NOTHING where there is none."""
        values = next((self._given[key.given] for key in self._keys if key.field is field and field), [])
        return values[0] if len(values) == 1 else NOTHING

    def _judge_category(self) -> Verdict | None:
        """The pipeline that was given; None where none was, or where there are none to choose from."""
        value, record_id = self._value_of(self._field("crm_category")), self._known.record_id
        choices = [one for one in self._known.pipelines if one.number is not None]
        if value is NOTHING or not choices:
            return None
        if value in (None, "", [], {}):
            return Verdict("clears", otherwise="take the main pipeline, or change nothing")
        verdict = judge_pipeline(value, choices)
        moves = verdict.writes and record_id is not None and verdict.value != self._known.record_pipeline
        if moves and self._style == "old":
            return Verdict("dropped", note=_NEVER_MOVED)
        return verdict

    def _own_pipeline(self) -> tuple[Pipeline | None, PipelineFrom | None]:
        """The pipeline that the record is in or comes into, and where neither it nor the record was given, from what
        that follows."""
        pipelines, stage = self._known.pipelines, self._value_of(self._stage_field())
        if self._category is not None:
            chosen = self._category.value if self._category.writes else object()
            return next((one for one in pipelines if one.number == chosen), None), None
        if len(pipelines) == 1:
            return pipelines[0], None
        if self._known.record_id is not None:
            return next((one for one in pipelines if one.number == self._known.record_pipeline), None), None
        if stage is NOTHING or clears(stage) or isinstance(stage, list | dict):
            return None, None
        possible = pipeline_of_stage(stage, pipelines)
        if len(possible) == 1:
            return possible[0], "default" if possible[0].default else "stage"
        return None, None

    def _stage_field(self) -> Field | None:
        return next((one for one in self._known.fields if one.is_stage), None)

    def _judge_stage(self, value: Any) -> Verdict:
        if clears(value):
            return Verdict("clears", otherwise=self._stage_otherwise)
        if isinstance(value, list | dict):
            return Verdict("wrong", note="it takes one code", otherwise=self._stage_otherwise)
        if self._own is not None:
            verdict = judge_stage(value, self._own, self._known.pipelines, self._stage_otherwise)
            if self._pipeline_from == "stage" and verdict.writes:
                main = next((one.name for one in self._known.pipelines if one.default), "the main pipeline")
                return replace(verdict, note=f"{self._own.name} follows from it", otherwise=f"put it into {main}")
            return verdict
        if self._category is not None or self._known.record_id is not None or not self._known.pipelines:
            return Verdict("wrong", note="its pipeline has to be settled first", otherwise=self._stage_otherwise)
        return self._in_which_pipeline(value)

    def _in_which_pipeline(self, value: Any) -> Verdict:
        """A stage whose words stand in several pipelines, or in none."""
        candidates: list[Item] = []
        possible = pipeline_of_stage(value, self._known.pipelines)
        if not possible:
            return judge_in_any(value, self._known.pipelines, self._stage_otherwise)
        for pipeline in possible:
            verdict = judge_stage_of(value, pipeline, "")
            items = [option(verdict.value, verdict.name)] if verdict.writes else verdict.candidates
            candidates += [option(item.status_id, f"{item.name}, in {pipeline.name}") for item in items]
        note = "name the pipeline, or the record that is changed"
        return Verdict("ambiguous", candidates=tuple(candidates), note=note, otherwise=self._stage_otherwise)


def _judge_currency(value: Any, currencies: CodeList) -> Verdict:
    """A currency, whose code may be written in small letters: no word is taken for it."""
    upper = code_text(value).strip().upper()
    if value != upper and any(item.status_id == upper for item in currencies.items):
        return replace(judge_code(upper, [currencies], STORE_RAW), outcome="changed", otherwise=STORE_RAW)
    return judge_code(value, [currencies], STORE_RAW)


def _judge_choice(choices: CodeList, value: Any) -> Verdict:
    wrong = STORE_RAW if code_text(value).strip().isdecimal() else "store nothing"
    verdict = judge_code(value, [choices], wrong)
    if verdict.writes and str(verdict.value).isdecimal():
        return replace(verdict, value=int(verdict.value))
    return verdict


def _as_list(values: Sequence[Any]) -> Any:
    """What stands under the key of a multiple field, a list where it is one: as JSON too, or under the key repeated."""
    read = [_from_json(value) for value in values]
    if len(read) == 1:
        return read[0]
    return [part for value in read for part in (value if isinstance(value, list) else [value])]


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return from_json(value, allow_inf_nan=False)
        except ValueError:
            return value
    return value


def _checked(key: Key, values: Sequence[Any], verdict: Verdict) -> CheckedField:
    said = verdict.outcome not in (*AS_IT_STANDS, "dropped")
    given = values[0] if len(values) == 1 else values
    shown = one_line(code_text(given), _SHOWN) if said else None
    candidates = [
        f"{shown_code(one.status_id)} ({one.name})" if one.name else one.status_id for one in verdict.candidates
    ]
    return CheckedField(
        field=one_line(key.given, _SHOWN),
        outcome=verdict.outcome,
        write_as=key.write_as if verdict.writes and key.write_as != key.given else None,
        given=shown,
        code=code_text(verdict.value) if said and verdict.writes else None,
        name=verdict.name if verdict.name not in ("", shown) else None,
        candidates=candidates[:_MOST_CANDIDATES] or None,
        note=verdict.note or None,
        otherwise=verdict.otherwise or None,
    )
