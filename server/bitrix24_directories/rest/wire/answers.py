"""Turns the bytes of an HTTP answer into its result, or into the error that it means.

The only module that knows Bitrix24's odd shapes: `error` that is empty, a number, nested or the message itself, errors
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
"""Longest wait in seconds, even if a portal asks for more: its limits are counted over ten minutes."""

_FAR = 1e12  # seconds: further than any date, and never too large for a float
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Answer:
    """A call's `result`, with `total` and the `next` start if a list has more pages.

    `metered` is True if the portal counts the method's running time, as in the cloud, and False if not, as on
    self-hosted portals; None if the answer holds no times.
    """

    result: Any
    total: int | None = None
    next: int | None = None
    metered: bool | None = None


Outcome = Answer | Bitrix24Error
"""Result of a call, as a value."""


async def capture(call: Awaitable[Answer]) -> Outcome:
    """Return a call's answer, or its error as a value."""
    try:
        return await call
    except Bitrix24Error as exc:
        return exc


def unwrap(outcome: Outcome) -> Answer:
    """Return the answer, or raise the error in its place."""
    if isinstance(outcome, Bitrix24Error):
        raise outcome
    return outcome


def read_answer(status: int, headers: Mapping[str, str], body: bytes, redact: Redactor) -> Answer:
    """Return the answer in `body`, without the secrets that it quotes.

    Raises Bitrix24Error for everything except a JSON object with a `result`.
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
    """Return the error that a JSON object with `error` means."""
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
    """Return the error for an answer that is no JSON."""
    if status >= 400:
        return from_portal("", "", status, _retry_after(headers))
    stripped = body.strip()
    if not stripped:
        return failure("EMPTY_ANSWER", http_status=status)
    is_page = stripped.startswith(b"<") or headers.get("content-type", "").startswith("text/html")
    return failure("NOT_BITRIX24" if is_page else "BROKEN_ANSWER", http_status=status)


def unexpected(status: int) -> Bitrix24Error:
    """Return the error for JSON of an undocumented shape."""
    return from_portal("", "", status) if status >= 400 else failure("UNEXPECTED_ANSWER", http_status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date), at most LONGEST_WAIT."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:12]), LONGEST_WAIT)
    try:
        return _seconds_until(email.utils.parsedate_to_datetime(value).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds_until(moment: float) -> float:
    """Return the seconds until a Unix time, at most LONGEST_WAIT."""
    return min(max(0.0, moment - time.time()), LONGEST_WAIT)


def count(value: object) -> int | None:
    """Return a number of rows; None for a value that cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)
