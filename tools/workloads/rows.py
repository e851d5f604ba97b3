"""Rows of a benchmark: what is measured, how it is timed, and what it is to reach."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

import hlsim
from workloads.agreement import require_alike, require_moving

Numbers = Mapping[str, ArrayLike]


class Figures(NamedTuple):
    """What came out of a measurement: hlsim's figure, that of the other side, and the ratio that counts."""

    hlsim: float
    other: float
    unit: str
    ratio: float


@dataclass(frozen=True)
class Case:
    """A row to be: its name, its measurement, given the repeats, and what the ratio is to reach.

    One without a target is there to be known. One that is not ``quick`` is left out of a quick run.
    """

    what: str
    measure: Callable[[int], Figures]
    target: float | None = None
    at_least: bool = False
    quick: bool = True


@dataclass(frozen=True)
class Row:
    """One comparison: ``ratio`` is to be at least (or at most) ``target``."""

    workload: str
    what: str
    hlsim: float
    other: float
    unit: str
    ratio: float
    target: float | None
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        return bool(self.ratio >= self.target if self.at_least else self.ratio <= self.target)


def turns(repeats: int, *contenders: Callable[[], None]) -> list[list[float]]:
    """Return the seconds of processor time of each turn of each contender, after one that does not count."""
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(repeats + 1):
        for each, contender in zip(times, contenders, strict=True):
            start = time.process_time()
            contender()
            if turn:
                each.append(time.process_time() - start)
    return times


def medians(repeats: int, *contenders: Callable[[], None]) -> list[float]:
    """Return the median seconds of processor time of each contender; they take turns."""
    return [statistics.median(each) for each in turns(repeats, *contenders)]


# ---- two sides that take turns


class Side(Protocol):
    """What can be run for some ticks, and looked at."""

    def run(self, ticks: int, /) -> None:
        """Run so many ticks."""

    def numbers(self) -> Numbers:
        """Return by name what it has come to."""


class Running:
    """A simulation that goes on, without a trace.

    ``look`` says what its numbers are: by default states, and what has become of the weights.
    """

    def __init__(
        self, sim: hlsim.Simulation, look: Callable[[hlsim.Simulation], Numbers] | None = None
    ) -> None:
        self.sim, self._look = sim, look

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        self.sim.env.run(until=self.sim.tick + ticks)

    def numbers(self) -> Numbers:
        """Return by name what it has come to."""
        return states_and_moves(self.sim) if self._look is None else self._look(self.sim)


def states(sim: hlsim.Simulation) -> Numbers:
    """Return the states alone: of a network that does not learn."""
    return {"states": sim.read("h")}


def states_and_moves(sim: hlsim.Simulation) -> Numbers:
    """Return states, and what has become of the weights."""
    return {"states": sim.read("h"), "changes of the weights": sim.read("w") - sim.network.weight}


@dataclass(frozen=True)
class Pair:
    """Two sides.

    Attributes
    ----------
    ticks : int
        Of a turn.
    work, other_work : float
        What each does in a tick, in units.
    unit, scale
        Of what is shown: seconds times ``scale`` for a unit of work. Where ``speed`` is set, it is units of
        work in a second, over ``scale``, and the ratio is that of speeds.
    alike : int
        After so many ticks both have to have the same numbers; 0: their tasks differ, but both must move.
    within : mapping
        Tolerances by name, as shares of the largest number.
    """

    ours: Side
    other: Side
    ticks: int
    work: float = 1.0
    other_work: float | None = None
    unit: str = "ms a tick"
    scale: float = 1e3
    speed: bool = False
    alike: int = 0
    within: Mapping[str, float] = field(default_factory=dict)


def beside(make: Callable[..., Pair], *given: Any) -> Callable[[int], Figures]:
    """Return the measurement of a pair, made of what is given: sides are compared, then timed in turns."""

    def measure(repeats: int) -> Figures:
        pair = make(*given)
        check(pair)
        sides = (pair.ours, pair.other)
        mine, theirs = turns(repeats, *(lambda side=side: side.run(pair.ticks) for side in sides))
        other_work = pair.work if pair.other_work is None else pair.other_work
        works = pair.ticks * pair.work, pair.ticks * other_work
        ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True)) * works[1] / works[0]
        seconds = [statistics.median(x) / work for x, work in zip((mine, theirs), works, strict=True)]
        if pair.speed:
            return Figures(*(1.0 / each / pair.scale for each in seconds), pair.unit, 1.0 / ratio)
        return Figures(*(each * pair.scale for each in seconds), pair.unit, ratio)

    return measure


def check(pair: Pair) -> None:
    """End the benchmark unless both sides move, and where they are to be alike, come to the same."""
    for side in (pair.ours, pair.other):
        side.run(pair.alike or pair.ticks)
    ours, theirs = pair.ours.numbers(), pair.other.numbers()
    if pair.alike:
        require_alike(ours, theirs, pair.within)
        return
    for whose, numbers in (("hlsim", ours), ("the other side", theirs)):
        for name, values in numbers.items():
            require_moving(name, whose, np.asarray(values))
