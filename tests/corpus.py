"""Reads corpus.txt, and tells how well the matcher does on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bitrix24_directories.directories.models import QueryResult

Language = Literal["en", "ru"]


@dataclass(frozen=True)
class Case:
    """One line: what is asked of which portal and directories, and what has to come out."""

    number: int
    language: Language
    entity_ids: tuple[str, ...]
    query: str
    status: str
    codes: tuple[str, ...]

    @property
    def held_back(self) -> bool:
        return self.number % 3 == 0

    def right(self, result: QueryResult) -> bool:
        """The right code at rank one, or the right "ambiguous" (with all that has to be offered) or "none"."""
        offered = [match.status_id for match in result.matches]
        if self.status in ("exact", "likely"):
            return result.status in ("exact", "likely") and tuple(offered[:1]) == self.codes
        return result.status == self.status and set(self.codes) <= set(offered)

    def wrong(self, result: QueryResult) -> bool:
        """A wrong code given as if it were known."""
        return result.status in ("exact", "likely") and (
            self.status not in ("exact", "likely") or result.matches[0].status_id != self.codes[0]
        )


def corpus() -> list[Case]:
    lines = (Path(__file__).with_name("corpus.txt")).read_text(encoding="utf-8").splitlines()
    cases: list[Case] = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        language, scope, query, status, codes = (cell.strip() for cell in line.split(" |"))
        (known,) = (found for found in get_args(Language) if found == language)
        entity_ids = () if scope == "*" else tuple(scope.split(","))
        cases.append(Case(len(cases) + 1, known, entity_ids, query, status, tuple(codes.split("+")) if codes else ()))
    return cases
