"""Judges a record's pipeline and its stage, which has to be one of that pipeline. Pure.

Facts: stages are checked against the directory of the record's own `categoryId`, never against the field's
`statusType`, which is the default pipeline's; a new record without a pipeline lands in that one; what becomes of a
wrong stage depends on the portal's age. Codes of other pipelines are known by their prefix, and have a twin here.
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
from .knowledge import RecordContext
from .models import PipelineFrom
from .spelling import Style
from .verdicts import DROP, REFUSE, STORE_RAW, Verdict, is_empty, option

MISSING = object()
"""Stands for a value that was not given."""

_NEVER_MOVED = "crm.deal.update never changes the pipeline; for crm.item.update spell all as categoryId, stageId"
_PREFIX = re.compile(r"(?:c(?P<deal>\d+)|dt(?P<type>\d+)_(?P<number>\d+)):")


@dataclass(frozen=True)
class OwnPipeline:
    """The pipeline that a record is in or comes into (`own`), None where that is not known.

    `stage` is the one code that was given for the stage, in whatever shape, or NOTHING. `given` is what is said of the
    pipeline that was given, None where none was or where there are none to choose from. Where neither a pipeline nor
    the record was given, `follows_from` tells from what `own` follows.
    """

    known: RecordContext
    style: Style
    stage: Any
    given: Verdict | None
    own: Pipeline | None
    follows_from: PipelineFrom | None = None

    @property
    def moves(self) -> bool:
        """Whether an existing record changes its pipeline."""
        is_new = self.known.record_id is None
        return not is_new and self.own is not None and self.own.number != self.known.record_pipeline

    def instead_of(self, value: Any) -> str:
        """What Bitrix24 would take in the place of a stage that the pipeline does not have."""
        today = "keep the old stage"
        if self.known.record_id is None or self.moves:
            is_code = isinstance(value, str) and any(value in one.codes for one in self.known.pipelines)
            today = "take the first stage of the same meaning" if is_code else "take the first stage"
        stored_raw = self.style == "old" and isinstance(value, str | int) and not is_empty(value, "crm_status")
        return f"{today}, or, on older portals, {STORE_RAW}" if stored_raw else today

    def closing_stages(self) -> tuple[Item, ...]:
        """The winning stage and those behind it, which close a record; none where the winning one is not known.

        Where the record's own pipeline is not known, they are those of the main one.
        """
        own = self.own or next((one for one in self.known.pipelines if one.default), None)
        codes = [item.status_id for item in own.items] if own else []
        if own is None or own.directory.success not in codes:
            return ()
        return tuple(own.items[codes.index(own.directory.success) :])

    def judge_stage(self, value: Any) -> Verdict:
        """A stage among those of the pipeline; where that is not known, among those of all that may be meant."""
        pipelines, otherwise = self.known.pipelines, self.instead_of(value)
        if self.own is not None:
            verdict = _judge_stage_in(self.own, value, pipelines, otherwise)
            if self.follows_from == "stage" and verdict.writes:
                main = next((one.name for one in pipelines if one.default), "the main pipeline")
                return replace(verdict, note=f"{self.own.name} follows from it", otherwise=f"put it into {main}")
            return verdict
        if self.given is not None or self.known.record_id is not None or not pipelines:
            return Verdict("wrong", note="its pipeline has to be settled first")
        possible = _pipelines_of_stage(value, pipelines)
        if not possible:  # the stages of all are shown, first of the pipeline whose prefix it has
            text = code_text(value).strip().upper()
            nearest_first = sorted(pipelines, key=lambda one: not text.startswith(f"{_prefixes(one)[1]}:"))
            every = [option(it.status_id, f"{it.name}, in {one.name}") for one in nearest_first for it in one.items]
            stages = Directory(entity_id="stages", name="the stages of any pipeline", kind="stages")
            verdict = judge_code(value, [CodeList(stages, every)], otherwise)
            if not verdict.writes:
                return verdict
            same = tuple(item for item in every if item.status_id == verdict.value)
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


def own_pipeline(known: RecordContext, style: Style, stage: Any, category: Any) -> OwnPipeline:
    """The pipeline of a record for which the code `stage` and the pipeline `category` were given, or NOTHING."""
    pipelines, is_new = known.pipelines, known.record_id is None
    choices = [one for one in pipelines if one.number is not None]
    given: Verdict | None = None
    if category is not MISSING and choices:
        value = as_json(category)
        if value in (None, "", [], {}):
            given = Verdict("clears", otherwise="take the main pipeline" if is_new else "change nothing")
        else:
            given = judge_row(value, lambda one: _judge_pipeline(one, choices), "")
            if not is_new and style == "old":
                if given.writes and given.value == known.record_pipeline:
                    given = replace(given, otherwise=DROP if given.otherwise else "")
                else:
                    given = Verdict("dropped", note=_NEVER_MOVED)
    if given is None and len(pipelines) == 1:
        return OwnPipeline(known, style, stage, given, pipelines[0])
    if given is None and is_new:
        is_named = stage is not MISSING and not is_empty(stage, "crm_status")
        possible = _pipelines_of_stage(stage, pipelines) if is_named else []
        if len(possible) != 1:
            return OwnPipeline(known, style, stage, given, None)
        return OwnPipeline(known, style, stage, given, possible[0], "default" if possible[0].default else "stage")
    number = known.record_pipeline if given is None else given.value if given.writes else MISSING
    return OwnPipeline(known, style, stage, given, next((one for one in pipelines if one.number == number), None))


def _judge_pipeline(value: Any, pipelines: Sequence[Pipeline]) -> Verdict:
    """A pipeline by its number or name; the value to write is the number."""
    items = [option(str(one.number), one.name) for one in pipelines]
    known = CodeList(Directory(entity_id="pipelines", name="the pipelines", kind="list"), items)
    text = code_text(value).strip()
    otherwise = f"{REFUSE}, or take another pipeline"  # what PHP makes of a text
    if isinstance(value, float) and value.is_integer():  # as programs write 1 that know no whole numbers
        verdict = judge_code(int(value), [known], "").as_changed()
    elif text.isascii() and text.isdecimal():
        is_one = (text.lstrip("0") or "0") in [item.status_id for item in items]
        verdict = judge_code(value, [known], "" if is_one else REFUSE)
    else:
        verdict = judge_code(value, [known], otherwise)
    if verdict.outcome == "wrong" and (meant := [one for one in pipelines if text.upper() in _prefixes(one)]):
        verdict = Verdict("changed", meant[0].number, meant[0].name, otherwise=otherwise)
    unnamed = any(one.directory.pipeline is None for one in pipelines)
    if verdict.outcome == "wrong" and unnamed and not text.isdecimal():
        return replace(verdict, outcome="ambiguous", note="the names of pipelines cannot be read, only their numbers")
    return replace(verdict, value=int(verdict.value) if verdict.writes else None)


def _prefixes(pipeline: Pipeline) -> tuple[str, ...]:
    """What a pipeline's stages begin with, and the id of their directory."""
    entity_id = pipeline.directory.entity_id
    return entity_id, prefix_of(entity_id).removesuffix(":") or f"C{pipeline.number}"


