"""An item as it is found: its words as bits, and by what evidence a query's words stand among them. Pure, below
`item_index`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from bitrix24_directories.directories.models import Item
from bitrix24_directories.text import bare_code
from bitrix24_directories.words import without_tags

from .scopes import Scope
from .tokens import Token, tokens_of


class Evidence(IntEnum):
    """How a word of a query stands in an item, the weakest first. From TYPO on a word is as good as written."""

    CODE = 1
    BEGINNING = 2
    TWO_TYPOS = 3
    STAGE = 4
    CONCEPT = 5
    TYPO = 6
    DENIED = 7
    STEM = 8
    SAME = 9


class Hit(NamedTuple):
    """Where a word stands in an item: by what evidence, as which of its words (bits), and whether one is the other's
    negation.
    """

    evidence: Evidence
    bits: int
    denied: bool = False


Hits = Mapping[int, Hit]
"""Hits by the items' numbers."""


@dataclass(eq=False, slots=True)
class Entry:
    """One item that can be found.

    `telling` are the words (bits) that tell it from others: what names its directory does not, where anything else
    does. `sides` are those of them on each side of a slash. `denied` are those that a negating word stands with.
    """

    item: Item
    scope: Scope
    telling: int = 0
    sides: tuple[int, ...] = ()
    denied: int = 0
    numbers: tuple[str, ...] = ()

    @property
    def bare_code(self) -> str:
        return bare_code(self.item.status_id)


def bits_of(start: int, end: int) -> int:
    """The words from one place to before another."""
    return (1 << end) - (1 << start)


def sides_of(name: str, telling: int) -> Iterator[int]:
    """The telling words of each side of a slash: "Show/Exhibition" is both."""
    start = 0
    for side in without_tags(name).split("/"):
        tokens = tokens_of(side)
        if any(token.kind == "number" for token in tokens):
            return
        if bits := bits_of(start, start + len(tokens)) & telling:
            yield bits
        start += len(tokens)


def denied_words(tokens: Sequence[Token]) -> int:
    """The words (bits) that the denials in a name deny: the next one, and where none follows the one before."""
    bits = 0
    for place, token in enumerate(tokens):
        if token.kind == "denial":
            following = [other for other in range(place + 1, len(tokens)) if tokens[other].kind in ("word", "number")]
            before = [other for other in range(place) if tokens[other].kind in ("word", "number")]
            bits |= 1 << (following[0] if following else before[-1] if before else place)
    return bits
