"""What a call is waiting for at the moment, so that whoever waits can be told. Imports nothing of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ANSWER = "the portal's answer"


class Waiting:
    """The reason one call waits for, in words that continue "waiting for …"."""

    def __init__(self) -> None:
        self._reason = _ANSWER
        self._behind: Waiting | None = None
        self._given_up: str | None = None

    @property
    def reason(self) -> str:
        """What another call waits for on behalf of this one, if that says more; else this one's own reason."""
        behind = self._behind.reason if self._behind else _ANSWER
        return self._reason if behind == _ANSWER else behind

    @property
    def given_up(self) -> str:
        """The reason that the call waited for when it was cancelled, although it waits no longer."""
        return self._given_up or self.reason

    @contextmanager
    def as_current(self) -> Iterator[Waiting]:
        """Collect here what the calls in this context wait for."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    @contextmanager
    def waiting_for(self, reason: str) -> Iterator[None]:
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
        """For as long as this call waits for what another is doing, its reason is the other's."""
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
    """The wait of the call that runs in this context; a new one that nobody looks at where none is set."""
    return _current.get() or Waiting()
