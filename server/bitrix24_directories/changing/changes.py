"""Changes directories: reads, plans, carries out, reads again, and records each step.

`planning` has the rules; the portal is reached through `directories`. Each method has its own timeout, so a person may
take any time to confirm a plan.
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
from .locks import DirectoryLocks
from .outcomes import as_change_error, judge_step, why_stopped
from .planning.operations import ChangePlan, Operation, after
from .planning.planner import Planner, differences
from .refusals import CHANNEL_COMES_BACK, check_operations, item_named, item_with_code, no_directory, refused

if TYPE_CHECKING:
    from bitrix24_directories.records.carriers import Carriers

logger = logging.getLogger(__name__)

_PLANS = 100
_DECLARED_SECONDS = 3600.0  # a planId alone is enough for so long
_OTHERWISE = "what was asked for, or whether records could be counted, is not as in that plan"
_READ_AGAIN_SECONDS = 10.0
"""Time on top of the timeout to determine what an interrupted change has done."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Plan for one directory, with its items at the time of reading."""

    entity_id: str
    items: list[Item]
    plan: ChangePlan
    plan_id: str
    read_at: float
    counted: bool
    """True if all records that may carry a code to remove could be counted."""
    tried: bool = False
    """True if somebody has begun to carry it out."""
    audit_context: dict[str, Any] = field(default_factory=dict)
    """Further keys for the audit log, if this is a part of a merge."""

    @property
    def after(self) -> list[Item]:
        """Items of the directory after the plan."""
        return after(self.items, self.plan.operations)

    def answer(self, news: list[str] | None = None) -> Change:
        """Return the plan as a result; nothing is done yet."""
        status = "planned" if self.plan.operations else "unchanged"
        plan_id = self.plan_id if self.plan.operations else None
        return Change(
            entity_id=self.entity_id, status=status, steps=self.plan.steps, plan_id=plan_id, news=news, items=self.items
        )


