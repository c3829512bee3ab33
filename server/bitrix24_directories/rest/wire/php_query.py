"""PHP query strings, the only form in which a batch takes its commands' parameters. Imports nothing of this package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

# PHP turns blanks and dots of a parameter's name into underscores, and reads brackets and NULs its own way.
_NAME = re.compile(r"[^\s.\[\]\0]+")
_KEY = re.compile(r"[^\[\]\0]+")


def php_query(params: Mapping[str, Any]) -> str:
    """`{"filter": {"ENTITY_ID": "SOURCE"}}` -> `filter[ENTITY_ID]=SOURCE`, percent-encoded where needed.

    As PHP's http_build_query: true is 1, false is 0, and what is None or empty is left out. Raises ValueError for a key
    that PHP would read as another one.
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
