"""Command that checks the configuration step by step, and says how to fix it."""

from __future__ import annotations

import argparse

import anyio

from bitrix24_directories.changing.changes import audit_trouble
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.rest import Bitrix24Error, Credentials, Transport, failure
from bitrix24_directories.settings import Settings

from .configured import ask_for_webhook, client_of, configured, format_for_terminal, is_interactive, redactor
from .language import say

# A failure of these kinds comes from a portal that answered.
_ANSWERED = ("authorization", "limit", "input")


def check(args: argparse.Namespace) -> int:
    """Print a line for each step; return the exit code."""
    portal, settings, transport = configured(args)
    if isinstance(portal, Bitrix24Error) and portal.kind == "NOT_CONFIGURED" and is_interactive():
        settings = ask_for_webhook(settings)
        try:
            portal = settings.credentials()
        except Bitrix24Error as exc:
            portal = exc
    passed = anyio.run(run_steps, portal, settings, transport)
    if passed and not args.demo and is_interactive():
        print(say("To tell an MCP client: `bitrix24-directories-mcp setup --help`."))
    return int(not passed)


async def run_steps(portal: Credentials | Bitrix24Error, settings: Settings, transport: Transport | None) -> bool:
    """Check configuration, reachability, authorisation, the crm scope, reading and the plan.

    The first failure ends the check. Uses the REST methods `scope`, `crm.status.entity.types` and
    `crm.status.entity.items`; never writes.
    """
    redact = redactor(portal)
    step = "configuration"

    def print_step(text: str, *, ok: bool = True) -> None:
        print(f"{'✓' if ok else '✗'} {say(step)}: {redact(text).replace(chr(10), chr(10) + '  ')}")

    try:
        if isinstance(portal, Bitrix24Error):
            raise portal
        if settings.allow_writes and (trouble := audit_trouble(settings.audit_log)) is not None:
            raise trouble
        print_step(say(portal.description))
        step = "reachability"
        async with client_of(portal, settings, transport) as client:
            with anyio.move_on_after(settings.timeout) as limit:
                try:
                    answer = await client.call("scope")
                except Bitrix24Error as exc:
                    if exc.answered or exc.category in _ANSWERED:
                        print_step(say("the portal answers"))
                        step = "authorisation"
                    raise
                print_step(say("the portal answers"))
                step = "authorisation"
                print_step(say("the portal knows who calls"))
                step = "scope crm"
                if not isinstance(answer.result, list) or "crm" not in answer.result:
                    raise failure("insufficient_scope")
                print_step(say("granted"))
                step = "reading"
                directories = Directories(client, Cache(settings.cache_ttl))
                visible = (await directories.search()).directories
                summary = say("the portal has no directories that this user may see")
                if visible:
                    first = await directories.items(visible[0].entity_id)
                    summary = say(f"{len(visible)} directories; {visible[0].entity_id} has {first.total} items")
                print_step(summary)
            if limit.cancelled_caught:
                raise failure("TIMEOUT", detail=f"waited {settings.timeout:g} s")
    except Bitrix24Error as exc:
        print_step(format_for_terminal(exc), ok=False)
        return False
    step = "plan"
    if answer.metered is False and settings.plan != "self-hosted":
        why = say(f"{settings.plan}, although the portal counts no running time, as those on a company's own server do")
        hint = say("Where it is one, set BITRIX24_PLAN to self-hosted: it is then asked as fast as it answers.")
        print_step(f"{why}\n→ {hint}")
    elif answer.metered and settings.plan == "self-hosted":
        why = say("self-hosted, although the portal counts running time, as those in the cloud do, which have limits")
        print_step(f"{why}\n→ {say('Set BITRIX24_PLAN to standard or enterprise.')}", ok=False)
        return False
    return True
