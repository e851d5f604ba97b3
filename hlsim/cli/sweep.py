"""What the command ``sweep`` does with its options: who does the runs, and what is told of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlsim.cli.app import INTERRUPTED, ExperimentPath, Overrides, default_trace, printable
from hlsim.errors import ExperimentError

if TYPE_CHECKING:
    import xarray as xr

    from hlsim import sweep as sweeps
    from hlsim.sweep.grid import Grid
    from hlsim.sweep.workers import Workers


@contextmanager
def chosen_workers(jobs: int | None, scheduler: str | None, dashboard: str | None) -> Iterator[Workers]:
    """Give whom the options name; this process, where they name none."""
    from hlsim.sweep.cluster import LOCAL, Cluster
    from hlsim.sweep.workers import Processes, Serial

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
    from hlsim import sweep as sweeps
    from hlsim.cli import terminal

    failed: list[str] = []

    def tell(number: int, of: int, outcome: sweeps.Outcome) -> None:
        failed.extend([line(outcome)] * bool(outcome.error))
        sys.stderr.write(f"{outcome.traceback}[{number}/{of}] {printable(line(outcome))}\n")
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
    from hlsim.report.words import percent

    if outcome.error:
        return f"{outcome.point.title}: failed: {outcome.error}"
    parts = [f"accuracy {stage} {percent(x)}" for stage, x in outcome.accuracy.items()]
    others = [stage for stage in outcome.loss if stage not in outcome.accuracy]
    parts += [
        f"accuracy while taught {stage} {percent(outcome.taught[stage])}"
        if stage in outcome.taught
        else f"loss {stage} {outcome.loss[stage]:.4g}"
        for stage in others
    ]
    parts.append("skipped: it is there" if outcome.skipped else f"{outcome.numbers['wall_s']:.1f} s")
    if outcome.replaced:
        parts.append("in place of another")
    return f"{outcome.point.title}: {', '.join(parts)}"


def show(name: str, folder: Path, found: xr.Dataset, failed: Sequence[str]) -> None:
    """Print the table, and the runs that failed."""
    from hlsim.cli import terminal
    from hlsim.report.figures import sweep as sweep_charts

    several = f"; mean ± standard deviation over {found.sizes['seed']} seeds" * (found.sizes["seed"] > 1)
    terminal.show_table(f"{name}, traces in {folder}{several}", *sweep_charts.table(found))
    if failed:
        sys.stderr.write(f"hlsim: {len(failed)} of {found.error.size} runs failed:\n")
        sys.stderr.writelines(f"{printable(told)}\n" for told in failed)


def sweep(
    path: ExperimentPath,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", metavar="KEY=V1,V2", help="Values of a key, e.g. stimulus.hold=1,4; may be repeated."
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of every combination.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Where the traces go; NAME-sweep, in traces/ if there is one.",
        ),
    ] = None,
    overrides: Overrides = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time, each in a process of its own; 1.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Run on a dask cluster: tcp://HOST:8786, or local for one here."
        ),
    ] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of the dashboard of --scheduler local; 127.0.0.1:8787."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results too, as .csv or .nc (netCDF).")
    ] = None,
) -> None:
    """Run an experiment over every combination of values and seeds; go on where an earlier call stopped."""
    from hlsim import experiment
    from hlsim import sweep as sweeps
    from hlsim.sweep import grid as grids

    name = experiment.load(path, overrides or []).name
    folder = output or default_trace(f"{name}-sweep").with_suffix("")
    axes = grids.parse(grid or [])
    if table is not None:
        sweeps.check_file(table)
    try:
        with chosen_workers(jobs, scheduler, dashboard) as workers:
            found, failed = swept(path, axes, seeds, folder, overrides or [], workers)
    except KeyboardInterrupt:
        sys.stderr.write(f"hlsim: interrupted; what was complete is in {folder}\n")
        raise typer.Exit(INTERRUPTED) from None
    if table is not None:
        sweeps.save(found, table)
    show(name, folder, found, failed)
    if failed:
        raise typer.Exit(1)
