"""The error of a change that stopped half-way; apart from `changes`, which a server without writes does not load."""

from __future__ import annotations

from bitrix24_directories.directories.models import Change
from bitrix24_directories.rest import Bitrix24Error


class StoppedError(Exception):
    """A step failed; `change` tells what was done and what was not, `error` why."""

    def __init__(self, change: Change, error: Bitrix24Error) -> None:
        super().__init__(str(error))
        self.change, self.error = change, error
