"""Operations on many records: a report on 100,000, merging 10,000, also interrupted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from figures import Figure, call_count, portal

TIMES = 50
MERGE = ("merge", "SOURCE", "EMAIL", "--into", "WEB", "--yes", "--log")
Record = dict[str, Any]

# Runs a command and prints its peak memory in bytes. A small process has to start it, for the memory of the starting
# process counts as the program's own.
_MEASURED = """
import os, subprocess, sys
_, status, usage = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)
print(usage.ru_maxrss * 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def report() -> Iterator[Figure]:
    """Run a report as a process, with memory of its own, under the portal's limit."""
    with portal("large", "limited") as webhook:
        before = call_count(webhook)
        started = time.perf_counter()
        command, environment = _program(webhook, "report", "--csv", plan="standard")
        measured = [sys.executable, "-c", _MEASURED, *command]
        ended = subprocess.run(measured, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        requests = call_count(webhook) - before
        assert ended.returncode == 1, "records hold codes that no directory has"
        counts, memory = len(ended.stdout.splitlines()), int(ended.stderr.splitlines()[-1])
    yield Figure("a report on 100,000 records over 40 directories at burst 50, 2/s: HTTP requests", requests, 50)
    yield Figure("the same, with the demo portal's own time for counting", seconds, 60, " s")
    yield Figure("the same: requests against one for each count that it prints", requests / counts, 0.1)
    yield Figure("the same: memory at most", memory / 2**20, 150, " MiB")


def merging() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        log = str(Path(folder) / "log")
        with portal("merged") as webhook:
            before, started = call_count(webhook), time.perf_counter()
            assert _run(webhook, *MERGE, log).wait() == 0
            undisturbed, requests = time.perf_counter() - started, call_count(webhook) - before
        yield Figure("merging 10,000 records: HTTP requests", requests, 250)
        yield Figure("the same without a limit, with plan and start of the program", undisturbed, 40, " s")
        with portal("merged", "limited") as webhook:
            started = time.perf_counter()
            assert _run(webhook, *MERGE, f"{log}2", plan="standard").wait() == 0
            seconds = time.perf_counter() - started
        yield Figure("the same at burst 50, 2/s, against what the limit alone takes", seconds / _limit(requests), 1.15)
        yield from _merge_interrupted(f"{log}3", undisturbed, signal.SIGKILL, "killed with -9")
        yield from _merge_interrupted(f"{log}4", undisturbed, signal.SIGINT, "interrupted by SIGINT")


def _merge_interrupted(log: str, undisturbed: float, number: signal.Signals, how: str) -> Iterator[Figure]:
    """Merge with processes that are ended before they move anything, or a little after.

    All signals come before the end of the merge, however fast it is. An interrupted process leaves a log that names
    exactly the moved records as moved; a killed one leaves at least "unknown" for them.
    """
    chance = random.Random(14)
    with portal("merged") as webhook:
        before = _leads(webhook)
        started = time.perf_counter()
        assert _run(webhook, "report", "SOURCE", "--csv").wait() == 1
        ready = time.perf_counter() - started  # about the time until the first record
        ended = 0
        while ended < TIMES:
            process = _run(webhook, *MERGE, log)
            seconds = chance.uniform(0.3 * ready, ready + undisturbed / TIMES)
            timer = threading.Timer(seconds, os.kill, (process.pid, number))
            timer.start()
            code = process.wait()
            timer.cancel()
            if code == 0:  # it finished: start again
                break
            assert code in (-number, 128 + number), code
            ended += 1
        while _run(webhook, *MERGE, log).wait() != 0:
            pass
        merged = _leads(webhook)
        expected = [lead | {"sourceId": "WEB"} if lead["sourceId"] == "EMAIL" else lead for lead in before]
        wrong = sum(now != then for now, then in zip(merged, expected, strict=True))
        yield Figure(f"the same, {how} and gone on with: times, short of 50", TIMES - ended, 0)
        lost = _moved_ids(before, merged) - _logged_ids(log, surely=number == signal.SIGINT)
        yield Figure("the same: records moved of which the log does not tell", len(lost), 0)
        yield Figure("the same: records that are not as they should be in the end", wrong, 0)
        assert _run(webhook, "undo", log, "--yes").wait() == 0
        undone = sum(now != then for now, then in zip(_leads(webhook), before, strict=True))
        yield Figure("the same, taken back with `undo`: records that are not as they were", undone, 0)


def _moved_ids(before: list[Record], now: list[Record]) -> set[int]:
    return {lead["id"] for lead, was in zip(now, before, strict=True) if lead["sourceId"] != was["sourceId"]}


def _logged_ids(log: str, *, surely: bool) -> set[int]:
    """Records that a log reports as moved, or, unless `surely`, as possibly moved."""
    if not Path(log).exists():
        return set()
    lines = [json.loads(line) for line in Path(log).read_text(encoding="utf-8").splitlines()]
    outcomes = {line["id"]: line["outcome"] for line in lines if line["event"] == "outcome"}
    tried = {line["id"]: line["recordId"] for line in lines if line["event"] == "intent" and "recordId" in line}
    reported = {number: outcomes.get(number, "" if surely else "moved") for number in tried}
    return {tried[number] for number, outcome in reported.items() if outcome == "moved"}


def _program(webhook: str, *arguments: str, plan: str = "enterprise") -> tuple[list[str], dict[str, str]]:
    """Command and environment of the program.

    The larger plan's limit of 250 requests at once is none for the measures without a limit.
    """
    environment = os.environ | {"BITRIX24_WEBHOOK_URL": webhook, "BITRIX24_ALLOW_WRITES": "true", "BITRIX24_PLAN": plan}
    return [sys.executable, "-m", "bitrix24_directories", *arguments], environment


def _run(webhook: str, *arguments: str, plan: str = "enterprise") -> subprocess.Popen[bytes]:
    command, environment = _program(webhook, *arguments, plan=plan)
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _limit(requests: int) -> float:
    """Minimum of seconds for so many requests at a burst of 50 and 2 a second."""
    return max(1.0, (requests - 50) / 2)


def _leads(webhook: str) -> list[Record]:
    """All leads, with all fields."""
    leads: list[Record] = []
    with httpx.Client(timeout=60) as client:
        while True:
            after = leads[-1]["id"] if leads else 0
            command = "crm.item.list?entityTypeId=1&order[id]=ASC&start=-1&filter[>id]="
            commands = {f"c{page}": f"{command}{after + 50 * page}" for page in range(50)}
            answer = client.post(f"{webhook}batch", json={"halt": 0, "cmd": commands}).json()["result"]["result"]
            pages = [record for page in answer.values() for record in page["items"]]
            if not pages:
                return leads
            leads += pages
