"""Faults to order from the demo portal: any error code, status, delay or body.

They happen to some calls or to all. Imports nothing of this package.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

# HTTP status of each system error, which any REST method may answer.
_STATUS = {
    "INTERNAL_SERVER_ERROR": 500,
    "ERROR_UNEXPECTED_ANSWER": 500,
    "QUERY_LIMIT_EXCEEDED": 503,
    "OPERATION_TIME_LIMIT": 429,
    "OVERLOAD_LIMIT": 503,
    "ERROR_BATCH_METHOD_NOT_ALLOWED": 405,
    "ERROR_BATCH_LENGTH_EXCEEDED": 400,
    "INVALID_CREDENTIALS": 401,
    "NO_AUTH_FOUND": 401,
    "CONNECTION_ERROR": 401,
    "expired_token": 401,
    "invalid_token": 401,
    "ERROR_OAUTH": 401,
    "APPLICATION_NOT_FOUND": 401,
    "AUTHORIZATION_ERROR": 401,
    "PAYMENT_REQUIRED": 401,
    "METHOD_CONFIRM_WAITING": 401,
    "METHOD_CONFIRM_DENIED": 403,
    "INVALID_REQUEST": 400,
    "ACCESS_DENIED": 403,
    "WRONG_LICENSE": 403,
    "insufficient_scope": 403,
    "user_access_error": 403,
    "allowed_only_intranet_user": 403,
    "WRONG_AUTH_TYPE": 403,
    "ERROR_METHOD_NOT_FOUND": 404,
    "ERROR_MANIFEST_IS_NOT_AVAILABLE": 404,
    "NOT_FOUND": 404,
    "ERROR_NOT_FOUND": 404,
    "PORTAL_DELETED": 410,
}


LOST: dict[str, dict[str, Any]] = {
    "cut": {"cut": True},
    "empty": {"body": ""},
    "truncated": {"keep": 0.5},
    "html": {"body": "<html><body>Maintenance</body></html>"},
    "false": {"body": '{"result": false}', "headers": {"content-type": "application/json"}},
    "silent": {"silent": 1},
}
"""Ways in which the answer to a change can be lost."""

INSIDE: dict[str, dict[str, Any]] = {
    "swapped": {"method": "crm.item.update", "swapped": True},
    "moved-back": {"method": "crm.item.update", "moved_back": True},
    "channel": {"method": "crm.status.delete", "channel": True},
    "no-total": {"method": "crm.item.list", "total": 0},
    "error-after": {"after": True, "changes_only": True, "code": "ERROR_CORE", "status": 400},
    "sql-error-after": {
        "after": True,
        "changes_only": True,
        "code": "ERROR_CORE",
        "status": 500,
        "description": "SQL query error!",
    },
}
"""Faults inside a portal: automation, an open channel, a failed count, an exception after the change."""

HOSTILE: dict[str, dict[str, Any]] = {
    "drip": {"drip": 0.1},
    "echo": {"echo": True},
    "wait": {"code": "QUERY_LIMIT_EXCEEDED", "headers": {"retry-after": "99999"}},
}
"""Behaviour of a portal that is hostile or broken."""


@dataclass
class Fault:
    """One fault: the calls that it affects, and its effect.

    `method` names the REST method (empty: every one), or `oauth/token` for the token endpoint; `times` is how often
    (None: always). `delay` seconds pass first; without `code`, `status` and `body` the answer is then the true one.
    `code` answers a Bitrix24 error with its own HTTP status, or with `status` if set. `body` is sent unchanged, as
    text/html unless `headers` say otherwise.

    `changes_only` spares reads. With `after` the call is carried out first and its true answer is lost: the fault
    replaces it. `keep` sends only that share of the answer's bytes as if it were all, `cut` breaks the connection
    half-way, `silent` leaves out that many last commands of a batch's answer. `drip` answers a blank every so many
    seconds, without end. `echo` answers an error that quotes the caller's secrets in many spellings.

    These happen inside the portal, to each command of a batch separately: an error (`code` with `after`); `moved_back`,
    automation that moves a record back right after its update; `swapped`, a portal that takes the first stage of a
    record's pipeline if that does not have the one that was sent; `channel`, an open channel that adds its deleted
    source again; `total`, which replaces a list's own.
    """

    method: str = ""
    times: int | None = None
    delay: float = 0
    code: str | None = None
    description: str = "Ordered from the demo portal."
    status: int | None = None
    body: str | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    changes_only: bool = False
    after: bool = False
    keep: float | None = None
    cut: bool = False
    silent: int = 0
    drip: float | None = None
    echo: bool = False
    moved_back: bool = False
    swapped: bool = False
    channel: bool = False
    total: int | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Parse `503` (a web page with that status), `lost:HOW` (a lost answer), or an error code.

        HOW is `cut` (the connection), `empty`, `truncated`, `html`, `false` (`{"result": false}`), `silent` (a batch
        without its last command), or an HTTP status. Raises ValueError for another one. `moved:ADDRESS` redirects
        callers there; `bomb` (packed twice, a quarter of a gigabyte), `drip`, `echo` and `wait` are HOSTILE, and
        `moved-back`, `swapped`, `channel`, `no-total`, `error-after` and `sql-error-after` are INSIDE.
        """
        kind, _, how = text.partition(":")
        if kind == "lost":
            return cls.lost(how)
        if kind == "moved":
            return cls(status=307, headers={"location": how})
        if text == "bomb":
            packed = {"content-encoding": "gzip, gzip", "content-type": "application/json"}
            return cls(body=gzip.compress(gzip.compress(bytes(2**28))), headers=packed)
        if text in HOSTILE or text in INSIDE:
            return cls(**(HOSTILE | INSIDE)[text])
        if text.isdecimal():
            return cls(status=int(text))
        return cls(code=text)

    @classmethod
    def lost(cls, how: str) -> Fault:
        """Return the fault that makes a change and loses its answer, as `parse` describes."""
        if how.isdecimal():
            return cls(after=True, changes_only=True, status=int(how))
        if how not in LOST:
            raise ValueError(f"an answer can be lost as {', '.join(LOST)} or an HTTP status")
        return cls(after=True, changes_only=True, **LOST[how])

    @property
    def replaces_answer(self) -> bool:
        """True if the method is not run."""
        replacing = (self.code, self.status, self.body, self.drip)
        return self.echo or any(value is not None for value in replacing)

    @property
    def is_inside(self) -> bool:
        """True if it affects a method while it runs, and not the HTTP request that carries it."""
        failing = self.after and self.code is not None
        return failing or self.moved_back or self.swapped or self.channel or self.total is not None

    @property
    def http_status(self) -> int:
        """HTTP status of the answer."""
        if self.status is not None:
            return self.status
        return 200 if self.code is None else _STATUS.get(self.code, 400)


class Faults:
    """Faults ordered so far; a call gets the first one that fits it."""

    def __init__(self) -> None:
        self._ordered: list[Fault] = []

    def order(self, fault: Fault) -> None:
        """Add a fault."""
        self._ordered.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        self._ordered.clear()

    def take(self, method: str, *, changes: bool = False) -> Fault | None:
        """Return the fault for an HTTP request to `method`, which `changes` data or only reads."""
        return self._take(method, changes=changes, inside=False)

    def take_inside(self, method: str) -> Fault | None:
        """Return the fault for a method that runs, alone or as a command of a batch."""
        changes = method.rpartition(".")[2] in ("add", "update", "delete")
        return self._take(method, changes=changes, inside=True)

    def _take(self, method: str, *, changes: bool, inside: bool) -> Fault | None:
        for fault in self._ordered:
            if fault.is_inside != inside or (fault.changes_only and not changes):
                continue
            if fault.method == method or (not fault.method and method != "oauth/token"):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._ordered.remove(fault)
                return fault
        return None
