"""Helpers of the benchmarks: figures with bars, a portal in its own process, medians."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpe_openai
import httpx

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One row of the table: `value` must not be over `bar`."""

    name: str
    value: float
    bar: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bar

    def __str__(self) -> str:
        value = f"{self.value:.3g}" if self.value < 1000 else f"{self.value:.0f}"
        met = "yes" if self.met else "NO"
        return f"| {self.name} | {value}{self.unit} | ≤ {self.bar:g}{self.unit} | {met} |"


@contextlib.contextmanager
def portal(*options: str, program: str = "portal.py") -> Iterator[str]:
    """Start a portal in a process of its own; yields the webhook's URL."""
    command = [sys.executable, str(HERE / program), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def measure_in_turns(rounds: int, *measures: Callable[[], float]) -> list[tuple[float, ...]]:
    """Results of each measure, taken in turns so that other load affects all alike."""
    taken = [[measure() for measure in measures] for _ in range(rounds)]
    return list(zip(*taken, strict=True))


def medians(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, taken in turns."""
    return [statistics.median(column) for column in measure_in_turns(rounds, *measures)]


def percentile99(taken: Sequence[float]) -> float:
    return statistics.quantiles(taken, n=100)[-1]


def call_count(webhook: str) -> int:
    """Number of REST calls that the portal has had."""
    calls: int = httpx.get(f"{webhook.partition('/rest/')[0]}/demo/calls").json()["calls"]
    return calls


def count(value: Any) -> int:
    """Number of tokens (o200k) of a text, or of anything else as compact JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(bpe_openai.get_encoding("o200k_base").encode(text))
