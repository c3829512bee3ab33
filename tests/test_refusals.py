"""Errors that prove that nothing was done, and errors after which the portal does no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitrix24_directories.errors.catalogue import BEFORE_THE_METHOD, BY_CODE, BY_TEXT, UNCLEAR
from bitrix24_directories.errors.errors import from_portal, replace_wait
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, Webhook, failure, in_process
from bitrix24_directories.rest.wire.answers import read_answer
from bitrix24_directories.rest.wire.batches import Call, read_batch
from support import PortalInProcess

REFUSED, OPEN, NOBODY = (True, True), (False, True), (False, False)
"""(nothing was done, the portal answered).

The three: a refusal; an error of a call that may have been carried out; no answer of the portal.
"""

TAKEN = "The specified status ID already exists."
SQL = "SQL query error!"
RUSSIAN = "Код стадии слишком длинный."

# HTTP status | code | description | certain facts
ERRORS: list[tuple[int, str, str, tuple[bool, bool]]] = [
    (400, "", RUSSIAN, REFUSED),
    (400, RUSSIAN, "", REFUSED),
    (400, "", "Access denied.", REFUSED),
    (403, "", "Access denied.", REFUSED),
    (400, "", "", NOBODY),
    (403, "", RUSSIAN, OPEN),
    (500, "", RUSSIAN, NOBODY),
    (500, "", TAKEN, NOBODY),
    (400, "ERROR_CORE", TAKEN, REFUSED),
    (400, "error_core", TAKEN.upper(), REFUSED),
    (500, "ERROR_CORE", TAKEN, OPEN),
    (400, "ERROR_CORE", SQL, OPEN),
    (400, "ERROR_CORE", RUSSIAN, OPEN),
    (400, "ERROR_CORE", "", OPEN),
    (500, "ERROR_CORE", SQL, OPEN),
    (400, "0", RUSSIAN, OPEN),
    (400, "100", "A parameter is wrong.", OPEN),
    (500, "-17", "", OPEN),
    (400, "GENERAL_ERROR", "", OPEN),
    (500, "INTERNAL_SERVER_ERROR", "", OPEN),
    (400, "INTERNAL_SERVER_ERROR", TAKEN, OPEN),
    (500, "ERROR_UNEXPECTED_ANSWER", "", OPEN),
    (400, "-", RUSSIAN, REFUSED),
    (500, "-", RUSSIAN, OPEN),
    (400, "NEW_CODE", RUSSIAN, OPEN),
    (400, "NEW_CODE", TAKEN, OPEN),
    (400, "NEW_CODE", "", NOBODY),
    (500, "NEW_CODE", RUSSIAN, NOBODY),
    (503, "503", "overload", NOBODY),
    (400, "ERROR_ARGUMENT", "", REFUSED),
    (500, "ERROR_ARGUMENT", "", OPEN),
    (500, "ACCESS_DENIED", "", OPEN),
    (401, "INVALID_CREDENTIALS", "Invalid request credentials", REFUSED),
    (503, "INVALID_CREDENTIALS", "Invalid request credentials", REFUSED),
    (503, "INVALID_CREDENTIALS", "No rights", OPEN),
    (503, "QUERY_LIMIT_EXCEEDED", "", REFUSED),
    (503, "OVERLOAD_LIMIT", "", REFUSED),
    (500, "PORTAL_DELETED", "", REFUSED),
    (401, "CONNECTION_ERROR", "", REFUSED),
]


def certain(error: object) -> tuple[bool, bool]:
    assert isinstance(error, Bitrix24Error)
    return error.not_applied, error.answered


@pytest.mark.parametrize(("status", "code", "words", "expected"), ERRORS)
def test_of_a_call_of_its_own(status: int, code: str, words: str, expected: tuple[bool, bool]) -> None:
    body = json.dumps({"error": code, "error_description": words}).encode()
    with pytest.raises(Bitrix24Error) as caught:
        read_answer(status, {}, body, Redactor(tuple))
    assert certain(caught.value) == expected


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [(code, words, expected) for status, code, words, expected in ERRORS if status == 400],
)
def test_of_a_command_in_a_batch(code: str, words: str, expected: tuple[bool, bool]) -> None:
    answer = Answer({"result": [], "result_error": {"c0": {"error": code, "error_description": words}}})
    (outcome,) = read_batch(answer, [Call("crm.status.add", {})])
    assert certain(outcome) == expected


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_code_decides_and_not_the_status(code: str) -> None:
    kinds = {from_portal(code, "Anything.", status).kind for status in (200, 400, 401, 403, 404, 500, 503)}
    assert len(kinds) == 1
    before = BY_CODE[code] in BEFORE_THE_METHOD
    assert certain(from_portal(code, "Anything.", 400)) == (code not in UNCLEAR, True)
    assert certain(from_portal(code, "Anything.", 502)) == (before, True)


@pytest.mark.parametrize(("phrase", "kind"), BY_TEXT)
def test_a_known_text_is_a_refusal_below_500(phrase: str, kind: str) -> None:
    for code, status, expected in (("", 400, REFUSED), ("ERROR_CORE", 400, REFUSED), ("ERROR_CORE", 500, OPEN)):
        error = from_portal(code, phrase.capitalize(), status)
        assert (error.kind, *certain(error)) == (kind, *expected)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 410, 429, 500, 502, 503])
@pytest.mark.parametrize("body", [b"<html>Access denied.</html>", b"", b'{"message": "Access denied."}', b"[]", b"{"])
def test_pages_proxies_and_damaged_answers_prove_nothing(status: int, body: bytes) -> None:
    with pytest.raises(Bitrix24Error) as caught:
        read_answer(status, {}, body, Redactor(tuple))
    assert certain(caught.value) == NOBODY


@pytest.mark.parametrize("kind", ["TIMEOUT", "CONNECTION_LOST", "EMPTY_ANSWER", "BROKEN_ANSWER", "UNEXPECTED_ANSWER"])
def test_a_lost_answer_proves_nothing(kind: str) -> None:
    assert certain(failure(kind)) == NOBODY


@pytest.mark.parametrize(("status", "code", "words", "expected"), ERRORS)
def test_another_wait_leaves_the_rest_as_it_is(status: int, code: str, words: str, expected: tuple[bool, bool]) -> None:
    error = from_portal(code, words, status)
    again = replace_wait(error, 7)
    assert certain(again) == expected
    assert (again.kind, again.code, again.portal_message, again.detail) == (
        error.kind,
        error.code,
        error.portal_message,
        error.detail,
    )
    assert again.retry_after == (7 if error.retryable else None)


async def test_the_client_hands_them_on(portal_in_process: PortalInProcess) -> None:
    """Through `batch`, with several calls (a batch) and with one."""
    add: tuple[str, dict[str, Any]] = (
        "crm.status.add",
        {"fields": {"ENTITY_ID": "SOURCE", "STATUS_ID": "WEB", "NAME": "Web"}},
    )
    async with Bitrix24Client(
        Webhook.parse(portal_in_process.webhook_url()), transport=in_process(portal_in_process.portal.app)
    ) as client:
        for calls in ([add], [add, add]):
            (outcome,) = await client.batch(calls, halt=True)
            assert certain(outcome) == REFUSED
        portal_in_process.order(code="ERROR_CORE", description=SQL, status=500)
        (outcome,) = await client.batch([add], halt=True)
        assert certain(outcome) == OPEN


@pytest.mark.virtual_clock
async def test_a_portal_that_reaches_its_authorization_server_again(portal_in_process: PortalInProcess) -> None:
    """Even a change is sent again: the portal refuses before it looks at the call."""
    portal_in_process.order(code="CONNECTION_ERROR", status=401, times=2)
    async with Bitrix24Client(
        Webhook.parse(portal_in_process.webhook_url()), transport=in_process(portal_in_process.portal.app)
    ) as client:
        await client.call("crm.status.add", {"fields": {"ENTITY_ID": "SOURCE", "STATUS_ID": "FAIR", "NAME": "Fair"}})
    assert portal_in_process.methods_called == ["crm.status.add"] * 3
