"""From the bytes of an HTTP answer to its result, or to the error that it means.

The one place that knows Bitrix24's odd shapes: `error` that is empty, a number, nested or the message itself, errors
under HTTP 200, web pages instead of JSON. Imports `errors` only.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from bitrix24_directories.errors.errors import Bitrix24Error, failure, from_portal
from bitrix24_directories.redaction import Redactor

LONGEST_WAIT = 600.0
"""Seconds that a portal is left alone at most, whatever it asks for: its limits are counted over ten minutes."""

_FAR = 1e12  # seconds: further than any date, and never too large for a float
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Answer:
    """A call's `result`, with `total` and the `next` start where a list has more pages.

    `metered` tells whether the portal counts the method's running time, as those in the cloud do, and self-hosted ones
    do not; None where the answer says nothing of time.
    """

    result: Any
    total: int | None = None
    next: int | None = None
    metered: bool | None = None


Outcome = Answer | Bitrix24Error
"""What came of a call, as a value."""


async def capture(call: Awaitable[Answer]) -> Outcome:
    """A call's answer, or its error as a value."""
    try:
        return await call
    except Bitrix24Error as exc:
        return exc


def unwrap(outcome: Outcome) -> Answer:
    """The answer, or raise the error that stands in its place."""
    if isinstance(outcome, Bitrix24Error):
        raise outcome
    return outcome


def read_answer(status: int, headers: Mapping[str, str], body: bytes, redact: Redactor) -> Answer:
    """The answer that `body` holds, without secrets that it quotes.

    Raises Bitrix24Error for everything but a JSON object with a `result`.
    """
    try:
        parsed = redact.values(from_json(body.removeprefix(_BOM), allow_inf_nan=False))
    except ValueError:
        raise not_json(status, headers, body) from None
    if not isinstance(parsed, dict):
        raise unexpected(status)
    # Test for the key: an empty `error` is an error too.
    if "error" in parsed or ("error_description" in parsed and "result" not in parsed):
        raise refused(status, headers, parsed)
    if "result" not in parsed or not 200 <= status < 300:
        raise unexpected(status)
    timing = parsed.get("time")
    metered = "operating" in timing if isinstance(timing, dict) else None
    return Answer(parsed["result"], total=count(parsed.get("total")), next=count(parsed.get("next")), metered=metered)


def refused(status: int, headers: Mapping[str, str], parsed: dict[str, Any]) -> Bitrix24Error:
    """The error that a JSON object with `error` means."""
    code, description = parsed.get("error"), parsed.get("error_description")
    if isinstance(nested := code, dict):  # REST 3.0
        code, description = nested.get("code"), nested.get("message") or description
    wait = _retry_after(headers)
    if wait is None and isinstance(timing := parsed.get("time"), dict):
        reset_at = timing.get("operating_reset_at")
        if isinstance(reset_at, int | float) and reset_at > 0:
            wait = _seconds_until(min(reset_at, _FAR))
    return from_portal(_text(code), _text(description), status, wait)


def not_json(status: int, headers: Mapping[str, str], body: bytes) -> Bitrix24Error:
    """The error for an answer that is no JSON."""
    if status >= 400:
        return from_portal("", "", status, _retry_after(headers))
    stripped = body.strip()
    if not stripped:
        return failure("EMPTY_ANSWER", http_status=status)
    is_page = stripped.startswith(b"<") or headers.get("content-type", "").startswith("text/html")
    return failure("NOT_BITRIX24" if is_page else "BROKEN_ANSWER", http_status=status)


def unexpected(status: int) -> Bitrix24Error:
    """The error for JSON of a shape that no documentation describes."""
    return from_portal("", "", status) if status >= 400 else failure("UNEXPECTED_ANSWER", http_status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date, LONGEST_WAIT at most."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:12]), LONGEST_WAIT)
    try:
        return _seconds_until(email.utils.parsedate_to_datetime(value).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds_until(moment: float) -> float:
    """Seconds until a time of Unix, LONGEST_WAIT at most."""
    return min(max(0.0, moment - time.time()), LONGEST_WAIT)


def count(value: object) -> int | None:
    """A number of rows; None for whatever cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)
