"""Command that serves a team over HTTP; the server is in `team`."""

from __future__ import annotations

import argparse
import contextlib
from functools import partial
from pathlib import Path

import anyio
from mcp.server.request_state import RequestStateSecurity

from bitrix24_directories.logs import configure_logging
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.mcp_server.session import OneCaller, Sessions
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Error, Webhook
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import Inside, State, UnavailableError
from bitrix24_directories.team.news import PortalSubscriptions
from bitrix24_directories.team.people import People
from bitrix24_directories.team.sealing import SharedSeal
from bitrix24_directories.team.serving import HttpServer, ServingError, application, is_loopback, listen
from bitrix24_directories.team.team import Team
from bitrix24_directories.team.tokens import TokenVerifier

from .arguments import UsageError
from .configured import configured, format_for_terminal, print_error


def serve_http(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    host, colon, digits = args.http.rpartition(":")
    if not digits.isdecimal() or int(digits) > 65535 or (colon and not host):
        raise UsageError(f"--http takes a port, or a host and a port: 8080, 0.0.0.0:8080; not {args.http}")
    host, port = host.strip("[]") or "127.0.0.1", int(digits)
    portal, settings, transport = configured(args)
    verify = None
    state: State = Inside()
    secret = b""
    try:
        sessions: Sessions = OneCaller(portal, settings, transport=transport)
        if settings.people:
            people = People(Path(settings.people).expanduser())
            people.look()  # problems are logged, and can be fixed while the server runs
            shared = portal if isinstance(portal, Webhook) else None  # an application's tokens belong to one person
            state = state_of(settings)
            secret = anyio.run(_secret, settings) if state.shared else b""
            team = Team(people, settings, shared, transport=transport, state=state, secret=secret)
            with contextlib.suppress(ImportError):  # of the extra
                from bitrix24_directories.team.metrics import Metrics

                team.metrics = Metrics(team.portals, team.connected)
            sessions, verify = team, TokenVerifier(people, settings).verify
        elif settings.jwt_issuer:
            raise ServingError("BITRIX24_JWT_ISSUER says who calls; BITRIX24_PEOPLE has to say as whom on Bitrix24.")
        elif isinstance(portal, Bitrix24Error):
            raise portal
        security = RequestStateSecurity(codec=SharedSeal(state)) if secret else None
        news = PortalSubscriptions(state)
        server = DirectoriesServer(sessions, settings, news=news.bus, request_state_security=security)
        configure_logging(settings.log_level, Redactor(sessions.secrets))  # the SDK has set up its own
        app = application(server, sessions, settings, verify, beyond_loopback=not is_loopback(host))
        listening = listen(host, port)
    except Bitrix24Error as exc:
        print_error(format_for_terminal(exc.for_a_team()))
        return 1
    except ServingError as exc:
        print_error(exc)
        return 1
    except UnavailableError:
        print_error("The Redis that BITRIX24_REDIS_URL names cannot be reached")
        return 1
    except OSError as exc:
        print_error(f"Nothing can be served on {args.http}: {exc.strerror or exc}")
        return 1
    name = f"[{host}]" if ":" in host else host
    announced = f"Serving MCP on http://{name}:{listening.getsockname()[1]}/mcp until SIGTERM or Ctrl+C"
    HttpServer(app, server, partial(print_error, announced)).run(sockets=[listening])
    return 0


def state_of(settings: Settings) -> State:
    """Return the state in the settings' Redis, for one event loop, or else inside the process.

    Raises ServingError if the address is malformed.
    """
    url = settings.redis_url.get_secret_value()
    if not url:
        return Inside()
    try:
        from bitrix24_directories.state.in_redis import InRedis
    except ImportError:
        raise ServingError("BITRIX24_REDIS_URL needs the extra: pip install 'bitrix24-directories-mcp[team]'") from None
    try:
        return InRedis(url)
    except ValueError:
        raise ServingError("BITRIX24_REDIS_URL is no address such as redis://redis:6379/0") from None


async def _secret(settings: Settings) -> bytes:
    """Return the replicas' secret, in an event loop of its own. Raises UnavailableError."""
    state = state_of(settings)
    async with state.running():
        return await state.secret()
