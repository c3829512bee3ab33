"""The exception for every failure, and its construction from a portal's answer.

The texts of each failure are in `catalogue`.
"""

from __future__ import annotations

import html
import math
import re
from functools import partial

from bitrix24_directories.text import one_line

from .catalogue import (
    AT_AUTHORIZATION_SERVER,
    BAD_WEBHOOK,
    BEFORE_THE_METHOD,
    BY_CODE,
    BY_OAUTH_CODE,
    BY_STATUS,
    BY_STATUS_OF_PAGE,
    BY_TEXT,
    CATALOGUE,
    NEVER_SENT,
    TOLD_BY_TEXT,
    UNCLEAR,
    ErrorKind,
)

PORTAL_MESSAGE_LIMIT = 300
"""Longest text of a portal that is passed on, in characters."""

TOKEN_REFUSED = frozenset({"expired_token", "invalid_token"})
"""Kinds of errors that a new token can end."""

_TAG = re.compile(r"<[^<>]*>")
_NUMBER = re.compile(r"-?[0-9]+")


class Bitrix24Error(Exception):
    """A failure that an assistant, its user or a program can act on.

    `str()` is the whole answer for an assistant: what happened with code and HTTP status, what to do next, and whether
    trying again can help. `category`, `retryable`, `http_status` and `retry_after` (seconds; both may be None) say the
    same to programs. `code` is Bitrix24's code if it gave one; `kind` is the row of the catalogue, for callers that
    handle one failure specially; `message` is the first line of `str()`, `happened` that line without code, status and
    quotes, `detail` its end, `status_text` code and status, `agent_hint` what to do next, and `user_hint` the same for
    a person. `server_retry_after` are the seconds of the portal's own answer, or None; `portal_message` is its own
    text, and `quoted` that text as it is shown.

    `not_applied` is True only if that is certain: the portal refused in a documented way, or the request was never
    sent. `answered` is True if the portal itself answered with a Bitrix24 error: it has finished with the call, and
    will do nothing more. It is False for web pages, answers of a proxy, lost connections, timeouts and damaged answers.
    `partial_result` is the result so far if a change of several steps stopped half-way, else None.
    """

    def __init__(
        self,
        kind: str,
        row: ErrorKind,
        *,
        code: str = "",
        http_status: int | None = None,
        detail: str = "",
        portal_message: str = "",
        retry_after: float | None = None,
        not_applied: bool = False,
        answered: bool = False,
        partial_result: object = None,
    ) -> None:
        self._row = row
        self._with_row = partial(
            Bitrix24Error,
            kind,
            code=code,
            http_status=http_status,
            detail=detail,
            portal_message=portal_message,
            retry_after=retry_after,
            not_applied=not_applied,
            answered=answered,
            partial_result=partial_result,
        )
        self.kind = kind
        self.partial_result = partial_result
        self.not_applied = not_applied
        self.answered = answered
        self.code = code or kind
        self.category = row.category
        self.http_status = http_status
        self.retryable = row.retryable
        self.server_retry_after, self.portal_message = retry_after, portal_message
        wait = row.retry_after if retry_after is None else max(1, math.ceil(retry_after))
        self.retry_after = wait if row.retryable else None
        self.detail = detail
        self.happened = f"{row.happened}: {detail}" if detail else row.happened
        self.agent_hint, self.user_hint = row.agent_hint, row.user_hint
        self.status_text = self.code if http_status is None else f"{code or 'no error code'}, HTTP {http_status}"
        self.quoted = f'Bitrix24 says: "{portal_message}"' if row.quoted and portal_message else ""
        self.message = f"{self.happened} ({self.status_text}). {self.quoted}".rstrip()
        if not self.retryable:
            again = "Repeating the same call will not help."
        elif self.retry_after is None:
            again = "Trying again once may help."
        else:
            again = f"Trying again can help after {self.retry_after} seconds."
        super().__init__(f"{self.message}\nNext: {row.agent_hint}\n{row.again or again}")

    def with_partial_result(self, partial_result: object) -> Bitrix24Error:
        """Return the same error with the result so far, as a new object: others may hold this one."""
        return self._with_row(self._row, partial_result=partial_result)

    def for_a_team(self) -> Bitrix24Error:
        """Return the error in the words of a team's server, for people with their own credentials."""
        return self._with_row(self._row.of_a_team)


def failure(
    kind: str,
    *,
    http_status: int | None = None,
    detail: str = "",
    retry_after: float | None = None,
    never_sent: bool = False,
) -> Bitrix24Error:
    """Return the error of a catalogue's row; `detail` adds this product's own words.

    `never_sent` says that no request was sent; some rows mean that by themselves.
    """
    return Bitrix24Error(
        kind,
        CATALOGUE[kind],
        http_status=http_status,
        detail=detail,
        retry_after=retry_after,
        not_applied=never_sent or kind in NEVER_SENT,
    )


