"""Finds texts among items of directories: the certain item, or else the nearest ones. Pure."""

from __future__ import annotations

from .certain import CertainIndex, IndexEntry
from .nearest import NearestIndex


class Matcher(CertainIndex):
    """Index of the items of some directories; the ranking is built at its first use."""

    _ranking: NearestIndex | None = None

    def nearest(self, text: str, most: int, *, filled: bool = False) -> list[IndexEntry]:
        """Return the items nearest to `text`; it may mean none of them. `filled` adds first items."""
        if self._ranking is None:
            self._ranking = NearestIndex(entry.item for entry in self.entries)
        return [self.entries[number] for number in self._ranking.rank(text, most, filled=filled)]
