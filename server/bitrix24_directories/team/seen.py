"""Times of people's last calls, to the minute: in Redis, or else in a file.

The file is beside the audit log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from bitrix24_directories.state.shared import State, UnavailableError

logger = logging.getLogger(__name__)

KEPT_SECONDS = 30.0
"""Seconds until noted times are stored, at the latest."""
_LIMIT = 10 * 2**20
_LATEST = 1e11
"""Latest Unix time that is valid: later ones cannot be shown, or are no floats at all."""


class Seen:
    """Stored in `state` if replicas share it, else beside `audit_log`, or nowhere without one."""

    def __init__(self, state: State, audit_log: str) -> None:
        self._state = state
        self._path = Path(f"{audit_log}.seen.json") if audit_log else None
        self._noted: dict[str, float] = {}

    @property
    def is_kept(self) -> bool:
        """True if there is a place to store the times."""
        return self._state.shared or self._path is not None

    def note(self, name: str) -> None:
        """Note that a person calls now."""
        self._noted[name] = time.time()

    async def run(self, scope: anyio.CancelScope) -> None:
        """Store the noted times regularly, until `scope` is cancelled."""
        with scope:
            while True:
                await anyio.sleep(KEPT_SECONDS)
                with anyio.CancelScope(shield=True):
                    await self.keep()

    async def keep(self) -> None:
        """Store the noted times; a failure loses them, because it must not fail anybody's call."""
        noted, self._noted = self._noted, {}
        if not noted or not self.is_kept:
            return
        try:
            if self._state.shared:
                await self._state.saw(noted)
            else:
                await anyio.to_thread.run_sync(self._write, noted)
        except (UnavailableError, OSError) as exc:
            logger.warning("When people called last could not be kept (%s)", type(exc).__name__)

    async def all(self) -> Mapping[str, float]:
        """Return the last calls in Unix seconds. Raises UnavailableError if Redis is gone."""
        return await self._state.seen() if self._state.shared else self._read()

    def _read(self) -> dict[str, float]:
        content = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if self._path is not None:
                with self._path.open(encoding="utf-8") as file:
                    content = json.loads(file.read(_LIMIT))
        content = content if isinstance(content, dict) else {}
        moments = {name: moment for name, moment in content.items() if isinstance(moment, int | float)}
        return {name: float(moment) for name, moment in moments.items() if 0 < moment < _LATEST}

    def _write(self, noted: Mapping[str, float]) -> None:
        """Replace the whole file. Raises OSError."""
        assert self._path is not None
        moments = self._read() | {name: int(moment) for name, moment in noted.items()}
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.new")
        try:
            with open(new, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
                json.dump(moments, file)
            new.replace(self._path)
        finally:
            new.unlink(missing_ok=True)
