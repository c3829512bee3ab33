"""References in a batch: `$result[a][0]` stands for a part of an earlier answer. A leaf.

Fact: they are replaced in every decoded key and value of a command, and nothing escapes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$(result|total|next|time|error)((?:\[[^\]]*\])+)")


def replace_references(params: dict[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a command's parameters with each reference replaced from the `answers` so far."""
    return {str(_replaced(key, answers)): _replaced(value, answers) for key, value in params.items()}


def _replaced(value: Any, answers: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(value, dict):
        return replace_references(value, answers)
    if not isinstance(value, str):
        return value
    if (match := _REFERENCE.fullmatch(value)) is not None:
        return _referenced(match, answers)
    return _REFERENCE.sub(lambda match: _text(_referenced(match, answers)), value)


def _referenced(match: re.Match[str], answers: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the value of a reference; None if it does not exist."""
    part = "result" if match[1] == "result" else f"result_{match[1]}"
    value: Any = answers.get(part, {})
    for key in re.findall(r"\[([^\]]*)\]", match[2]):
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            return None
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(value)
