"""The demo portal over HTTP: a Starlette application that answers as Bitrix24 does.

Built only from the portal's documentation, and sharing no code with the client, so that it cannot share its mistakes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from .calls import MethodResult, User
from .faults import Fault, Faults
from .faulty_answers import faulty_answer, lost_answer
from .faulty_runs import run_with
from .methods import run
from .oauth import CLIENT_ID, OAuth
from .php import as_array, param, parse_query, to_json_array
from .references import replace_references
from .seed import Language, seeded_store
from .store import Age, PortalError

BATCH_LENGTH = 50
_CUT_OFF = "(cut off)"

ADMIN = User(1, "Demo Administrator")
READER = User(7, "Demo Reader", changes=False, administers=False)
STRANGER = User(9, "Demo Stranger", reads=False, changes=False, administers=False)
TASKS_ONLY = User(11, "Demo Planner", scopes=("task",))

WEBHOOKS = {
    "demoadmin0000001": ADMIN,
    "demoreader000007": READER,
    "demostranger0009": STRANGER,
    "demotasksonly011": TASKS_ONLY,
}


class LeakyBucket:
    """Leaky bucket: each request adds 1, one over `burst` is refused, `per_second` drain away."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float], level: float = 0.0) -> None:
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self.level = level
        self._drained_at = clock()

    def add(self) -> None:
        """Count a request. Raises PortalError (QUERY_LIMIT_EXCEEDED) if there is no room."""
        now = self._clock()
        self.level = max(0.0, self.level - (now - self._drained_at) * self._per_second)
        self._drained_at = now
        if self.level + 1 > self._burst:
            raise PortalError("Too many requests", code="QUERY_LIMIT_EXCEEDED", status=503)
        self.level += 1


