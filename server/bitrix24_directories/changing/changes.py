"""Changes directories: reads, plans, carries out, reads again, and records each step.

`planning` knows the rules; the portal is reached through `directories`. Each method keeps to one timeout of its own, so
that a person may take their time to confirm between planning and carrying out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.entity_ids import could_be_id, is_channel_source
from bitrix24_directories.directories.models import Change, Item
from bitrix24_directories.directories.notation import is_part
from bitrix24_directories.rest import Bitrix24Error, ErrorKind, Outcome, current_wait, failure
from bitrix24_directories.state.shared import UnavailableError
from bitrix24_directories.text import one_line, shown_code, shown_id

from .audit import Audit
from .locks import Turns
from .outcomes import judged, of_a_change, why_stopped
from .planning.operations import Operation, Plan, after
from .planning.planner import Planner, differences
from .refusals import CHANNEL_COMES_BACK, item_named, item_with_code, no_directory, refused, whole

if TYPE_CHECKING:
    from bitrix24_directories.records.carriers import Carriers

logger = logging.getLogger(__name__)

_PLANS = 100
_DECLARED_SECONDS = 3600.0  # for which a planId alone is enough to carry out its plan
_OTHERWISE = "what was asked for, or whether records could be counted, is not as in that plan"
_READ_AGAIN_SECONDS = 10.0
"""To tell what was done when a change was cut off, on top of the timeout."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan for one directory as it stood when it was read."""

    entity_id: str
    items: list[Item]
    plan: Plan
    plan_id: str
    read_at: float
    counted: bool
    """Whether all records that may carry what is to go could be counted."""
    tried: bool = False
    """Whether somebody has begun to carry it out."""
    part_of: dict[str, Any] = field(default_factory=dict)
    """What stands in the audit log besides, of the merge that this is a part of."""

    @property
    def after(self) -> list[Item]:
        """The directory as it would stand when all is done."""
        return after(self.items, self.plan.operations)

    def answer(self, news: list[str] | None = None) -> Change:
        """What would be done; nothing is yet."""
        status = "planned" if self.plan.operations else "unchanged"
        plan_id = self.plan_id if self.plan.operations else None
        return Change(
            entity_id=self.entity_id, status=status, steps=self.plan.steps, plan_id=plan_id, news=news, items=self.items
        )


