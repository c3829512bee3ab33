"""Judges a record's pipeline, and its stage among the stages of that pipeline. Pure.

Facts: stages are checked against the directory of the record's own `categoryId`. The field's `statusType` is the
directory of the default pipeline; a new record without a pipeline gets that one. The result of a wrong stage depends
on the portal's age. Codes of other pipelines are recognized by their prefix, and may have a twin in this pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitrix24_directories.directories.entity_ids import prefix_of
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.certain import CODE, NEAR_CODE
from bitrix24_directories.text import bare_code
from bitrix24_directories.words import name_key

from .codes import SHOWN, CodeList, Pipeline, as_json, code_text, judge_code, judge_row
from .context import RecordContext
from .models import PipelineFrom
from .spelling import Style
from .verdicts import DROP, REFUSE, STORE_RAW, Verdict, is_empty, option

MISSING = object()
"""Marks a value that the caller did not pass."""

_NEVER_MOVED = "crm.deal.update never changes the pipeline; for crm.item.update spell all as categoryId, stageId"
_PREFIX = re.compile(r"(?:c(?P<deal>\d+)|dt(?P<type>\d+)_(?P<number>\d+)):")


@dataclass(frozen=True)
class OwnPipeline:
    """Pipeline of a record before or after the change (`own`); None if it is unknown.

    `stage` is the single code passed for the stage, in any shape, or MISSING. `category_verdict` judges the pipeline
    that was passed; it is None if none was passed, or if the type has no pipelines. `follows_from` is the source of
    `own` if neither a pipeline nor an existing record was passed.
    """

    context: RecordContext
    style: Style
    stage: Any
    category_verdict: Verdict | None
    own: Pipeline | None
    follows_from: PipelineFrom | None = None

    @property
    def moves(self) -> bool:
        """True if an existing record changes its pipeline."""
        is_new = self.context.record_id is None
        return not is_new and self.own is not None and self.own.number != self.context.record_pipeline

    def instead_of(self, value: Any) -> str:
        """Describe Bitrix24's reaction to a stage that the pipeline does not have."""
        today = "keep the old stage"
        if self.context.record_id is None or self.moves:
            is_code = isinstance(value, str) and any(value in pipeline.codes for pipeline in self.context.pipelines)
            today = "take the first stage of the same meaning" if is_code else "take the first stage"
        stored_raw = self.style == "old" and isinstance(value, str | int) and not is_empty(value, "crm_status")
        return f"{today}, or, on older portals, {STORE_RAW}" if stored_raw else today

    def closing_stages(self) -> tuple[Item, ...]:
        """Return the stages that close a record: the winning one and all after it.

        Empty if the winning one is unknown. Uses the main pipeline if the record's own is unknown.
        """
        own = self.own or next((pipeline for pipeline in self.context.pipelines if pipeline.default), None)
        codes = [item.status_id for item in own.items] if own else []
        if own is None or own.directory.success not in codes:
            return ()
        return tuple(own.items[codes.index(own.directory.success) :])

    def judge_stage(self, value: Any) -> Verdict:
        """Judge a stage among those of the pipeline, or of all possible ones if it is unknown."""
        pipelines, otherwise = self.context.pipelines, self.instead_of(value)
        if self.own is not None:
            verdict = _judge_stage_in(self.own, value, pipelines, otherwise)
            if self.follows_from == "stage" and verdict.writes:
                main = next((pipeline.name for pipeline in pipelines if pipeline.default), "the main pipeline")
                return replace(verdict, note=f"{self.own.name} follows from it", otherwise=f"put it into {main}")
            return verdict
        if self.category_verdict is not None or self.context.record_id is not None or not pipelines:
            return Verdict("wrong", note="its pipeline has to be settled first")
        possible = _pipelines_of_stage(value, pipelines)
        if not possible:  # show the stages of all pipelines, starting with the pipeline of the value's prefix
            text = code_text(value).strip().upper()
            nearest_first = sorted(pipelines, key=lambda pipeline: not text.startswith(f"{_prefixes(pipeline)[1]}:"))
            pairs = [(item, pipeline) for pipeline in nearest_first for item in pipeline.items]
            all_stages = [option(item.status_id, f"{item.name}, in {pipeline.name}") for item, pipeline in pairs]
            stages = Directory(entity_id="stages", name="the stages of any pipeline", kind="stages")
            verdict = judge_code(value, [CodeList(stages, all_stages)], otherwise)
            if not verdict.writes:
                return verdict
            same = tuple(item for item in all_stages if item.status_id == verdict.value)
            return Verdict("ambiguous", candidates=same, note="name the pipeline", otherwise=otherwise)
        candidates: list[Item] = []
        for pipeline in possible:
            verdict = judge_code(value, [pipeline], "")
            items = [option(verdict.value, verdict.name)] if verdict.writes else verdict.candidates
            candidates += [option(item.status_id, f"{item.name}, in {pipeline.name}") for item in items]
        note = "name the pipeline, or the record that is changed"
        if len(candidates) > SHOWN:
            note = f"{SHOWN} of {len(candidates)} stages are shown; {note}"
        return Verdict("ambiguous", candidates=tuple(candidates), note=note, otherwise=otherwise)


