"""Several calls in one request: the parameters of the method `batch`, and its answers.

Facts: at most 50 commands, each a PHP query string; always HTTP 200; a failed command is missing from `result` and is
in `result_error`. The portal replaces `$result[...]` and the like inside every key and value of a command, and there is
no escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from urllib.parse import quote

from bitrix24_directories.errors.errors import failure

from .answers import Answer, Outcome, count, refused, unexpected

BATCH_LENGTH = 50
"""Commands that the portal takes in one batch."""

# The parts of a batch's answer, each keyed by command; PHP writes an empty one as [].
_PARTS = ("", "_error", "_total", "_next", "_time")

# PHP turns blanks and dots of a parameter's name into underscores, and reads brackets and NULs its own way.
_NAME = re.compile(r"[^\s.\[\]\0]+")
_KEY = re.compile(r"[^\[\]\0]+")

_REPLACED = re.compile(r"\$(?:result|error|total|next|time)\[")


@dataclass(frozen=True, slots=True)
class Call:
    """A REST method and its parameters; the caller keeps calls that are not `batchable` apart."""

    method: str
    params: Mapping[str, Any]
    batchable: bool = True

    @property
    def alone(self) -> bool:
        """True if no batch may hold the call, for example because a batch would alter its values."""
        return not self.batchable or _is_replaced(self.params)


def in_one_request(calls: Sequence[Call]) -> list[Call]:
    """Return the first of `calls`, with as many of the next ones as one batch can hold in order."""
    return [*takewhile(lambda call: not call.alone, calls[:BATCH_LENGTH])] or [calls[0]]


def batch_params(calls: Sequence[Call], *, halt: bool = False) -> dict[str, Any]:
    """Return the parameters of `batch`; with `halt` the portal stops at the first failure."""
    # PHP could take mere numbers for list indexes.
    commands = {f"c{index}": f"{call.method}?{php_query(call.params)}" for index, call in enumerate(calls)}
    return {"halt": int(halt), "cmd": commands}


def read_batch(answer: Answer, calls: Sequence[Call], *, halt: bool = False) -> list[Outcome]:
    """Return each call's outcome in a batch's answer.

    A command that the answer lacks has an error, except after the command at which the batch halted. Raises
    Bitrix24Error if it is no batch's answer.
    """
    if not isinstance(answer.result, dict):
        raise unexpected(200)
    parts = {name: part if isinstance(part := answer.result.get(f"result{name}"), dict) else {} for name in _PARTS}
    keys = [f"c{index}" for index in range(len(calls))]
    if halt and any(key in parts["_error"] for key in keys):
        while keys[-1] not in parts[""] and keys[-1] not in parts["_error"]:
            keys.pop()
    outcomes: list[Outcome] = []
    for key in keys:
        if key in parts["_error"]:
            error = parts["_error"][key]
            fields = {"time": parts["_time"].get(key)} | (error if isinstance(error, dict) else {})
            outcomes.append(refused(200, {}, fields))
        elif key in parts[""]:
            total, following = count(parts["_total"].get(key)), count(parts["_next"].get(key))
            outcomes.append(Answer(parts[""][key], total=total, next=following))
        else:
            lacking = "a batch's answer lacks one of its commands"
            outcomes.append(failure("UNEXPECTED_ANSWER", http_status=200, detail=lacking))
    return outcomes


def php_query(params: Mapping[str, Any]) -> str:
    """Encode as PHP does: `{"filter": {"ENTITY_ID": "SOURCE"}}` -> `filter[ENTITY_ID]=SOURCE`.

    Percent-encoded where needed. As in PHP's http_build_query, true is 1, false is 0, and None and empty values are
    left out. Raises ValueError for a key that PHP would read as another one.
    """
    for name in params:
        if _NAME.fullmatch(name) is None:
            raise ValueError("PHP would change a parameter's name: " + repr(name))
    pairs = (pair for name, value in params.items() for pair in _pairs(name, value))
    return "&".join(f"{quote(name, safe='[]')}={quote(value, safe='')}" for name, value in pairs)


def _pairs(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _KEY.fullmatch(str(key)) is None:
                raise ValueError("PHP would change a key: " + repr(key))
            yield from _pairs(f"{name}[{key}]", item)
    elif value is not None:
        yield name, str(int(value)) if isinstance(value, bool) else str(value)


def _is_replaced(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_replaced(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return any(map(_is_replaced, value))
    return isinstance(value, str) and _REPLACED.search(value) is not None
