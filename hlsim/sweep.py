"""Sweeps: an experiment over every combination of some values and seeds, a trace for each run."""

import itertools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hlsim import grid as grids
from hlsim import trace as traces
from hlsim.errors import ExperimentError, HlsimError
from hlsim.experiment import Experiment
from hlsim.grid import Grid, Run
from hlsim.stimulus import Stage
from hlsim.trace import Trace
from hlsim.watch import Progress

LAST = 10  # a stage's last loss is that of its last tenth
# What is known of every stage of a run, and of the run, with its unit.
OF_STAGE = {
    "accuracy": "share of labelled rows told right",
    "loss": "mean loss of a row",
    "last_loss": "mean loss of a row in the last tenth of a stage",
}
NUMBERS = {
    "ticks": "ticks",
    "state_messages": "messages",
    "costate_messages": "messages",
    "node_updates": "updates",
    "wall_s": "s",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    error : str
        Why it failed, in one line; empty where it did not.
    traceback : str
        Where, if the failure is not one that a user can mend.
    skipped, replaced : bool
        Its trace was there already; a trace of this name was, but it was incomplete or of another experiment.
    accuracy, loss, last_loss : dict
        By stage: share of labelled rows told right; mean loss of its rows, and of their last tenth.
    numbers : dict
        As in ``NUMBERS``.
    """

    run: Run
    error: str = ""
    traceback: str = ""
    skipped: bool = False
    replaced: bool = False
    accuracy: Mapping[str, float] = field(default_factory=dict)
    loss: Mapping[str, float] = field(default_factory=dict)
    last_loss: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


def sweep(
    path: str | Path,
    grid: Grid | None = None,
    *,
    seeds: int | None = None,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    on_run: Callable[[int, int, Outcome], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> xr.Dataset:
    """Run an experiment once for every combination of values and every seed, one after another.

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
    on_run : callable, optional
        Called after every run with its number from 1, how many there are, and its ``Outcome``.
    progress : callable, optional
        Called during every run, as that of ``Simulation.run``.

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
    runs, axes = grids.plan(path, grid, seeds=seeds, overrides=overrides)
    place = None if folder is None else _made(Path(folder))
    outcomes = []
    for number, run in enumerate(runs, 1):
        outcomes.append(_outcome(run, place, progress))
        if on_run is not None:
            on_run(number, len(runs), outcomes[-1])
    return _dataset(outcomes, axes)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExperimentError(f"{folder}: cannot make this folder: {error.strerror}") from None
    return folder


# ---- one run


def _outcome(run: Run, folder: Path | None, progress: Callable[[Progress], None] | None) -> Outcome:
    wanted = replace(run.experiment)  # a copy: network and stream, once built, should not outlive the run
    try:
        if folder is None:
            with wanted.run(progress=progress) as trace:
                return _read(run, trace)
        return _kept(run, wanted, folder / run.file, progress)
    except HlsimError as error:
        return Outcome(run, error=" ".join(str(error).split()))
    except Exception as error:  # noqa: BLE001 - the other runs, a night of them maybe, should not be lost
        return Outcome(run, error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())


def _kept(run: Run, wanted: Experiment, file: Path, progress: Callable[[Progress], None] | None) -> Outcome:
    """Return what the trace of a run tells; run it first, unless the trace is there."""
    exists = file.is_file()
    if exists and (found := _existing(run, wanted, file)):
        return found
    aside = file.with_name(f"{file.name}.tmp")
    with wanted.run(aside, progress) as trace:
        outcome = _read(run, trace)
    aside.replace(file)
    return replace(outcome, replaced=exists)


def _existing(run: Run, wanted: Experiment, file: Path) -> Outcome | None:
    with traces.open(file) as trace:
        same = trace.attrs["experiment"] == wanted.toml() and trace["network/graph"] == wanted.network.graph
        return replace(_read(run, trace), skipped=True) if same and trace.status == "complete" else None


def _read(run: Run, trace: Trace) -> Outcome:
    stage, loss = trace["rows/split"], trace["rows/loss"]
    names = [str(name) for name in dict.fromkeys(stage.tolist())]
    rows = {name: loss[stage == name] for name in names}
    last = {name: part[-max(1, len(part) // LAST) :] for name, part in rows.items()}
    summary = trace.summary
    return Outcome(
        run,
        accuracy=summary["accuracy"],
        loss={name: _mean(part) for name, part in rows.items()},
        last_loss={name: _mean(part) for name, part in last.items()},
        numbers={name: summary[name] for name in NUMBERS},
    )


def _mean(values: np.ndarray) -> float:
    """Return the mean of what there is: copies that fill a batch have no loss."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


# ---- all of them


def _dataset(outcomes: Sequence[Outcome], axes: Mapping[str, list[Any]]) -> xr.Dataset:
    names = _short(list(axes))
    shape = tuple(map(len, axes.values()))
    stages = list(dict.fromkeys(stage for outcome in outcomes for stage in outcome.loss))
    data: dict[str, Any] = {}
    for name, meaning in OF_STAGE.items():
        values = [[getattr(o, name).get(stage, np.nan) for stage in stages] for o in outcomes]
        cube = np.array(values, float).reshape(*shape, len(stages))
        data[name] = ((*names, "stage"), cube, {"units": "1", "long_name": meaning})
    for name, unit in NUMBERS.items():
        cube = np.array([o.numbers.get(name, np.nan) for o in outcomes], float).reshape(shape)
        data[name] = (names, cube, {"units": unit})
    data["error"] = (names, np.array([o.error for o in outcomes], str).reshape(shape))
    coordinates: dict[str, Any] = {
        name: (name, _coordinate(values), {"key": key})
        for name, (key, values) in zip(names, axes.items(), strict=True)
    }
    learning = {
        stage.name
        for outcome in outcomes
        for stage in outcome.run.experiment.stages() or [Stage()]
        if stage.learn
    }
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


def table(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of what ``sweep`` found: a row for every combination, over its seeds."""
    keys = [str(name) for name in found.error.dims if name != "seed"]
    columns = _columns(found)
    rows = []
    for place in itertools.product(*(range(found.sizes[key]) for key in keys)):
        part = found.isel(dict(zip(keys, place, strict=True)))
        values = [str(part[key].item()) for key in keys]
        rows.append([*values, *(show(part) for show in columns.values())])
    return [*keys, *columns], rows


def _columns(found: xr.Dataset) -> dict[str, Callable[[xr.Dataset], str]]:
    columns: dict[str, Callable[[xr.Dataset], str]] = {}
    for stage in map(str, found.stage.values):
        if found.accuracy.sel(stage=stage).notnull().any():
            columns[f"accuracy {stage}"] = _cell("accuracy", stage, _share)
        else:
            columns[f"loss {stage}"] = _cell("loss", stage, _number)
            if found.learn.sel(stage=stage):
                columns["its last tenth"] = _cell("last_loss", stage, _number)
    if (found.error != "").any():
        columns["failed"] = lambda part: str(int((part.error != "").sum()))
    return columns | {"messages/tick": lambda part: _number((_messages(part) / part.ticks).values)}


def line(outcome: Outcome) -> str:
    """Return what came of a run, in a line."""
    if outcome.error:
        return f"{outcome.run.title}: failed: {outcome.error}"
    parts = [f"accuracy {stage} {_share(np.array([x]))}" for stage, x in outcome.accuracy.items()]
    parts += [f"loss {stage} {x:.4g}" for stage, x in outcome.loss.items() if stage not in outcome.accuracy]
    parts.append("skipped: it is there" if outcome.skipped else f"{outcome.numbers['wall_s']:.1f} s")
    if outcome.replaced:
        parts.append("in place of another")
    return f"{outcome.run.title}: {', '.join(parts)}"


def _cell(name: str, stage: str, show: Callable[[np.ndarray], str]) -> Callable[[xr.Dataset], str]:
    return lambda part: show(part[name].sel(stage=stage).values)


def _messages(found: xr.Dataset) -> xr.DataArray:
    return found.state_messages + found.costate_messages


def _share(values: np.ndarray) -> str:
    mean, spread = _moments(values)
    return "-" if np.isnan(mean) else f"{100 * mean:.2f}{_give(100 * spread, '.2f')} %"


def _number(values: np.ndarray) -> str:
    mean, spread = _moments(values)
    return "-" if np.isnan(mean) else f"{mean:.4g}{_give(spread, '.2g')}"


def _give(spread: float, form: str) -> str:
    return "" if np.isnan(spread) else f" ± {spread:{form}}"


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation over the seeds that came through; NaN where there are too few."""
    known = values[np.isfinite(values)]
    mean = known.mean() if known.size else np.nan
    return float(mean), float(known.std(ddof=1) if known.size > 1 else np.nan)
