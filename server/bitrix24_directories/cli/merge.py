"""Commands that merge codes and undo a merge: a plan, a question, and a progress bar.

The merge itself is in `changing.merging`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import anyio

from bitrix24_directories.changing.audit import Audit
from bitrix24_directories.changing.changes import Changes, audit_trouble
from bitrix24_directories.changing.locks import DirectoryLocks
from bitrix24_directories.changing.merging.log import LoggedMerge, read_log
from bitrix24_directories.changing.merging.merges import Merges
from bitrix24_directories.changing.merging.models import Merge
from bitrix24_directories.changing.merging.undo import Undo, undoing_text
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.mcp_server.texts.merges import merge_text
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import shown_code

from .arguments import UsageError
from .bar import bar
from .configured import client_of, configured, format_for_terminal, is_interactive, print_error, redactor
from .interruption import EndedBySignalError, Interruption, at_once, so_far
from .language import say

_TRIES = 5  # in a row that moved nothing, before a portal that fails is given up
_PHASES = {"reading": "Reading", "moving": "Moving", "deleting": "Deleting"}


def merge(args: argparse.Namespace) -> int:
    """Plan, ask and merge; return the exit code, 0 if nothing is left to do."""
    return _run(args, args.log)


def undo(args: argparse.Namespace) -> int:
    """Plan, ask and undo a merge. Raises UsageError if the log does not make clear which one."""
    try:
        with Path(args.file).open(encoding="utf-8", errors="replace") as lines:
            log = read_log(lines)
    except OSError as exc:
        raise UsageError(f"{args.file} cannot be read: {exc.strerror}") from None
    if log.unread:
        print_error(f"{args.file}: {log.unread} lines cannot be read, and are passed over.")
    if not log.merges:
        raise UsageError(f"{args.file} holds no merge.")
    selected = [logged for logged in log.merges if args.merge in (None, logged.key)]
    if len(selected) == 1:
        return _run(args, args.file, selected[0])
    choices = "\n".join(
        f"  {logged.key}: {', '.join(map(shown_code, logged.codes))} into {shown_code(logged.into)} in "
        f"{shown_code(logged.entity_id)}, {len(logged.moves)} values, begun {logged.began}"
        for logged in log.merges
    )
    if not selected:
        raise UsageError(f"{args.file} holds no merge {args.merge}, but these:\n{choices}")
    raise UsageError(f"{args.file} holds several merges; choose one with --merge ID:\n{choices}")


def _run(args: argparse.Namespace, log: str | None, logged: LoggedMerge | None = None) -> int:
    """Merge, or undo the `logged` merge; write each record to `log`, or to the settings' log."""
    portal, settings, transport = configured(args)
    redact = redactor(portal)
    log = log or settings.audit_log
    if not log:
        raise UsageError("Where shall each record be written down? Name a file with --log, or in BITRIX24_AUDIT_LOG.")

    audit = Audit(log, quiet=True)
    interruption = Interruption(audit)

    async def run() -> int:
        if isinstance(portal, Bitrix24Error):
            raise portal
        if trouble := audit_trouble(log):
            raise trouble
        async with client_of(portal, settings, transport) as client:
            directories = Directories(client, Cache(settings.cache_ttl))
            locks = DirectoryLocks(settings.timeout)
            changes = Changes(directories, audit, locks, settings.timeout)
            merges = Merges(directories, changes, audit, locks, settings.timeout, settings.limits)
            with interruption.cancels():
                if logged is not None:
                    return await _undo(args, Undo(directories, changes, audit), logged)
                return await _merge(args, merges, log)
        return 1

    try:
        if not settings.allow_writes:
            print_error("Changes are switched off: set BITRIX24_ALLOW_WRITES=true to let this program make them.")
            return 1
        code = anyio.run(run)
        interruption.reraise()
    except EndedBySignalError:
        print_error(so_far(audit))
        if audit.said and interruption.cancelled:
            print_error(say("To go on, run the same command again."))
        if audit.said and "into" in args:
            print_error(say(f"To take the merge back: `bitrix24-directories-mcp undo {log}`"))
        raise
    except Bitrix24Error as exc:
        print_error(redact(format_for_terminal(exc)))
        interruption.reraise()
        return 1
    return code


async def _merge(args: argparse.Namespace, merges: Merges, log: str) -> int:
    with bar(say("Reading")):
        planned = await merges.plan(args.entity_id, args.codes, args.into)
        if await anyio.Path(log).exists():
            text = await anyio.Path(log).read_text(encoding="utf-8", errors="replace")
            planned = await merges.resumed(planned, read_log(text.splitlines()).merges)
    print(merge_text(planned.answer().model_copy(update={"plan_id": None})))
    if not planned.does_something:
        return 0
    if not _confirmed(args):
        return 1
    confirmed, tries = True, 0
    with bar(say("Reading")) as progress:
        while True:
            error: Bitrix24Error | None = None
            try:
                result = await merges.carry_out(
                    "merge",
                    planned,
                    confirmed=confirmed,
                    to_the_end=True,
                    on_progress=partial(progress, total=planned.total),
                    on_phase=lambda phase: progress.describe(say(_PHASES[phase])),
                )
            except Bitrix24Error as exc:
                if not isinstance(exc.partial_result, Merge):
                    raise
                result, error = exc.partial_result, exc
            tries = tries + 1 if result.moved == planned.moved_before else 0
            confirmed = False
            if error is None and result.status != "moving":
                break
            if error is not None and (not error.retryable or tries >= _TRIES):
                break
            await anyio.sleep(error.retry_after or 1 if error is not None else 0)
            progress.describe(say("Reading"))
            planned = await merges.plan(args.entity_id, args.codes, args.into)
    print(merge_text(result))
    if error is not None:
        raise error
    return 0 if result.status == "done" else 1


async def _undo(args: argparse.Namespace, undo: Undo, logged: LoggedMerge) -> int:
    undoing = await undo.plan(logged)
    print(undoing_text(undoing))
    if not undoing.does_something:
        return int(bool(undoing.unread))
    if not _confirmed(args):
        return 1
    with bar("Putting back") as progress:
        undone = await undo.carry_out(undoing, partial(progress, total=len(undoing.moves)))
    print(f"{undone.given_back} values of records got their old code back.")
    for code in undone.items:
        print(f"- {shown_code(code)} was added again")
    for value in undone.not_given_back:
        print(f"- not given back: {value}")
    if undone.error is not None:
        raise undone.error
    return int(bool(undone.not_given_back or undoing.unread))


def _confirmed(args: argparse.Namespace) -> bool:
    """Return True if the person agrees. Raises UsageError if nobody can be asked."""
    if args.yes:
        return True
    if not is_interactive():
        raise UsageError("Nobody can be asked here: add --yes to carry it out.")
    with at_once():
        answer = input("Carry it out? [y/N] ")
    agreed = answer.strip().casefold() in ("y", "yes")
    if not agreed:
        print("Nothing was changed.")
    return agreed
