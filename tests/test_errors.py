"""Every row of the catalogue of errors that a portal can cause, through MCP.

The clock is virtual: passing errors are retried first, for as long as a call may take.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bitrix24_directories.errors.catalogue import BY_CODE
from bitrix24_directories.errors.errors import from_portal
from bitrix24_directories.rest import CATALOGUE
from support import RunningPortal, ask

pytestmark = pytest.mark.virtual_clock


# HTTP status | code as the portal sends it | category | seconds to wait (None: a retry does not help)
SYSTEM_ERRORS = [
    (500, "INTERNAL_SERVER_ERROR", "portal", 5),
    (500, "ERROR_UNEXPECTED_ANSWER", "portal", 5),
    (429, "OPERATION_TIME_LIMIT", "limit", 600),
    (503, "OVERLOAD_LIMIT", "limit", None),
    (405, "ERROR_BATCH_METHOD_NOT_ALLOWED", "input", None),
    (400, "ERROR_BATCH_LENGTH_EXCEEDED", "input", None),
    (401, "NO_AUTH_FOUND", "authorization", None),
    (401, "CONNECTION_ERROR", "portal", 30),
    (401, "expired_token", "authorization", None),
    (401, "invalid_token", "authorization", None),
    (401, "ERROR_OAUTH", "authorization", None),
    (401, "APPLICATION_NOT_FOUND", "authorization", None),
    (401, "AUTHORIZATION_ERROR", "authorization", None),
    (401, "PAYMENT_REQUIRED", "authorization", None),
    (401, "METHOD_CONFIRM_WAITING", "authorization", None),
    (403, "METHOD_CONFIRM_DENIED", "authorization", None),
    (400, "INVALID_REQUEST", "configuration", None),
    (403, "ACCESS_DENIED", "authorization", None),
    (403, "INVALID_CREDENTIALS", "authorization", None),
    (403, "WRONG_LICENSE", "authorization", None),
    (403, "insufficient_scope", "authorization", None),
    (403, "user_access_error", "authorization", None),
    (403, "allowed_only_intranet_user", "authorization", None),
    (403, "WRONG_AUTH_TYPE", "authorization", None),
    (404, "ERROR_METHOD_NOT_FOUND", "configuration", None),
    (404, "ERROR_MANIFEST_IS_NOT_AVAILABLE", "portal", None),
    (404, "NOT_FOUND", "input", None),
    (400, "ERROR_NOT_FOUND", "input", None),
    (410, "PORTAL_DELETED", "configuration", None),
    (500, "PORTAL_DELETED", "configuration", None),
    (403, "PORTAL_DELETED", "configuration", None),
    (400, "ERROR_CORE", "portal", None),
    (500, "ERROR_CORE", "portal", None),
    (400, "0", "portal", None),
    (500, "17", "portal", None),
    (400, "GENERAL_ERROR", "portal", None),
    (400, "ERROR_ARGUMENT", "input", None),
    (400, "INVALID_ARG_VALUE", "input", None),
    (400, "REQUIRED_ARG_MISSING", "input", None),
    (400, "100", "input", None),
    (400, "-", "input", None),
    (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID", "input", None),
    (400, "CRM_FIELD_ERROR_VALUE_NOT_UNIQUE", "input", None),
    (400, "CRM_FIELD_ERROR_REQUIRED", "input", None),
    (400, "CRM_ITEM_READ_ACCESS_DENIED", "authorization", None),
    (400, "CRM_ITEM_ADD_ACCESS_DENIED", "authorization", None),
    (400, "CRM_ITEM_UPDATE_ACCESS_DENIED", "authorization", None),
    (400, "CRM_ITEM_DELETE_ACCESS_DENIED", "authorization", None),
    (400, "CRM_ITEM_HAS_RUNNING_WORKFLOWS", "input", None),
    (400, "ENTITY_TYPE_NOT_SUPPORTED", "input", None),
    (400, "OWNER_NOT_FOUND", "input", None),
    (400, "WRONG_DATETIME_FORMAT", "input", None),
    (400, "WRONG_ENCODING", "input", None),
    (400, "ADDING_DISABLED", "input", None),
    (400, "REMOVING_DISABLED", "input", None),
    (400, "FEATURE_DISABLED", "input", None),
    (400, "RESTRICTED_BY_TARIFF", "authorization", None),
]


@pytest.mark.parametrize(("status", "code", "category", "seconds"), SYSTEM_ERRORS)
async def test_system_errors(portal: RunningPortal, status: int, code: str, category: str, seconds: int | None) -> None:
    portal.order(code=code, status=status)
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")

    expected: dict[str, Any] = {"code": code, "httpStatus": status, "category": category}
    retry = {"retryable": False} if seconds is None else {"retryable": True, "retryAfterSeconds": seconds}
    assert result.error == expected | retry
    happened, todo, again = result.text.splitlines()
    assert f"({code}, HTTP {status})." in happened
    assert todo.startswith("Next: ")
    assert (f"after {seconds} seconds" if seconds else "will not help") in again


async def test_request_limit(portal: RunningPortal) -> None:
    """The wait depends on the portal's recent refusals."""
    portal.order(code="QUERY_LIMIT_EXCEEDED", status=503)
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")
    assert result.error["category"] == "limit"
    assert 1 <= result.error["retryAfterSeconds"] <= 10
    assert "too many requests in a short time (QUERY_LIMIT_EXCEEDED, HTTP 503)" in result.text
    assert portal.methods_called == ["crm.status.entity.items"] * len(portal.portal.calls)
    assert 3 < len(portal.portal.calls) < 10


