"""Changes directories: reads, plans, carries out, reads again, and records each step.

`planning` knows the rules; the portal is reached through `directories`. Each method keeps to one timeout of its own, so
that a person may take their time to confirm between planning and carrying out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.models import Change, Item, Step
from bitrix24_directories.rest import Bitrix24Error, Entry, Outcome, current_wait, failure
from bitrix24_directories.text import one_line, shown_code, spellings
from bitrix24_directories.words import same_text

from .audit import Audit
from .planning import Operation, Plan, Planner, differences
from .stopped import StoppedError

logger = logging.getLogger(__name__)

_PLANS = 100
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

    def answer(self, news: list[str] | None = None) -> Change:
        """What would be done; nothing is yet."""
        status = "planned" if self.plan.operations else "unchanged"
        plan_id = self.plan_id if self.plan.operations else None
        return Change(
            entity_id=self.entity_id, status=status, steps=self.plan.steps, plan_id=plan_id, news=news, items=self.items
        )


class Changes:
    """The changes of one portal's directories, one at a time for each directory."""

    def __init__(self, directories: Directories, audit: Audit, timeout: float) -> None:
        self._directories = directories
        self._audit = audit
        self._timeout = timeout
        self._salt = secrets.token_hex(8)
        self._seen: OrderedDict[str, list[Item]] = OrderedDict()
        self._turn: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._written_at: dict[str, float] = {}

    async def plan_adding(
        self, entity_id: str, name: str, *, code: str = "", after: str = "", color: str = "", meaning: str = ""
    ) -> Planned:
        """Plan a new item. Raises Bitrix24Error: CHANGE_REFUSED by the portal's rules, and what reading fails with."""
        async with self._reading(entity_id) as (entity_id, items):
            planner = Planner(entity_id, items)
            place = _found(items, after) if after else None
            plan = planner.add(one_line(name, 255), code=code, after=place, color=color, meaning=meaning)
            return self._planned(entity_id, items, _one(plan))

    async def plan_updating(
        self, entity_id: str, code: str, *, name: str = "", color: str = "", after: str = ""
    ) -> Planned:
        """Plan another name, colour or place. Raises Bitrix24Error as plan_adding does."""
        async with self._reading(entity_id) as (entity_id, items):
            item = _by_code(items, code)
            place = _found(items, after) if after else None
            plan = Planner(entity_id, items).update(item, name=one_line(name, 255), color=color, after=place)
            return self._planned(entity_id, items, _one(plan))

    async def plan_removing(self, entity_id: str, code: str) -> Planned:
        """Plan to delete an item. Raises Bitrix24Error as plan_adding does."""
        async with self._reading(entity_id) as (entity_id, items):
            return self._planned(entity_id, items, _one(Planner(entity_id, items).remove(_by_code(items, code))))

    async def plan_declared(self, entity_id: str, lines: Sequence[str]) -> Planned:
        """Plan all that makes a directory look as declared. Raises Bitrix24Error when it cannot be read."""
        async with self._reading(entity_id) as (entity_id, items):
            return self._planned(entity_id, items, Planner(entity_id, items).declare(lines))

    def news(self, plan_id: str, planned: Planned) -> list[str]:
        """Why `planned` is another plan than the one that `plan_id` stands for."""
        before = self._seen.get(plan_id)
        if before is None:
            return ["this planId is not known here: it may be of another directory, or of an earlier run"]
        return list(differences(before, planned.items)) or ["the declared items are others than those of that plan"]

    async def carry_out(self, tool: str, planned: Planned, *, confirmed: bool) -> Change:
        """Do what was planned, if the directory is still as it was, and read it again.

        Raises StoppedError when a step fails, and Bitrix24Error where nothing was done (AUDIT_LOG_FAILED, reading).
        """
        if not planned.plan.operations:
            return planned.answer()
        self._make_sure_of_audit()
        async with self._turn[planned.entity_id]:
            # A person may have taken their time, or another call its turn.
            if confirmed or self._written_at.get(planned.entity_id, 0.0) >= planned.read_at:
                async with self._reading(planned.entity_id) as (_, items):
                    if items != planned.items:
                        news = list(differences(planned.items, items))
                        raise _refused(
                            f"the directory has changed since it was planned: {'; '.join(news)}", "Call again"
                        )
            try:
                return await self._write(tool, planned)
            finally:
                self._written_at[planned.entity_id] = anyio.current_time()

    def decline(self, tool: str, planned: Planned) -> Change:
        """Record that the person said no."""
        self._make_sure_of_audit()
        for operation in planned.plan.operations:
            self._record(tool, planned.entity_id, operation, "declined")
        return planned.answer().model_copy(update={"status": "declined", "plan_id": None})

    async def _write(self, tool: str, planned: Planned) -> Change:
        operations = planned.plan.operations
        outcomes: list[Outcome] = []
        cut_off: Bitrix24Error | None = None
        try:
            with anyio.move_on_after(self._timeout), current_wait().waiting_for("the portal to make the change"):
                calls = [(operation.method, operation.params) for operation in operations]
                outcomes = [_of_a_change(one) for one in await self._directories.write(planned.entity_id, calls)]
            if not outcomes:
                cut_off = failure("TIMEOUT", detail=f"waited {self._timeout:g} s for the portal to make the change")
        except Bitrix24Error as exc:
            cut_off = exc
        items = await self._read_again(planned.entity_id)
        steps = _judged(operations, outcomes, cut_off, items)
        for operation, step in zip(operations, steps, strict=True):
            said = f"{step.outcome}: {step.why}" if step.why else str(step.outcome)
            self._record(tool, planned.entity_id, operation, said)
        error = cut_off or next((one for one in outcomes if isinstance(one, Bitrix24Error)), None)
        stopped = error is not None and any(step.outcome != "done" for step in steps)
        change = Change(
            entity_id=planned.entity_id,
            status="stopped" if stopped else "done",
            steps=steps + planned.plan.refused,
            news=None if items is not None else ["the directory could not be read again: read it before going on"],
            items=items or [],
        )
        if stopped and error is not None:
            raise StoppedError(change, error)
        return change

    async def _read_again(self, entity_id: str) -> list[Item] | None:
        """The directory after a change; None where it cannot be read."""
        with anyio.move_on_after(_READ_AGAIN_SECONDS, shield=True):
            try:
                return (await self._directories.items(entity_id, details=True, fresh=True)).items
            except Bitrix24Error:
                return None
        return None

    @asynccontextmanager
    async def _reading(self, entity_id: str) -> AsyncIterator[tuple[str, list[Item]]]:
        with anyio.move_on_after(self._timeout):
            found = await self._directories.items(entity_id, details=True, fresh=True)
            yield found.entity_id, found.items
            return
        raise failure("TIMEOUT", detail=f"waited {self._timeout:g} s for {current_wait().reason}")

    def _planned(self, entity_id: str, items: list[Item], plan: Plan) -> Planned:
        state = [entity_id, [item.structured() for item in items], [one.params for one in plan.operations]]
        digest = hashlib.sha256(f"{self._salt}{json.dumps(state, ensure_ascii=False)}".encode()).hexdigest()[:12]
        self._seen[digest] = items
        self._seen.move_to_end(digest)
        if len(self._seen) > _PLANS:
            self._seen.popitem(last=False)
        return Planned(entity_id, items, plan, digest, anyio.current_time())

    def _make_sure_of_audit(self) -> None:
        try:
            self._audit.make_sure()
        except OSError:
            entry = Entry(
                "The audit log cannot be written, so nothing was changed",
                "Tell the user to make the file that BITRIX24_AUDIT_LOG names writable.",
                "configuration",
            )
            raise Bitrix24Error("AUDIT_LOG_FAILED", entry) from None

    def _record(self, tool: str, entity_id: str, operation: Operation, outcome: str) -> None:
        before = operation.item.structured() if operation.item else None
        after = None if operation.method == "crm.status.delete" else operation.params["fields"]
        code = operation.step.status_id
        record = {"tool": tool, "entityId": entity_id, "statusId": code, "before": before, "after": after}
        try:
            self._audit.write(**record, outcome=outcome)
        except OSError:  # it could be written a moment ago; the line is on stderr, and the change is made
            logger.exception("The audit log's file could not be written")


