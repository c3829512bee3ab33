"""The tokens of a name or a query: words, numbers, denials and what says nothing, whatever the language. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from bitrix24_directories.words import WORD, folded, lower, plain, without_tags

from .languages import (
    CONCEPTS,
    FILLER,
    LANGUAGES,
    NEGATIONS,
    NEGATIONS_OF,
    NUMBER_SIGNS,
    NUMBERS,
    ORDINAL_ENDINGS,
    PERCENT,
)

Kind = Literal["word", "number", "denial", "filler"]

_LONGEST_PHRASE = 3
_LIMITS = frozenset({"more", "less"})
_LONGEST_INITIALS = 4
_CONTRACTION = re.compile(r"\b[a-z]+n['’]t\b")  # "won't" has nothing to do with what is won
_APOSTROPHE = re.compile(r"(?<=[а-яіїєґ])['’ʼ](?=[а-яіїєґ])")
_CAPITALS = re.compile(r"(?<!\w)[^\W\d_a-zа-яё]{2,}(?!\w)")
_ORDINAL_SIGN = re.compile(r"(\d)\.?[ºª°]")
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:[ \u00a0.,]\d{3})+(?!\d)")
_COMPARED = ((re.compile(r"(\d)\s*\+"), r"more \1"), (re.compile(r"[>≥]\s*(?=\d)"), "more "),
             (re.compile(r"[<≤]\s*(?=\d)"), "less "))  # fmt: skip
_NUMBER = rf"(?P<number>\d+)(?:-?(?:{'|'.join(ORDINAL_ENDINGS)}))?(?![^\W_])"
_TOKEN = re.compile(rf"{_NUMBER}|(?P<word>{WORD})(?P<dot>\.?)|(?P<percent>%)")


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` is in lower case with its accents, `whole` in plain Latin letters; numbers are `#` and their
    value. `dotted`: a dot ends it, as an abbreviation. `upper`: it was written in capitals.
    """

    kind: Kind
    text: str
    whole: str
    dotted: bool = False
    upper: bool = False


