"""One run of a sweep: how it is done, or found done, and what came of it."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hlsim import trace as traces
from hlsim.errors import HlsimError
from hlsim.experiment import Experiment
from hlsim.simulation.watch import Progress
from hlsim.sweep import grid as grids
from hlsim.sweep.grid import Point, Run
from hlsim.textdata import read_toml
from hlsim.trace import Trace, recovery

LAST = 10  # a stage's last loss is that of its last tenth
# What is known of every stage of a run, and of the run, with its unit.
OF_STAGE = {
    "accuracy": "share of labelled rows told right before their target counts",
    "taught": "share of labelled rows told right at their last tick, when their target counts",
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
    point : Point
        Which run it is.
    error : str
        Why it failed, in one line; empty where it did not.
    traceback : str
        Where, if the failure is not one that a user can mend.
    skipped, replaced : bool
        Its trace was there already; a trace of this name was, but it was incomplete or of another experiment.
    learning : tuple of str
        Stages that learn.
    accuracy, taught, loss, last_loss : dict
        By stage: share of labelled rows told right before their target counts, and when it does; mean loss of
        its rows, and of their last tenth.
    numbers : dict
        As in ``NUMBERS``.
    seconds : float
        What it took, all in all; 0 where nothing was run.
    """

    point: Point
    error: str = ""
    traceback: str = ""
    skipped: bool = False
    replaced: bool = False
    learning: tuple[str, ...] = ()
    accuracy: Mapping[str, float] = field(default_factory=dict)
    taught: Mapping[str, float] = field(default_factory=dict)
    loss: Mapping[str, float] = field(default_factory=dict)
    last_loss: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def done(run: Run, tell: Callable[[Progress], None] | None, *, folder: Path | None) -> Outcome:
    """Do a run and return what came of it, whatever that is; its trace goes to a folder, or nowhere.

    ``tell`` is called while it goes on.
    """
    begun = time.perf_counter()
    outcome = _done(run, tell, folder)
    return replace(outcome, seconds=time.perf_counter() - begun)


def _done(run: Run, tell: Callable[[Progress], None] | None, folder: Path | None) -> Outcome:
    wanted = replace(run.experiment)  # a copy: network and stream, once built, should not outlive the run
    try:
        if folder is None:
            with wanted.run(progress=tell) as trace:
                return _read(run.point, trace)
        return _kept(run, wanted, folder / run.file, tell)
    except HlsimError as error:
        return Outcome(run.point, error=" ".join(str(error).split()))
    except Exception as error:  # noqa: BLE001 - the other runs, a night of them maybe, should not be lost
        return Outcome(run.point, error=_in_short(error), traceback=traceback.format_exc())


def _in_short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _kept(run: Run, wanted: Experiment, file: Path, tell: Callable[[Progress], None] | None) -> Outcome:
    """Run into a trace that gets its name when it is complete."""
    exists = file.is_file()
    aside = file.with_name(f"{file.name}.tmp")
    _tidy(aside)
    with wanted.run(aside, tell) as trace:
        outcome = _read(run.point, trace)
    aside.replace(file)
    return replace(outcome, replaced=exists)


def _tidy(aside: Path) -> None:
    """Remove what a call that was killed has left of a run, unless somebody still writes it."""
    left = [path for path in aside.parent.iterdir() if path.name.startswith(f".{aside.name}.")]
    for path in [aside, *left]:
        if path.is_file() and not recovery.is_written(path):
            path.unlink(missing_ok=True)


def existing(run: Run, folder: Path) -> Outcome | None:
    """Return what came of a run before, where its complete trace is there; None where it is to be done."""
    file = folder / run.file
    if not file.is_file():
        return None
    wanted = replace(run.experiment)
    try:
        with traces.open(file) as trace:
            same = trace.attrs["experiment"] == wanted.toml()
            if not (same and trace.status == "complete" and trace["network/graph"] == wanted.network.graph):
                return None
            return replace(_read(run.point, trace), skipped=True)
    except HlsimError as error:
        return Outcome(run.point, error=" ".join(str(error).split()))
    except Exception:  # noqa: BLE001 - a mistake in the user's code, which the run will tell of
        return None


def stored(point: Point, file: Path, digest: str) -> Outcome | None:
    """Return what the complete trace of an experiment with a digest tells; None where there is none."""
    if not file.is_file():
        return None
    try:
        with traces.open(file) as trace:
            same = grids.digest(trace.attrs["experiment"]) == digest
            return _read(point, trace) if same and trace.status == "complete" else None
    except HlsimError as error:
        return Outcome(point, error=" ".join(str(error).split()))


def _read(point: Point, trace: Trace) -> Outcome:
    stage, loss = trace["rows/split"], trace["rows/loss"]
    names = [str(name) for name in dict.fromkeys(stage.tolist())]
    rows = {name: loss[stage == name] for name in names}
    last = {name: part[-max(1, len(part) // LAST) :] for name, part in rows.items()}
    summary = trace.summary
    return Outcome(
        point,
        learning=_learning(trace.attrs["experiment"]),
        accuracy=summary["accuracy"],
        taught=summary["accuracy_taught"],
        loss={name: _mean(part) for name, part in rows.items()},
        last_loss={name: _mean(part) for name, part in last.items()},
        numbers={name: summary[name] for name in NUMBERS},
    )


def _learning(experiment: str) -> tuple[str, ...]:
    """Return which stages learn; without stages, the one there is does."""
    stages = read_toml(experiment).get("stage", [{"name": "train", "learn": True}])
    return tuple(stage["name"] for stage in stages if stage["learn"])


def _mean(values: np.ndarray) -> float:
    """Return the mean of what there is: copies that fill a batch have no loss."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