BAD_WEBHOOK = ("INVALID_CREDENTIALS", "switched off or has expired")

# HTTP status | body | code for programs | a part of the text
ODD_ERRORS: list[tuple[int, Any, str, str]] = [
    (401, {"error": "EXPIRED_TOKEN", "error_description": ""}, "expired_token", "(expired_token, HTTP 401)"),
    (403, {"error": "Insufficient_Scope"}, "insufficient_scope", "no permission for CRM"),
    (400, {"error": "", "error_description": "Access denied."}, "CRM_ACCESS_DENIED", "(no error code, HTTP 400)"),
    (400, {"error": "", "error_description": "<b>Access</b><br>denied."}, "CRM_ACCESS_DENIED", "no right"),
    (400, {"error": 100, "error_description": "Bad parameter"}, "100", 'Bitrix24 says: "Bad parameter"'),
    (400, {"error": "ERROR_CORE", "error_description": "Access denied."}, "ERROR_CORE", "no right to do this in CRM"),
    (200, {"error": "QUERY_LIMIT_EXCEEDED", "error_description": "Too many"}, "QUERY_LIMIT_EXCEEDED", "HTTP 200"),
    (401, {"error": "INVALID_CREDENTIALS", "error_description": "INVALID request credentials."}, *BAD_WEBHOOK),
    (403, {"error": "INVALID_CREDENTIALS", "error_description": "Invalid request credentials"}, *BAD_WEBHOOK),
    (401, {"error": "INVALID_CREDENTIALS"}, *BAD_WEBHOOK),
    (
        401,
        {"error": "INVALID_CREDENTIALS", "error_description": "No rights"},
        "INVALID_CREDENTIALS",
        "lacks the rights",
    ),
    (403, {"error": "INVALID_CREDENTIALS"}, "INVALID_CREDENTIALS", "lacks the rights"),
    (403, {"error": "insufficient_scope"}, "insufficient_scope", "the administrator becomes its owner"),
    (400, {"error": "", "error_description": "Код занят."}, "REFUSED", 'Bitrix24 says: "Код занят."'),
    (400, {"error": "Код уже занят."}, "REFUSED", 'Bitrix24 says: "Код уже занят."'),
    (503, {"error": "503", "error_description": "overload"}, "503", "not working at the moment"),
    (200, {"result": [], "error": ""}, "UNKNOWN_ERROR", "not documented"),
    (200, {"error": None}, "UNKNOWN_ERROR", "not documented"),
    (400, {"error_description": "Status is not found."}, "NOT_FOUND", "no such record"),
    (400, {"error": "", "error_description": "The parameter entityId must be a string."}, "ENTITY_ID_NOT_TEXT", ""),
    (
        400,
        {"error": {"code": "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION", "message": "Access denied"}},
        "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION",
        "no right to do this in CRM",
    ),
    (
        418,
        {"error": "BREWING", "error_description": "<p>I am&nbsp;a&#32;<i>teapot</i>\n\u202e</p>" + "x" * 500},
        "BREWING",
        'Bitrix24 says: "I am a teapot xxx',
    ),
    (400, {"error": ["odd"]}, "UNKNOWN_ERROR", "(no error code, HTTP 400)"),
    (500, {"unexpected": 1}, "INTERNAL_SERVER_ERROR", "Internal error"),
    (502, "<html><h1>Bad gateway</h1></html>", "SERVER_ERROR", "not working at the moment"),
    (503, "", "SERVER_ERROR", "not working at the moment"),
    (500, "<html>maintenance</html>", "INTERNAL_SERVER_ERROR", "Internal error"),
    (403, "<html>Forbidden</html>", "HTTP_FORBIDDEN", "IP allow-list"),
    (404, "<html>Not found</html>", "HTTP_NOT_FOUND", "no Bitrix24 REST at this address"),
    (401, "no", "HTTP_UNAUTHORIZED", "refused the authorisation"),
    (429, "slow down", "TOO_MANY_REQUESTS", "too many requests"),
    (410, "", "PORTAL_DELETED", "deleted"),
    (200, "<!doctype html><title>Log in</title>", "NOT_BITRIX24", "web page"),
    (200, "", "EMPTY_ANSWER", "answered with nothing"),
    (200, " \n", "EMPTY_ANSWER", "answered with nothing"),
    (200, '{"result": [', "BROKEN_ANSWER", "not valid JSON"),
    (200, '{"result": ["\\ud83d"]}', "BROKEN_ANSWER", "not valid JSON"),
    (200, "[" * 100_000, "BROKEN_ANSWER", "not valid JSON"),
    (200, "[]", "UNEXPECTED_ANSWER", "shape"),
    (200, '"text"', "UNEXPECTED_ANSWER", "shape"),
    (200, {"results": []}, "UNEXPECTED_ANSWER", "shape"),
    (200, {"result": {"NEW": "New"}}, "UNEXPECTED_ANSWER", "a list was expected"),
    (200, {"result": [{"NAME": "New"}]}, "UNEXPECTED_ANSWER", "no proper STATUS_ID"),
    (200, {"result": [{"NAME": ["New"], "STATUS_ID": "NEW", "SORT": "soon"}]}, "UNEXPECTED_ANSWER", "NAME, SORT"),
    (200, {"result": ["NEW"]}, "UNEXPECTED_ANSWER", "shape"),
]


