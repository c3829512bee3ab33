"""Merges several codes of a directory into one: moves their records, then deletes the items.

`plan` has the rules, `run` moves, `changes` deletes. The remaining work is always read from the portal, so a merge may
stop anywhere and continue with the same call, in this process or another.
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
from bitrix24_directories.changing.locks import DirectoryLocks
from bitrix24_directories.changing.refusals import no_directory, refused
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.entity_ids import could_be_id
from bitrix24_directories.directories.field_map import rows
from bitrix24_directories.directories.models import Change, Step
from bitrix24_directories.directories.reads import COUNTS, items_of
from bitrix24_directories.records.carriers import Carriers, count_carriers
from bitrix24_directories.records.counting import CodeField
from bitrix24_directories.rest import Bitrix24Error, RateLimits, current_wait, failure

from .log import FieldKey, LoggedMerge, line_of
from .models import Merge, MergedCode, MergeStatus
from .plan import MergeCodes, notes, records_to_move, stored_spelling
from .record_updates import Moved, Mover
from .run import MergeRun, OnPhase, OnProgress, Progress, field_key_of

logger = logging.getLogger(__name__)

_UNDER_WAY = 100
_CONSENT_SECONDS = 3600.0  # another replica may continue for so long without asking again
_KEPT_SECONDS = 86_400.0  # lifetime of the shared progress of a plan
_SHOWN = 20
"""Most records that are named in an answer; the audit log has all."""


@dataclass(frozen=True)
class PlannedMerge:
    """Plan of a merge, with the counts at the time of planning."""

    merge: MergeCodes
    carriers: Carriers
    plan_id: str
    codes: list[MergedCode]
    notes: list[str]
    moved_before: int
    """Number of values moved before under the same plan, by any replica."""

    @property
    def records(self) -> int:
        """Number of values to move that could be counted."""
        return records_to_move(self.carriers)

    @property
    def total(self) -> int:
        """Number of values to move, including those moved before."""
        return self.records + self.moved_before

    @property
    def to_move(self) -> list[CodeField]:
        """Writable fields with values to move."""
        paths = {path for counts in self.carriers.counts.values() for path in counts}
        carrying = [code_field for code_field in self.carriers.code_fields if code_field.path in paths]
        return [code_field for code_field in carrying if not code_field.record_field.field.immutable]

    @property
    def does_something(self) -> bool:
        """True if there are values to move or items to delete."""
        return bool(self.carriers.counts) or any(code.item == "to be deleted" for code in self.codes)

    def answer(self, news: list[str] | None = None) -> Merge:
        """Return the plan as a result; nothing is done yet."""
        return self.merge.result(
            "planned" if self.does_something else "unchanged",
            self.codes,
            left=self.records or None,
            plan_id=self.plan_id if self.does_something else None,
            notes=[*(news or ()), *self.notes] or None,
        )


class Merges:
    """Merges of one portal with its `limits`; `salt` as in Changes.

    Consent and progress are stored in the state of `locks`.
    """

    def __init__(
        self,
        directories: Directories,
        changes: Changes,
        audit: Audit,
        locks: DirectoryLocks,
        timeout: float,
        limits: RateLimits,
        *,
        salt: Callable[[], str] | None = None,
    ) -> None:
        self._directories = directories
        self._changes = changes
        self._audit = audit
        self._locks = locks
        self._timeout = timeout
        self._limits = limits
        self._salt = salt or partial(str, secrets.token_hex(8))
        self._under_way: OrderedDict[str, Progress] = OrderedDict()

    async def plan(self, entity_id: str, codes: Sequence[str], into: str) -> PlannedMerge:
        """Plan to merge `codes` into the item `into` (code or name), and count the records.

        Raises Bitrix24Error: CHANGE_REFUSED for harmful merges, and all errors of reading.
        """
        with anyio.move_on_after(self._timeout):
            directory = await self._directories.items(entity_id, details=True, fresh=True)
            if not could_be_id(directory.entity_id):
                raise no_directory(directory.entity_id)
            merge = MergeCodes.create(directory.entity_id, directory.items, codes, into)
            carriers = await count_carriers(self._directories, merge.entity_id, merge.codes)
            # Read codes without an item as records carry them: the caller's letter case may differ.
            unknown = {
                code: next(field for field in carriers.code_fields if field.path in carriers.counts[code]).carrying(
                    [code], after=0
                )
                for code in merge.codes
                if code in carriers.counts and code not in merge.items
            }
            read = await self._directories.reader.get_many(list(unknown.values()), fresh=True) if unknown else {}
            stored = {code: stored_spelling(code, rows(read, reading)) for code, reading in unknown.items()}
            if any(code != spelling for code, spelling in stored.items()):
                merge = merge.spelt_as(stored, directory.items)
                counts = {stored.get(code, code): by_path for code, by_path in carriers.counts.items()}
                carriers = replace(carriers, counts=counts)
            ended = str(await self._locks.state.generation(self._generation_key(merge)))
            plan_id = merge.plan_id(self._salt(), carriers.code_fields, ended)
            plan_notes = list(notes(merge, carriers, self._limits, logged=self._audit.writes_file))
            progress = await self._progress(plan_id)
            return PlannedMerge(merge, carriers, plan_id, merge.planned(carriers), plan_notes, progress.count)
        raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s for {current_wait().given_up}")

    async def has_consent(self, planned: PlannedMerge) -> bool:
        """Return true if a person has consented to this very plan, and it has not ended yet."""
        progress = self._under_way.get(planned.plan_id)
        if progress is not None and progress.has_consent:
            return True
        return await self._locks.state.recall(f"agreed:{planned.plan_id}") is not None

    async def resumed(self, planned: PlannedMerge, merges: Iterable[LoggedMerge]) -> PlannedMerge:
        """Return the plan with the values that unfinished runs moved by the log, not to move again."""
        progress = await self._progress(planned.plan_id)
        portal = self._directories.reader.identity[0]
        for logged in merges:
            if (logged.key, logged.portal) == (planned.merge.key, portal):
                progress.moved |= logged.moved
        if progress.moved and not planned.does_something:
            await self._end("merge", planned, "done")  # the earlier run was interrupted after its last move
        return replace(planned, moved_before=progress.count)

    async def carry_out(
        self,
        tool: str,
        planned: PlannedMerge,
        *,
        confirmed: bool,
        to_the_end: bool = False,
        on_progress: OnProgress = lambda _moved: None,
        on_phase: OnPhase = lambda _phase: None,
    ) -> Merge:
        """Move records until the timeout, or `to_the_end`; then delete the items without records.

        Raises Bitrix24Error, with the merge as `partial_result` if the portal failed on the way. Requests that were
        sent are awaited and recorded even if the call is cancelled.
        """
        merge = planned.merge
        until = anyio.current_time() + self._timeout
        async with self._locks.acquire(merge.entity_id, until) as check_held:
            with self._locks.before_deadline(until):
                if confirmed:
                    now = await self.plan(merge.entity_id, merge.codes, merge.into.status_id)
                    if now.plan_id != planned.plan_id:
                        raise refused(
                            "the directory, or the fields that take its codes, have changed since it was planned",
                            "Call again",
                        )
            with audit_needed():
                self._audit.check_writable()
            progress = await self._progress(planned.plan_id)
            progress.has_consent = True
            await self._locks.state.remember(f"agreed:{planned.plan_id}", "yes", _CONSENT_SECONDS)
            before = len(progress.moved)
            described = self.described(tool, merge)
            deadline = float("inf") if to_the_end else until
            mover = Mover(self._directories, self._audit, described, deadline, items_of(merge.entity_id))
            keep = partial(self._share_moved, planned.plan_id, progress)
            on_phase("moving")
            async with self._locks.invalidating_others(check_held):
                try:
                    run = MergeRun(merge, mover, progress, planned.total, on_progress, keep)
                    all_tried = await run.move(planned.to_move)
                except Bitrix24Error as exc:
                    raise exc.with_partial_result(_build_result(planned, progress, "stopped")) from None
                finally:
                    self._directories.reader.invalidate((COUNTS,))
        if not all_tried:
            return _build_result(planned, progress, "moving")
        progress.after.clear()  # the next run tries all remaining records
        return await self._finish(tool, planned, progress, moved_some=len(progress.moved) > before, on_phase=on_phase)

    async def _progress(self, plan_id: str) -> Progress:
        """Return the progress of a plan, including that of other replicas."""
        progress = self._under_way.setdefault(plan_id, Progress())
        self._under_way.move_to_end(plan_id)
        if len(self._under_way) > _UNDER_WAY:
            self._under_way.popitem(last=False)
        while (part := await self._locks.state.recall(f"moved:{plan_id}:{progress.parts}")) is not None:
            progress.moved |= {FieldKey(*where) for where in json.loads(part)}
            progress.parts += 1
        return progress

    async def _share_moved(self, plan_id: str, progress: Progress, moved: Sequence[Moved]) -> None:
        """Share the moved fields with other replicas."""
        part = [field_key_of(result.move) for result in moved if result.outcome == "moved"]
        await self._locks.state.remember(f"moved:{plan_id}:{progress.parts}", json.dumps(part), _KEPT_SECONDS)
        progress.parts += 1

    def _generation_key(self, merge: MergeCodes) -> str:
        """Return the state's key for a merge's generation, which changes when consent is used up."""
        return f"ended:{hashlib.sha256(f'{self._salt()}{merge.key}'.encode()).hexdigest()}"

    async def _end(self, tool: str, planned: PlannedMerge, status: MergeStatus) -> None:
        merge = planned.merge
        await self._locks.state.changed(self._generation_key(merge))
        self._under_way.pop(planned.plan_id, None)  # an equal call may have ended first
        try:
            self._audit.ended(**self.described(tool, merge), status=status)
        except OSError:  # the file was writable a moment ago; the line is on stderr, and the merge is done
            logger.exception("The audit log's file could not be written")

    def rejected(self, tool: str, planned: PlannedMerge, how: Literal["declined", "cancelled"]) -> Merge:
        """Record that the person declined the merge, or did not answer."""
        with audit_needed():
            self._audit.rejected(how, **self.described(tool, planned.merge), codes=list(planned.merge.codes))
        return planned.answer().model_copy(update={"status": how, "plan_id": None})

    def described(self, tool: str, merge: MergeCodes) -> dict[str, Any]:
        """Return the common keys of the merge's lines in the audit log."""
        portal = self._directories.reader.identity[0]
        return line_of(tool, merge.key, portal, merge.entity_id, merge.into.status_id)

    async def _finish(
        self, tool: str, planned: PlannedMerge, progress: Progress, *, moved_some: bool, on_phase: OnPhase
    ) -> Merge:
        """Delete the items that a fresh count finds unused, and return the remaining work."""
        merge = planned.merge
        on_phase("reading")
        try:
            with anyio.fail_after(self._timeout):
                carriers = await count_carriers(self._directories, merge.entity_id, merge.codes)
        except TimeoutError:
            error = failure("TIMEOUT", detail=f"waited {self._timeout:g} s for the count of what is left")
            raise error.with_partial_result(_build_result(planned, progress, "stopped")) from None
        left = records_to_move(carriers)
        if moved_some and left > len(progress.not_moved):
            return _build_result(planned, progress, "moving", left=left)
        deleted = [item.status_id for item in merge.deletable(carriers) if item.status_id not in carriers.counts]
        codes = [code for code in merge.planned(carriers) if code.item]
        steps: list[Step] = []
        described = self.described(tool, merge)
        try:
            if deleted:
                on_phase("deleting")
                change = await self._changes.remove_unused(
                    tool,
                    merge.entity_id,
                    deleted,
                    audit_context=described,
                    check_items=lambda items: merge.check_target(items, progress.count),
                )
                steps = change.steps
        except Bitrix24Error as exc:
            if isinstance(exc.partial_result, Change):
                codes = _update_codes(codes, exc.partial_result.steps, deleted)
            else:
                codes = [code.model_copy(update={"item": "stays", "fields": None}) for code in codes]
            raise exc.with_partial_result(_build_result(planned, progress, "stopped", codes, left)) from None
        is_open = left or carriers.uncounted or progress.stored_otherwise
        status: MergeStatus = "incomplete" if is_open else "done"
        await self._end(tool, planned, status)
        merged = _build_result(planned, progress, status, _update_codes(codes, steps, deleted), left)
        if carriers.uncounted:  # report no `left` of 0, since it was not counted
            notes_now = [f"not counted: {reason}" for reason in carriers.uncounted]
            merged = merged.model_copy(update={"left": left or None, "notes": notes_now})
        return merged


def _build_result(
    planned: PlannedMerge,
    progress: Progress,
    status: MergeStatus,
    codes: Sequence[MergedCode] = (),
    left: int | None = None,
) -> Merge:
    """Return the state of a merge; without a new count, `left` follows from the plan."""
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
        notes=[f"not counted: {reason}" for reason in planned.carriers.uncounted] or None,
    )


def _update_codes(codes: Sequence[MergedCode], steps: Sequence[Step], deleted: Sequence[str]) -> list[MergedCode]:
    """Return the codes with the outcome of their items; those in `deleted` were to be deleted."""
    outcomes = {step.status_id: step for step in steps}
    updated: list[MergedCode] = []
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
        elif item == "to be deleted" and code.status_id in deleted:
            item, why = "deleted", "somebody else was first"
        elif item == "to be deleted":
            item, why = "stays", "records still use it"
        updated.append(code.model_copy(update={"item": item, "why": why, "fields": None}))
    return updated
