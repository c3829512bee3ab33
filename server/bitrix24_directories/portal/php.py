"""PHP's formats: query strings with nested keys, and arrays that are lists or objects."""

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
        # PHP makes a variable's name of it: no blanks in front, and underscores for blanks and dots.
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
    """Return PHP's array for an object, or for a list under its indexes; None for the rest."""
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return dict(value) if isinstance(value, Mapping) else None


def to_json_array(values: dict[str, Any]) -> dict[str, Any] | list[Any]:
    """Return a list for the keys 0, 1, 2 …, and for no keys at all, as PHP writes it."""
    if list(values) == [str(index) for index in range(len(values))]:
        return list(values.values())
    return values


def param(params: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return a parameter by its name, in any spelling that the portal accepts."""
    for spelling in (name, name.lower(), name.upper(), name.capitalize(), name[:1].upper() + name[1:]):
        if spelling in params:
            return params[spelling]
    return default
