"""The scale of the loss gradient over time: constant, off at the start of every row, or on a schedule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlsim.errors import ExperimentError, check_number, is_count, plain, plain_fields, shown


@dataclass(frozen=True)
class Gate:
    """phi that is off for the first ``off`` ticks of every row (and of the run), then ``value``."""

    off: int
    value: float = 1.0

    def __post_init__(self) -> None:
        plain_fields(self)
        if not is_count(self.off, 0):
            raise ExperimentError(
                f"learning.phi: gate must be a whole number of ticks >= 0, got {self.off!r}"
            )
        check_number("learning.phi", self.value)


@dataclass(frozen=True)
class Schedule:
    """phi that takes a new value at given ticks of the run; 0 before the first."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        points = tuple((plain(tick), plain(value)) for tick, value in self.points)
        object.__setattr__(self, "points", points)
        ticks = [tick for tick, _ in self.points]
        if not ticks or not all(is_count(tick, 0) for tick in ticks) or ticks != sorted(set(ticks)):
            raise ExperimentError(f"learning.phi: schedule needs rising ticks >= 0, got {ticks}")
        for _, value in self.points:
            check_number("learning.phi", value)


Phi = float | Gate | Schedule


def changes(phi: Phi, start: int, ticks: float) -> list[tuple[int, float]]:
    """Return phi in a row that begins at tick ``start`` and lasts so many: (tick, value from there on).

    The first is at ``start``: a row has its own phi from the beginning, whatever was in force before.
    """
    if isinstance(phi, Gate):
        points: tuple[tuple[int, float], ...] = ((start, 0.0), (start + phi.off, phi.value))
    elif isinstance(phi, Schedule):
        points = ((0, 0.0), *phi.points)
    else:
        points = ((start, phi),)
    begins = [value for tick, value in points if tick <= start][-1]
    return [(start, begins), *(point for point in points if start < point[0] < start + ticks)]


def form(phi: Phi) -> float | dict[str, Any]:
    """Return phi as an experiment has it."""
    if isinstance(phi, Gate):
        return {"gate": phi.off, "value": phi.value}
    if isinstance(phi, Schedule):
        return {"schedule": [[tick, value] for tick, value in phi.points]}
    return float(phi)


def of_form(told: float | Mapping[str, Any]) -> Phi:
    """Return the phi that an experiment has in this form; ExperimentError where it is none."""
    if not isinstance(told, Mapping):
        check_number("learning.phi", told)
        return float(told)
    if "gate" in told:
        return Gate(told["gate"], told.get("value", 1.0))
    points = told.get("schedule")
    if not isinstance(points, list | tuple) or not all(map(_is_pair, points)):
        raise ExperimentError(f"learning.phi: schedule must hold pairs [tick, value], got {shown(points)}")
    return Schedule(tuple((tick, value) for tick, value in points))


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2
