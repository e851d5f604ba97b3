"""The commands ``validate`` and ``info``: what is in an experiment, a graph or a trace."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hlsim import experiment, topology
from hlsim import trace as traces
from hlsim.cli import terminal
from hlsim.cli.app import GRAPHS, UNSHOWN, Overrides, described
from hlsim.cli.terminal import say, show, show_table
from hlsim.errors import ExperimentError
from hlsim.experiment.forecast import estimate
from hlsim.report.words import size
from hlsim.topology.network import Network, describe, flatten
from hlsim.trace import Trace


def validate(
    path: Annotated[
        Path, typer.Argument(metavar="FOLDER_OR_TOML_OR_GRAPH", help="An experiment or a graph.")
    ],
    overrides: Overrides = None,
) -> None:
    """Check an experiment or a graph without running it; Python files that it names are run all the same."""
    if path.suffix in GRAPHS:
        network = _graph(path, overrides)
        say(f"{path}: valid, {_in_short(network)}")
        return
    wanted = experiment.load(path, overrides or [])
    wanted.simulation()
    told = estimate(wanted)
    most = "at most " if told.may_be_shorter else ""
    say(f"{wanted.name}: valid, {_in_short(wanted.network)}, {most}{told.ticks:,} ticks")


def _graph(path: Path, overrides: Sequence[str] | None) -> Network:
    if overrides:
        raise ExperimentError(
            f"--set {overrides[0]}: only an experiment has values to set, got the graph {path}"
        )
    return flatten(topology.load(path))


def _in_short(network: Network) -> str:
    described = describe(network)
    return f"{sum(described['neurons'].values()):,} nodes, {described['synapses']:,} synapses"


def info(
    path: Annotated[
        Path,
        typer.Argument(metavar="FOLDER_OR_TOML_OR_GRAPH_OR_TRACE", help="An experiment, a graph or a trace."),
    ],
    overrides: Overrides = None,
) -> None:
    """Show what is in an experiment, a graph or a trace; a topology.py is run for it."""
    if path.suffix in GRAPHS:
        show(str(path), terminal.network_rows(describe(_graph(path, overrides))))
    elif path.is_dir() or path.suffix == ".toml":
        wanted = experiment.load(path, overrides or [])
        show(f"{wanted.name}: network", terminal.network_rows(described(wanted)))
        say(wanted.toml())
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
        say(trace.attrs["experiment"])
