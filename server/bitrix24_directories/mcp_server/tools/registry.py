"""All tools by name. A new one takes a file, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from . import directories, records, usage
from .spec import ToolSpec


@cache
def reading_tools() -> Mapping[str, ToolSpec]:
    """The tools that only read, in the order in which clients list them."""
    return {spec.name: spec for spec in (*directories.SPECS, records.SPEC, usage.SPEC)}


@cache
def changing_tools() -> Mapping[str, ToolSpec]:
    """The tools that change a portal, in the order in which clients list them."""
    from . import changes, merges  # few servers need them

    return {spec.name: spec for spec in (*changes.SPECS, merges.SPEC)}


def tool_named(name: str) -> ToolSpec | None:
    """Return the tool of a name, even if changes are switched off."""
    return reading_tools().get(name) or changing_tools().get(name)