class Changes:
    """The changes of one portal's directories, one at a time for each directory; `salt` gives what keeps planIds from
    being made up, and makes those of replicas the same. What was declared is kept in the state that `turns` shares."""

    def __init__(
        self,
        directories: Directories,
        audit: Audit,
        turns: Turns,
        timeout: float,
        salt: Callable[[], str] | None = None,
    ) -> None:
        self._directories = directories
        self._audit = audit
        self._timeout = timeout
        self._salt = salt or partial(str, secrets.token_hex(8))
        self._plans: OrderedDict[str, Planned] = OrderedDict()
        self._turns = turns

    async def plan_adding(
        self, entity_id: str, name: str, *, code: str = "", after: str = "", color: str = "", meaning: str = ""
    ) -> Planned:
        """Plan a new item. Raises Bitrix24Error: CHANGE_REFUSED by the portal's rules, and what reading fails with."""
        async with self._reading(entity_id) as (entity_id, items):
            planner = Planner(entity_id, items)
            place = item_named(items, after) if after else None
            plan = planner.add(one_line(name, 255), code=code, after=place, color=color, meaning=meaning)
            return self._planned(entity_id, items, whole(plan))

    async def plan_updating(
        self, entity_id: str, code: str, *, name: str = "", color: str = "", after: str = ""
    ) -> Planned:
        """Plan another name, colour or place. Raises Bitrix24Error as plan_adding does."""
        async with self._reading(entity_id) as (entity_id, items):
            item = item_with_code(items, code)
            place = item_named(items, after) if after else None
            plan = Planner(entity_id, items).update(item, name=one_line(name, 255), color=color, after=place)
            return self._planned(entity_id, items, whole(plan))

    async def plan_removing(self, entity_id: str, code: str, plan_id: str = "") -> Planned:
        """Plan to delete an item, or find the plan to delete it that `plan_id` stands for.

        Raises Bitrix24Error as plan_adding does.
        """
        async with self._reading(entity_id) as (entity_id, items):
            item = item_with_code(items, code)
            kept = self._kept(plan_id, entity_id, items)
            if kept and len(kept.plan.operations) == 1 and kept.plan.gone == [item.status_id]:
                return kept
            plan, counted = await self._counted(entity_id, items, lambda planner: planner.remove(item))
            return self._planned(entity_id, items, whole(plan), counted=counted)

    async def plan_declared(self, entity_id: str, lines: Sequence[str], plan_id: str = "") -> Planned:
        """Plan all that makes a directory look as declared, by `lines`, or find the plan that `plan_id` stands for; it
        is made anew where the directory is not as it was then, or another replica has made it.

        Raises Bitrix24Error when it cannot be read, CHANGE_REFUSED for a directory that was printed in part, and where
        nothing is declared.
        """
        if not lines and not plan_id:
            raise refused("no items were declared", "Call again with all items of the directory")
        by_id = not lines
        if by_id:
            declared = await self._turns.state.recall(self._declared_as(plan_id))
            if declared is None:
                raise refused(
                    f"what was declared for planId {shown_id(plan_id, 100)} is not known any more",
                    "Call again with all items of the directory",
                )
            lines = json.loads(declared)
        if is_part(lines):
            raise refused(
                "these are the items of a part of the directory, and all that it lacks would be removed",
                "Read the rest with get_directory_items and after, and declare all items",
            )
        async with self._reading(entity_id) as (entity_id, items):
            if by_id and (kept := self._kept(plan_id, entity_id, items)):
                return kept
            plan, counted = await self._counted(entity_id, items, lambda planner: planner.declare(lines))
            planned = self._planned(entity_id, items, plan, counted=counted)
        if plan.operations:
            with contextlib.suppress(UnavailableError):  # then the items have to be sent again
                key = self._declared_as(planned.plan_id)
                await self._turns.state.remember(key, json.dumps(lines), _DECLARED_SECONDS)
        return planned

    def _declared_as(self, plan_id: str) -> str:
        """Nobody else gets at it: the salt is of one person on one portal."""
        return f"declared:{hashlib.sha256(f'{self._salt()}{plan_id}'.encode()).hexdigest()}"

    async def _counted(self, entity_id: str, items: list[Item], make: Callable[[Planner], Plan]) -> tuple[Plan, bool]:
        """A plan that removes nothing which records carry, and says what is known of each removal; and whether all
        that may carry it could be counted."""
        plan = make(Planner(entity_id, items))
        if not plan.gone:
            return plan, True
        found = await self._carriers(entity_id, plan.gone)
        if found.carried:
            plan = make(Planner(entity_id, items, found.carried))
        for operation in plan.removals:
            comes_back = is_channel_source(entity_id, operation.step.status_id or "")
            why = f"{found.none_found}; {CHANNEL_COMES_BACK}" if comes_back else found.none_found
            operation.step = operation.step.model_copy(update={"why": why})
        return plan, not found.uncounted

    async def remove_unused(
        self,
        tool: str,
        entity_id: str,
        codes: Sequence[str],
        *,
        part_of: dict[str, Any],
        make_sure: Callable[[Sequence[Item]], None],
    ) -> Change:
        """Delete the items with `codes`, to whose deletion a person has agreed before, if `make_sure` raises nothing
        for the directory as it is.

        Raises as carry_out does: CHANGE_REFUSED where a record carries one by now, or where that cannot be counted.
        """
        async with self._reading(entity_id) as (entity_id, items):
            make_sure(items)
            plan = Planner(entity_id, items).remove(*(item for item in items if item.status_id in codes))
            planned = replace(self._planned(entity_id, items, plan), part_of=part_of)
        return await self.carry_out(tool, planned, confirmed=False)

    def news(self, plan_id: str, planned: Planned) -> list[str]:
        """Why `planned` is another plan than the one that `plan_id` stands for."""
        before = self._plans.get(plan_id)
        if before is None:
            return ["this planId is not known here: it may be of another directory, or of an earlier run"]
        return list(differences(before.items, planned.items)) or [_OTHERWISE]

    async def carry_out(self, tool: str, planned: Planned, *, confirmed: bool) -> Change:
        """Do what was planned, if the directory is still as it was, and read it again.

        Raises Bitrix24Error: with the change as `partial_result` if a step is not done or that is not known, without
        one if nothing was sent (AUDIT_LOG_FAILED, TIMEOUT behind another change, reading). What has left
        for the portal is waited for and recorded although the call is cancelled.
        """
        if not planned.plan.operations:
            return planned.answer()
        if planned.plan_id in self._plans:  # whatever comes of it, the next call makes a plan of what is there then
            self._plans[planned.plan_id] = replace(planned, tried=True)
        deadline = anyio.current_time() + self._timeout
        async with self._turns.of(planned.entity_id, deadline) as make_sure:
            with self._turns.until(deadline):
                # A person may have taken their time, or another call its turn, here or in another replica.
                written = self._turns.shared or self._turns.written_since(planned.entity_id, planned.read_at)
                if confirmed or written:
                    async with self._reading(planned.entity_id) as (_, items):
                        if items != planned.items:
                            news = "; ".join(differences(planned.items, items))
                            raise refused(f"the directory has changed since it was planned: {news}", "Call again")
                if planned.plan.gone:  # the portal itself lets codes go that records carry: count once more
                    found = await self._carriers(planned.entity_id, planned.plan.gone)
                    if found.carried:
                        carried = "; ".join(f"{shown_code(code)} by {what}" for code, what in found.carried.items())
                        raise refused(
                            f"records carry by now what was to be removed: {carried}",
                            "Move them first with merge_directory_items, or call again",
                        )
                    if planned.counted and found.uncounted:
                        raise refused(f"before the removal {found.none_found}", "Call again")
            async with self._turns.announced(make_sure):
                with audit_needed():
                    self._audit.make_sure()
                    lines = [
                        self._audit.intend(**planned.part_of | _described(tool, planned.entity_id, operation))
                        for operation in planned.plan.operations
                    ]
                outcomes: list[Outcome | None] = []
                calls = [(operation.method, operation.params) for operation in planned.plan.operations]
                try:
                    waiting = current_wait().waiting_for("the portal to make the change")
                    with anyio.CancelScope(deadline=deadline), waiting:
                        await self._directories.write(planned.entity_id, calls, outcomes)
                finally:
                    with anyio.CancelScope(shield=True):
                        outcomes = [of_a_change(one) for one in outcomes] + [None] * (len(calls) - len(outcomes))
                        change = await self._settled(planned, lines, outcomes)
                        self._turns.written(planned.entity_id)
        if change.status == "stopped":
            raise why_stopped(change, outcomes, self._timeout).with_partial_result(change)
        return change

    def not_wanted(self, tool: str, planned: Planned, how: Literal["declined", "cancelled"]) -> Change:
        """Record that the person said no, or did not answer."""
        with audit_needed():
            for operation in planned.plan.operations:
                self._audit.not_wanted(how, **_described(tool, planned.entity_id, operation))
        return planned.answer().model_copy(update={"status": how, "plan_id": None})

    async def _carriers(self, entity_id: str, codes: Sequence[str]) -> Carriers:
        from bitrix24_directories.records.carriers import carriers  # what only removals need

        return await carriers(self._directories, entity_id, codes)

    async def _settled(self, planned: Planned, lines: Sequence[str], outcomes: Sequence[Outcome | None]) -> Change:
        """The change with the outcome of each step, by what stands in the directory now; that ends its `lines` of the
        audit log."""
        items: list[Item] | None = planned.items
        if any(outcome is not None for outcome in outcomes):
            items = None
            with anyio.move_on_after(_READ_AGAIN_SECONDS, shield=True):
                try:
                    items = (await self._directories.items(planned.entity_id, details=True, fresh=True)).items
                except Bitrix24Error as exc:  # one that is unknown, and was not when it was planned, has no items now
                    items = [] if exc.kind == "UNKNOWN_DIRECTORY" else None
        steps = [
            operation.step.model_copy(update=judged(operation, outcome, planned.items, items))
            for operation, outcome in zip(planned.plan.operations, outcomes, strict=True)
        ]
        for line, step in zip(lines, steps, strict=True):
            said = f"{step.outcome}: {step.why}" if step.why else str(step.outcome)
            stored = {"stored": step.stored} if step.stored else {}
            try:
                self._audit.outcome(line, said, entityId=planned.entity_id, statusId=step.status_id, **stored)
            except OSError:  # it could be written a moment ago; the line is on stderr, and the change is made
                logger.exception("The audit log's file could not be written")
        status: Literal["done", "done otherwise", "stopped"] = "done"
        if any(step.outcome not in ("done", "done otherwise") for step in steps):
            status = "stopped"
        elif any(step.outcome == "done otherwise" for step in steps):
            status = "done otherwise"
        return Change(
            entity_id=planned.entity_id,
            status=status,
            steps=steps + planned.plan.refused,
            news=None if items is not None else ["the directory could not be read again: read it before going on"],
            items=items or [],
        )

    @asynccontextmanager
    async def _reading(self, entity_id: str) -> AsyncIterator[tuple[str, list[Item]]]:
        with anyio.move_on_after(self._timeout):
            found = await self._directories.items(entity_id, details=True, fresh=True)
            if not could_be_id(found.entity_id):
                raise no_directory(found.entity_id)
            yield found.entity_id, found.items
            return
        raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s for {current_wait().given_up}")

    def _planned(self, entity_id: str, items: list[Item], plan: Plan, *, counted: bool = True) -> Planned:
        state = [entity_id, [item.structured() for item in items], [one.params for one in plan.operations], counted]
        digest = hashlib.sha256(f"{self._salt()}{json.dumps(state, ensure_ascii=False)}".encode()).hexdigest()[:12]
        planned = Planned(entity_id, items, plan, digest, anyio.current_time(), counted)
        self._plans[digest] = planned
        self._plans.move_to_end(digest)
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return planned

    def _kept(self, plan_id: str, entity_id: str, items: list[Item]) -> Planned | None:
        """The plan that `plan_id` stands for, if nobody has tried it and it was made of this directory as it is now.

        What records carry is counted again before anything is removed.
        """
        kept = self._plans.get(plan_id)
        if kept is None or kept.tried or (kept.entity_id, kept.items) != (entity_id, items):
            return None
        return replace(kept, read_at=anyio.current_time())


@contextmanager
def audit_needed() -> Iterator[None]:
    """What cannot be done unrecorded. Raises Bitrix24Error (AUDIT_LOG_FAILED) where the log cannot be written."""
    try:
        yield
    except OSError as exc:
        raise _audit_failed(exc) from None


def audit_trouble(path: str) -> Bitrix24Error | None:
    """What is wrong with an audit log at `path`; None where it can be written."""
    try:
        Audit(path).make_sure()
    except OSError as exc:
        return _audit_failed(exc)
    return None


def _audit_failed(exc: OSError) -> Bitrix24Error:
    entry = ErrorKind(
        f"The audit log cannot be written ({exc.strerror or exc}), so nothing was changed",
        "Tell the user to let BITRIX24_AUDIT_LOG name a regular file that can be written, in a folder that exists.",
        "configuration",
    )
    return Bitrix24Error("AUDIT_LOG_FAILED", entry)


def _described(tool: str, entity_id: str, operation: Operation) -> dict[str, Any]:
    before = operation.item.structured() if operation.item else None
    after = None if operation.method == "crm.status.delete" else operation.params["fields"]
    code = operation.step.status_id
    return {"tool": tool, "entityId": entity_id, "statusId": code, "before": before, "after": after}
