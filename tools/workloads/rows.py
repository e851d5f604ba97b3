"""Rows of a benchmark, and how they are timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison: ``ratio`` is to be at least (or at most) ``target``."""

    workload: str
    what: str
    hlsim: float
    other: float
    unit: str
    ratio: float
    target: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return bool(self.ratio >= self.target if self.at_least else self.ratio <= self.target)


def medians(repeats: int, *contenders: Callable[[], None]) -> list[float]:
    """Return the median seconds of each contender; they take turns, after one turn that does not count."""
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(repeats + 1):
        for each, contender in zip(times, contenders, strict=True):
            start = time.perf_counter()
            contender()
            if turn:
                each.append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]