def _pipelines_of_stage(value: Any, pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """The pipelines that a stage may mean where nothing else names one: by its whole code, else by its words."""
    text = code_text(value)
    if whole := [one for one in pipelines if text in one.codes]:
        return whole
    return [one for one in pipelines if judge_code(value, [one], "").outcome != "wrong"]


def _judge_stage_in(own: Pipeline, value: Any, pipelines: Sequence[Pipeline], otherwise: str) -> Verdict:
    """A stage among those of the pipeline `own`; for a code of another pipeline, what it may mean here: the stages that
    are the same by code, meaning or name, then that stage itself, for the pipeline may be what is wrong."""
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
        match = _PREFIX.match(text.casefold())  # it alone tells type and pipeline
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
    for one in own.items:
        same_code = bare_code(one.status_id).casefold() == bare_code(item.status_id).casefold()
        if same_code or name_key(one.name) == name_key(item.name):
            twins[one.status_id] = one
    note = f"{item.status_id} ({item.name}) is of {other.name}"
    if not twins:
        return Verdict("wrong", candidates=tuple(own.items[:SHOWN]), note=note, otherwise=otherwise)
    candidates = (*twins.values(), option(item.status_id, f"{item.name}, in {other.name}"))
    return Verdict("ambiguous", candidates=candidates, note=note, otherwise=otherwise)
