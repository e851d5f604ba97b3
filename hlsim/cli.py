"""The command line: a thin skin over experiments, traces and their analysis."""

import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from hlsim import analyze_command, diff_command, experiment, report_command, sweep_command, terminal, topology
from hlsim import grid as grids
from hlsim import sweep as sweeps
from hlsim import trace as traces
from hlsim.cluster import DASHBOARD
from hlsim.errors import ExperimentError, HlsimError
from hlsim.estimate import estimate
from hlsim.experiment import Experiment
from hlsim.network import Network, describe, flatten
from hlsim.profiling import Profile
from hlsim.terminal import show, show_table
from hlsim.trace import Trace
from hlsim.words import size

INTERRUPTED = 130  # as shells have it for a program that was stopped by Ctrl-C
GRAPHS = (".py", ".json", ".graphml")
UNSHOWN = ("experiment", "learning", "summary", "default", "NX_class")  # long, or for other programs

app = typer.Typer(
    name="hlsim",
    help="Simulate networks that learn locally, on line, while their signals take time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ExperimentPath = Annotated[Path, typer.Argument(metavar="FOLDER_OR_TOML", help="An experiment.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a value, e.g. learning.beta=0.02; may be repeated."),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 an error of the user's, told in one line, 130 interrupted."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app(args=arguments, prog_name="hlsim")
    except HlsimError as error:
        sys.stderr.write(f"hlsim: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Tell a warning in one line, without the place in the code that it comes from."""
    sys.stderr.write(f"hlsim: warning: {' '.join(str(message).split())}\n")


def _show_version(wanted: bool) -> None:
    if wanted:
        # of the code that runs, which need not be what is installed; a module does not import its package
        typer.echo(f"hlsim {sys.modules['hlsim'].__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@app.command()
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
    named = {"engine": engine, "device": device, "seed": seed, "until": until}
    wanted = experiment.load(path, _with_named(overrides or [], named))
    file = output or _default_trace(wanted.name)
    _check_together(dry_run, quiet, profile)
    if dry_run:
        _show_plan(wanted, file)
    else:
        _run(wanted, file, quiet, Profile() if profile else None)


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


def _default_trace(name: str) -> Path:
    folder = Path("traces")
    return (folder if folder.is_dir() else Path()) / f"{name}.h5"


def _show_plan(wanted: Experiment, file: Path) -> None:
    show(f"{wanted.name}: network", terminal.network_rows(_described(wanted)))
    show(f"{wanted.name}: a run into {file} would take", terminal.estimate_rows(estimate(wanted)))


def _described(wanted: Experiment) -> dict[str, Any]:
    return describe(wanted.network, wanted.settings.simulation.dtype)


def _run(wanted: Experiment, file: Path, quiet: bool, profile: Profile | None) -> None:
    try:
        if quiet:
            wanted.run(file).close()
        else:
            with terminal.progress(sys.stderr) as progress, profile or nullcontext():
                trace = wanted.run(file, progress)
            _show_end(wanted, trace, file, profile)
    except KeyboardInterrupt:
        sys.stderr.write(f"hlsim: interrupted{_kept(file)}\n")
        raise typer.Exit(INTERRUPTED) from None


def _kept(file: Path) -> str:
    """Tell of the trace of an interrupted run; there is none where the run had not begun."""
    if not file.is_file():
        return ""
    with traces.open(file) as trace:
        return f"; the trace up to there is in {file}" if trace.status == "interrupted" else ""


def _show_end(wanted: Experiment, trace: Trace, file: Path, profile: Profile | None) -> None:
    with trace:
        show(
            wanted.name,
            [*terminal.run_rows(trace.summary), ("trace", f"{file}, {size(file.stat().st_size)}")],
        )
        if profile is not None:
            terminal.show_profile(wanted.name, profile, trace.summary["ticks"])


@app.command()
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
        typer.Option(metavar="ADDRESS", help=f"Of the dashboard of --scheduler local; {DASHBOARD}."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results too, as .csv or .nc (netCDF).")
    ] = None,
) -> None:
    """Run an experiment over every combination of values and seeds; go on where an earlier call stopped."""
    name = experiment.load(path, overrides or []).name
    folder = output or _default_trace(f"{name}-sweep").with_suffix("")
    axes = grids.parse(grid or [])
    if table is not None:
        sweeps.check_file(table)
    try:
        with sweep_command.workers(jobs, scheduler, dashboard) as workers:
            found, failed = sweep_command.swept(path, axes, seeds, folder, overrides or [], workers)
    except KeyboardInterrupt:
        sys.stderr.write(f"hlsim: interrupted; what was complete is in {folder}\n")
        raise typer.Exit(INTERRUPTED) from None
    if table is not None:
        sweeps.save(found, table)
    sweep_command.show(name, folder, found, failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def validate(
    path: Annotated[
        Path, typer.Argument(metavar="FOLDER_OR_TOML_OR_GRAPH", help="An experiment or a graph.")
    ],
    overrides: Overrides = None,
) -> None:
    """Check an experiment or a graph without running it."""
    if path.suffix in GRAPHS:
        network = _graph(path, overrides)
        typer.echo(f"{path}: valid, {_in_short(network)}")
        return
    wanted = experiment.load(path, overrides or [])
    wanted.simulation()
    told = estimate(wanted)
    most = "at most " if told.may_be_shorter else ""
    typer.echo(f"{wanted.name}: valid, {_in_short(wanted.network)}, {most}{told.ticks:,} ticks")


def _graph(path: Path, overrides: Sequence[str] | None) -> Network:
    if overrides:
        raise ExperimentError(
            f"--set {overrides[0]}: only an experiment has values to set, got the graph {path}"
        )
    return flatten(topology.load(path))


def _in_short(network: Network) -> str:
    described = describe(network)
    return f"{sum(described['neurons'].values()):,} nodes, {described['synapses']:,} synapses"


@app.command()
def info(
    path: Annotated[
        Path,
        typer.Argument(metavar="FOLDER_OR_TOML_OR_GRAPH_OR_TRACE", help="An experiment, a graph or a trace."),
    ],
    overrides: Overrides = None,
) -> None:
    """Show what is in an experiment, a graph or a trace."""
    if path.suffix in GRAPHS:
        show(str(path), terminal.network_rows(describe(_graph(path, overrides))))
    elif path.is_dir() or path.suffix == ".toml":
        wanted = experiment.load(path, overrides or [])
        show(f"{wanted.name}: network", terminal.network_rows(_described(wanted)))
        typer.echo(wanted.toml())
    elif overrides:
        raise ExperimentError(
            f"--set {overrides[0]}: only an experiment has values to set, got the trace {path}"
        )
    else:
        with traces.open(path) as trace:
            _show_trace(path, trace)


def _show_trace(path: Path, trace: Trace) -> None:
    shown = {k: v for k, v in trace.attrs.items() if k not in UNSHOWN}
    show(str(path), [("file", size(path.stat().st_size)), *((k, str(v)) for k, v in shown.items())])
    datasets = {name: trace.h5[name] for name in trace.names()}
    rows = [(name, " x ".join(map(str, d.shape)), str(d.dtype)) for name, d in datasets.items() if d.shape]
    show_table("Datasets", ("name", "shape", "dtype"), rows)
    if trace.attrs["experiment"]:
        typer.echo(trace.attrs["experiment"])


app.command()(analyze_command.analyze)
app.command()(analyze_command.stability)
app.command()(diff_command.diff)
app.command()(report_command.report)


if __name__ == "__main__":
    main()