def replace_wait(error: Bitrix24Error, seconds: float) -> Bitrix24Error:
    """Return the same error, with `seconds` until trying again can help."""
    return Bitrix24Error(
        error.kind,
        CATALOGUE[error.kind],
        code=error.code,
        http_status=error.http_status,
        detail=error.detail,
        portal_message=error.portal_message,
        retry_after=seconds,
        not_applied=error.not_applied,
        answered=error.answered,
    )


def from_portal(code: str, description: str, http_status: int, retry_after: float | None = None) -> Bitrix24Error:
    """Return the error for a portal's answer.

    `code` is in any letter case, possibly empty or the message itself. A code of the catalogue decides, unless it only
    says "read the text"; then the text decides, and last the HTTP status, which is 200 for an error inside a batch.
    """
    cleaned, message = clean(code), clean(description)
    text = f"{message} {cleaned}".casefold()
    if " " in cleaned:  # the message is in place of the code
        cleaned, message = "", message or cleaned
    key = cleaned.upper()
    if _NUMBER.fullmatch(cleaned) and cleaned not in BY_CODE:  # some proxies repeat the status here
        key = cleaned if cleaned == str(http_status) else "0"
    by_code, by_text = BY_CODE.get(key), None
    if by_code is None or key in TOLD_BY_TEXT:
        by_text = next((kind for phrase, kind in BY_TEXT if phrase in text), None)
    if by_code == "INVALID_CREDENTIALS" and (BAD_WEBHOOK in text or (not message and http_status == 401)):
        by_code = "NO_AUTH_FOUND"
    # Methods of directories refuse like this, before anything is stored.
    by_message = "REFUSED" if message and not cleaned and http_status in (200, 400) else None
    kind = by_text or by_code or by_message or _by_status(http_status, is_error=bool(cleaned or message))
    if by_text is not None:
        refused = not cleaned or by_code is not None
    else:
        refused = by_message is not None or (by_code is not None and key not in UNCLEAR)
    if cleaned.upper() == kind.upper():
        cleaned = kind
    return Bitrix24Error(
        kind,
        CATALOGUE[kind],
        code=cleaned,
        http_status=http_status,
        portal_message=message,
        retry_after=retry_after,
        not_applied=by_code in BEFORE_THE_METHOD or (refused and http_status < 500),
        answered=by_code is not None or (bool(message) and http_status < 500 and http_status != 408),
    )


def from_authorization_server(code: str, description: str, http_status: int, host: str) -> Bitrix24Error:
    """Return the error for JSON of the token endpoint at `host`, whose codes differ in meaning."""
    cleaned, message = clean(code), clean(description)
    kind = BY_OAUTH_CODE.get(cleaned.casefold())
    if kind is not None:
        return Bitrix24Error(kind, CATALOGUE[kind], code=cleaned, http_status=http_status, portal_message=message)
    by_status = AT_AUTHORIZATION_SERVER[_by_status(http_status, is_error=False)]
    kind = "OAUTH_REFUSED" if by_status == "NOT_OAUTH" and (cleaned or message) else by_status
    return Bitrix24Error(
        kind, CATALOGUE[kind], code=cleaned, http_status=http_status, detail=host, portal_message=message
    )


def of_authorization_server(error: Bitrix24Error, host: str) -> Bitrix24Error:
    """Return the failure as the authorization server's (`host`), if its row blames the portal."""
    kind = AT_AUTHORIZATION_SERVER.get(error.kind)
    if kind is None:
        return error
    return Bitrix24Error(
        kind,
        CATALOGUE[kind],
        code="" if kind == "NOT_OAUTH" else error.code,
        http_status=error.http_status,
        detail=host,
        not_applied=error.not_applied,
    )


def clean(text: str) -> str:
    """Return a portal's text without tags and invisible characters, on one line.

    Control characters are removed too; the text is cut to PORTAL_MESSAGE_LIMIT.
    """
    return one_line(_TAG.sub(" ", html.unescape(_TAG.sub(" ", text))), PORTAL_MESSAGE_LIMIT)


def _by_status(http_status: int, *, is_error: bool) -> str:
    """Return the row for an HTTP status; `is_error` if the answer has `error` as Bitrix24's do."""
    by_status = BY_STATUS if is_error else BY_STATUS | BY_STATUS_OF_PAGE
    return by_status.get(http_status) or ("SERVER_ERROR" if http_status >= 500 else "UNKNOWN_ERROR")
