"""Says whether the configuration works, step by step, and what to do where it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from .directories import Directories
from .rest import Bitrix24Client, Bitrix24Error, Transport, Webhook, failure

_NETWORK_STEP_PASSED = ("authorization", "limit", "input")


@dataclass(frozen=True)
class Step:
    """One thing that was looked at: `ok` is None where an earlier failure left nothing to look at."""

    name: str
    ok: bool | None
    says: str


async def check(
    portal: Webhook | Bitrix24Error, *, timeout: float = 30, transport: Transport | None = None
) -> AsyncIterator[Step]:
    """Look at configuration, reachability, authorisation, the crm scope and reading, in that order.

    Uses the REST methods `scope`, `crm.status.entity.types` and `crm.status.entity.items`; never writes.
    """
    if isinstance(portal, Bitrix24Error):
        yield Step("configuration", ok=False, says=_to_a_person(portal))
        return
    yield Step("configuration", ok=True, says=f"webhook {portal.masked}")
    try:
        client = Bitrix24Client(portal, timeout=timeout, transport=transport)
    except Bitrix24Error as exc:
        yield Step("reachability", ok=False, says=_to_a_person(exc))
        return
    async with client:
        async for step in _ask(client):
            yield step


async def _ask(client: Bitrix24Client) -> AsyncIterator[Step]:
    try:
        scopes = (await client.call("scope")).result
    except Bitrix24Error as exc:
        if exc.category in _NETWORK_STEP_PASSED:
            yield Step("reachability", ok=True, says="the portal answers")
            yield Step("authorisation", ok=False, says=_to_a_person(exc))
        else:
            yield Step("reachability", ok=False, says=_to_a_person(exc))
        return
    yield Step("reachability", ok=True, says="the portal answers")
    yield Step("authorisation", ok=True, says="the webhook is known")
    if not isinstance(scopes, list) or "crm" not in scopes:
        yield Step("scope crm", ok=False, says=_to_a_person(failure("insufficient_scope")))
        return
    yield Step("scope crm", ok=True, says="granted")
    try:
        yield Step("reading", ok=True, says=await _read(Directories(client)))
    except Bitrix24Error as exc:
        yield Step("reading", ok=False, says=_to_a_person(exc))


async def _read(directories: Directories) -> str:
    known = (await directories.search()).directories
    if not known:
        return "the portal has no directories that this user may see"
    first = known[0].entity_id
    return f"{len(known)} directories; {first} has {(await directories.items(first)).total} items"


def _to_a_person(error: Bitrix24Error) -> str:
    """What happened and what to do, for the user whom the texts for assistants speak about."""
    what, *_ = str(error).splitlines()
    todo = error.todo.removeprefix("Tell the user to ").removeprefix("Tell the user that ")
    return f"{what}\n→ {todo[:1].upper()}{todo[1:]}"
