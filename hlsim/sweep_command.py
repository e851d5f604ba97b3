"""What the command ``sweep`` does with its options: who does the runs, and what is told of them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from hlsim import sweep as sweeps
from hlsim import sweep_charts, terminal
from hlsim.cluster import LOCAL, Cluster
from hlsim.errors import ExperimentError
from hlsim.grid import Grid
from hlsim.words import percent
from hlsim.workers import Processes, Serial, Workers


@contextmanager
def workers(jobs: int | None, scheduler: str | None, dashboard: str | None) -> Iterator[Workers]:
    """Give whom the options name; this process, where they name none."""
    if dashboard is not None and scheduler != LOCAL:
        raise ExperimentError("--dashboard goes with --scheduler local: another scheduler has its own")
    if jobs is not None and scheduler not in (None, LOCAL):
        raise ExperimentError(
            "--jobs is for this machine: a cluster has the workers that were started for it"
        )
    if scheduler is None:
        yield Serial() if jobs in (None, 1) else Processes(jobs)
        return
    with Cluster(scheduler, jobs or 1, dashboard) as cluster:
        sys.stderr.write(f"hlsim: dashboard: {cluster.dashboard}\n")
        if not cluster.workers:
            sys.stderr.write("hlsim: the scheduler has no workers yet: runs wait for them\n")
        yield cluster


def swept(
    path: Path,
    axes: Grid,
    seeds: int | None,
    folder: Path,
    overrides: Sequence[str],
    workers: Workers,
) -> tuple[xr.Dataset, list[str]]:
    """Run the sweep and return what it found and a line for every failure.

    Tells of every run as it ends, and in between how long the rest will take.
    """
    failed: list[str] = []

    def tell(number: int, of: int, outcome: sweeps.Outcome) -> None:
        failed.extend([line(outcome)] * bool(outcome.error))
        sys.stderr.write(f"{outcome.traceback}[{number}/{of}] {line(outcome)}\n")
        sys.stderr.flush()

    with terminal.sweep_progress(sys.stderr) as progress:
        found = sweeps.sweep(
            path,
            axes,
            seeds=seeds,
            folder=folder,
            overrides=overrides,
            workers=workers,
            on_run=tell,
            progress=progress,
        )
    return found, failed


def line(outcome: sweeps.Outcome) -> str:
    """Return what came of a run, in a line."""
    if outcome.error:
        return f"{outcome.point.title}: failed: {outcome.error}"
    parts = [f"accuracy {stage} {percent(x)}" for stage, x in outcome.accuracy.items()]
    parts += [f"loss {stage} {x:.4g}" for stage, x in outcome.loss.items() if stage not in outcome.accuracy]
    parts.append("skipped: it is there" if outcome.skipped else f"{outcome.numbers['wall_s']:.1f} s")
    if outcome.replaced:
        parts.append("in place of another")
    return f"{outcome.point.title}: {', '.join(parts)}"


def show(name: str, folder: Path, found: xr.Dataset, failed: Sequence[str]) -> None:
    """Print the table, and the runs that failed."""
    several = f"; mean ± standard deviation over {found.sizes['seed']} seeds" * (found.sizes["seed"] > 1)
    terminal.show_table(f"{name}, traces in {folder}{several}", *sweep_charts.table(found))
    if failed:
        sys.stderr.write(f"hlsim: {len(failed)} of {found.error.size} runs failed:\n")
        sys.stderr.writelines(f"{told}\n" for told in failed)
