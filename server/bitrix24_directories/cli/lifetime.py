"""Ends the process when its client goes, whatever else still hangs. A leaf: imports nothing.

Reading stdin to its end is the SDK's part, and enough as long as everything lets itself be cancelled. A look-up of a
host name does not, nor does a write to a pipe that nobody reads; and the end of stdin never comes where a sibling
process inherited the pipe. So a thread watches from outside.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time

GRACE_SECONDS = 0.5
_LOOK_SECONDS = 0.25


def end_with_client() -> None:
    """Exit at once on SIGINT and SIGTERM, and GRACE_SECONDS after stdin is hung up or the parent process is gone.

    Call once, before anything else touches stdin.
    """
    # Python's own SIGINT handling waits for the thread that reads stdin, that is for the next line of input.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(select, "poll"):  # Windows has none; there the end of stdin has to do
        threading.Thread(target=_watch, args=(os.dup(0), os.getppid()), daemon=True).start()


def _watch(stdin: int, parent: int) -> None:
    poller = select.poll()
    poller.register(stdin, getattr(select, "POLLRDHUP", 0))
    while os.getppid() == parent:
        events = [event for _, event in poller.poll(_LOOK_SECONDS * 1000)]
        if any(event & ~select.POLLNVAL for event in events):
            break
        if events:  # macOS cannot poll some kinds of stdin, and says so at once each time
            time.sleep(_LOOK_SECONDS)
    time.sleep(GRACE_SECONDS)
    os._exit(0)
