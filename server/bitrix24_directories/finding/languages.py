"""What is known of each language: its stemmer, and the tables in `languages/`, which speakers can correct.

A line of such a file is `what: words or phrases, separated by commas`. Raises ValueError for a line that is none.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import Stemmer

from bitrix24_directories.words import folded, plain, split

Script = Literal["latin", "cyrillic", "arabic", "other"]

Phrase = tuple[str, ...]

_FOLDER = Path(__file__).with_name("languages")
BY_DEFAULT: dict[Script, tuple[str, ...]] = {"latin": ("en",), "cyrillic": ("ru",), "arabic": ("ar",), "other": ()}
"""The languages of a script in which nothing tells the language."""

_LETTER_TELLS, _WORD_TELLS = 3, 2
_SECOND = 0.6  # of the likeliest language's score, for another one to be taken into account
_SETTINGS = {"stemmer", "letters", "spellings", "articles", "endings", "ending changes", "negating beginnings",
             "negating endings", "negating inside", "negating inside before"}  # fmt: skip
_BARE = 4  # letters that have to be left when a negation or an ending is taken away


@dataclass(frozen=True)
class Language:
    """One language. `phrases` are its file's words, by what their line begins with."""

    name: str
    phrases: dict[str, list[Phrase]]
    stemmer: str | None = None
    letters: frozenset[str] = frozenset()
    spellings: tuple[tuple[str, str], ...] = ()
    articles: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    negating_endings: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    changes: tuple[tuple[str, str], ...] = ()

    def stem(self, word: str) -> str:
        """`word` (lower case, with its accents) without its grammatical ending, in plain Latin letters."""
        for article in self.articles:
            if word.startswith(article) and len(word) - len(article) >= _BARE - 1:
                word = word.removeprefix(article)
                break
        if self.stemmer is not None:
            return folded(_stemmers.named(self.stemmer).stemWord(word))
        return folded(self._without_ending(word))

    def spelt(self, word: str) -> Iterator[str]:
        """How `word` is written in Latin letters besides."""
        for letter, other in self.spellings:
            if letter in word:
                yield folded(word.replace(letter, other))

    def unnegated(self, word: str) -> Iterator[str]:
        """What `word` may be the negation of: an affix is all that tells them apart."""
        for beginning in self.beginnings:
            if word.startswith(beginning) and len(word) - len(beginning) >= _BARE:
                yield word.removeprefix(beginning)
        for ending in self.negating_endings:
            if word.endswith(ending) and len(word) - len(ending) >= _BARE:
                yield word.removesuffix(ending)
        for denial in self.inside:
            place = word.rfind(denial)
            if place >= 2 and word[place + len(denial) :].startswith(self.behind):
                yield word[:place] + word[place + len(denial) :]

    def _without_ending(self, word: str) -> str:
        for ending in self.endings:
            if word.endswith(ending) and len(word) - len(ending) >= _BARE:
                word = word.removesuffix(ending)
                break
        for ending, other in self.changes:
            if word.endswith(ending):
                return word.removesuffix(ending) + other
        return word


class _Stemmers(threading.local):
    """The library's stemmers, of which each thread needs its own."""

    def __init__(self) -> None:
        self._made: dict[str, Stemmer.Stemmer] = {}

    def named(self, algorithm: str) -> Stemmer.Stemmer:
        if algorithm not in self._made:
            self._made[algorithm] = Stemmer.Stemmer(algorithm, 0)  # words are kept by `tokens`
        return self._made[algorithm]


_stemmers = _Stemmers()


def script_of(word: str) -> Script:
    """The script of a lower-case word, as far as languages have to be told apart by it."""
    for char in word:
        if "a" <= char <= "z" or "\u00df" <= char <= "\u024f" or "\u1e00" <= char <= "\u1eff":
            return "latin"
        if "\u0400" <= char <= "\u04ff":
            return "cyrillic"
        if "\u0600" <= char <= "\u06ff":
            return "arabic"
    return "other"