@lru_cache(maxsize=50_000)
def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of a name, title or query, in their order."""
    tokens = tuple(_joined_numbers(_with_numbers(list(_read(text)))))
    return tuple(_limit(tokens, place) for place in range(len(tokens)))


def _read(text: str) -> Iterator[Token]:
    text = _ORDINAL_SIGN.sub(r"\1 ", without_tags(text))
    capitals = {word.casefold() for word in _CAPITALS.findall(text)} if any(map(str.islower, text)) else ()
    text = lower(text)
    if "'" in text or "’" in text or "ʼ" in text:
        text = _APOSTROPHE.sub("", _CONTRACTION.sub("not", text))
    if any(map(str.isdigit, text)):
        text = _THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text)
        for pattern, words in _COMPARED:
            text = pattern.sub(words, text)
    for found in _TOKEN.finditer(text):
        if found["number"]:
            yield _number(int(found["number"]), found[0])
        elif found["percent"]:
            yield Token("filler", "%", "%")
        else:
            word = found["word"]
            dotted = bool(found["dot"]) and bool(text[found.end() :].strip())
            yield _word(word, dotted=dotted, upper=word in capitals)


def _word(word: str, *, dotted: bool, upper: bool) -> Token:
    kind: Kind = "word"
    if word in NEGATIONS and not (dotted and word in NUMBER_SIGNS):
        kind = "denial"
    elif word in FILLER and not upper and not dotted:
        kind = "filler"
    return Token(kind, word, folded(word), dotted, upper)


def _number(value: int, text: str) -> Token:
    return Token("number", text, f"#{value}")


def _with_numbers(tokens: Sequence[Token]) -> Iterator[Token]:
    """Number words as numbers, "per cent" as nothing, the sign of a number ("no. 2") as nothing."""
    place = 0
    while place < len(tokens):
        length, read = _phrase_at(tokens, place)
        yield read
        place += length


_MAY_COUNT = frozenset([*(one[0] for one in NUMBERS), *NUMBER_SIGNS])
_MAY_BE_PERCENT = frozenset(one[0] for one in PERCENT)
_MAY_MEAN = frozenset(one[0] for one in CONCEPTS)


def _phrase_at(tokens: Sequence[Token], place: int) -> tuple[int, Token]:
    first = tokens[place]
    if first.text not in _MAY_COUNT and plain(first.text) not in _MAY_BE_PERCENT:
        return 1, first
    for length in range(min(_LONGEST_PHRASE, len(tokens) - place), 0, -1):
        words = tokens[place : place + length]
        if tuple(plain(token.text) for token in words) in PERCENT:
            return length, Token("filler", "%", "%")
        if length == 1 and not (first.kind == "word" or _counts(tokens, place)):
            break
        if (value := NUMBERS.get(tuple(token.text for token in words))) is not None:
            return length, _number(value, " ".join(token.text for token in words))
    following = tokens[place + 1 : place + 2]
    if first.text in NUMBER_SIGNS and (place or first.dotted) and following and following[0].kind == "number":
        return 1, replace(first, kind="filler")
    return 1, first


def _counts(tokens: Sequence[Token], place: int) -> bool:
    """Whether a word that says nothing in one language is a number of another: "cuota dos", "dos de tres"."""
    if tokens[place].kind != "filler":
        return False
    rest = tokens[place + 1 : place + 3]
    return not rest or (len(rest) > 1 and rest[0].kind == "filler" and _is_number(rest[1]))


def _is_number(token: Token) -> bool:
    return token.kind == "number" or (token.text,) in NUMBERS


def _joined_numbers(tokens: Iterator[Token]) -> Iterator[Token]:
    """ "twenty five" is 25."""
    last: Token | None = None
    for token in tokens:
        if last is not None and _adds_to(last, token):
            token = _number(int(last.whole[1:]) + int(token.whole[1:]), f"{last.text} {token.text}")
            last = None
        if last is not None:
            yield last
        last = token
    if last is not None:
        yield last


def _limit(tokens: Sequence[Token], place: int) -> Token:
    """A word that says nothing but before a number, "up to 30", as one that does; not within "30 to 50"."""
    token = tokens[place]
    if token.kind != "filler" or not _LIMITS.issuperset(CONCEPTS.get((plain(token.text),), {""})):
        return token
    following = tokens[place + 1 : place + 4]
    limits = following and following[0].kind == "number" and (not place or tokens[place - 1].kind != "number")
    within = len(following) == 3 and following[1].kind == "filler" and following[2].kind == "number"
    return replace(token, kind="word") if limits and not within else token


def _adds_to(tens: Token, ones: Token) -> bool:
    if not (tens.kind == ones.kind == "number") or tens.text[:1].isdigit() or ones.text[:1].isdigit():
        return False
    return int(tens.whole[1:]) in range(20, 100, 10) and int(ones.whole[1:]) < 10


@lru_cache(maxsize=50_000)
def stems(token: Token, languages: tuple[str, ...]) -> tuple[str, ...]:
    """The word's stems in some languages, each behind its language's name: they have nothing in common otherwise."""
    if token.kind != "word":
        return ()
    return tuple(f"{name}:{LANGUAGES[name].stem(token.text)}" for name in languages)


@lru_cache(maxsize=50_000)
def unnegated(token: Token, languages: tuple[str, ...]) -> tuple[Token, ...]:
    """The words that this one may be the negation of."""
    if token.kind != "word":
        return ()
    bare = dict.fromkeys(word for name in languages for word in LANGUAGES[name].unnegated(token.text))
    return tuple(Token("word", word, folded(word)) for word in bare)


def denials(tokens: Sequence[Token]) -> int:
    """How often something is denied: a language that says "never not" for "never" denies once by it."""
    words = [token.text for token in tokens if token.kind == "denial"]
    for negations, beside in NEGATIONS_OF.values():
        if words and negations.issuperset(words):
            return max(sum(word not in beside for word in words), 1)
    return len(words)


def initials_at(tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """What some words in a row are shortened to: (first place, place behind the last, their initials)."""
    for start in range(len(tokens)):
        for end in range(start + 2, min(start + _LONGEST_INITIALS, len(tokens)) + 1):
            if tokens[end - 1].kind != "word" or tokens[start].kind != "word":
                break
            yield start, end, "".join(token.whole[:1] for token in tokens[start:end])


@lru_cache(maxsize=50_000)
def concepts_at(tokens: tuple[Token, ...]) -> tuple[tuple[int, int, str], ...]:
    """What the words mean: (first place, place behind the last, concept), the longest phrases."""
    found: list[tuple[int, int, str]] = []
    words = [plain(token.text) for token in tokens]
    for place in range(len(tokens)):
        if words[place] not in _MAY_MEAN:
            continue
        for length in range(min(_LONGEST_PHRASE, len(tokens) - place), 0, -1):
            names = CONCEPTS.get(tuple(words[place : place + length]))
            if names and (length > 1 or tokens[place].kind == "word"):
                found += [(place, place + length, name) for name in names]
                break
    return tuple(found)