def _of_a_change(outcome: Outcome) -> Outcome:
    """To read, a user needs other rights than to change; the portal has one text for both."""
    if isinstance(outcome, Bitrix24Error) and outcome.kind == "CRM_ACCESS_DENIED":
        return failure("NOT_ALLOWED_TO_CHANGE", http_status=outcome.http_status)
    return outcome


def _judged(
    operations: Sequence[Operation],
    outcomes: Sequence[Outcome],
    cut_off: Bitrix24Error | None,
    items: list[Item] | None,
) -> list[Step]:
    """Each step with its outcome: by the portal's answers, or where it gave none by what stands there now."""
    steps: list[Step] = []
    for place, operation in enumerate(operations):
        said: dict[str, Any]
        if place < len(outcomes):
            outcome = outcomes[place]
            said = {"outcome": "done"}
            if isinstance(outcome, Bitrix24Error):
                said = {"outcome": "failed", "why": outcome.happened}
        elif cut_off is None:
            said = {"outcome": "not done"}
        elif items is None:
            said = {"outcome": "unknown", "why": "the directory could not be read again"}
        else:
            said = {"outcome": "done" if _stands(operation, items) else "not done"}
        steps.append(operation.step.model_copy(update=said))
    return steps


def _stands(operation: Operation, items: Sequence[Item]) -> bool:
    """Whether the directory looks as if the operation had been done."""
    item = next((one for one in items if one.status_id == operation.step.status_id), None)
    if operation.method == "crm.status.delete" or item is None:
        return (operation.method == "crm.status.delete") == (item is None)
    fields = operation.params["fields"]
    color = item.color or ""
    there = (item.sort, item.name, color)
    return there == (fields["SORT"], fields.get("NAME", item.name), fields.get("COLOR", color))


