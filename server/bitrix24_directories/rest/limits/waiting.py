"""Reasons for which calls wait, for messages to the caller. Imports nothing of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ANSWER = "the portal's answer"


class Waiting:
    """The reason for which one call waits, in words that continue "waiting for …"."""

    def __init__(self) -> None:
        self._reason = _ANSWER
        self._behind: Waiting | None = None
        self._given_up: str | None = None

    @property
    def reason(self) -> str:
        """Reason of the call that this one waits for, if it is more precise; else this one's own."""
        behind = self._behind.reason if self._behind else _ANSWER
        return self._reason if behind == _ANSWER else behind

    @property
    def given_up(self) -> str:
        """Reason for which the call waited when it was cancelled; else the present one."""
        return self._given_up or self.reason

    @contextmanager
    def as_current(self) -> Iterator[Waiting]:
        """Collect here the reasons of the calls in this context."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    @contextmanager
    def waiting_for(self, reason: str) -> Iterator[None]:
        """Set the reason while the statement runs."""
        before, self._reason, self._given_up = self._reason, reason, None
        try:
            yield
        except BaseException as exc:
            self._note(exc)
            raise
        finally:
            self._reason = before

    @contextmanager
    def behind(self, other: Waiting) -> Iterator[None]:
        """Use the reason of another call for as long as this one waits for it."""
        before, self._behind, self._given_up = self._behind, other, None
        try:
            yield
        except BaseException as exc:
            self._note(exc)
            raise
        finally:
            self._behind = before

    def _note(self, exc: BaseException) -> None:
        if not isinstance(exc, Exception) and self._given_up is None:  # cancelled, and this is the innermost wait
            behind = self._behind.given_up if self._behind else _ANSWER
            self._given_up = self._reason if behind == _ANSWER else behind


_current: ContextVar[Waiting | None] = ContextVar("waiting", default=None)


def current_wait() -> Waiting:
    """Return the wait of this context; without one, a new one that nobody reads."""
    return _current.get() or Waiting()
