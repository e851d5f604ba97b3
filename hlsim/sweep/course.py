"""Sweeps: an experiment over every combination of some values and seeds, a trace for each run."""

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hlsim.errors import ExperimentError
from hlsim.simulation.watch import Progress
from hlsim.sweep import grid as grids
from hlsim.sweep import ledger as ledgers
from hlsim.sweep import outcomes
from hlsim.sweep.grid import Grid, Run
from hlsim.sweep.ledger import Ledger
from hlsim.sweep.outcomes import NUMBERS, OF_STAGE, Outcome
from hlsim.sweep.workers import Lost, Serial, Workers


class Pace:
    """Where a sweep stands.

    Attributes
    ----------
    runs, done, failed : int
        All runs; those that are over, of these the ones that were there already; those that failed.
    """

    def __init__(self, runs: int, at_once: Callable[[], int]) -> None:
        self.runs, self.done, self.failed = runs, 0, 0
        self._at_once = at_once
        self._times: list[float] = []
        self._standing: dict[int, Progress] = {}

    def ended(self, index: int, outcome: Outcome) -> None:
        """Count a run that is over; one that was there already took no time, and tells nothing of others."""
        self._standing.pop(index, None)
        self.done += 1
        self.failed += bool(outcome.error)
        if not (outcome.skipped or outcome.error):
            self._times.append(outcome.seconds)

    def stands(self, index: int, standing: Progress) -> None:
        """Take note of how far a run has come."""
        self._standing[index] = standing

    @property
    def share(self) -> float:
        """Return how much of the sweep is done, begun runs by their share."""
        return (self.done + sum(map(_share_over, self._standing.values()))) / self.runs

    @property
    def mean(self) -> float | None:
        """Return the mean time of a run in seconds; None before anything is known."""
        begun = [s.wall_s / _share_over(s) for s in self._standing.values() if s.tick]
        times = self._times or begun
        return sum(times) / len(times) if times else None

    @property
    def left(self) -> float | None:
        """Return the seconds that are left, as far as one can tell from those that are over."""
        mean, left = self.mean, self.runs * (1 - self.share)
        if mean is None or self.done == self.runs:
            return None if mean is None else 0.0
        return mean * left / min(self._at_once(), self.runs - self.done)


def _share_over(standing: Progress) -> float:
    return standing.tick / max(standing.until, 1)


MISSING = "no trace yet"


def sweep(
    path: str | Path,
    grid: Grid | None = None,
    *,
    seeds: int | None = None,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    workers: Workers | None = None,
    on_run: Callable[[int, int, Outcome], None] | None = None,
    progress: Callable[[Pace], None] | None = None,
) -> xr.Dataset:
    """Run an experiment once for every combination of values and every seed.

    Parameters
    ----------
    path : str or Path
        An experiment. Its table ``[sweep]`` may hold a grid and a number of seeds.
    grid : mapping of str to sequence, optional
        Values by key, ``{"stimulus.hold": [1, 2, 4]}``; goes before the keys of the file.
    seeds : int, optional
        Seeds of every combination, from the experiment's on; the file's, or 1.
    folder : path, optional
        Where the traces go; a run whose complete trace is there is not run again. Without one, none is kept.
    overrides : sequence of str
        Each ``table.key=value``, for all runs.
    workers : Workers, optional
        Who does the runs: ``hlsim.sweep.workers.Processes(4)``, a ``hlsim.sweep.cluster.Cluster``, or, left
        out, this process, one after another. What comes of a run does not depend on it.
    on_run : callable, optional
        Called after every run with its number from 1, how many there are, and its ``Outcome``: those
        that were there first, then the others as they end.
    progress : callable, optional
        Called during and after every run with the ``Pace`` of the sweep.

    Returns
    -------
    Dataset over the swept keys (by their last part where that is enough), seed and stage
        ``accuracy``, ``loss``, ``last_loss`` over stage too, see ``Outcome``; counts and times; ``error``.
        NaN where a run failed or has no such stage. A coordinate ``learn`` tells which stages learn.

    Raises
    ------
    ExperimentError
        The experiment, the grid or one of its combinations is wrong; then nothing is run.
    """
    workers = workers or Serial()
    place = None if folder is None else Path(folder)
    if workers.elsewhere:
        path, place = Path(path).absolute(), place and place.absolute()
    runs, axes = grids.plan(path, grid, seeds=seeds, overrides=overrides)
    course = _Course(runs, Pace(len(runs), lambda: workers.at_once), on_run, progress)
    if place is not None:
        _make(place)
        course.keep(ledgers.ledger(runs, axes), place)
        course.skip(place)
    course.do(partial(outcomes.done, folder=place), workers)
    return _dataset([course.found[run.file] for run in runs], axes)


def load(folder: str | Path) -> xr.Dataset:
    """Return what ``sweep`` returned, from the folder it was given alone.

    A run that has no trace yet, or one that is not of this sweep, has the error "no trace yet".

    Raises
    ------
    ExperimentError
        There was no sweep into this folder.
    """
    folder = Path(folder)
    ledger = ledgers.read(folder)
    pairs = zip(ledger.points, ledger.digests, strict=True)
    found = [
        _stored(ledger, outcomes.stored(point, folder / point.file, digest), point) for point, digest in pairs
    ]
    return _dataset(found, ledger.axes)


def _stored(ledger: Ledger, found: Outcome | None, point: grids.Point) -> Outcome:
    if found is not None:
        return found
    error, trace = ledger.failures.get(point.file, (MISSING, ""))
    return Outcome(point, error=error, traceback=trace)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExperimentError(f"{folder}: cannot make this folder: {error.strerror}") from None


