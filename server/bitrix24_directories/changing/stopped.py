"""The errors of a change, and of a merge, that stopped half-way; a server without writes loads no more of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitrix24_directories.directories.models import Change
from bitrix24_directories.rest import Bitrix24Error

if TYPE_CHECKING:
    from .merging.models import Merge


class StoppedError(Exception):
    """A step failed; `change` tells what was done and what was not, `error` why."""

    def __init__(self, change: Change, error: Bitrix24Error) -> None:
        super().__init__(str(error))
        self.change, self.error = change, error


class MergeStoppedError(Exception):
    """A merge failed on the way; `merge` tells what it had come to, `error` why."""

    def __init__(self, merge: Merge, error: Bitrix24Error) -> None:
        super().__init__(str(error))
        self.merge, self.error = merge, error
