"""Verdict on one value of a field, and the test for empty values. Pure.

Facts: an empty text, null and an empty list clear a field. 0 and "0" clear codes, references and dates; in numbers and
texts they are values, except on older portals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bitrix24_directories.directories.models import Item

from .models import Outcome

DROP, STORE_RAW, REFUSE, CLEAR, KEEP = "drop it", "store it raw", "refuse it", "clear the field", "keep the old value"
"""Reactions of Bitrix24 to a value that is not right."""

REFERENCES = frozenset(("user", "employee", "crm_lead", "crm_deal", "crm_contact", "crm_company", "crm_quote"))
"""Kinds of fields that hold the id of a user or of another record."""

_ZERO_CLEARS = REFERENCES | {"crm_status", "enumeration", "crm_currency", "date", "datetime"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of judging a value: `value` is the value to write, if any, and `note` the reason.

    `otherwise` is what Bitrix24 would do with the original value; `directory` is the directory of a code.
    """

    outcome: Outcome
    value: Any = None
    name: str = ""
    candidates: tuple[Item, ...] = ()
    note: str = ""
    otherwise: str = ""
    directory: str = ""

    @property
    def writes(self) -> bool:
        """True if there is a value to write."""
        return self.outcome in ("right", "changed", "unchecked")

    def as_changed(self, **parts: Any) -> Verdict:
        """Return a copy with other `parts` for a value that has to be changed before it is written."""
        return replace(self, outcome="changed" if self.writes else self.outcome, **parts)


def is_empty(value: Any, kind: str) -> bool:
    """Return true if a value clears a field of this kind; not for booleans."""
    if isinstance(value, list):
        return all(is_empty(part, kind) for part in value)
    if value is None or value is False or value in ("", {}):
        return True
    return kind in _ZERO_CLEARS and (value == "0" or (value == 0 and not isinstance(value, bool)))


def option(code: str, name: str = "") -> Item:
    """Return an item to choose, with a code and a name."""
    return Item(status_id=code, name=name, sort=0)
