"""The command ``run``."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlsim.cli.app import ExperimentPath, Overrides, default_trace, described
from hlsim.errors import ExperimentError, HlsimError, Stopped

if TYPE_CHECKING:
    from hlsim.cli.profiling import Profile
    from hlsim.experiment import Experiment
    from hlsim.simulation.watch import Progress
    from hlsim.trace import Trace


def run(
    path: ExperimentPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="TRACE",
            help="The trace; traces/NAME.h5 if there is traces/, or NAME.h5.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a trace that is there.")] = False,
    overrides: Overrides = None,
    engine: Annotated[str | None, typer.Option(help="batched or reference.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    until: Annotated[int | None, typer.Option(help="Ticks to run.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what the run would take; run nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Tell at the end where the time went.")] = False,
) -> None:
    """Run an experiment and record its trace."""
    _check_together(dry_run, quiet, profile)
    named = {"engine": engine, "device": device, "seed": seed, "until": until}
    every = _with_named(overrides or [], named)

    from hlsim import experiment
    from hlsim.cli.profiling import Profile

    wanted = experiment.load(path, every)
    file = output or default_trace(wanted.name)
    if dry_run:
        _show_plan(wanted, file)
    else:
        _run(wanted, file, overwrite, quiet, Profile() if profile else None)


def _check_together(dry_run: bool, quiet: bool, profile: bool) -> None:
    if dry_run and quiet:
        raise ExperimentError(
            "--dry-run only shows what a run would take, --quiet shows nothing: give one of them"
        )
    if profile and quiet:
        raise ExperimentError("--profile shows where time went, --quiet shows nothing: give one of them")
    if profile and dry_run:
        raise ExperimentError("--profile times a run, --dry-run runs nothing: give one of them")


def _with_named(overrides: Sequence[str], named: dict[str, Any]) -> list[str]:
    """Add the options that are short for an override; one given both ways is refused."""
    every = list(overrides)
    for name, value in named.items():
        if value is None:
            continue
        key = f"simulation.{name}"
        if twice := [text for text in overrides if text.partition("=")[0].strip() == key]:
            raise ExperimentError(
                f"--{name} {value} and --set {twice[0]} say the same thing: give one of them"
            )
        every.append(f"{key}={json.dumps(value)}")
    return every


def _show_plan(wanted: Experiment, file: Path) -> None:
    from hlsim.cli import terminal
    from hlsim.experiment.forecast import estimate

    terminal.show(f"{wanted.name}: network", terminal.network_rows(described(wanted)))
    terminal.show(f"{wanted.name}: a run into {file} would take", terminal.estimate_rows(estimate(wanted)))


def _run(wanted: Experiment, file: Path, overwrite: bool, quiet: bool, profile: Profile | None) -> None:
    from hlsim.trace.reader import check_free

    check_free(file, overwrite, "say --overwrite")

    def start(progress: Callable[[Progress], None] | None) -> Trace:
        return wanted.run(file, progress, overwrite=overwrite, interruptible=True)

    record(start, wanted.name, file, quiet, profile)


def record(
    start: Callable[[Callable[[Progress], None] | None], Trace],
    name: str,
    file: Path,
    quiet: bool,
    profile: Profile | None = None,
) -> None:
    """Start a run, or go on with one, and show how it goes and ends; if it is interrupted, how to go on."""
    from hlsim.cli import terminal

    try:
        with _ended_by_sigterm():
            if quiet:
                start(None).close()
            else:
                with terminal.progress(sys.stderr) as progress, profile or nullcontext():
                    trace = start(progress)
                _show_end(name, trace, file, profile)
    except KeyboardInterrupt as error:
        sys.stderr.write(f"hlsim: interrupted{_kept(file, error)}\n")
        raise typer.Exit(128 + getattr(error, "signal", signal.SIGINT)) from None


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, before it has begun too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise Stopped(number, None, "")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _kept(file: Path, error: KeyboardInterrupt) -> str:
    """Tell of the trace of an interrupted run, and how to go on; there is none if the run had not begun."""
    if not file.is_file():
        return ""
    from hlsim import trace as traces
    from hlsim.simulation import checkpoints

    with traces.open(file) as trace:
        if trace.status != "interrupted":
            return ""
    without = f"; no checkpoint: {error.without}" if isinstance(error, Stopped) and error.without else ""
    kept = f"; the trace up to there is in {file}{without}"
    try:
        tick = checkpoints.read(file).about["tick"]
    except HlsimError:
        return kept
    return f"{kept}; hlsim resume {shlex.quote(str(file))} goes on from tick {tick}"


def _show_end(name: str, trace: Trace, file: Path, profile: Profile | None) -> None:
    from hlsim.cli import terminal
    from hlsim.report.words import size

    with trace:
        terminal.show(
            name,
            [*terminal.run_rows(trace.summary), ("trace", f"{file}, {size(file.stat().st_size)}")],
        )
        if profile is not None:
            terminal.show_profile(name, profile, trace.summary["ticks"])
