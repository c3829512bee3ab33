"""What a portal shows a person, told by one batch: those whom it shows the same share what is kept of it.

Facts: who may read a type has its fields, and `crm.category.list` hides pipelines; titles may be in the person's own
language. So what is shown is compared whole, and not only which types and pipelines there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bitrix24_directories.directories.field_map import ON_EVERY_PORTAL, other_types, reads_of_map
from bitrix24_directories.directories.fields.fields import FIRST_SMART_PROCESS
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.directories.reads import OWNERS, TYPES, pipelines_of
from bitrix24_directories.rest import Bitrix24Error, Outcome, unwrap

_WITH_PIPELINES = (2, 31, 36)


class View(NamedTuple):
    """The same `name` for all whom the portal shows the same; not `certain` where it did not answer all of it.

    `digests` is a digest of what each read gave.
    """

    name: str
    certain: bool
    digests: Mapping[str, str]


def reads_of_view(types: Iterable[int]) -> list[Read[Any]]:
    """All whose answers depend on who asks, where there are `types` besides those of every portal."""
    sorted_types = sorted(types)
    pipelines = (*_WITH_PIPELINES, *(number for number in sorted_types if number >= FIRST_SMART_PROCESS))
    return [TYPES, *map(pipelines_of, pipelines), *reads_of_map((*ON_EVERY_PORTAL, *sorted_types))]


def types_shown(outcomes: Mapping[Read[Any], Outcome]) -> list[int]:
    """The types besides those of every portal that a person is shown."""
    rows = _rows_or_error(OWNERS, outcomes[OWNERS])
    return [] if isinstance(rows, Bitrix24Error) else other_types(rows)


def view_of(outcomes: Mapping[Read[Any], Outcome]) -> View:
    """The view of whoever was given these outcomes of `reads_of_view`."""
    digests, certain = {}, True
    for read, outcome in outcomes.items():
        result = _rows_or_error(read, outcome)
        if isinstance(result, Bitrix24Error):
            certain = certain and not result.retryable
            result = result.kind
        digests[" ".join(read.key)] = _digest(result)
    return View(_digest(digests), certain, digests)


def fits(digests: Mapping[str, str], read: Read[Any], rows: list[Any]) -> bool:
    """Whether a read gives what it has given those who share a view, if it is one of them."""
    return digests.get(" ".join(read.key)) in (None, _digest(rows))


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode(errors="surrogatepass")).hexdigest()[:32]


def _rows_or_error(read: Read[Any], outcome: Outcome) -> Any:
    """The rows of an answer, or why there are none."""
    try:
        return read.rows(unwrap(outcome))
    except Bitrix24Error as exc:
        return exc
