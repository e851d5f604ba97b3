"""The grid of a sweep: which keys take which values, the runs that come of it, and what they are called."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hlsim import experiment
from hlsim.errors import ExperimentError, plain
from hlsim.experiment import Experiment
from hlsim.experiment.settings import SweepTable, check_axis
from hlsim.textdata import read_toml

Grid = Mapping[str, Sequence[Any] | np.ndarray]


@dataclass(frozen=True)
class Point:
    """Where in the grid a run is: its values by key and its seed."""

    values: Mapping[str, Any]
    seed: int

    @property
    def title(self) -> str:
        """Return how people call it: ``stimulus.hold=4, seed=0``."""
        return ", ".join(f"{key}={toml(value)}" for key, value in self._named())

    @property
    def file(self) -> str:
        """Return the name of its trace; values that no file should be called by are shortened."""
        return ",".join(f"{_safe(key)}={_safe(word(value))}" for key, value in self._named()) + ".h5"

    def _named(self) -> list[tuple[str, Any]]:
        return [*self.values.items(), ("seed", self.seed)]


@dataclass(frozen=True)
class Run(Point):
    """One run of a sweep, and the experiment that has its values."""

    experiment: Experiment

    @property
    def point(self) -> Point:
        """Return where it is, without the experiment."""
        return Point(self.values, self.seed)

    @property
    def digest(self) -> str:
        """Return what tells its experiment from others."""
        return digest(self.experiment.toml())


def digest(text: str) -> str:
    """Return a short text that two texts share only if they are the same."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def points(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Return the places of a grid, the last axis, the seed, varying fastest."""
    combinations = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    return [Point(values, values.pop("seed")) for values in combinations]


def plan(
    path: str | Path, grid: Grid | None = None, *, seeds: int | None = None, overrides: Sequence[str] = ()
) -> tuple[list[Run], dict[str, list[Any]]]:
    """Return the runs of a sweep, the last key and the seed varying fastest, and the values of every axis."""
    short = () if seeds is None else (f"sweep.seeds={plain(seeds)!r}",)
    base = experiment.load(path, [*overrides, *short]).settings
    if base.simulation.checkpoint_every is not None:
        raise ExperimentError(
            f"{path}: simulation.checkpoint_every must be left out in a sweep, which goes on with whole "
            f"runs, got {base.simulation.checkpoint_every!r}"
        )
    axes = {**base.sweep.grid, **_checked(grid or {})}
    if not axes and base.sweep.seeds == 1:
        raise ExperimentError(
            f"{path}: a sweep needs a [sweep] grid, --grid KEY=VALUES or more than one seed"
        )
    first, step = base.simulation.seed, base.simulation.ensemble  # an ensemble has the seeds that follow
    axes["seed"] = list(range(first, first + base.sweep.seeds * step, step))
    return [_run(path, overrides, point) for point in points(axes)], axes


def _checked(grid: Grid) -> dict[str, list[Any]]:
    found = {key: [_plain(value) for value in values] for key, values in grid.items()}
    for key, values in found.items():
        try:
            check_axis(key, values)
        except ValueError as error:
            raise ExperimentError(f"grid {error}") from None
    return found


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy as Python has them."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _run(path: str | Path, overrides: Sequence[str], point: Point) -> Run:
    own = [f"{key}={toml(value)}" for key, value in point.values.items()]
    try:
        wanted = experiment.load(path, [*overrides, *own, f"simulation.seed={point.seed}"])
    except ExperimentError as error:
        raise ExperimentError(_from_grid(str(error), own)) from None
    alone = wanted.settings.model_copy(update={"sweep": SweepTable()})
    return Run(point.values, point.seed, replace(wanted, settings=alone))


def _from_grid(message: str, values: Sequence[str]) -> str:
    """Say of values of the grid that they were not given by --set."""
    for value in values:
        message = message.replace(f"--set {value}", f"grid {value}")
    return message


def parse(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the grid of texts as ``parse_one`` takes them; ExperimentError for a key that is there twice."""
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, values = parse_one(text)
        if key in grid:
            raise ExperimentError(f"--grid {text}: {key} is there twice")
        grid[key] = values
    return grid


def parse_one(text: str) -> tuple[str, list[Any]]:
    """Return key and values of ``key=v1,v2``: TOML values or bare words, separated by commas.

    Raises
    ------
    ExperimentError
        The text is nothing of the kind.
    """
    key, equals, values = text.partition("=")
    if not (key.strip() and equals and values.strip()):
        raise ExperimentError(f"--grid {text}: must be table.key=value,value")
    try:
        return key.strip(), read_toml(f"values = [{values}]")["values"]
    except ValueError:
        return key.strip(), [_bare(text, value.strip()) for value in values.split(",")]


def _bare(text: str, value: str) -> Any:
    """Return a TOML value, or the bare word that it is."""
    try:
        return read_toml(f"value = {value}")["value"]
    except ValueError:
        if re.fullmatch(r"[^\s\[\]{}\"']+", value):
            return value
        raise ExperimentError(
            f"--grid {text}: values must be as in TOML, or bare words, got {value!r}"
        ) from None


def toml(value: Any) -> str:
    """Return a value as TOML has it within a line."""
    value = plain(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def word(value: Any) -> str:
    """Return a value as TOML has it, a string without quotes."""
    return value if isinstance(value, str) else toml(value)


def _safe(text: str) -> str:
    """Return text as a part of a file's name: as it is, or shortened and told apart by a digest."""
    if re.fullmatch(r"[\w.+-]{1,40}", text, re.ASCII):
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.+-]+', '_', text)[:30].strip('_')}-{digest}"
