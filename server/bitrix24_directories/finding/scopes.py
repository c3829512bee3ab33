"""The words by which people name a directory: its title, its pipeline, what it belongs to. Pure, below `matching`."""

from __future__ import annotations

import re

from rapidfuzz.distance import OSA

from bitrix24_directories.directories.models import Directory
from bitrix24_directories.words import Word, words_of

from .vocabulary import ENTITY_WORDS, FIELD_WORDS, LIST_WORDS, MAIN_PIPELINE, STAGE_WORDS

_PIPELINE_NUMBER = re.compile(r"(?:pipeline|funnel|воронк\w*|category|c)\W*(\d+)\b", re.IGNORECASE)


class Scope:
    """A directory, and whether a word of a query names it."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        texts = f"{directory.name} {directory.pipeline or ''} {directory.entity_id.replace('_', ' ')}"
        self._words = {form for word in words_of(texts) for form in word if not form.isdigit()}
        self._words |= STAGE_WORDS if directory.kind == "stages" else LIST_WORDS
        self._words |= FIELD_WORDS.get(directory.entity_id, frozenset())
        for place in directory.used_in or ():
            self._words |= ENTITY_WORDS.get(place.partition(".")[0], frozenset())
        if directory.entity_id == "DEAL_STAGE":
            self._words |= MAIN_PIPELINE
        if directory.entity_id.startswith("DEAL_STAGE"):
            self._words.add(f"c{directory.category_id}")
        self._long = [word for word in self._words if len(word) >= 6]

    def names(self, word: Word) -> bool:
        return not self._words.isdisjoint(word)

    def likeness(self, word: Word, query: str) -> float:
        """How well `word` of `query` names the directory, 0 to 1."""
        if self.names(word):
            return 1.0
        if word.whole.isdigit():
            numbers = _PIPELINE_NUMBER.findall(query)
            return float(word.whole in numbers and int(word.whole) == self.directory.category_id)
        if len(word.whole) >= 6 and any(OSA.distance(word.whole, other, score_cutoff=1) <= 1 for other in self._long):
            return 0.87
        return 0.0