def _language(path: Path) -> Language:
    settings: dict[str, tuple[str, ...]] = {}
    phrases: dict[str, list[Phrase]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            what, colon, words = line.partition(": ")
            if not colon:
                raise ValueError(f"{path.name}: no colon in {line!r}")
            if what in _SETTINGS:
                settings[what] = tuple(words.split(", "))
            else:
                phrases[what] = [(one,) if one.isalpha() else split(one) for one in words.split(", ")]

    def pairs(what: str) -> tuple[tuple[str, str], ...]:
        return tuple((old, new) for old, _, new in (one.partition("=") for one in settings.get(what, ())))

    return Language(
        name=path.stem,
        phrases=phrases,
        stemmer=settings.get("stemmer", (None,))[0],
        letters=frozenset("".join(settings.get("letters", ()))),
        spellings=pairs("spellings"),
        articles=settings.get("articles", ()),
        beginnings=settings.get("negating beginnings", ()),
        inside=settings.get("negating inside", ()),
        behind=settings.get("negating inside before", ()),
        negating_endings=settings.get("negating endings", ()),
        endings=tuple(sorted(settings.get("endings", ()), key=len, reverse=True)),
        changes=pairs("ending changes"),
    )


LANGUAGES: dict[str, Language] = {path.stem: _language(path) for path in sorted(_FOLDER.glob("*.txt"))}


def _phrases(what: str) -> dict[str, set[Phrase]]:
    """All languages' phrases of the lines that begin with `what`, without accents, by what follows it there."""
    found: dict[str, set[Phrase]] = defaultdict(set)
    for language in LANGUAGES.values():
        for begins, phrases in language.phrases.items():
            kind, _, name = begins.partition(" ")
            if kind == what:
                found[name].update(tuple(map(plain, one)) for one in phrases)
    return found


def _words(what: str, languages: Iterable[Language] = tuple(LANGUAGES.values())) -> frozenset[str]:
    """All languages' words of the line `what`, as they are written, and without their accents."""
    raw = [word for one in languages for phrase in one.phrases.get(what, ()) for word in phrase]
    return frozenset([*raw, *map(plain, raw)])


def _swapped(found: dict[str, set[Phrase]]) -> dict[Phrase, frozenset[str]]:
    by_phrase: dict[Phrase, set[str]] = defaultdict(set)
    for name, phrases in found.items():
        for phrase in phrases:
            by_phrase[phrase].add(name)
    return {phrase: frozenset(names) for phrase, names in by_phrase.items()}


FILLER = frozenset(word for one in LANGUAGES.values() for phrase in one.phrases.get("filler", ()) for word in phrase)
"""Words that say nothing, in lower case with their accents: those of one language are words of others without them."""
NEGATIONS = _words("negations")
NEGATIONS_OF = {
    name: (_words("negations", (one,)), _words("negations beside others", (one,))) for name, one in LANGUAGES.items()
}
"""A language's negations, and those that do not deny again beside another: "никогда" with "не", "ne" with "pas"."""
NUMBER_SIGNS = _words("number signs")
PERCENT = _phrases("percent")[""]
NUMBERS: dict[Phrase, int] = {
    form: int(what.rpartition(" ")[2])
    for one in LANGUAGES.values()
    for what, phrases in one.phrases.items()
    if what.startswith(("number ", "ordinal ")) and what.rpartition(" ")[2].isdigit()
    for words in phrases
    for form in (tuple(map(plain, words)), words)
}
"""Number words, cardinal and ordinal, with their accents and without: "on" is ten in Turkish, but "ön" is not."""
ORDINAL_ENDINGS = sorted(_words("ordinal endings"), key=len, reverse=True)
CONCEPTS = _swapped(_phrases("concept"))
"""What a phrase means, whatever its language."""
CALLED = {
    name: frozenset(word for phrase in phrases for word in phrase) for name, phrases in _phrases("called").items()
}
"""Words by which people name things: `deal`, `stage`, or a directory by its id."""

KNOWN = frozenset(
    [*(word for phrase in CONCEPTS for word in phrase), *(plain(word) for one in NUMBERS for word in one)]
)
"""Words that are no misspelling of any other."""
_TELLING: dict[str, frozenset[str]] = {
    name: frozenset(word for phrases in one.phrases.values() for phrase in phrases for word in phrase)
    for name, one in LANGUAGES.items()
}
_SCRIPTS = {name: Counter(map(script_of, words)).most_common(1)[0][0] for name, words in _TELLING.items()}


def languages_of(words: Iterable[str]) -> dict[Script, tuple[str, ...]]:
    """The languages, one or two a script, in which lower-case words are written; none where nothing tells."""
    scores: dict[Script, Counter[str]] = defaultdict(Counter)
    for word in words:
        script, told = _told(word)
        for name, score in told:
            scores[script][name] += score
    found: dict[Script, tuple[str, ...]] = {}
    for script, of_script in scores.items():
        likeliest = of_script.most_common(2)
        found[script] = tuple(name for name, score in likeliest if score >= _SECOND * likeliest[0][1])
    return found


@functools.lru_cache(maxsize=50_000)
def _told(word: str) -> tuple[Script, tuple[tuple[str, int], ...]]:
    """Which languages a word tells of, and how much."""
    found: list[tuple[str, int]] = []
    for name in candidates(word):
        by_letters = _LETTER_TELLS * (not LANGUAGES[name].letters.isdisjoint(word))
        if score := by_letters + _WORD_TELLS * (word in _TELLING[name]):
            found.append((name, score))
    return script_of(word), tuple(found)


@functools.lru_cache(maxsize=50_000)
def candidates(word: str) -> tuple[str, ...]:
    """The languages in whose script a lower-case word is written."""
    script = script_of(word)
    return tuple(name for name, of in _SCRIPTS.items() if of == script)