def _one(plan: Plan) -> Plan:
    """The plan of a single change. Raises CHANGE_REFUSED where nothing is left of it."""
    if plan.refused and not plan.operations:
        raise _refused("; ".join(f"{step.name}: {step.why}" for step in plan.refused))
    return plan


def _found(items: Sequence[Item], text: str) -> Item:
    """An item by code or name."""
    named = [item for item in items if same_text(item.name) == same_text(text)]
    coded = [item for item in items if text.strip().casefold() in spellings(item.status_id)]
    found = coded or named
    if len(found) != 1:
        raise _refused(
            f'"{one_line(text, 100)}" is {"several items" if found else "no item"} of the directory, by code and name',
            _use_one_of(items),
        )
    return found[0]


def _by_code(items: Sequence[Item], code: str) -> Item:
    """An item by its STATUS_ID, with or without the pipeline's prefix; never by its numeric record id."""
    wanted = code.strip().casefold()
    for item in items:
        if wanted in spellings(item.status_id):
            return item
    record = next((item for item in items if str(item.id) == wanted), None)
    hint = f"; {wanted} is the record id of {shown_code(record.status_id)} ({record.name})" if record else ""
    raise _refused(
        f'"{one_line(code, 100)}" is no STATUS_ID of the directory{hint}',
        _use_one_of(items),
    )


def _use_one_of(items: Sequence[Item]) -> str:
    return f"Use one of its codes: {', '.join(shown_code(item.status_id) for item in items)}"


def _refused(happened: str, todo: str = "Correct it and call again") -> Bitrix24Error:
    return Bitrix24Error("CHANGE_REFUSED", Entry(f"Nothing was changed: {happened}", f"{todo}.", "input"))
