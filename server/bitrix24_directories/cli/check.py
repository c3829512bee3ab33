"""Says whether the configuration works, step by step, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from bitrix24_directories.changing.changes import audit_trouble
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.rest import Answer, Bitrix24Error, Credentials, Transport, failure
from bitrix24_directories.settings import Settings

from .configured import client_of
from .language import say

# A failure of these kinds comes from a portal that answered.
_ANSWERED = ("authorization", "limit", "input")


@dataclass(frozen=True)
class Step:
    """One thing that was looked at."""

    name: str
    ok: bool
    says: str


async def check(
    portal: Credentials | Bitrix24Error,
    settings: Settings,
    tell: Callable[[Step], None],
    *,
    transport: Transport | None = None,
) -> bool:
    """Look at configuration, reachability, authorisation, the crm scope, reading, and the plan, in that order.

    Calls `tell` with each step and gives whether all went well; the first failure ends it. Uses the REST methods
    `scope`, `crm.status.entity.types` and `crm.status.entity.items`; never writes.
    """
    step = "configuration"
    try:
        if isinstance(portal, Bitrix24Error):
            raise portal
        if settings.allow_writes and (trouble := audit_trouble(settings.audit_log)) is not None:
            raise trouble
        tell(Step(step, ok=True, says=say(portal.description)))
        step = "reachability"
        async with client_of(portal, settings, transport) as client:
            with anyio.move_on_after(settings.timeout) as limit:
                try:
                    answer = await client.call("scope")
                except Bitrix24Error as exc:
                    if exc.answered or exc.category in _ANSWERED:
                        tell(Step(step, ok=True, says=say("the portal answers")))
                        step = "authorisation"
                    raise
                tell(Step(step, ok=True, says=say("the portal answers")))
                tell(Step("authorisation", ok=True, says=say("the portal knows who calls")))
                step = "scope crm"
                if not isinstance(answer.result, list) or "crm" not in answer.result:
                    raise failure("insufficient_scope")
                tell(Step(step, ok=True, says=say("granted")))
                step = "reading"
                directories = Directories(client, Cache(settings.cache_ttl))
                known = (await directories.search()).directories
                says = say("the portal has no directories that this user may see")
                if known:
                    first = await directories.items(known[0].entity_id)
                    says = say(f"{len(known)} directories; {known[0].entity_id} has {first.total} items")
                tell(Step(step, ok=True, says=says))
                well = _tell_plan(answer, settings, tell)
            if limit.cancelled_caught:
                raise failure("TIMEOUT", detail=f"waited {settings.timeout:g} s")
    except Bitrix24Error as exc:
        tell(Step(step, ok=False, says=to_a_person(exc)))
        return False
    return well


def _tell_plan(answer: Answer, settings: Settings, tell: Callable[[Step], None]) -> bool:
    """Tell of a plan that does not fit the portal; gives whether that is only slower than it has to be."""
    if answer.metered is False and settings.plan != "self-hosted":
        says = (
            say(f"{settings.plan}, although the portal counts no running time, as those on a company's own server do"),
            say("Where it is one, set BITRIX24_PLAN to self-hosted: it is then asked as fast as it answers."),
        )
        tell(Step("plan", ok=True, says="\n→ ".join(says)))
    elif answer.metered and settings.plan == "self-hosted":
        says = (
            say("self-hosted, although the portal counts running time, as those in the cloud do, which have limits"),
            say("Set BITRIX24_PLAN to standard or enterprise."),
        )
        tell(Step("plan", ok=False, says="\n→ ".join(says)))
        return False
    return True


def to_a_person(error: Bitrix24Error) -> str:
    """What happened and what to do, for whoever reads it in a terminal."""
    return f"{message_of(error)}\n→ {say(error.todo_for_a_person)}"


def message_of(error: Bitrix24Error) -> str:
    """The error's message in the language of the terminal."""
    happened = say(error.happened.removesuffix(f": {error.detail}"))
    detail = f": {say(error.detail)}" if error.detail else ""
    return f"{happened}{detail} ({say(error.facts)}). {say(error.quoted)}".rstrip()
