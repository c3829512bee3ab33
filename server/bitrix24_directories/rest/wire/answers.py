"""From the bytes of an HTTP answer to its result, or to the error that it means.

The one place that knows Bitrix24's odd shapes: `error` that is empty, a number, nested or the message itself, errors
under HTTP 200, web pages instead of JSON. Imports `errors` only.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from bitrix24_directories.rest.errors import Bitrix24Error, failure, from_portal

# The parts of a batch's answer, each keyed by command; PHP writes an empty one as [].
_PARTS = ("", "_error", "_total", "_next", "_time")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Answer:
    """A call's `result`, with `total` and the `next` start where a list has more pages."""

    result: Any
    total: int | None = None
    next: int | None = None


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """The answer that `body` holds. Raises Bitrix24Error for everything but a JSON object with a `result`."""
    try:
        parsed = from_json(body.removeprefix(_BOM), allow_inf_nan=False)
    except ValueError:
        raise _not_json(status, headers, body) from None
    if not isinstance(parsed, dict):
        raise _unexpected(status)
    # Test for the key: an empty `error` is an error too.
    if "error" in parsed or ("error_description" in parsed and "result" not in parsed):
        raise _refused(status, headers, parsed)
    if "result" not in parsed or not 200 <= status < 300:
        raise _unexpected(status)
    return Answer(parsed["result"], total=_count(parsed.get("total")), next=_count(parsed.get("next")))


def read_batch(answer: Answer, keys: Sequence[str], *, halted: bool = False) -> list[Answer | Bitrix24Error]:
    """What a batch answered for each of its `keys`; with `halted` up to the first error, where it stopped.

    Raises Bitrix24Error when it is no batch's answer.
    """
    if not isinstance(answer.result, dict):
        raise _unexpected(200)
    parts = {name: part if isinstance(part := answer.result.get(f"result{name}"), dict) else {} for name in _PARTS}
    outcomes: list[Answer | Bitrix24Error] = []
    for key in keys:
        outcomes.append(_read_command(parts, key))
        if halted and isinstance(outcomes[-1], Bitrix24Error):
            break
    return outcomes


def _read_command(parts: Mapping[str, dict[str, Any]], key: str) -> Answer | Bitrix24Error:
    if key in parts["_error"]:
        error = parts["_error"][key]
        return _refused(200, {}, {"time": parts["_time"].get(key)} | (error if isinstance(error, dict) else {}))
    if key not in parts[""]:
        return failure("UNEXPECTED_ANSWER", http_status=200, detail="a batch's answer lacks one of its commands")
    return Answer(parts[""][key], total=_count(parts["_total"].get(key)), next=_count(parts["_next"].get(key)))


def _refused(status: int, headers: Mapping[str, str], parsed: dict[str, Any]) -> Bitrix24Error:
    code, description = parsed.get("error"), parsed.get("error_description")
    if isinstance(nested := code, dict):  # REST 3.0
        code, description = nested.get("code"), nested.get("message") or description
    wait = _retry_after(headers)
    if wait is None:
        wait = _operating_reset(parsed.get("time"))
    return from_portal(_text(code), _text(description), status, wait)


def _not_json(status: int, headers: Mapping[str, str], body: bytes) -> Bitrix24Error:
    if status >= 400:
        return from_portal("", "", status, _retry_after(headers))
    stripped = body.strip()
    if not stripped:
        return failure("EMPTY_ANSWER", http_status=status)
    is_page = stripped.startswith(b"<") or headers.get("content-type", "").startswith("text/html")
    return failure("NOT_BITRIX24" if is_page else "BROKEN_ANSWER", http_status=status)


def _unexpected(status: int) -> Bitrix24Error:
    return from_portal("", "", status) if status >= 400 else failure("UNEXPECTED_ANSWER", http_status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as a date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal() and len(value) < 6:
        return float(value)
    try:
        return _seconds_until(email.utils.parsedate_to_datetime(value).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None


def _operating_reset(timing: object) -> float | None:
    """Seconds until `operating_reset_at` of a `time` block."""
    reset_at = timing.get("operating_reset_at") if isinstance(timing, dict) else None
    return _seconds_until(reset_at) if isinstance(reset_at, int | float) and 0 < reset_at < 1e11 else None


def _seconds_until(moment: float) -> float:
    return max(0.0, moment - time.time())


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str:
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)
