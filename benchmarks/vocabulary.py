"""Names and queries like a real portal's: thousands of words, some misspelt or unknown."""

from __future__ import annotations

import random
from collections.abc import Sequence

_SYLLABLES = [consonant + vowel for consonant in "bkmrst" for vowel in "aeio"]  # few, so that words are similar
_WORDS = 8000


def words(chance: random.Random) -> list[str]:
    return ["".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4))) for _ in range(_WORDS)]


def names(chance: random.Random, vocabulary: Sequence[str], number: int) -> list[str]:
    """Names of one to four words."""
    return [" ".join(chance.choices(vocabulary, k=chance.randint(1, 4))) for _ in range(number)]


def queries(chance: random.Random, vocabulary: Sequence[str], names: Sequence[str], number: int) -> list[str]:
    """A third each of names, misspelt names and names of nothing, half of these of new words."""
    third = number // 3
    misspelt = [f"{name[:3]}x{name[3:]}" for name in chance.sample(names, third)]
    unknown = [" ".join(chance.choices(vocabulary, k=3)) for _ in range(third // 2)]
    unheard = [f"{word}qq" for word in chance.sample(vocabulary, number - 2 * third - third // 2)]
    return chance.sample(names, third) + misspelt + unknown + unheard
