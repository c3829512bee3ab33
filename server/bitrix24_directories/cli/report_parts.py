"""Content of a report in every format: its parts, its summary, and its exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bitrix24_directories.directories.models import Directory
from bitrix24_directories.records.counting import folded_code
from bitrix24_directories.records.models import DirectoryUsage, UnknownCode, UsedItem
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.text import one_line, shown_code

from .language import say

COUNTED = "Counted as the webhook's user sees them."

_TEXT_LIMIT = 1000
_DIRECTORIES = 10  # that a summary names


@dataclass(frozen=True)
class Part:
    """One directory of a report; `colours` are those of its stages, by code."""

    directory: Directory
    usage: DirectoryUsage | Bitrix24Error
    colours: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Title of the part: the directory and its id."""
        return f"{shown_code(self.directory.entity_id)}: {single_line(self.directory.name)}"

    @property
    def unknown(self) -> Sequence[UnknownCode]:
        """Codes that records carry and the directory lacks."""
        return () if isinstance(self.usage, Bitrix24Error) else self.usage.unknown or ()

    @property
    def failed(self) -> bool:
        """True if another attempt, or another user, could count something that this one could not."""
        return isinstance(self.usage, Bitrix24Error) or self.usage.failed

    @property
    def unreadable(self) -> bool:
        """True if no record method reads the field that holds the codes."""
        return isinstance(self.usage, DirectoryUsage) and self.usage.unreadable


@dataclass(frozen=True)
class Report:
    """Directories of a portal with their counts at one moment."""

    portal: str
    when: datetime
    parts: Sequence[Part]

    @property
    def exit_code(self) -> int:
        """2 if counting failed, else 1 if a record has a code that its directory lacks, else 0."""
        if any(part.failed for part in self.parts):
            return 2
        return int(any(part.unknown for part in self.parts))

    def summary(self) -> Iterator[str]:
        """Yield the portal, the date and the findings, as sentences."""
        codes = Counter[str]()
        for part in self.parts:
            if part.unknown:
                codes[shown_code(part.directory.entity_id)] = len({folded_code(code.code) for code in part.unknown})
        result = say("no record carries a code that its directory does not have, as far as was counted")
        if codes:
            most = [f"{entity_id} {number}" for entity_id, number in codes.most_common(_DIRECTORIES)]
            directories = ", ".join([*most, *(["..."] if len(codes) > _DIRECTORIES else [])])
            unlisted = sum(part.usage.unlisted for part in self.parts if isinstance(part.usage, DirectoryUsage))
            number = codes.total()
            codes_text = say("1 code" if number == 1 else f"{number} codes")
            codes_text = say(f"at least {codes_text}") if unlisted else codes_text
            result = say(f"{codes_text} that no directory has, in {self._records(unlisted)}: {directories}")
        yield f"{single_line(self.portal)}, {self.when:%Y-%m-%d %H:%M}: {result}"
        if failed := [shown_code(part.directory.entity_id) for part in self.parts if part.failed]:
            yield say(f"Could not be counted, or not in full: {', '.join(failed)}")
        if unread := [shown_code(part.directory.entity_id) for part in self.parts if part.unreadable]:
            yield say(f"Not counted, for no REST method reads the records: {', '.join(unread)}")

    def _records(self, unlisted: int) -> str:
        """Return the number of records with such codes, `unlisted` ones included."""
        unknown = [code for part in self.parts for code in part.unknown]
        counts = [code.count for code in unknown if code.count is not None]
        if len(counts) < len(unknown):
            return say("an unknown number of records")
        number = sum(counts) + unlisted
        text = say("1 record" if number == 1 else f"{number} records")
        # A record may have been counted twice: for two fields of its kind, or for code that takes several codes.
        fields = Counter(code.field for code in unknown)
        kinds = {path.rpartition(".")[0] for path in fields}
        several = any(codes > 1 and ("UF_" in path or ".uf" in path) for path, codes in fields.items())
        return say(f"up to {text}") if several or len(kinds) < len(fields) else text


def single_line(text: str) -> str:
    """Return a text of the portal on one line, without invisible characters."""
    return one_line(text, _TEXT_LIMIT)


def field_counts(item: UsedItem, labels: dict[str, str]) -> str:
    """Return counts as `deal.TYPE_ID 5, item(177).sourceId (Rental) 2`; empty for one field."""
    return ", ".join(f"{single_line(labels[path])} {count}" for path, count in (item.fields or {}).items())


def unknown_reason(unknown: UnknownCode) -> str:
    """Describe the likely origin of an unknown code."""
    why = say("not in the directory")
    return f"{why}, {say(f'perhaps {single_line(unknown.perhaps)}')}" if unknown.perhaps else why
