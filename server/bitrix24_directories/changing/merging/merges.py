"""Makes several codes of a directory one: moves the records that carry them to another code, then deletes the items.

`plan` knows what may be merged, `run` moves, `changes` deletes. What is left to do is found by asking the
portal anew, so that a merge may end anywhere, in this process or another, and go on with the same call.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import anyio

from bitrix24_directories.changing.audit import Audit
from bitrix24_directories.changing.changes import Changes, audit_needed
from bitrix24_directories.changing.locks import Turns
from bitrix24_directories.changing.refusals import no_directory, refused
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.entity_ids import could_be_id
from bitrix24_directories.directories.field_map import rows
from bitrix24_directories.directories.models import Change, Step
from bitrix24_directories.directories.reads import COUNTS, items_of
from bitrix24_directories.records.carriers import Carriers, carriers
from bitrix24_directories.records.counting import Place
from bitrix24_directories.rest import Bitrix24Error, RateLimits, current_wait, failure

from .log import LoggedMerge, Where, line_of
from .models import Merge, MergedCode, MergeStatus
from .plan import MergeCodes, notes, records_to_move, stored_spelling
from .record_updates import Moved, Mover
from .run import Begins, MergeRun, Progress, Told, where_of

logger = logging.getLogger(__name__)

_UNDER_WAY = 100
_AGREED_SECONDS = 3600.0  # for which another replica may go on without asking a person again
_KEPT_SECONDS = 86_400.0  # for which others know what was moved under a plan
_SHOWN = 20
"""Records that are named in an answer; the audit log has all."""


@dataclass(frozen=True)
class PlannedMerge:
    """What merging would do to a portal as it was when it was counted."""

    merge: MergeCodes
    found: Carriers
    plan_id: str
    codes: list[MergedCode]
    notes: list[str]
    moved_before: int
    """What was moved before under the same plan, by any replica."""

    @property
    def records(self) -> int:
        """How many values there are to move, as far as they can be counted."""
        return records_to_move(self.found)

    @property
    def total(self) -> int:
        """The same, with what has been moved before."""
        return self.records + self.moved_before

    @property
    def to_move(self) -> list[Place]:
        """The fields with something to move that can be written."""
        paths = {path for of in self.found.counts.values() for path in of}
        return [place for place in self.found.places if place.of.path in paths and not place.of.field.immutable]

    @property
    def does_something(self) -> bool:
        return bool(self.found.counts) or any(code.item == "to be deleted" for code in self.codes)

    def answer(self, news: list[str] | None = None) -> Merge:
        """What would be done; nothing is yet."""
        return self.merge.result(
            "planned" if self.does_something else "unchanged",
            self.codes,
            left=self.records or None,
            plan_id=self.plan_id if self.does_something else None,
            notes=[*(news or ()), *self.notes] or None,
        )


class Merges:
    """The merges of one portal; `limits` are the portal's. `salt` as with Changes; what was agreed to is kept in the
    state that `turns` shares.
    """

    def __init__(
        self,
        directories: Directories,
        changes: Changes,
        audit: Audit,
        turns: Turns,
        timeout: float,
        limits: RateLimits,
        *,
        salt: Callable[[], str] | None = None,
    ) -> None:
        self._directories = directories
        self._changes = changes
        self._audit = audit
        self._turns = turns
        self._timeout = timeout
        self._limits = limits
        self._salt = salt or partial(str, secrets.token_hex(8))
        self._under_way: OrderedDict[str, Progress] = OrderedDict()

    async def plan(self, entity_id: str, codes: Sequence[str], into: str) -> PlannedMerge:
        """Count what merging `codes` into the item `into` (code or name) would move.

        Raises Bitrix24Error: CHANGE_REFUSED for what would do harm, and what reading fails with.
        """
        with anyio.move_on_after(self._timeout):
            directory = await self._directories.items(entity_id, details=True, fresh=True)
            if not could_be_id(directory.entity_id):
                raise no_directory(directory.entity_id)
            merge = MergeCodes.of(directory.entity_id, directory.items, codes, into)
            found = await carriers(self._directories, merge.entity_id, merge.codes)
            # The codes that no directory has, as records carry them: nobody is sure of their letter case.
            unknown = {
                code: next(one for one in found.places if one.of.path in found.counts[code]).carrying([code], after=0)
                for code in merge.codes
                if code in found.counts and code not in merge.items
            }
            read = await self._directories.reader.get_many(list(unknown.values()), fresh=True) if unknown else {}
            stored = {code: stored_spelling(code, rows(read, reading)) for code, reading in unknown.items()}
            if any(code != spelling for code, spelling in stored.items()):
                merge = merge.spelt_as(stored, directory.items)
                found = replace(found, counts={stored.get(code, code): of for code, of in found.counts.items()})
            ended = str(await self._turns.state.generation(self._ended_as(merge)))
            plan_id = merge.plan_id(self._salt(), found.places, ended)
            said = list(notes(merge, found, self._limits, logged=self._audit.kept))
            progress = await self._progress(plan_id)
            return PlannedMerge(merge, found, plan_id, merge.planned(found), said, progress.count)
        raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s for {current_wait().given_up}")

    async def agreed(self, planned: PlannedMerge) -> bool:
        """Whether a person has agreed to this very plan before, and it is not yet at its end."""
        kept = self._under_way.get(planned.plan_id)
        if kept is not None and kept.agreed:
            return True
        return await self._turns.state.recall(f"agreed:{planned.plan_id}") is not None

    async def resumed(self, planned: PlannedMerge, merges: Iterable[LoggedMerge]) -> PlannedMerge:
        """The same plan, if an earlier run of this program did not come to its end: what that has moved, by its log, is
        not moved again."""
        progress = await self._progress(planned.plan_id)
        portal = self._directories.reader.identity[0]
        for logged in merges:
            if (logged.key, logged.portal) == (planned.merge.key, portal):
                progress.moved |= logged.moved
        if progress.moved and not planned.does_something:
            await self._end("merge", planned, "done")  # the earlier run was cut off when all was done
        return replace(planned, moved_before=progress.count)

    async def carry_out(
        self,
        tool: str,
        planned: PlannedMerge,
        *,
        confirmed: bool,
        to_the_end: bool = False,
        told: Told = lambda _moved: None,
        begins: Begins = lambda _phase: None,
    ) -> Merge:
        """Move records for as long as the timeout allows, or `to_the_end`; then delete the items that none carries.

        Raises Bitrix24Error, with the merge as `partial_result` if the portal failed on the way. What has
        left for the portal is waited for and recorded although the call is cancelled.
        """
        merge = planned.merge
        until = anyio.current_time() + self._timeout
        async with self._turns.of(merge.entity_id, until) as make_sure:
            with self._turns.until(until):
                if confirmed:
                    now = await self.plan(merge.entity_id, merge.codes, merge.into.status_id)
                    if now.plan_id != planned.plan_id:
                        raise refused(
                            "the directory, or the fields that take its codes, have changed since it was planned",
                            "Call again",
                        )
            with audit_needed():
                self._audit.make_sure()
            progress = await self._progress(planned.plan_id)
            progress.agreed = True
            await self._turns.state.remember(f"agreed:{planned.plan_id}", "yes", _AGREED_SECONDS)
            before = len(progress.moved)
            described = self.described(tool, merge)
            deadline = float("inf") if to_the_end else until
            mover = Mover(self._directories, self._audit, described, deadline, items_of(merge.entity_id))
            keep = partial(self._keep, planned.plan_id, progress)
            begins("moving")
            async with self._turns.announced(make_sure):
                try:
                    run = MergeRun(merge, mover, progress, planned.total, told, keep)
                    all_tried = await run.move(planned.to_move)
                except Bitrix24Error as exc:
                    raise exc.with_partial_result(_so_far(planned, progress, "stopped")) from None
                finally:
                    self._directories.reader.invalidate((COUNTS,))
        if not all_tried:
            return _so_far(planned, progress, "moving")
        progress.after.clear()  # whoever goes on after this looks at all that is left
        return await self._finished(tool, planned, progress, moved_some=len(progress.moved) > before, begins=begins)

    async def _progress(self, plan_id: str) -> Progress:
        """How far a plan has come, with what other replicas have done of it."""
        progress = self._under_way.setdefault(plan_id, Progress())
        self._under_way.move_to_end(plan_id)
        if len(self._under_way) > _UNDER_WAY:
            self._under_way.popitem(last=False)
        while (part := await self._turns.state.recall(f"moved:{plan_id}:{progress.parts}")) is not None:
            progress.moved |= {Where(*where) for where in json.loads(part)}
            progress.parts += 1
        return progress

    async def _keep(self, plan_id: str, progress: Progress, moved: Sequence[Moved]) -> None:
        """Let other replicas know what was moved."""
        part = [where_of(one.move) for one in moved if one.outcome == "moved"]
        await self._turns.state.remember(f"moved:{plan_id}:{progress.parts}", json.dumps(part), _KEPT_SECONDS)
        progress.parts += 1

    def _ended_as(self, merge: MergeCodes) -> str:
        """Where the state has another text each time that this merge was at its end, which uses up what a person
        agreed to."""
        return f"ended:{hashlib.sha256(f'{self._salt()}{merge.key}'.encode()).hexdigest()}"

    async def _end(self, tool: str, planned: PlannedMerge, status: MergeStatus) -> None:
        merge = planned.merge
        await self._turns.state.changed(self._ended_as(merge))
        self._under_way.pop(planned.plan_id, None)  # an equal call may have ended first
        try:
            self._audit.ended(**self.described(tool, merge), status=status)
        except OSError:  # it could be written a moment ago; the line is on stderr, and the merge is done
            logger.exception("The audit log's file could not be written")

    def not_wanted(self, tool: str, planned: PlannedMerge, how: Literal["declined", "cancelled"]) -> Merge:
        """Record that the person said no, or did not answer."""
        with audit_needed():
            self._audit.not_wanted(how, **self.described(tool, planned.merge), codes=list(planned.merge.codes))
        return planned.answer().model_copy(update={"status": how, "plan_id": None})

    def described(self, tool: str, merge: MergeCodes) -> dict[str, Any]:
        """What stands in each line of the audit log."""
        portal = self._directories.reader.identity[0]
        return line_of(tool, merge.key, portal, merge.entity_id, merge.into.status_id)

    async def _finished(
        self, tool: str, planned: PlannedMerge, progress: Progress, *, moved_some: bool, begins: Begins
    ) -> Merge:
        """Delete what a fresh count finds empty, and say what is left, which may have come meanwhile."""
        merge = planned.merge
        begins("reading")
        with anyio.fail_after(self._timeout):
            found = await carriers(self._directories, merge.entity_id, merge.codes)
        left = records_to_move(found)
        if moved_some and left > len(progress.not_moved):
            return _so_far(planned, progress, "moving", left=left)
        gone = [item.status_id for item in merge.deletable(found) if item.status_id not in found.counts]
        codes = [code for code in merge.planned(found) if code.item]
        steps: list[Step] = []
        described = self.described(tool, merge)
        try:
            if gone:
                begins("deleting")
                change = await self._changes.remove_unused(
                    tool,
                    merge.entity_id,
                    gone,
                    part_of=described,
                    make_sure=lambda items: merge.check_target(items, progress.count),
                )
                steps = change.steps
        except Bitrix24Error as exc:
            if isinstance(exc.partial_result, Change):
                codes = _after(codes, exc.partial_result.steps, gone)
            else:
                codes = [code.model_copy(update={"item": "stays", "fields": None}) for code in codes]
            raise exc.with_partial_result(_so_far(planned, progress, "stopped", codes, left)) from None
        open_ = left or found.uncounted or progress.stored_otherwise
        status: MergeStatus = "incomplete" if open_ else "done"
        await self._end(tool, planned, status)
        merged = _so_far(planned, progress, status, _after(codes, steps, gone), left)
        if found.uncounted:  # now: none is no count
            notes_now = [f"not counted: {what}" for what in found.uncounted]
            merged = merged.model_copy(update={"left": left or None, "notes": notes_now})
        return merged


def _so_far(
    planned: PlannedMerge,
    progress: Progress,
    status: MergeStatus,
    codes: Sequence[MergedCode] = (),
    left: int | None = None,
) -> Merge:
    """What a merge has come to; where it was not counted anew, `left` is what is left of the plan."""
    not_moved = list(progress.not_moved.values())
    if left is None:
        left = max(0, planned.total - progress.count)
    return planned.merge.result(
        status,
        list(codes),
        moved=progress.count,
        left=left,
        not_moved=not_moved[:_SHOWN] or None,
        not_moved_total=len(not_moved) or None,
        notes=[f"not counted: {what}" for what in planned.found.uncounted] or None,
    )


def _after(codes: Sequence[MergedCode], steps: Sequence[Step], gone: Sequence[str]) -> list[MergedCode]:
    """What has become of the items, of which those with codes in `gone` were to be deleted."""
    outcomes = {step.status_id: step for step in steps}
    said: list[MergedCode] = []
    for code in codes:
        step = outcomes.get(code.status_id)
        item, why = code.item, code.why
        if step is not None and step.outcome == "done":
            item, why = "deleted", None
        elif step is not None and step.outcome == "unknown":
            item, why = "unknown", step.why
        elif step is not None and step.outcome == "done otherwise":
            item, why = "stays", "; ".join(step.stored or ())
        elif step is not None:
            item, why = "stays", step.why or "it was not tried"
        elif item == "to be deleted" and code.status_id in gone:
            item, why = "deleted", "somebody else was first"
        elif item == "to be deleted":
            item, why = "stays", "records carry it still"
        said.append(code.model_copy(update={"item": item, "why": why, "fields": None}))
    return said