def own_pipeline(context: RecordContext, style: Style, stage: Any, category: Any) -> OwnPipeline:
    """Determine a record's pipeline from `stage` and `category`, each MISSING if not passed."""
    pipelines, is_new = context.pipelines, context.record_id is None
    choices = [pipeline for pipeline in pipelines if pipeline.number is not None]
    verdict: Verdict | None = None
    if category is not MISSING and choices:
        value = as_json(category)
        if value in (None, "", [], {}):
            verdict = Verdict("clears", otherwise="take the main pipeline" if is_new else "change nothing")
        else:
            verdict = judge_row(value, lambda part: _judge_pipeline(part, choices), "")
            if not is_new and style == "old":
                if verdict.writes and verdict.value == context.record_pipeline:
                    verdict = replace(verdict, otherwise=DROP if verdict.otherwise else "")
                else:
                    verdict = Verdict("dropped", note=_NEVER_MOVED)
    if verdict is None and len(pipelines) == 1:
        return OwnPipeline(context, style, stage, verdict, pipelines[0])
    if verdict is None and is_new:
        is_named = stage is not MISSING and not is_empty(stage, "crm_status")
        possible = _pipelines_of_stage(stage, pipelines) if is_named else []
        if len(possible) != 1:
            return OwnPipeline(context, style, stage, verdict, None)
        return OwnPipeline(context, style, stage, verdict, possible[0], "default" if possible[0].default else "stage")
    number = context.record_pipeline if verdict is None else verdict.value if verdict.writes else MISSING
    own = next((pipeline for pipeline in pipelines if pipeline.number == number), None)
    return OwnPipeline(context, style, stage, verdict, own)


def _judge_pipeline(value: Any, pipelines: Sequence[Pipeline]) -> Verdict:
    """Judge a pipeline by its number or name; the value to write is the number."""
    items = [option(str(pipeline.number), pipeline.name) for pipeline in pipelines]
    pipeline_list = CodeList(Directory(entity_id="pipelines", name="the pipelines", kind="list"), items)
    text = code_text(value).strip()
    otherwise = f"{REFUSE}, or take another pipeline"  # PHP's conversion of a text
    if isinstance(value, float) and value.is_integer():  # 1.0, from programs without integers
        verdict = judge_code(int(value), [pipeline_list], "").as_changed()
    elif text.isascii() and text.isdecimal():
        is_one = (text.lstrip("0") or "0") in [item.status_id for item in items]
        verdict = judge_code(value, [pipeline_list], "" if is_one else REFUSE)
    else:
        verdict = judge_code(value, [pipeline_list], otherwise)
    matches = [pipeline for pipeline in pipelines if text.upper() in _prefixes(pipeline)]
    if verdict.outcome == "wrong" and matches:
        verdict = Verdict("changed", matches[0].number, matches[0].name, otherwise=otherwise)
    unnamed = any(pipeline.directory.pipeline is None for pipeline in pipelines)
    if verdict.outcome == "wrong" and unnamed and not text.isdecimal():
        return replace(verdict, outcome="ambiguous", note="the names of pipelines cannot be read, only their numbers")
    return replace(verdict, value=int(verdict.value) if verdict.writes else None)


def _prefixes(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the id of the pipeline's directory, and the prefix of its stages."""
    entity_id = pipeline.directory.entity_id
    return entity_id, prefix_of(entity_id).removesuffix(":") or f"C{pipeline.number}"


def _pipelines_of_stage(value: Any, pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """Return the pipelines that may have the stage: by its whole code, else by its words."""
    text = code_text(value)
    if whole := [pipeline for pipeline in pipelines if text in pipeline.codes]:
        return whole
    return [pipeline for pipeline in pipelines if judge_code(value, [pipeline], "").outcome != "wrong"]


def _judge_stage_in(own: Pipeline, value: Any, pipelines: Sequence[Pipeline], otherwise: str) -> Verdict:
    """Judge a stage among the stages of the pipeline `own`.

    The candidates for a code of another pipeline are the stages with the same code, meaning or name, then itself.
    """
    verdict = judge_code(value, [own], otherwise)
    if verdict.outcome != "wrong":
        return verdict
    text = code_text(value).strip()
    foreign: list[tuple[Pipeline, Item]] = []
    for pipeline in pipelines:
        coded = [entry.item for entry, why in pipeline.matcher.fits(text).items() if why in (CODE, NEAR_CODE)]
        if pipeline is not own and len(coded) == 1:
            foreign.append((pipeline, coded[0]))
    if not foreign:
        match = _PREFIX.match(text.casefold())  # only the prefix identifies type and pipeline
        if match is None or any(code.casefold().startswith(match[0]) for code in own.codes):
            return verdict
        whose = f"deals in pipeline {match['deal']}"
        if match["type"]:
            whose = f"type {match['type']}, pipeline {match['number']}"
        return replace(verdict, note=f"{verdict.note}; its prefix is that of {whose}")
    other, item = foreign[0]
    twins: dict[str, Item] = {}
    theirs, ours = other.directory, own.directory
    for their_final, our_final in ((theirs.success, ours.success), (theirs.failure, ours.failure)):
        if item.status_id == their_final and our_final is not None and our_final in own.codes:
            twins[our_final] = own.codes[our_final]
    for own_item in own.items:
        same_code = bare_code(own_item.status_id).casefold() == bare_code(item.status_id).casefold()
        if same_code or name_key(own_item.name) == name_key(item.name):
            twins[own_item.status_id] = own_item
    note = f"{item.status_id} ({item.name}) is of {other.name}"
    if not twins:
        return Verdict("wrong", candidates=tuple(own.items[:SHOWN]), note=note, otherwise=otherwise)
    candidates = (*twins.values(), option(item.status_id, f"{item.name}, in {other.name}"))
    return Verdict("ambiguous", candidates=candidates, note=note, otherwise=otherwise)
