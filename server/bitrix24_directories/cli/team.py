"""The commands of a team's server: serve over HTTP, and keep the file of people.

What they do stands in `team`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import anyio
from mcp.server.request_state import RequestStateSecurity

from bitrix24_directories.logs import configure_logging
from bitrix24_directories.mcp_server.callers import Callers, OneCaller
from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Error, Webhook
from bitrix24_directories.settings import Settings, load_settings
from bitrix24_directories.state.shared import Inside, State, UnavailableError
from bitrix24_directories.team.news import PortalNews
from bitrix24_directories.team.people import People, PeopleError, Person
from bitrix24_directories.team.sealing import SharedSeal
from bitrix24_directories.team.serving import HttpServer, ServingError, application, is_loopback, listen
from bitrix24_directories.team.team import Team
from bitrix24_directories.team.tokens import Tokens

from .arguments import UsageError
from .check import to_a_person
from .configured import complain, configured


def serve_http(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; gives the exit code."""
    host, port = _address(args.http)
    portal, settings, transport = configured(args)
    verify = None
    state: State = Inside()
    secret = b""
    try:
        callers: Callers = OneCaller(portal, settings, transport=transport)
        if settings.people:
            people = People(Path(settings.people).expanduser())
            people.make_sure()
            shared = portal if isinstance(portal, Webhook) else None  # an application's tokens are somebody's own
            state, secret = _state(settings)
            team = Team(people, settings, shared, transport=transport, state=state, secret=secret)
            with contextlib.suppress(ImportError):  # of the extra
                from bitrix24_directories.team.metrics import Metrics

                team.metrics = Metrics(team.portals, team.connected)
            callers, verify = team, Tokens(people, settings).verify
        elif settings.jwt_issuer:
            raise ServingError("BITRIX24_JWT_ISSUER says who calls; BITRIX24_PEOPLE has to say as whom on Bitrix24.")
        elif isinstance(portal, Bitrix24Error):
            raise portal
        security = RequestStateSecurity(codec=SharedSeal(state)) if secret else None
        news = PortalNews(callers.portal, state)
        server = DirectoriesServer(callers, settings, subscriptions=news, request_state_security=security)
        configure_logging(settings.log_level, Redactor(callers.secrets))  # the SDK has set up its own
        app = application(server, callers, settings, verify, beyond_loopback=not is_loopback(host))
        listening = listen(host, port)
    except Bitrix24Error as exc:
        complain(to_a_person(exc))
        return 1
    except (PeopleError, ServingError) as exc:
        complain(exc)
        return 1
    except OSError as exc:
        complain(f"Nothing can be served on {args.http}: {exc.strerror or exc}")
        return 1
    name = f"[{host}]" if ":" in host else host
    complain(f"Serving MCP on http://{name}:{listening.getsockname()[1]}/mcp until SIGTERM or Ctrl+C")
    HttpServer(app, server).run(sockets=[listening])
    return 0


def _state(settings: Settings) -> tuple[State, bytes]:
    """What replicas share, and the secret that they have in common. Raises ServingError where Redis has to be there."""
    url = settings.redis_url.get_secret_value()
    if not url:
        return Inside(), b""
    try:
        from bitrix24_directories.state.in_redis import InRedis
    except ImportError:
        raise ServingError("BITRIX24_REDIS_URL needs the extra: pip install 'bitrix24-directories-mcp[team]'") from None
    try:
        return InRedis(url), anyio.run(_secret_of, url)
    except ValueError:
        raise ServingError("BITRIX24_REDIS_URL is no address such as redis://redis:6379/0") from None
    except UnavailableError:
        raise ServingError("The Redis that BITRIX24_REDIS_URL names cannot be reached") from None


async def _secret_of(url: str) -> bytes:
    from bitrix24_directories.state.in_redis import InRedis

    state = InRedis(url)
    async with state.running():
        return await state.secret()


def person(args: argparse.Namespace) -> int:
    """Add, list, remove or rotate; prints a token alone on stdout. Gives the exit code."""
    try:
        settings = load_settings(args.env_file or "")
        if not settings.people:
            raise UsageError("Which file holds the people? Name it in BITRIX24_PEOPLE.")
        people = People(Path(settings.people).expanduser())
        match args.what:
            case "add":
                scopes = SCOPES if args.write else READING
                print(people.add(args.name, scopes, _webhook(args), oauth=args.oauth))
            case "rotate":
                print(people.rotate(args.name))
            case "remove":
                people.remove(args.name)
            case _:
                people.make_sure()
                for one in people.all():
                    print(f"{one.name}: {' '.join(one.scopes)} ({_acts_as(one)})")
    except Bitrix24Error as exc:
        complain(to_a_person(exc))
        return 1
    except PeopleError as exc:
        complain(exc)
        return 1
    return 0


def _acts_as(person: Person) -> str:
    if person.webhook is not None:
        return f"webhook of user {person.webhook.user} on {person.webhook.address}"
    return "application" if person.oauth else "shared"


def _webhook(args: argparse.Namespace) -> Webhook | None:
    """The person's own webhook, from a file or standard input: an argument stands in the history of the shell."""
    if not args.webhook_file:
        if args.write and not args.oauth:
            raise UsageError("Through the shared webhook people only read: give --webhook-file to let them write.")
        return None
    if args.oauth:
        raise UsageError("With --oauth they act through the application, and have no webhook of their own.")
    try:
        text = sys.stdin.read() if args.webhook_file == "-" else Path(args.webhook_file).read_text(encoding="utf-8-sig")
        return Webhook.parse(text)
    except (OSError, UnicodeError) as exc:
        raise UsageError(f"{args.webhook_file} cannot be read: {exc}") from None
    except ValueError as exc:
        raise UsageError(f"{args.webhook_file} holds no inbound webhook's URL: {exc}") from None


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise UsageError(f"--http takes a port, or a host and a port: 8080, 0.0.0.0:8080; not {text}")
    return host.strip("[]") or "127.0.0.1", int(port)
