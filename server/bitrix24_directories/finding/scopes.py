"""The words by which people name a directory: its title, its pipeline, what it belongs to. Pure, below `matching`."""

from __future__ import annotations

import re

from rapidfuzz.distance import OSA

from bitrix24_directories.directories.models import Directory
from bitrix24_directories.words import plain

from .languages import CALLED
from .tokens import Token, stems, tokens_of

_PIPELINE_NUMBER = re.compile(r"(?:pipeline|funnel|воронк\w*|category|c)\W*(\d+)\b", re.IGNORECASE)
_LONG = 6  # letters of a word that may be misspelt


def pipelines_of(query: str) -> frozenset[int]:
    """The pipelines that a query calls by their numbers."""
    return frozenset(map(int, _PIPELINE_NUMBER.findall(query)))


class Scope:
    """A directory, and whether a word of a query names it."""

    def __init__(self, directory: Directory, languages: tuple[str, ...]) -> None:
        self.directory = directory
        texts = f"{directory.name} {directory.pipeline or ''} {directory.entity_id.replace('_', ' ')}"
        words = [token for token in tokens_of(texts) if token.kind == "word"]
        self._words = {token.whole for token in words}
        self._called = set(CALLED["stage" if directory.kind == "stages" else "list"])
        self._stems = {stem for token in words for stem in stems(token, languages)}
        self._called |= CALLED.get(directory.entity_id, frozenset())
        for place in directory.used_in or ():
            self._called |= CALLED.get(_OWNERS.get(owner := place.partition(".")[0], owner), frozenset())
        if directory.entity_id.startswith("DEAL_STAGE"):
            self._called |= CALLED["deal"] | {f"c{directory.category_id}"}
        if directory.entity_id == "STATUS":
            self._called |= CALLED["lead"]
        if directory.entity_id == "DEAL_STAGE":
            self._called |= CALLED["main"]
        self._long = [word for word in self._words | self._called if len(word) >= _LONG]

    def names(self, token: Token, languages: tuple[str, ...]) -> bool:
        if token.whole in self._words or plain(token.text) in self._called:
            return True
        return not self._stems.isdisjoint(stems(token, languages))

    def is_named_by(self, token: Token, languages: tuple[str, ...], pipelines: frozenset[int]) -> bool:
        """Whether a query's token names the directory, perhaps with a typo; `pipelines` are those that it numbers."""
        if token.kind == "number":
            return self.directory.category_id in pipelines and token.whole == f"#{self.directory.category_id}"
        if self.names(token, languages):
            return True
        if len(token.whole) < _LONG:
            return False
        return any(OSA.distance(token.whole, other, score_cutoff=1) <= 1 for other in self._long)


_OWNERS = {"item(31)": "invoice", "item(36)": "document"}
"""What people call things by, where `usedIn` has a number."""
