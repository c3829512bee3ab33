"""Requests counts of records through `directories`, and keeps the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from bitrix24_directories.directories.fields.fields import FieldOf
from bitrix24_directories.directories.fields.rows import CountedRecords
from bitrix24_directories.directories.reading.cache import Cached
from bitrix24_directories.directories.reading.cached_reader import CachedReader, Read, ReadRows
from bitrix24_directories.directories.reads import records_after, records_with
from bitrix24_directories.rest import BATCH_LENGTH, Bitrix24Error, current_wait, failure

_RESERVE = 1.0  # seconds of the timeout that are left for the answer


@dataclass(frozen=True)
class CodeField:
    """Field of records that carries codes; for a stage, in the records of one pipeline."""

    record_field: FieldOf
    category_id: int | None = None

    @property
    def path(self) -> str:
        """Path of the field, such as `deal.SOURCE_ID`."""
        return self.record_field.path

    def with_code(self, code: str) -> Read[CountedRecords]:
        """Return a read of the records that carry a code."""
        return self._records({f"={self.name}": code}, ["id"])

    def with_any_of(self, codes: Iterable[str]) -> Read[CountedRecords]:
        """Return a read of the records that carry any of the codes."""
        return self._records({f"@{self.name}": list(codes)}, ["id"])

    def with_none_of(self, codes: Iterable[str]) -> Read[CountedRecords]:
        """Return a read of the records that carry other codes, with those codes."""
        return self._records({f"!@{self.name}": list(codes), f"!={self.name}": ""}, ["id", self.name])

    def carrying(self, codes: Iterable[str], *, after: int) -> Read[dict[str, Any]]:
        """Return a read of the next 50 records by id with any of these codes; not counted."""
        return records_after(
            self.record_field.type.id, self.pipeline() | {f"@{self.name}": list(codes)}, ["id", self.name], after
        )

    @property
    def name(self) -> str:
        """Name in filters and records; of a custom field the original, for `useOriginalUfNames`."""
        return self.record_field.field.original or self.record_field.field.name

    def pipeline(self) -> dict[str, Any]:
        """Return the filter for the pipeline; empty if the field is no stage."""
        return {} if self.category_id is None else {"categoryId": self.category_id}

    def _records(self, fitting: dict[str, Any], select: list[str]) -> Read[CountedRecords]:
        return records_with(self.record_field.type.id, self.pipeline() | fitting, select)


def record_id_of(record: Mapping[str, Any]) -> int:
    """Return a record's id, 0 if it has none."""
    text = str(record.get("id"))
    return int(text) if text.isdecimal() else 0


def folded_code(code: str) -> str:
    """Fold a code for comparison, as the portal does."""
    return code.rstrip(" ").casefold()


class Counting:
    """Requests counts, a batch at a time, until the caller's deadline.

    `on_progress` gets the number of counts made and requested.
    """

    def __init__(
        self,
        reader: CachedReader,
        *,
        fresh: bool = False,
        on_progress: Callable[[int, int], None] = lambda _made, _total: None,
    ) -> None:
        self._reader = reader
        self._fresh = fresh
        self._on_progress = on_progress
        self._results: dict[Read[Any], ReadRows] = {}
        self._requested = 0
        self._error: Bitrix24Error | None = None

    async def ask(self, reads: Iterable[Read[CountedRecords]]) -> None:
        """Request counts not made before. Raises Bitrix24Error if none has succeeded so far."""
        new = [read for read in dict.fromkeys(reads) if read not in self._results]
        self._requested += len(new)
        for start in range(0, len(new), BATCH_LENGTH):
            if self._error is not None:
                break
            so_far = f"{len(self._results)} of {self._requested} counts"
            left = anyio.current_effective_deadline() - anyio.current_time() - _RESERVE
            with (
                current_wait().waiting_for(f"the portal to count records ({so_far})"),
                anyio.move_on_after(left) as scope,
            ):
                try:
                    self._results |= await self._reader.get_many(new[start : start + BATCH_LENGTH], fresh=self._fresh)
                except Bitrix24Error as exc:
                    self._error = exc
            if scope.cancelled_caught:
                self._error = failure("TIMEOUT", detail="the portal has not counted all records in time")
            self._on_progress(len(self._results), self._requested)
        if not any(isinstance(outcome, Cached) for outcome in self._results.values()):
            errors = (outcome for outcome in self._results.values() if isinstance(outcome, Bitrix24Error))
            if (error := self._error or next(errors, None)) is not None:
                raise error

    def total(self, read: Read[CountedRecords]) -> int | None:
        """Return a count; None if it is unknown."""
        outcome = self._results.get(read)
        return outcome.rows[0].total if isinstance(outcome, Cached) else None

    def first(self, read: Read[CountedRecords]) -> list[dict[str, Any]]:
        """Return the first records of a count."""
        outcome = self._results.get(read)
        return outcome.rows[0].first if isinstance(outcome, Cached) else []

    def sum_of(self, reads: Sequence[Read[CountedRecords]]) -> int | None:
        """Return the sum of the totals; None if a total is unknown, or there are no reads."""
        totals = [self.total(read) for read in reads]
        counted = [total for total in totals if total is not None]
        return sum(counted) if totals and len(counted) == len(totals) else None

    def missing(self, reads: Sequence[Read[CountedRecords]]) -> str:
        """Describe the `reads` without a count and the reason; empty if all have one."""
        failed = [self._results.get(read) for read in reads]
        errors = [outcome for outcome in failed if not isinstance(outcome, Cached)]
        if not errors:
            return ""
        why = next((error for error in errors if isinstance(error, Bitrix24Error)), self._error)
        return f"{len(errors)} of {len(reads)} counts could not be made{f': {why.happened}' if why else ''}"

    def age(self, asked_at: float) -> int | None:
        """Return the age of the oldest count in seconds; None if all are new."""
        ages = (cached.age(asked_at) for cached in self._results.values() if isinstance(cached, Cached))
        return max((age for age in ages if age is not None), default=None)
