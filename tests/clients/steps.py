"""Steps that each client is tried with, and their report: one JSON object on stdout.

This module imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

CALL: tuple[str, dict[str, Any]] = ("get_directory_items", {"entityId": "DEAL_STAGE"})
WRONG: tuple[str, dict[str, Any]] = ("get_directory_items", {"entityId": "DEAL_STAGES"})
ADD: tuple[str, dict[str, Any]] = ("add_directory_item", {"entityId": "SOURCE", "name": "Podcast"})


def environment() -> dict[str, str]:
    """Environment of the server: writes are on, so that a person is asked."""
    return {"BITRIX24_ALLOW_WRITES": "true", "PATH": os.environ["PATH"]}


class Step:
    """One step, and the client's result of it."""

    got: Any = None


class Steps:
    """All steps of one client; `questions` counts the questions that it put to a person."""

    def __init__(self) -> None:
        self.questions = 0
        self._results: dict[str, dict[str, Any]] = {}

    @asynccontextmanager
    async def __call__(self, name: str) -> AsyncIterator[Step]:
        step = Step()
        try:
            yield step
        except Exception as exc:
            last = traceback.format_exception_only(exc)[-1].strip()
            self._results[name] = {"failed": last[:500]}
        else:
            self._results[name] = {"got": step.got}

    def print(self) -> None:
        print("\n" + json.dumps(self._results | {"asked": self.questions}, ensure_ascii=False, default=str))
