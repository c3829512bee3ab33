"""Finds texts among the items of some directories: the one item that is certain, or those that are nearest. Pure."""

from __future__ import annotations

from .certain import CertainIndex, Entry
from .nearest import NearestIndex


class Matcher(CertainIndex):
    """Finds texts among the items of some directories; what ranking needs is made when something is ranked."""

    _ranking: NearestIndex | None = None

    def nearest(self, text: str, most: int, *, filled: bool = False) -> list[Entry]:
        """The items that are nearest to `text`, none of which may be what it means; `filled` up with the first ones."""
        if self._ranking is None:
            self._ranking = NearestIndex(entry.item for entry in self.entries)
        return [self.entries[number] for number in self._ranking.rank(text, most, filled=filled)]