@pytest.mark.parametrize(("status", "body", "code", "part"), ODD_ERRORS)
async def test_odd_shapes(portal: RunningPortal, status: int, body: Any, code: str, part: str) -> None:
    is_json = not isinstance(body, str)
    portal.order(
        status=status,
        body=json.dumps(body) if is_json else body,
        headers={"content-type": "application/json" if is_json or body[:1] in "{[" else "text/html"},
    )
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")
    assert result.error["code"] == code
    assert result.error["httpStatus"] == status
    assert part in result.text
    assert "<" not in result.text.replace("<portal>", "")
    assert "\u202e" not in result.text
    assert len(result.text) < 1000


async def test_the_documented_refusal_with_the_message_as_code(portal: RunningPortal) -> None:
    """The vendor's own example of an error: no code anywhere, and the message in `error`."""
    portal.order(
        method="crm.status.entity.items",
        code="The parameter entityId is not defined or invalid.",
        description="The identifier of the directory is not specified or is incorrect.",
    )
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGES")
    assert result.error["code"] == "UNKNOWN_DIRECTORY"


async def test_an_answer_with_a_byte_order_mark(portal: RunningPortal) -> None:
    body = b'\xef\xbb\xbf{"result": [{"STATUS_ID": "NEW", "NAME": "New", "SORT": "10"}]}'
    portal.order(body=body, headers={"content-type": "application/json"})
    result = await ask(portal, "get_directory_items", entityId="STATUS")
    assert result.structured["items"] == [{"statusId": "NEW", "name": "New"}]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("soon", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("99999", 600),
        ("9" * 400, 600),
        ("Wed, 21 Oct 2115 07:28:00 GMT", 600),
    ],
)
async def test_retry_after_is_passed_on(portal: RunningPortal, header: str, seconds: int) -> None:
    portal.order(status=503, headers={"retry-after": header})
    result = await ask(portal, "list_directories")
    assert result.error["retryAfterSeconds"] == seconds


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(90, (80, 90)), (10**9, (600, 600)), (10**400, (600, 600)), (-50, (1, 1))]
)
async def test_operating_reset_is_passed_on(portal: RunningPortal, ahead: int, seconds: tuple[int, int]) -> None:
    """Ten minutes at most, as the portal counts over ten minutes; more means a wrong clock."""
    body = {"error": "OPERATION_TIME_LIMIT", "time": {"operating_reset_at": int(time.time()) + ahead}}
    portal.order(status=429, body=json.dumps(body))
    result = await ask(portal, "list_directories")
    assert seconds[0] <= result.error["retryAfterSeconds"] <= seconds[1]


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 410, 418, 422, 429, 500, 501, 502, 503, 505])
async def test_an_unknown_code_keeps_the_portals_words(portal: RunningPortal, status: int) -> None:
    portal.order(code="NEW_CODE", description="Only on weekdays.", status=status)
    result = await ask(portal, "list_directories")
    assert result.error["code"] == "NEW_CODE"
    assert 'Bitrix24 says: "Only on weekdays."' in result.text


@pytest.mark.parametrize("kind", sorted(CATALOGUE.keys() - BY_CODE.values()))
def test_a_code_that_looks_like_one_of_ours_is_the_portals(kind: str) -> None:
    """TIMEOUT or INTERNAL_ERROR from a portal is not about this program."""
    error = from_portal(kind, "Only on weekdays.", 400)
    assert (error.kind, error.code, error.not_applied) == ("UNKNOWN_ERROR", kind, False)


@pytest.mark.parametrize("code", CATALOGUE)
def test_rows_read_as_sentences(code: str) -> None:
    """`happened` is followed by facts in parentheses and a full stop; `todo` is complete."""
    entry = CATALOGUE[code]
    assert entry.happened[0].isupper()
    assert not entry.happened.endswith(".")
    assert entry.agent_hint.endswith(".")
    assert entry.retryable or entry.retry_after is None
