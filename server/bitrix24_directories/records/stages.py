"""Judges a record's pipeline and its stage, which has to be one of that pipeline. Pure.

Facts: stages are checked against the directory of the record's own `categoryId`, never against the field's
`statusType`, which is the default pipeline's; a new record without a pipeline lands in that one; what becomes of a
wrong stage depends on the portal's age. Codes of other pipelines are known by their prefix, and have a twin here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitrix24_directories.directories.entity_ids import prefix_of
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.certain import CODE, NEAR_CODE
from bitrix24_directories.text import bare_code
from bitrix24_directories.words import name_key

from .codes import SHOWN, CodeList, code_text, judge_code
from .verdicts import REFUSE, Verdict, option

_PREFIX = re.compile(r"(?:c(?P<deal>\d+)|dt(?P<type>\d+)_(?P<number>\d+)):")


@dataclass(frozen=True)
class Pipeline(CodeList):
    """A pipeline with its stages; types without pipelines have one, whose number is None."""

    default: bool

    @property
    def number(self) -> int | None:
        return self.directory.category_id

    @property
    def name(self) -> str:
        """Its plain name; its number where the user may not see that."""
        return self.directory.pipeline or (self.directory.name if self.number is None else f"pipeline {self.number}")

    @property
    def codes(self) -> Mapping[str, Item]:
        return {item.status_id: item for item in self.items}


def judge_pipeline(value: Any, pipelines: Sequence[Pipeline]) -> Verdict:
    """A pipeline by its number or name; the value to write is the number."""
    items = [option(str(one.number), one.name) for one in pipelines]
    known = CodeList(Directory(entity_id="pipelines", name="the pipelines", kind="list"), items)
    text = code_text(value).strip()
    otherwise = f"{REFUSE}, or take another pipeline"  # what PHP makes of a text
    if isinstance(value, float) and value.is_integer():  # as programs write 1 that know no whole numbers
        verdict = judge_code(int(value), [known], "")
        verdict = replace(verdict, outcome="changed" if verdict.writes else verdict.outcome)
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


def final_stages(pipeline: Pipeline) -> list[Item]:
    """The stages that close a record: the winning one and those behind it; none where the winning one is not known."""
    codes = [item.status_id for item in pipeline.items]
    won = pipeline.directory.success
    return list(pipeline.items[codes.index(won) :]) if won in codes else []


def pipeline_of_stage(value: Any, pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """The pipelines that a stage may mean where nothing else names one: by its whole code, else by its words."""
    text = code_text(value)
    if whole := [one for one in pipelines if text in one.codes]:
        return whole
    return [one for one in pipelines if judge_code(value, [one], "").outcome != "wrong"]


def judge_in_any(value: Any, pipelines: Sequence[Pipeline], otherwise: str) -> Verdict:
    """A stage that no pipeline certainly has: those of all are shown, first of the one whose prefix it has."""
    text = code_text(value).strip().upper()
    nearest_first = sorted(pipelines, key=lambda one: not text.startswith(f"{_prefixes(one)[1]}:"))
    items = [option(item.status_id, f"{item.name}, in {one.name}") for one in nearest_first for item in one.items]
    stages = Directory(entity_id="stages", name="the stages of any pipeline", kind="stages")
    verdict = judge_code(value, [CodeList(stages, items)], otherwise)
    if not verdict.writes:
        return verdict
    candidates = tuple(item for item in items if item.status_id == verdict.value)
    return Verdict("ambiguous", candidates=candidates, note="name the pipeline", otherwise=otherwise)


def judge_stage(value: Any, own: Pipeline, pipelines: Sequence[Pipeline], otherwise: str) -> Verdict:
    """A stage of a record in the pipeline `own`; a code of another pipeline is answered with its twin there."""
    verdict = judge_code(value, [own], otherwise)
    if verdict.outcome != "wrong":
        return verdict
    text = code_text(value).strip()
    for other in pipelines:
        coded = [entry.item for entry, why in other.matcher.fits(text).items() if why in (CODE, NEAR_CODE)]
        if other is own or len(coded) != 1:
            continue
        # What it may mean here: the stages that are the same by code, meaning or name, then the stage itself, for the
        # pipeline may be what is wrong.
        (item,) = coded
        twins: dict[str, Item] = {}
        theirs, ours = other.directory, own.directory
        for final, our in ((theirs.success, ours.success), (theirs.failure, ours.failure)):
            if item.status_id == final and our is not None and our in own.codes:
                twins[our] = own.codes[our]
        for one in own.items:
            same_code = bare_code(one.status_id).casefold() == bare_code(item.status_id).casefold()
            if same_code or name_key(one.name) == name_key(item.name):
                twins[one.status_id] = one
        note = f"{item.status_id} ({item.name}) is of {other.name}"
        if not twins:
            return Verdict("wrong", candidates=tuple(own.items[:SHOWN]), note=note, otherwise=otherwise)
        foreign = option(item.status_id, f"{item.name}, in {other.name}")
        return Verdict("ambiguous", candidates=(*twins.values(), foreign), note=note, otherwise=otherwise)
    prefix = _PREFIX.match(text.casefold())  # it alone tells type and pipeline
    if prefix is None or any(code.casefold().startswith(prefix[0]) for code in own.codes):
        return verdict
    of_type = f"type {prefix['type']}, pipeline {prefix['number']}"
    whose = f"deals in pipeline {prefix['deal']}" if prefix["deal"] else of_type
    return replace(verdict, note=f"{verdict.note}; its prefix is that of {whose}")
