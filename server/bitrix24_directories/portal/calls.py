"""Types that all REST methods of the demo portal share: caller, answer, permissions.

Imports `records` and `store`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .records import CrmStore
from .store import PortalError

PAGE = 50


@dataclass(frozen=True)
class User:
    """A caller: their CRM permissions, and the scopes of the webhook or application."""

    id: int
    name: str
    reads: bool = True
    changes: bool = True
    administers: bool = True
    scopes: tuple[str, ...] = ("crm", "user")


@dataclass(frozen=True)
class MethodResult:
    """A method's `result`; lists add `total` and, if there is more, `next`."""

    result: Any
    total: int | None = None
    next: int | None = None


Method = Callable[[CrmStore, User, Mapping[str, Any]], MethodResult]


def may_read(user: User) -> None:
    """Raise PortalError unless the user may read CRM."""
    if not user.reads:
        raise PortalError("Access denied.")


def may_change(user: User) -> None:
    """Raise PortalError unless the user may change directories."""
    if not user.changes:
        raise PortalError("Access denied.", code="ACCESS_DENIED")


def may_write(user: User) -> None:
    """Raise PortalError unless the user may write records."""
    if not user.administers:
        raise PortalError("Access denied.")


def integer(value: Any) -> int:
    """Cast as PHP does: a text that is no number is 0."""
    try:
        return int(str(value))
    except ValueError:
        return 0