class _Course:
    """A sweep on its way: what is to be done, what came of the rest, and who is told of it."""

    def __init__(
        self,
        runs: Sequence[Run],
        pace: Pace,
        on_run: Callable[[int, int, Outcome], None] | None,
        progress: Callable[[Pace], None] | None,
    ) -> None:
        self._left = list(runs)
        self._pace, self._on_run, self._progress = pace, on_run, progress
        self._ledger: Ledger | None = None
        self._folder = Path()
        self.found: dict[str, Outcome] = {}  # by the name of the trace

    def keep(self, ledger: Ledger, folder: Path) -> None:
        """Write the plan into a folder, and every failure as it comes."""
        self._ledger, self._folder = ledger, folder
        ledger.write(folder)

    def skip(self, folder: Path) -> None:
        """Find the runs whose traces are there."""
        for run in list(self._left):
            outcome = outcomes.existing(run, folder)
            if outcome is not None:
                self._left.remove(run)
                self._ended(-1, outcome)

    def do(self, work: Callable[..., Outcome], workers: Workers) -> None:
        """Do the others."""
        runs = self._left
        # closed at once, so that an interrupt here ends the workers, not the garbage collector some day
        with closing(workers.outcomes(work, runs, self._stands)) as results:
            for index, result in results:
                point = runs[index].point
                self._ended(
                    index, Outcome(point, error=result.reason) if isinstance(result, Lost) else result
                )

    def _stands(self, index: int, standing: Any) -> None:
        self._pace.stands(index, standing)
        self._tell()

    def _ended(self, index: int, outcome: Outcome) -> None:
        self.found[outcome.point.file] = outcome
        if outcome.error and self._ledger is not None:
            self._ledger.failures[outcome.point.file] = (outcome.error, outcome.traceback)
            self._ledger.write(self._folder)
        self._pace.ended(index, outcome)
        if self._on_run is not None:
            self._on_run(self._pace.done, self._pace.runs, outcome)
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._pace)


# ---- all of them


def _dataset(found: Sequence[Outcome], axes: Mapping[str, list[Any]]) -> xr.Dataset:
    names = _short(list(axes))
    shape = tuple(map(len, axes.values()))
    stages = list(dict.fromkeys(stage for outcome in found for stage in outcome.loss))
    data: dict[str, Any] = {}
    for name, meaning in OF_STAGE.items():
        values = [[getattr(o, name).get(stage, np.nan) for stage in stages] for o in found]
        cube = np.array(values, float).reshape(*shape, len(stages))
        data[name] = ((*names, "stage"), cube, {"units": "1", "long_name": meaning})
    for name, unit in NUMBERS.items():
        cube = np.array([o.numbers.get(name, np.nan) for o in found], float).reshape(shape)
        data[name] = (names, cube, {"units": unit})
    data["error"] = (names, np.array([o.error for o in found], str).reshape(shape))
    coordinates: dict[str, Any] = {
        name: (name, _coordinate(values), {"key": key})
        for name, (key, values) in zip(names, axes.items(), strict=True)
    }
    learning = {stage for outcome in found for stage in outcome.learning}
    coordinates["stage"] = np.array(stages, str)
    coordinates["learn"] = ("stage", np.array([stage in learning for stage in stages], bool))
    return xr.Dataset(data, coords=coordinates)


def _short(keys: Sequence[str]) -> list[str]:
    """Return the last part of every key, or all of it where that is taken."""
    last = [key.rpartition(".")[2] for key in keys]
    taken = {"stage", *NUMBERS, *OF_STAGE, "error"}
    return [
        name if last.count(name) == 1 and name not in taken else key
        for name, key in zip(last, keys, strict=True)
    ]


def _coordinate(values: Sequence[Any]) -> np.ndarray:
    plain = all(isinstance(value, int | float) for value in values)
    return np.array(values) if plain else np.array([grids.word(value) for value in values], str)


# ---- files for other programs


def check_file(file: Path) -> None:
    """Refuse, before anything is run, a file that ``save`` could not write: ExperimentError."""
    if file.suffix not in (".csv", ".nc"):
        raise ExperimentError(f"{file}: a table must be called *.csv or, for netCDF, *.nc")
    if not file.parent.is_dir():
        raise ExperimentError(f"{file}: cannot write: there is no folder {file.parent}")


def save(found: xr.Dataset, file: str | Path) -> None:
    """Write what ``sweep`` found into a file: CSV, with a row for every run, or netCDF."""
    file = Path(file)
    check_file(file)
    try:
        if file.suffix == ".nc":
            found.to_netcdf(file, engine="h5netcdf")
        else:
            with file.open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerows(_lines(found))
    except OSError as error:
        raise ExperimentError(f"{file}: cannot write: {error.strerror or error}") from None


def _lines(found: xr.Dataset) -> Iterator[list[Any]]:
    """Yield the header and a line for every run; what a run does not have is left empty."""
    keys = [str(name) for name in found.error.dims]
    stages = [(name, str(stage)) for stage in found.stage.values for name in OF_STAGE]
    yield [*keys, *(f"{name} {stage}" for name, stage in stages), *NUMBERS, "error"]
    for place in itertools.product(*(range(found.sizes[key]) for key in keys)):
        run = found.isel(dict(zip(keys, place, strict=True)))
        values = [*(run[name].sel(stage=stage) for name, stage in stages), *(run[name] for name in NUMBERS)]
        numbers = ["" if np.isnan(value) else value.item() for value in values]
        yield [*(run[key].item() for key in keys), *numbers, run.error.item()]
