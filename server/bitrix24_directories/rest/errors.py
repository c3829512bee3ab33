"""The one exception for everything that goes wrong, and how a portal's answer becomes it.

What there is to say about each failure stands in `catalogue`.
"""

from __future__ import annotations

import html
import math
import re

from bitrix24_directories.text import one_line

from .catalogue import BY_CODE, BY_OAUTH_CODE, BY_STATUS, BY_TEXT, CATALOGUE, NEVER_SENT, UNCLEAR, Entry

WORDS_LIMIT = 300
"""Characters of a portal's own words that are passed on at most."""

_TAG = re.compile(r"<[^<>]*>")


class Bitrix24Error(Exception):
    """A failure that an assistant, its user or a program can act on.

    `str()` is the whole answer for an assistant: what happened with code and HTTP status, what to do next, and
    whether trying again can help. `category`, `retryable`, `http_status` and `retry_after` (seconds; both None where
    there is none) say the same to programs. `code` is Bitrix24's code where it gave one; `kind` is the catalogue's
    row, for callers that treat one failure apart; `message` is the first line of `str()`, `happened` that line without
    facts and quotes, `detail` its end, `facts` code and status, `todo` what to do next.
    `asked_to_wait` are the seconds that the portal itself asked for, None where it did not; `words` its own text, and
    `quoted` that text as it is shown.
    `nothing_was_done` is True only where that is certain: the portal refused in a documented way, or was never asked.
    """

    def __init__(
        self,
        kind: str,
        entry: Entry,
        *,
        code: str = "",
        http_status: int | None = None,
        detail: str = "",
        words: str = "",
        retry_after: float | None = None,
        nothing_was_done: bool = False,
    ) -> None:
        self.kind = kind
        self.nothing_was_done = nothing_was_done
        self.code = code or kind
        self.category = entry.category
        self.http_status = http_status
        self.retryable = entry.retryable
        self.asked_to_wait, self.words = retry_after, words
        wait = entry.retry_after if retry_after is None else max(1, math.ceil(retry_after))
        self.retry_after = wait if entry.retryable else None
        self.detail = detail
        self.happened = f"{entry.happened}: {detail}" if detail else entry.happened
        self.todo, self.todo_for_a_person = entry.todo, entry.todo_for_a_person
        self.facts = self.code if http_status is None else f"{code or 'no error code'}, HTTP {http_status}"
        self.quoted = f'Bitrix24 says: "{words}"' if entry.words and words else ""
        self.message = f"{self.happened} ({self.facts}). {self.quoted}".rstrip()
        super().__init__(f"{self.message}\nNext: {entry.todo}\n{entry.again or self._retry()}")

    def _retry(self) -> str:
        if not self.retryable:
            return "Trying again without that change will not help."
        if self.retry_after is None:
            return "Trying again once may help."
        return f"Trying again can help after {self.retry_after} seconds."


def failure(
    kind: str,
    *,
    http_status: int | None = None,
    detail: str = "",
    retry_after: float | None = None,
    never_sent: bool = False,
) -> Bitrix24Error:
    """The error for one of the catalogue's rows; `detail` says more, in this product's own words.

    `never_sent` tells that no request has left, which some rows mean by themselves.
    """
    return Bitrix24Error(
        kind,
        CATALOGUE[kind],
        http_status=http_status,
        detail=detail,
        retry_after=retry_after,
        nothing_was_done=never_sent or kind in NEVER_SENT,
    )


def replace_wait(error: Bitrix24Error, seconds: float) -> Bitrix24Error:
    """The same error, with `seconds` until trying again can help."""
    entry, code = CATALOGUE[error.kind], error.code if error.http_status else ""
    return Bitrix24Error(
        kind=error.kind,
        entry=entry,
        code=code,
        http_status=error.http_status,
        retry_after=seconds,
        nothing_was_done=error.nothing_was_done,
    )


def from_portal(code: str, description: str, http_status: int, retry_after: float | None = None) -> Bitrix24Error:
    """The error for what a portal answered: `code` in any letter case, possibly empty or the message itself.

    A code that the catalogue knows decides, unless it only says "read the text"; then the text decides, and last the
    HTTP status.
    """
    shown, words = clean(code), clean(description)
    kind = BY_CODE.get(shown.upper())
    if kind is None or kind == "INVALID_PARAMETER":
        kind = _by_text(f"{words} {shown}") or kind or _by_status(http_status)
    if " " in shown:  # the message stands where the code belongs
        shown, words = "", words or shown
    if shown.upper() == kind.upper():
        shown = kind
    return Bitrix24Error(
        kind,
        CATALOGUE[kind],
        code=shown,
        http_status=http_status,
        words=words,
        retry_after=retry_after,
        nothing_was_done=bool(shown or words) and kind not in UNCLEAR and not kind.startswith("HTTP_"),
    )


def from_authorization_server(code: str, description: str, http_status: int) -> Bitrix24Error:
    """The error for what the token endpoint answered; some of its codes mean other things than the portal's."""
    kind = BY_OAUTH_CODE.get(clean(code).casefold())
    if kind is None:
        return from_portal(code, description, http_status)
    return Bitrix24Error(kind, CATALOGUE[kind], code=clean(code), http_status=http_status, words=clean(description))


def clean(text: str) -> str:
    """A portal's own words without tags, control and invisible characters, on one line, cut to WORDS_LIMIT."""
    return one_line(_TAG.sub(" ", html.unescape(_TAG.sub(" ", text))), WORDS_LIMIT)


def _by_text(text: str) -> str | None:
    folded = text.casefold()
    return next((kind for phrase, kind in BY_TEXT if phrase in folded), None)


def _by_status(http_status: int) -> str:
    return BY_STATUS.get(http_status) or ("SERVER_ERROR" if http_status >= 500 else "UNKNOWN_ERROR")
