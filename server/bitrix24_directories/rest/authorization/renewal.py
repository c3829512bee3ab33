"""Renews tokens in a separate process: one at a time, and rarely if they do not last.

The authorization server takes a refresh token once: if the process is killed after its request and before it has
written the answer, a person has to authorise again. So `renewal_process` requests and writes; the end of the server
does not end it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import anyio.to_thread

from bitrix24_directories.errors.catalogue import CATALOGUE
from bitrix24_directories.errors.errors import Bitrix24Error, failure, replace_wait

AT_ONCE = 3
"""Renewals without a pause between them; after these each pause is twice as long as the one before."""

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 1800.0
_TOKEN_LIFE = 3500.0  # seconds; a renewal this long after the last one is normal

# The child runs nothing from the working directory or from PYTHON... variables: it gets this process's path.
_CHILD = (
    "import json, sys; sys.path += json.loads(sys.argv.pop());"
    "from bitrix24_directories.rest.authorization.renewal_process import main; sys.exit(main())"
)
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[3])


@dataclass(frozen=True)
class Order:
    """Renewal of the file at `path`, unless its access token is no longer `refused`.

    `refresh_tokens` are tried after the one in the file.
    """

    path: str
    endpoint: str
    client_id: str
    client_secret: str
    refused: str
    refresh_tokens: list[str]
    ca_file: str = ""


class Renewals:
    """Renewals of one application's tokens; `clock` gives seconds, even while a machine sleeps."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._under_way: Future[None] | None = None
        self._failed: Bitrix24Error | None = None
        self._made = 0
        self._ended_at = 0.0

    async def renew(self, order: Order) -> None:
        """Carry out `order`, or wait for the renewal under way; do nothing if it is too early.

        May be cancelled: the renewal goes on, and the next caller waits for it. Raises Bitrix24Error if there are no
        new tokens, and the last renewal's error again while it is too early for another one.
        """
        under_way = self._under_way
        if under_way is None:
            now = self._clock()
            self._ended_at = min(self._ended_at, now)  # a clock that was put back must not stop renewals for years
            since, wait = now - self._ended_at, 0.0
            if self._made >= AT_ONCE and since < _TOKEN_LIFE:
                wait = min(FIRST_PAUSE * 2.0 ** (self._made - AT_ONCE), LONGEST_PAUSE) - since
            if wait > 0 and self._failed is not None:
                raise replace_wait(self._failed, wait)
            if wait > 0:
                return
            under_way = self._under_way = Future()
            Thread(target=self._carry_out, args=(order, under_way), daemon=True).start()
        await anyio.to_thread.run_sync(under_way.result, abandon_on_cancel=True)

    def _carry_out(self, order: Order, done: Future[None]) -> None:
        error: Bitrix24Error | None = None
        try:
            _run_child(order)
        except Bitrix24Error as exc:
            error = exc
        except Exception:  # the machine has no process to spare, or no Python that could be called
            error = failure("RENEWAL_FAILED")
        now = self._clock()
        self._made = 0 if now - self._ended_at >= _TOKEN_LIFE else self._made
        if error is None or not error.not_applied:
            self._made, self._ended_at = self._made + 1, now
        self._failed, self._under_way = error, None
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _run_child(order: Order) -> None:
    path = [entry for entry in (*sys.path, _PACKAGE_PARENT) if Path(entry).is_absolute()]
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _CHILD, json.dumps(path)],
        env={name: value for name, value in os.environ.items() if not name.startswith(("BITRIX24_", "PYTHON"))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that signals to the server's process group pass it by; Windows' way is below
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    ) as child:
        output, _ = child.communicate(json.dumps(asdict(order)).encode())
    if child.returncode == 0:
        return
    try:
        fields: dict[str, Any] = json.loads(output)
        error = Bitrix24Error(row=CATALOGUE[fields["kind"]], **fields)
    except (ValueError, TypeError, KeyError):
        error = failure("RENEWAL_FAILED")
    raise error
