"""Command for the file of people: who may call a team's server, as whom, with what rights."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio

from bitrix24_directories.logs import configure_logging
from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, PortalConnection, Webhook, failure
from bitrix24_directories.settings import Settings, load_settings
from bitrix24_directories.state.shared import Inside, State, UnavailableError
from bitrix24_directories.team.people import People, PeopleError, Person, is_name
from bitrix24_directories.team.seen import Seen
from bitrix24_directories.text import LIKE_A_WEBHOOK

from .arguments import UsageError
from .configured import format_for_terminal, message_of, print_error
from .language import choose, say

_COLUMNS = ["name", "webhook", "write"]
_YES, _NO = {"yes", "true", "1", "да"}, {"", "no", "false", "0", "нет"}
_UNTRIED = ("network", "limit", "portal")  # categories of errors that say nothing about the webhook
_MANY = 20  # more webhooks than this take a while to try
_FIRST_CALL = "crm.status.entity.types"  # the call by which the server admits a person


def person(args: argparse.Namespace) -> int:
    """Run the action, print a token alone on stdout, and return the exit code."""
    try:
        settings = load_settings(args.env_file or "")
        choose(settings.lang)
        if not settings.people:
            raise UsageError("Which file holds the people? Name it in BITRIX24_PEOPLE.")
        people = People(Path(settings.people).expanduser(), quiet=True)
        match args.what:
            case "add":
                people.make_sure_new([args.name])
                if args.oauth and args.webhook_file:
                    raise UsageError("With --oauth they act through the application, and have no webhook of their own.")
                if args.write and not args.oauth and not args.webhook_file:
                    raise UsageError(
                        "Through the shared webhook people only read: give --webhook-file to let them write."
                    )
                webhook = _webhook(args.webhook_file) if args.webhook_file else None
                if webhook is not None:
                    _try({args.name: webhook}, args, settings)
                print(people.add(args.name, SCOPES if args.write else READING, webhook, oauth=args.oauth))
            case "import":
                _import(people, args, settings)
            case "webhook":
                webhook = _webhook(args.webhook_file)
                _try({args.name: webhook}, args, settings)
                people.set_webhook(args.name, webhook)
            case "scopes":
                people.set_scopes(args.name, SCOPES if args.write else READING)
            case "rotate":
                print(people.rotate(args.name))
            case "remove":
                people.remove(args.name)
            case _:
                _list(people, settings)
        people.look()
        if people.trouble:
            print_error(say(people.trouble))
    except Bitrix24Error as exc:
        print_error(format_for_terminal(exc.for_a_team()))
        return 1
    except PeopleError as exc:
        print_error(say(str(exc)))
        return 1
    return 0


def _import(people: People, args: argparse.Namespace, settings: Settings) -> None:
    """Add all people of a CSV or none; their tokens are on disk before anybody is let in."""
    tokens = Path(args.tokens)
    if os.path.lexists(tokens):
        raise UsageError(say(f"{_file_name(args.tokens)} is there already, and tokens are never written over a file."))
    if os.path.realpath(tokens) == os.path.realpath(people.path):
        raise UsageError("The tokens need a file of their own: BITRIX24_PEOPLE names this one.")
    persons = _persons(args.file)
    people.make_sure_new([person.name for person in persons])  # or thousands of webhooks would be tried for nothing
    _try({person.name: person.webhook for person in persons if person.webhook is not None}, args, settings)
    written = False

    def write_tokens(new_tokens: Sequence[str]) -> None:
        nonlocal written
        try:
            with open(tokens, "x", encoding="utf-8", newline="", opener=partial(os.open, mode=0o600)) as file:
                written = True
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["name", "token"])
                rows.writerows([person.name, token] for person, token in zip(persons, new_tokens, strict=True))
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise PeopleError(say(f"{_file_name(args.tokens)} cannot be written: {exc.strerror}")) from None

    try:
        people.add_all(persons, write_tokens)
    except BaseException:
        if written:
            tokens.unlink(missing_ok=True)
        raise
    file_name = _file_name(args.tokens)
    print_error(say(f"People added: {len(persons)}. Their tokens are in {file_name}, readable by you only."))


def _persons(file: str) -> list[Person]:
    """Return the people of a CSV. Raises UsageError, which names wrong lines but quotes nothing."""
    text = _read(file)
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.partition("\n")[0] else ",")
    persons, wrong = [], []
    try:
        rows.fieldnames = [column.strip().casefold() for column in rows.fieldnames or ()]
        if sorted(rows.fieldnames) != sorted(_COLUMNS):
            raise UsageError(say(f"{_file_name(file)} needs the columns {','.join(_COLUMNS)} in its first line."))
        for row in rows:
            try:
                persons.append(_person(row))
            except ValueError as exc:
                wrong.append(say(f"Line {rows.line_num} of {_file_name(file)}: {exc}"))
    except csv.Error:
        wrong.append(say(f"{_file_name(file)} is no CSV."))
    if wrong:
        raise UsageError("\n".join([*wrong[:20], *(["…"] if len(wrong) > 20 else [])]))
    if not persons:
        raise UsageError(say(f"{_file_name(file)} names nobody."))
    return persons


def _person(row: Mapping[str | None, str | list[str] | None]) -> Person:
    """Return the person of a row. Raises ValueError, whose text quotes nothing of it."""
    cells = {column: text.strip() for column in _COLUMNS if isinstance(text := row.get(column), str)}
    if None in row or len(cells) < len(_COLUMNS):
        raise ValueError("it has more or fewer columns than the first line")
    if not is_name(cells["name"]):
        raise ValueError("a name has 1 to 64 letters, digits, or . _ @ + -")
    write = cells["write"].casefold()
    if write not in _YES | _NO:
        raise ValueError("write is yes or no")
    webhook = Webhook.parse(cells["webhook"]) if cells["webhook"] else None
    if webhook is None and write in _YES:
        raise ValueError("through the shared webhook people only read")
    return Person(cells["name"], "", SCOPES if write in _YES else READING, webhook)


def _list(people: People, settings: Settings) -> None:
    """Print who may call, and their creation, token and last call as far as they are known."""
    people.make_sure()
    state: State = Inside()
    if settings.redis_url.get_secret_value():
        from bitrix24_directories.team.serving import ServingError  # needed only with Redis

        from .team import state_of

        try:
            state = state_of(settings)
        except ServingError as exc:
            raise PeopleError(str(exc)) from None
    seen = Seen(state, settings.audit_log)

    async def called() -> Mapping[str, float] | None:
        async with state.running():
            try:
                return await seen.all()
            except UnavailableError:
                print_error(say("The Redis that BITRIX24_REDIS_URL names cannot be reached"))
                return None

    last = anyio.run(called) if seen.is_kept else None
    for person in people.all():
        created = _seconds(person.created)
        parts = [] if created is None else [say(f"created {_moment(created)}")]
        if (rotated := _seconds(person.rotated)) is not None:
            parts.append(say(f"token of {_moment(rotated)}"))
        if last is not None:
            at = last.get(person.name, 0.0)
            since = at and at >= (created or 0.0)  # or it was somebody else of the same name
            parts.append(say(f"last seen {_moment(at)}") if since else say("not seen yet"))
        acts_as = "application" if person.oauth else "shared"
        if person.webhook is not None:
            acts_as = f"webhook of user {person.webhook.user} on {person.webhook.address}"
        print("; ".join([f"{person.name}: {' '.join(person.scopes)} ({acts_as})", *parts]))
    if not seen.is_kept:
        print_error(say("When people called last is kept where BITRIX24_AUDIT_LOG or BITRIX24_REDIS_URL is set."))


def _seconds(created: str) -> float | None:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _webhook(file: str) -> Webhook:
    """Read a person's webhook from a file or standard input: a shell's history keeps arguments."""
    try:
        return Webhook.parse(_read(file))
    except ValueError as exc:
        raise UsageError(say(f"{_file_name(file)} holds no inbound webhook's URL: {exc}")) from None


def _read(file: str) -> str:
    if LIKE_A_WEBHOOK.search(file):
        raise UsageError(
            "A file is meant that holds the URL, not the URL itself, which stands in the shell's history now: "
            "renew the webhook in Bitrix24."
        )
    try:
        return sys.stdin.read().removeprefix("\ufeff") if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not saved as UTF-8"
        raise UsageError(say(f"{_file_name(file)} cannot be read: {why}")) from None


def _file_name(file: str) -> str:
    """Return a file's name for a message; a name like a URL may hold a secret, and is hidden."""
    return "…" if LIKE_A_WEBHOOK.search(file) else file


