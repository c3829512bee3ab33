"""How PHP reads and writes: query strings with nested keys, and arrays that are lists or objects by their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

_NESTED = re.compile(r"\[([^\]]*)\]")


def parse_query(query: str) -> dict[str, Any]:
    """`a=1&b[KEY]=2&c[]=3` -> `{"a": "1", "b": {"KEY": "2"}, "c": {"0": "3"}}`."""
    parsed: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        first, bracket, _ = key.partition("[")
        # PHP makes a variable's name of it: without blanks in front, and with neither blanks nor dots within.
        name = re.sub(r"[ .]", "_", first.lstrip(" "))
        path = [name, *_NESTED.findall(key[len(first) :])] if bracket else [name]
        _put(parsed, path, value)
    return parsed


def _put(target: dict[str, Any], path: list[str], value: str) -> None:
    for key in path[:-1]:
        key = key or str(len(target))
        nested = target.get(key)
        if not isinstance(nested, dict):
            nested = target[key] = {}
        target = nested
    target[path[-1] or str(len(target))] = value


def as_array(value: Any) -> dict[str, Any] | None:
    """What PHP would call an array: a JSON object, or a list under its indexes; None for anything else."""
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return dict(value) if isinstance(value, Mapping) else None


def to_json_array(values: dict[str, Any]) -> dict[str, Any] | list[Any]:
    """PHP writes an array whose keys are 0, 1, 2 … as a list, and so the empty one too."""
    if list(values) == [str(index) for index in range(len(values))]:
        return list(values.values())
    return values


def param(params: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A parameter by its name in any of the spellings that the portal takes."""
    for spelling in (name, name.lower(), name.upper(), name.capitalize(), name[:1].upper() + name[1:]):
        if spelling in params:
            return params[spelling]
    return default
