"""Finds texts among the items of some directories: the one item that is certain, or those that are nearest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from bitrix24_directories.directories.models import Directory, Item

from .certain import CertainIndex, Entry, Fits
from .nearest import NearestIndex


class Matcher:
    """Finds texts among the items of some directories; what ranking needs is made when something is ranked."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self._certain = CertainIndex(contents)

    def fits(self, text: str, *, for_code: bool = False) -> Fits:
        """The items that `text` is the code or the whole name of: one is certain, several cannot be told apart.

        `for_code` if the text stands where a code belongs: a word in other letter case is the code then.
        """
        return self._certain.fits(text, for_code=for_code)

    def nearest(self, text: str, most: int, *, filled: bool = False) -> list[Entry]:
        """The items that are nearest to `text`, none of which may be what it means; `filled` up with the first ones."""
        return [self._certain.entries[number] for number in self._ranking.rank(text, most, filled=filled)]

    @cached_property
    def _ranking(self) -> NearestIndex:
        return NearestIndex(entry.item for entry in self._certain.entries)