def _try(webhooks: Mapping[str, Webhook], args: argparse.Namespace, settings: Settings) -> None:
    """Call each person's webhook once, unless --unchecked is given.

    Raises PeopleError for webhooks that the portal refuses; warns of those that could not be tried.
    """
    if args.unchecked:
        return
    secrets = frozenset(webhook.secret for webhook in webhooks.values())
    redact = Redactor(lambda: secrets)
    configure_logging(settings.log_level, redact)
    if len(webhooks) > _MANY:
        print_error(say(f"Trying {len(webhooks)} webhooks as fast as the portal lets us …"))
    refused = []
    for name, error in anyio.run(_errors, webhooks, settings).items():
        if error.category in _UNTRIED:
            print_error(say(f"{name}'s webhook is taken, but could not be tried: {redact(message_of(error))}"))
        else:
            why = redact(format_for_terminal(error.for_a_team()))
            refused.append(say(f"{name}'s webhook is not taken, for the portal refuses it: {why}"))
    if refused:
        raise PeopleError("\n".join([*refused, say("With --unchecked it is taken all the same.")]))


async def _errors(webhooks: Mapping[str, Webhook], settings: Settings) -> dict[str, Bitrix24Error]:
    """Return the error of each person's first call; a portal that is unreachable is tried once."""
    connections: dict[str, PortalConnection] = {}
    unreachable: dict[str, Bitrix24Error] = {}
    errors: dict[str, Bitrix24Error] = {}
    try:
        for name, webhook in webhooks.items():
            address = webhook.address
            if address in unreachable:
                errors[name] = unreachable[address]
                continue
            if address not in connections:
                connections[address] = PortalConnection(settings.limits, ca_file=settings.ca_file, address=address)
            try:
                async with Bitrix24Client(webhook, timeout=settings.timeout, connection=connections[address]) as client:
                    with anyio.move_on_after(settings.timeout) as limit:
                        await client.call(_FIRST_CALL)
                if limit.cancelled_caught:
                    raise failure("TIMEOUT", detail=f"waited {settings.timeout:g} s")
            except Bitrix24Error as exc:
                errors[name] = exc
                if exc.category == "network":
                    unreachable[address] = exc
    finally:
        for connection in connections.values():
            await connection.close()
    return errors
