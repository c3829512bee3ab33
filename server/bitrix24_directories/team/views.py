"""Views: digests of the data that a portal shows a person. People of one view share a cache.

Facts: people who may read a type have its fields, and `crm.category.list` hides pipelines; titles may be in the
person's own language. So whole answers are compared, and not only which types and pipelines there are.
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
    """A view; its `name` is the same for all whom the portal shows the same.

    It is not `certain` if the portal did not answer all of it. `digests` has a digest of the answer to each read.
    """

    name: str
    certain: bool
    digests: Mapping[str, str]


def reads_of_view(types: Iterable[int]) -> list[Read[Any]]:
    """Return the reads whose answers depend on the caller, for `types` and every portal's own."""
    sorted_types = sorted(types)
    pipelines = (*_WITH_PIPELINES, *(number for number in sorted_types if number >= FIRST_SMART_PROCESS))
    return [TYPES, *map(pipelines_of, pipelines), *reads_of_map((*ON_EVERY_PORTAL, *sorted_types))]


def types_shown(outcomes: Mapping[Read[Any], Outcome]) -> list[int]:
    """Return the types that a person is shown, besides those of every portal."""
    rows = _rows_or_error(OWNERS, outcomes[OWNERS])
    return [] if isinstance(rows, Bitrix24Error) else other_types(rows)


def view_of(outcomes: Mapping[Read[Any], Outcome]) -> View:
    """Return the view of the person who got these outcomes of `reads_of_view`."""
    digests, certain = {}, True
    for read, outcome in outcomes.items():
        result = _rows_or_error(read, outcome)
        if isinstance(result, Bitrix24Error):
            certain = certain and not result.retryable
            result = result.kind
        digests[" ".join(read.key)] = _digest(result)
    return View(_digest(digests), certain, digests)


def fits(digests: Mapping[str, str], read: Read[Any], rows: list[Any]) -> bool:
    """Return True if a read's rows are those of the view, or the view does not include it."""
    return digests.get(" ".join(read.key)) in (None, _digest(rows))


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode(errors="surrogatepass")).hexdigest()[:32]


def _rows_or_error(read: Read[Any], outcome: Outcome) -> Any:
    """Return the rows of an answer, or the error in their place."""
    try:
        return read.rows(unwrap(outcome))
    except Bitrix24Error as exc:
        return exc
