"""Several calls in one request: the parameters of the method `batch`, and what it answered for each call.

Facts: at most 50 commands, each a PHP query string; always HTTP 200; a failed command is missing from `result` and
stands in `result_error`. The portal replaces `$result[...]` and the like inside every key and value of a command, and
there is no escape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from bitrix24_directories.rest.errors import failure

from .answers import Answer, Outcome, count, refused, unexpected
from .php_query import php_query

BATCH_LENGTH = 50
"""Commands that the portal takes in one batch."""

# The parts of a batch's answer, each keyed by command; PHP writes an empty one as [].
_PARTS = ("", "_error", "_total", "_next", "_time")

_REPLACED = re.compile(r"\$(?:result|error|total|next|time)\[")


@dataclass(frozen=True, slots=True)
class Call:
    """A REST method and its parameters. `batchable` is False for one that the caller keeps out of batches."""

    method: str
    params: Mapping[str, Any]
    batchable: bool = True

    @property
    def alone(self) -> bool:
        """True for a call that no batch may hold: also for one whose keys or values a batch would alter."""
        return not self.batchable or _is_replaced(self.params)


def in_one_request(calls: Sequence[Call]) -> list[Call]:
    """The first of `calls`, with as many of the next ones as one batch can hold in their order."""
    if calls[0].alone:
        return [calls[0]]
    return [*takewhile(lambda call: not call.alone, calls[:BATCH_LENGTH])]


def batch_params(calls: Sequence[Call], *, halt: bool = False) -> dict[str, Any]:
    """What to send to the method `batch`; with `halt` the portal stops at the first command that fails."""
    commands = {key: f"{call.method}?{php_query(call.params)}" for key, call in zip(_keys(calls), calls, strict=True)}
    return {"halt": int(halt), "cmd": commands}


def read_batch(answer: Answer, calls: Sequence[Call], *, halt: bool = False) -> list[Outcome]:
    """What a batch answered for each of `calls`; an error for a command that it says nothing of, unless that follows
    the one at which it halted.

    Raises Bitrix24Error when it is no batch's answer.
    """
    if not isinstance(answer.result, dict):
        raise unexpected(200)
    parts = {name: part if isinstance(part := answer.result.get(f"result{name}"), dict) else {} for name in _PARTS}
    keys = _keys(calls)
    if halt and any(key in parts["_error"] for key in keys):
        while keys[-1] not in parts[""] and keys[-1] not in parts["_error"]:
            keys.pop()
    return [_read_command(parts, key) for key in keys]


def _is_replaced(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_replaced(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return any(map(_is_replaced, value))
    return isinstance(value, str) and _REPLACED.search(value) is not None


def _keys(calls: Sequence[Call]) -> list[str]:
    """Keys for a batch's commands that PHP cannot take for list indexes."""
    return [f"c{place}" for place in range(len(calls))]


def _read_command(parts: Mapping[str, dict[str, Any]], key: str) -> Outcome:
    if key in parts["_error"]:
        error = parts["_error"][key]
        return refused(200, {}, {"time": parts["_time"].get(key)} | (error if isinstance(error, dict) else {}))
    if key not in parts[""]:
        return failure("UNEXPECTED_ANSWER", http_status=200, detail="a batch's answer lacks one of its commands")
    return Answer(parts[""][key], total=count(parts["_total"].get(key)), next=count(parts["_next"].get(key)))
