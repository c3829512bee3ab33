"""Finds the items that a text certainly means: by code in any printed notation, or by name.

Nothing is guessed: no spelling distance, no part of a name, no meaning. A code that is nearly right counts if it can
mean no other item. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, takewhile

from bitrix24_directories.directories.entity_ids import code_length, prefix_of
from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.directories.notation import unquoted, without_marks
from bitrix24_directories.text import bare_code
from bitrix24_directories.words import name_key

from .names import list_number, without_common_marks, words_of

NAME, CODE, NO_PREFIX, NEAR_CODE, A_WORD, LIST_NUMBER = (
    "this name",
    "this code",
    "this code, without its prefix",
    "this code, spelt otherwise",
    "a word of the name",
    "the number in a list",
)

_LATIN = re.compile("[a-z\u00c0-\u024f]", re.IGNORECASE)
_CLOSING = {'"': '"', "'": "'", "`": "`", "«": "»", "“": "”", "„": "“", "”": "”"}
_LONGEST = 400  # characters of a text that can be a code or a name, or both
_MARKS = "|".join(("success", "failure", *map(re.escape, (NAME, CODE, NO_PREFIX, NEAR_CODE, A_WORD, LIST_NUMBER))))
_PRINTED = re.compile(  # as answers print it
    r'(?P<code>"(?:[^"\\]|\\.)*"|.+?) \((?P<name>.*)\)'
    rf"(?: \[(?:{_MARKS})\])*(?: in (?P<entity_id>\S+?))?(?: \[(?:{_MARKS})\])*(?:: exact)?"
)
_PIPELINE_CODE = re.compile(r"(?:C|DEAL_STAGE_)(?P<number>\d{1,9})[\s:_]+(?P<bare>\S+)", re.IGNORECASE)
_TYPE_CODE = re.compile(r"(?P<prefix>DT\d+(?:_\d+)?)[\s:]+(?P<bare>\S+)", re.IGNORECASE)
_DIRECTORY_CODE = re.compile(r"(?P<entity_id>[A-Z]\w*)\s*[:.]\s*(?P<bare>\S.*)", re.ASCII)
_CUT_OFF = re.compile(r"\w{1,10}", re.ASCII)
_LATIN_SIGN = re.compile(r"[\w:]", re.ASCII)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_LOOKALIKES = str.maketrans("АВЕКМНОРСТУХІЈЅасеорухі", "ABEKMHOPCTYXIJSaceopyxi")


@dataclass(frozen=True, eq=False, slots=True)
class IndexEntry:
    """An item in its directory."""

    directory: Directory
    item: Item


Fits = dict[IndexEntry, str]
"""Entries that a text certainly means, with the reason; several if the text is ambiguous."""


class CertainIndex:
    """Codes and names of the items of some directories."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self.entries: list[IndexEntry] = []
        self._codes: defaultdict[str, list[IndexEntry]] = defaultdict(list)  # in lower case, with and without prefix
        self._names: defaultdict[str, list[IndexEntry]] = defaultdict(list)
        self._list_numbers: defaultdict[str, list[IndexEntry]] = defaultdict(list)
        self._cut: list[IndexEntry] = []  # entries whose codes may have been cut to fit
        self._entity_ids: list[str] = []
        self._longest = _LONGEST
        for directory, items in contents:
            self._entity_ids.append(directory.entity_id)
            bare_names = without_common_marks([item.name for item in items])
            longest = len(prefix_of(directory.entity_id)) + code_length(directory.entity_id)
            for index, item in enumerate(items):
                entry = IndexEntry(directory, item)
                self.entries.append(entry)
                self._longest = max(self._longest, len(item.name) + len('""'))
                for spelling in {item.status_id.casefold(), bare_code(item.status_id).casefold()}:
                    self._codes[spelling].append(entry)
                for key in {name_key(item.name), name_key(bare_names[index])} if bare_names else {name_key(item.name)}:
                    self._names[key].append(entry)
                if number := list_number(item.name):
                    self._list_numbers[number].append(entry)
                if len(item.status_id) >= longest - 1:  # the portal cuts its own stages a character earlier
                    self._cut.append(entry)

    def fits(self, text: str, *, for_code: bool = False) -> Fits:
        """Return the items of which `text` is the code or the whole name; only one is certain.

        `for_code` is True for a text in the position of a code: a word in other letter case is the code then. Elsewhere
        it is not if the item's name is in Latin letters and lacks the word: EMAIL may be called Telegram.
        """
        text = text.strip()
        if not text or len(text) > self._longest:
            return {}
        is_quoted = len(text) > 2 and _CLOSING.get(text[0]) == text[-1]
        bare = text[1:-1].strip() if is_quoted else text
        if bare.isdecimal():
            bare = unicodedata.normalize("NFKC", bare)
        fits = self._by_code(text) | self._by_name(text) | self._by_code(bare) | self._by_name(bare)
        if not fits and len(text) <= _LONGEST:
            fits = self._by_notation(text) or self._by_near_code(bare)
        if len(fits) == 1 and bare.isalpha():
            ((entry, why),) = fits.items()
            if why != NAME and bare not in (entry.item.status_id, bare_code(entry.item.status_id)):
                alike: list[IndexEntry] = []
                if len(words := words_of(bare)) == 1:  # names with such a beginning, of a word or of all joined
                    first = bisect_left(self._words, (words[0], 0))
                    matches = takewhile(lambda pair: pair[0].startswith(words[0]), islice(self._words, first, None))
                    alike = [self.entries[number] for _, number in matches]
                if entry not in alike and not for_code and _LATIN.search(entry.item.name):
                    return {}
                fits |= {other: A_WORD for other in alike if other is not entry}
        if fits and bare.isdecimal():
            fits = dict.fromkeys(self._list_numbers.get(bare, ()), LIST_NUMBER) | fits
        return fits

    def _by_name(self, text: str) -> Fits:
        return {entry: CODE if entry.item.status_id == text else NAME for entry in self._names.get(name_key(text), ())}

    def _by_code(self, text: str) -> Fits:
        """Return per directory the exact match, else all in another letter case or without prefix."""
        alike = self._codes.get(text.casefold(), [])
        exact = {entry.directory.entity_id for entry in alike if entry.item.status_id == text}
        return {
            entry: CODE if entry.item.status_id.casefold() == text.casefold() else NO_PREFIX
            for entry in alike
            if entry.item.status_id == text or entry.directory.entity_id not in exact
        }

    @cached_property
    def _words(self) -> list[tuple[str, int]]:
        """Sorted words of all names, and the names without blanks, each with its entry's number."""
        names = [words_of(entry.item.name) for entry in self.entries]
        return sorted((word, number) for number, words in enumerate(names) for word in {*words, "".join(words)})

    def _by_notation(self, text: str) -> Fits:
        """Return items of `CODE: Name` and `CODE (Name)` if both are of one item; marks may follow."""
        pairs = [text.partition(": ")[::2]] if ": " in text else []
        printed = without_marks(text)
        pairs += [(printed[: match.start()], printed[match.end() :]) for match in re.finditer(r":\s+", printed)]
        entity_id = None
        if match := _PRINTED.fullmatch(text):
            entity_id = match["entity_id"]
            pairs += [(match["code"], match["name"]), (match["code"], match["name"].rpartition(", in ")[0])]
        for code, name in pairs:
            key = name_key(unquoted(name.strip()))
            fits = {
                entry: why
                for entry, why in self._by_code(unquoted(code.strip())).items()
                if entry in self._names.get(key, ()) and entity_id in (None, entry.directory.entity_id)
            }
            if fits:
                return fits
        return {}

    def _by_near_code(self, text: str) -> Fits:
        """Return items of codes with a near miss: pipeline number, directory id, alphabet, or cut."""
        latin = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_LOOKALIKES)
        is_mixed = latin.isascii() and _LATIN_SIGN.search(text)
        for form in dict.fromkeys((text, latin if is_mixed else text)):
            entries = list(self._by_code(form)) if form != text else []
            readings: list[tuple[str, list[str]]] = []  # the bare code, and its directories by the part before it
            if match := _PIPELINE_CODE.fullmatch(form):
                number = int(match["number"])
                readings.append((match["bare"], [f"DEAL_STAGE_{number}" if number else "DEAL_STAGE"]))
            if match := _TYPE_CODE.fullmatch(form):
                own = match["prefix"].upper() + (":" if "_" in match["prefix"] else "_")
                owners = [entity_id for entity_id in self._entity_ids if prefix_of(entity_id).startswith(own)]
                readings.append((match["bare"], owners))
            # In "STATUS: new", a label precedes a word.
            if (match := _DIRECTORY_CODE.fullmatch(form)) and match["bare"].isupper():
                readings.append((match["bare"], [match["entity_id"]]))
            for bare, owners in readings:
                existing = [entity_id for entity_id in owners if entity_id in self._entity_ids]
                targets = {entity_id: f"{prefix_of(entity_id)}{bare}".casefold() for entity_id in existing}
                coded = (entry for target in targets.values() for entry in self._codes.get(target, ()))
                entries += [entry for entry in coded if entry.directory.entity_id in targets]
                entries += [entry for entry in self._cut if _is_cut(entry, targets.get(entry.directory.entity_id, ""))]
            entries += [entry for entry in self._cut if _is_cut(entry, form.casefold())]
            if entries:
                return dict.fromkeys(entries, NEAR_CODE)
        return {}


def _is_cut(entry: IndexEntry, typed: str) -> bool:
    """True if the typed code is longer than the stored one, with or without the prefix."""
    code = entry.item.status_id.casefold()
    return any(
        typed.startswith(stored) and _CUT_OFF.fullmatch(typed[len(stored) :]) is not None
        for stored in (code, bare_code(entry.item.status_id).casefold())
    )