class Changes:
    """Changes of one portal's directories, one at a time for each directory.

    `salt` returns a secret that makes planIds unforgeable, and equal among replicas. Declared lines are stored in the
    state of `locks`.
    """

    def __init__(
        self,
        directories: Directories,
        audit: Audit,
        locks: DirectoryLocks,
        timeout: float,
        salt: Callable[[], str] | None = None,
    ) -> None:
        self._directories = directories
        self._audit = audit
        self._timeout = timeout
        self._salt = salt or partial(str, secrets.token_hex(8))
        self._plans: OrderedDict[str, Planned] = OrderedDict()
        self._locks = locks

    async def plan_adding(
        self, entity_id: str, name: str, *, code: str = "", after: str = "", color: str = "", meaning: str = ""
    ) -> Planned:
        """Plan a new item. Raises Bitrix24Error: CHANGE_REFUSED by the rules, and as reading."""
        async with self._reading(entity_id) as (entity_id, items, read_at):
            planner = Planner(entity_id, items)
            predecessor = item_named(items, after) if after else None
            plan = planner.add(one_line(name, 255), code=code, after=predecessor, color=color, meaning=meaning)
            return self._store_plan(entity_id, items, read_at, check_operations(plan))

    async def plan_updating(
        self, entity_id: str, code: str, *, name: str = "", color: str = "", after: str = ""
    ) -> Planned:
        """Plan another name, colour or place. Raises Bitrix24Error as plan_adding does."""
        async with self._reading(entity_id) as (entity_id, items, read_at):
            item = item_with_code(items, code)
            predecessor = item_named(items, after) if after else None
            plan = Planner(entity_id, items).update(item, name=one_line(name, 255), color=color, after=predecessor)
            return self._store_plan(entity_id, items, read_at, check_operations(plan))

    async def plan_removing(self, entity_id: str, code: str, plan_id: str = "") -> Planned:
        """Plan to delete an item, or find the cached plan `plan_id` to delete it.

        Raises Bitrix24Error as plan_adding does.
        """
        async with self._reading(entity_id) as (entity_id, items, read_at):
            item = item_with_code(items, code)
            cached = self._find_plan(plan_id, entity_id, items, read_at)
            if cached and len(cached.plan.operations) == 1 and cached.plan.removed_codes == [item.status_id]:
                return cached
            plan, counted = await self._make_counted_plan(entity_id, items, lambda planner: planner.remove(item))
            return self._store_plan(entity_id, items, read_at, check_operations(plan), counted=counted)

    async def plan_declared(self, entity_id: str, lines: Sequence[str], plan_id: str = "") -> Planned:
        """Plan the changes that make a directory match `lines`, or find the plan `plan_id`.

        The plan is made anew if the directory has changed, or if another replica made it. Raises Bitrix24Error if the
        directory cannot be read, CHANGE_REFUSED for a partial listing, and if nothing is declared.
        """
        if not lines and not plan_id:
            raise refused("no items were declared", "Call again with all items of the directory")
        declared_id = None
        if not lines:
            declared = await self._locks.state.recall(self._declared_key(plan_id))
            if declared is None:
                raise refused(
                    f"what was declared for planId {shown_id(plan_id, 100)} is not known any more",
                    "Call again with all items of the directory",
                )
            declared_id, lines = json.loads(declared)
        if is_part(lines):
            raise refused(
                "these are the items of a part of the directory, and all that it lacks would be removed",
                "Read the rest with get_directory_items and after, and declare all items",
            )
        async with self._reading(entity_id) as (entity_id, items, read_at):
            if declared_id not in (None, entity_id):
                raise refused(f"planId {shown_id(plan_id, 100)} is of {shown_code(declared_id)}", "Name that directory")
            if declared_id and (cached := self._find_plan(plan_id, entity_id, items, read_at)):
                return cached
            plan, counted = await self._make_counted_plan(entity_id, items, lambda planner: planner.declare(lines))
            planned = self._store_plan(entity_id, items, read_at, plan, counted=counted)
        if plan.operations:
            with contextlib.suppress(UnavailableError):  # the caller has to send the items again
                key = self._declared_key(planned.plan_id)
                await self._locks.state.remember(key, json.dumps([entity_id, list(lines)]), _DECLARED_SECONDS)
        return planned

    def _declared_key(self, plan_id: str) -> str:
        """Return the state's key for declared lines, private to a person and portal by the salt."""
        return f"declared:{hashlib.sha256(f'{self._salt()}{plan_id}'.encode()).hexdigest()}"

    async def _make_counted_plan(
        self, entity_id: str, items: list[Item], make: Callable[[Planner], ChangePlan]
    ) -> tuple[ChangePlan, bool]:
        """Return a plan that removes no carried item, and true if all records could be counted."""
        plan = make(Planner(entity_id, items))
        if not plan.removed_codes:
            return plan, True
        carriers = await self._count_carriers(entity_id, plan.removed_codes)
        if carriers.carried:
            plan = make(Planner(entity_id, items, carriers.carried))
        for operation in plan.removals:
            comes_back = is_channel_source(entity_id, operation.step.status_id or "")
            why = f"{carriers.none_found}; {CHANNEL_COMES_BACK}" if comes_back else carriers.none_found
            operation.step = operation.step.model_copy(update={"why": why})
        return plan, not carriers.uncounted

    async def remove_unused(
        self,
        tool: str,
        entity_id: str,
        codes: Sequence[str],
        *,
        audit_context: dict[str, Any],
        check_items: Callable[[Sequence[Item]], None],
    ) -> Change:
        """Delete the items with `codes`, with a person's consent, if `check_items` accepts them.

        Raises as carry_out does: CHANGE_REFUSED if a record carries a code by now, or if that cannot be counted.
        """
        async with self._reading(entity_id) as (entity_id, items, read_at):
            check_items(items)
            plan = Planner(entity_id, items).remove(*(item for item in items if item.status_id in codes))
            planned = replace(self._store_plan(entity_id, items, read_at, plan), audit_context=audit_context)
        return await self.carry_out(tool, planned, confirmed=False)

    def news(self, plan_id: str, planned: Planned) -> list[str]:
        """Return the reasons why `planned` differs from the plan `plan_id`."""
        before = self._plans.get(plan_id)
        if before is None:
            return ["this planId is not known here: it may be of another directory, or of an earlier run"]
        return list(differences(before.items, planned.items)) or [_OTHERWISE]

    async def carry_out(self, tool: str, planned: Planned, *, confirmed: bool) -> Change:
        """Carry out a plan, if the directory is unchanged, and read the directory again.

        Raises Bitrix24Error: with the change as `partial_result` if a step is not done or its outcome is unknown,
        without one if nothing was sent (AUDIT_LOG_FAILED, TIMEOUT behind another change, reading). Requests that were
        sent are awaited and recorded even if the call is cancelled.
        """
        if not planned.plan.operations:
            return planned.answer()
        if planned.plan_id in self._plans:  # the next call makes a new plan
            self._plans[planned.plan_id] = replace(planned, tried=True)
        deadline = anyio.current_time() + self._timeout
        async with self._locks.acquire(planned.entity_id, deadline) as check_held:
            with self._locks.before_deadline(deadline):
                # The directory may have changed while a person decided, or by another call, here or in a replica.
                written = self._locks.shared or self._locks.written_since(planned.entity_id, planned.read_at)
                if confirmed or written:
                    async with self._reading(planned.entity_id) as (_, items, _):
                        if items != planned.items:
                            news = "; ".join(differences(planned.items, items))
                            raise refused(f"the directory has changed since it was planned: {news}", "Call again")
                if planned.plan.removed_codes:  # the portal deletes carried codes: count again
                    carriers = await self._count_carriers(planned.entity_id, planned.plan.removed_codes)
                    if carriers.carried:
                        carried = "; ".join(f"{shown_code(code)} by {text}" for code, text in carriers.carried.items())
                        raise refused(
                            f"records now use an item that was to be removed: {carried}",
                            "Move them first with merge_directory_items, or call again",
                        )
                    if planned.counted and carriers.uncounted:
                        raise refused(f"before the removal {carriers.none_found}", "Call again")
            async with self._locks.invalidating_others(check_held):
                with audit_needed():
                    self._audit.check_writable()
                    lines = [
                        self._audit.intend(**planned.audit_context | _described(tool, planned.entity_id, operation))
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
                        unsent = [None] * (len(calls) - len(outcomes))
                        outcomes = [*map(as_change_error, outcomes), *unsent]
                        change = await self._settle(planned, lines, outcomes)
                        self._locks.written(planned.entity_id)
        if change.status == "stopped":
            raise why_stopped(change, outcomes, self._timeout).with_partial_result(change)
        return change

    def rejected(self, tool: str, planned: Planned, how: Literal["declined", "cancelled"]) -> Change:
        """Record that the person declined the plan, or did not answer."""
        with audit_needed():
            for operation in planned.plan.operations:
                self._audit.rejected(how, **_described(tool, planned.entity_id, operation))
        return planned.answer().model_copy(update={"status": how, "plan_id": None})

    async def _count_carriers(self, entity_id: str, codes: Sequence[str]) -> Carriers:
        from bitrix24_directories.records.carriers import count_carriers  # only removals need it

        return await count_carriers(self._directories, entity_id, codes)

    async def _settle(self, planned: Planned, lines: Sequence[str], outcomes: Sequence[Outcome | None]) -> Change:
        """Read each step's outcome from the directory and log it under the intents' ids, `lines`."""
        items: list[Item] | None = planned.items
        if any(outcome is not None for outcome in outcomes):
            items = None
            with anyio.move_on_after(_READ_AGAIN_SECONDS, shield=True):
                try:
                    items = (await self._directories.items(planned.entity_id, details=True, fresh=True)).items
                except Bitrix24Error as exc:  # a directory that became unknown has no items
                    items = [] if exc.kind == "UNKNOWN_DIRECTORY" else None
        steps = [
            operation.step.model_copy(update=judge_step(operation, outcome, planned.items, items))
            for operation, outcome in zip(planned.plan.operations, outcomes, strict=True)
        ]
        for line, step in zip(lines, steps, strict=True):
            message = f"{step.outcome}: {step.why}" if step.why else str(step.outcome)
            stored = {"stored": step.stored} if step.stored else {}
            try:
                self._audit.outcome(line, message, entityId=planned.entity_id, statusId=step.status_id, **stored)
            except OSError:  # the file was writable a moment ago; the line is on stderr, and the change is made
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
    async def _reading(self, entity_id: str) -> AsyncIterator[tuple[str, list[Item], float]]:
        """Read a directory: its id, its items, and the time before it was read."""
        read_at = anyio.current_time()
        with anyio.move_on_after(self._timeout):
            directory = await self._directories.items(entity_id, details=True, fresh=True)
            if not could_be_id(directory.entity_id):
                raise no_directory(directory.entity_id)
            yield directory.entity_id, directory.items, read_at
            return
        raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s for {current_wait().given_up}")

    def _store_plan(
        self, entity_id: str, items: list[Item], read_at: float, plan: ChangePlan, *, counted: bool = True
    ) -> Planned:
        params = [operation.params for operation in plan.operations]
        steps = [step.structured() for step in plan.steps]  # one planId stands for one text
        state = [entity_id, [item.structured() for item in items], params, steps, counted]
        digest = hashlib.sha256(f"{self._salt()}{json.dumps(state, ensure_ascii=False)}".encode()).hexdigest()[:12]
        planned = Planned(entity_id, items, plan, digest, read_at, counted)
        self._plans[digest] = planned
        self._plans.move_to_end(digest)
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return planned

    def _find_plan(self, plan_id: str, entity_id: str, items: list[Item], read_at: float) -> Planned | None:
        """Return the plan `plan_id`, if it is untried and was made from the current items.

        Records are counted again before anything is removed.
        """
        cached = self._plans.get(plan_id)
        if cached is None or cached.tried or (cached.entity_id, cached.items) != (entity_id, items):
            return None
        return replace(cached, read_at=read_at)


@contextmanager
def audit_needed() -> Iterator[None]:
    """Convert OSError to Bitrix24Error (AUDIT_LOG_FAILED), for work that has to be recorded."""
    try:
        yield
    except OSError as exc:
        raise _audit_failed(exc) from None


def audit_trouble(path: str) -> Bitrix24Error | None:
    """Return the error of an audit log at `path`; None if it can be written."""
    try:
        Audit(path).check_writable()
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
