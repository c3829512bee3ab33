"""Progress bar on stderr for slow commands, shown only in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@dataclass(frozen=True)
class Bar:
    """Callback that takes the number of finished items and the total; `describe` sets the label."""

    progress: Progress
    task: TaskID

    def __call__(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

    def describe(self, label: str) -> None:
        """Set the text beside the bar."""
        self.progress.update(self.task, description=label, refresh=True)


@contextmanager
def bar(label: str) -> Iterator[Bar]:
    """Show a bar until the block ends."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with progress:
        yield Bar(progress, progress.add_task(label, total=None))