class DemoPortal:
    """One portal with its directories, users, tokens, limits and ordered faults.

    `limit` is (burst, requests a second) or None. `strict_entity` refuses an unknown `entityId` instead of answering an
    empty list, as the documentation's wording allows. `age` is that of the portal's server code. `calls` has each REST
    call as (method, parameters); tests may fill `bucket`. A `self_hosted` portal counts no running time.
    `refuse_in_batch` maps an `entityId` (empty: all) to the error text of commands for it in a batch. `fail_write`
    (number, "refused" or "cut off") fails the change of that number, counted from 0; "cut off" also drops its answer,
    and that of its batch. `meanwhile` is called with each method and its parameters right before the answer, commands
    of a batch included, and acts as other users do; if it raises a PortalError, that is the answer.
    """

    def __init__(
        self,
        language: Language = "en",
        *,
        limit: tuple[float, float] | None = None,
        strict_entity: bool = False,
        age: Age = "today",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = seeded_store(language)
        self.store.age = age
        self.oauth = OAuth(clock)
        self.faults = Faults()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.self_hosted = False
        self.refuse_in_batch: dict[str, str] = {}
        self.fail_write: tuple[int, str] | None = None
        self.meanwhile: Callable[[str, Mapping[str, Any]], None] = lambda _method, _params: None
        self.bucket = LeakyBucket(*limit, clock) if limit else None
        self._strict_entity = strict_entity
        self._clock = clock
        self._operating: dict[str, float] = {}
        self.app = Starlette(
            routes=[
                Route("/rest/{user:int}/{secret}/{method}", self._webhook, methods=["GET", "POST"]),
                Route("/rest/{method}", self._oauth_call, methods=["GET", "POST"]),
                Route("/oauth/token/", self._token, methods=["GET", "POST"]),
                Route("/oauth/authorize/", self._authorize),
                Route("/demo/faults", self._order_fault, methods=["POST", "DELETE"]),
                Route("/demo/calls", self._count_calls),
            ]
        )

    async def _webhook(self, request: Request) -> Response:
        def authorize(_params: Mapping[str, Any]) -> User:
            user = WEBHOOKS.get(request.path_params["secret"])
            if user is None or user.id != request.path_params["user"]:
                raise PortalError("Invalid request credentials", code="INVALID_CREDENTIALS", status=401)
            return user

        return await self._rest(request, authorize)

    async def _oauth_call(self, request: Request) -> Response:
        def authorize(params: Mapping[str, Any]) -> User:
            token = params.get("auth")
            if not isinstance(token, str):
                raise PortalError("Wrong authorization data", code="NO_AUTH_FOUND", status=401)
            return self.oauth.user(token)

        return await self._rest(request, authorize)

    async def _rest(self, request: Request, authorize: Callable[[Mapping[str, Any]], User]) -> Response:
        method = str(request.path_params["method"]).removesuffix(".json")
        params = await _params(request)
        self.calls.append((method, params))
        fault = self.faults.take(method, changes=_changes(method, params))
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.after:
                return lost_answer(fault, self._answered(method, params, authorize))
            if fault.replaces_answer:
                return faulty_answer(fault, request, params)
        return self._answered(method, params, authorize)

    def _answered(
        self, method: str, params: Mapping[str, Any], authorize: Callable[[Mapping[str, Any]], User]
    ) -> Response:
        started = self._clock()
        try:
            if self.bucket is not None:
                self.bucket.add()
            user = authorize(params)
            if method == "batch":
                self.meanwhile(method, params)
                return JSONResponse({"result": self._batch(user, params), "time": self._time(method, started)})
            answer = self._run(user, method, params)
        except PortalError as error:
            if error.code == _CUT_OFF:
                return Response("", 502)
            return _error(error)
        extra = {"next": answer.next, "total": answer.total}
        body = {"result": answer.result} | {key: value for key, value in extra.items() if value is not None}
        return JSONResponse(body | {"time": self._time(method, started)})

    def _run(self, user: User, method: str, params: Mapping[str, Any]) -> MethodResult:
        self.meanwhile(method, params)
        if method == "crm.status.entity.items" and self._strict_entity:
            entity_id = param(params, "entityId")
            if isinstance(entity_id, str) and entity_id.upper() not in self.store.directories:
                raise PortalError("The parameter entityId is not defined or invalid.")
        if self.fail_write is not None and method.rpartition(".")[2] in ("add", "update", "delete"):
            left, how = self.fail_write
            self.fail_write = (left - 1, how)
            if left == 0:
                raise PortalError("Error on updating status.", code="" if how == "refused" else _CUT_OFF)
        fault = self.faults.take_inside(method)
        if fault is None:
            return run(self.store, user, method, params)
        return run_with(fault, self.store, user, method, params)

    def _batch(self, user: User, params: Mapping[str, Any]) -> dict[str, Any]:
        commands = as_array(param(params, "cmd")) or {}
        halt = param(params, "halt", 0) in (1, "1", True, "true", "Y")
        answers: dict[str, dict[str, Any]] = {
            part: {} for part in ("result", "result_error", "result_total", "result_next", "result_time")
        }
        for index, (key, command) in enumerate(commands.items()):
            method, _, query = str(command).partition("?")
            started = self._clock()
            try:
                if index >= BATCH_LENGTH:
                    raise PortalError("Max batch length exceeded", code="ERROR_BATCH_LENGTH_EXCEEDED")
                if method == "batch":
                    raise PortalError(
                        "Method is not allowed for batch usage",
                        code="ERROR_BATCH_METHOD_NOT_ALLOWED",
                        status=405,
                    )
                command_params = replace_references(parse_query(query), answers)
                for entity_id, words in self.refuse_in_batch.items():
                    if entity_id in ("", command_params.get("entityId")):
                        raise PortalError(words)
                answer = self._run(user, method.removesuffix(".json"), command_params)
            except PortalError as error:
                if error.code == _CUT_OFF:
                    raise
                answers["result_error"][key] = {"error": error.code, "error_description": error.description}
                if halt:
                    break
                continue
            answers["result"][key] = answer.result
            answers["result_time"][key] = self._time(method, started)
            if answer.total is not None:
                answers["result_total"][key] = answer.total
            if answer.next is not None:
                answers["result_next"][key] = answer.next
        return {part: to_json_array(values) for part, values in answers.items()}

    def _time(self, method: str, started: float) -> dict[str, Any]:
        finished = self._clock()
        spent = finished - started
        self._operating[method] = self._operating.get(method, 0.0) + spent
        return {
            "start": started,
            "finish": finished,
            "duration": spent,
            "processing": spent,
            "date_start": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            "date_finish": datetime.fromtimestamp(finished, UTC).isoformat(timespec="seconds"),
        } | (
            {}
            if self.self_hosted
            else {"operating_reset_at": int(finished) + 600, "operating": self._operating[method]}
        )

    async def _token(self, request: Request) -> Response:
        fault = self.faults.take("oauth/token")
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.replaces_answer:
                return faulty_answer(fault, request, await _params(request))
        try:
            tokens = self.oauth.token(await _params(request))
        except PortalError as error:
            return _error(error)
        base = str(request.base_url)
        return JSONResponse(
            tokens
            | {
                "client_endpoint": f"{base}rest/",
                "server_endpoint": f"{base}rest/",
                "domain": request.url.netloc,
            }
        )

    async def _authorize(self, request: Request) -> Response:
        """Agree at once, and send the browser to the application's redirect address."""
        query = request.query_params
        if query.get("client_id") != CLIENT_ID:
            return _error(PortalError("Application not found", code="APPLICATION_NOT_FOUND", status=401))
        code = self.oauth.authorize(ADMIN)
        landing = request.url.replace(path="/demo/landing", query="").include_query_params(
            code=code,
            state=query.get("state", ""),
            domain=request.url.netloc,
            member_id="demo0member0id",
            scope="crm",
            server_domain=request.url.netloc,
        )
        return RedirectResponse(str(landing), status_code=302)

    async def _count_calls(self, _: Request) -> Response:
        return JSONResponse({"calls": len(self.calls)})

    async def _order_fault(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
            return JSONResponse({"faults": "none"})
        try:
            fault = Fault(**await request.json())
        except (TypeError, ValueError):
            names = ", ".join(field.name for field in fields(Fault))
            return JSONResponse({"error": "BAD_FAULT", "error_description": f"Known keys: {names}"}, 400)
        self.faults.order(fault)
        return JSONResponse({"faults": "ordered"})


async def _params(request: Request) -> dict[str, Any]:
    """Return the parameters of query and body, JSON or form, merged as the portal does."""
    params = parse_query(request.url.query)
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            params |= as_array(json.loads(body)) or {}
        except ValueError:
            return params
    elif body:
        params |= parse_query(body.decode("utf-8", errors="replace"))
    return params


def _error(error: PortalError) -> Response:
    return JSONResponse({"error": error.code, "error_description": error.description}, error.status)


def _changes(method: str, params: Mapping[str, Any]) -> bool:
    commands = (as_array(param(params, "cmd")) or {}).values() if method == "batch" else [method]
    return any(str(command).partition("?")[0].endswith((".add", ".update", ".delete")) for command in commands)
