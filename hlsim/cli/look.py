"""The commands ``validate`` and ``info``: what is in an experiment, a graph or a trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlsim.cli.app import GRAPHS, UNSHOWN, Overrides, described, say
from hlsim.errors import ExperimentError

if TYPE_CHECKING:
    from hlsim.topology.network import Network
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
    from hlsim import experiment
    from hlsim.experiment.forecast import estimate

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
    from hlsim import topology
    from hlsim.topology.network import flatten

    return flatten(topology.load(path))


def _in_short(network: Network) -> str:
    from hlsim.topology.network import describe

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
    from hlsim import experiment
    from hlsim import trace as traces
    from hlsim.cli.terminal import network_rows, show
    from hlsim.topology.network import describe

    if path.suffix in GRAPHS:
        show(str(path), network_rows(describe(_graph(path, overrides))))
    elif path.is_dir() or path.suffix == ".toml":
        wanted = experiment.load(path, overrides or [])
        show(f"{wanted.name}: network", network_rows(described(wanted)))
        say(wanted.toml())
    elif overrides:
        raise ExperimentError(
            f"--set {overrides[0]}: only an experiment has values to set, got the trace {path}"
        )
    else:
        with traces.open(path) as trace:
            _show_trace(path, trace)


def _show_trace(path: Path, trace: Trace) -> None:
    from hlsim.cli.terminal import show, show_table
    from hlsim.report.words import size

    shown = {k: v for k, v in trace.attrs.items() if k not in UNSHOWN}
    show(str(path), [("file", size(path.stat().st_size)), *((k, str(v)) for k, v in shown.items())])
    datasets = {name: trace.h5[name] for name in trace.names()}
    rows = [(name, " x ".join(map(str, d.shape)), str(d.dtype)) for name, d in datasets.items() if d.shape]
    show_table("Datasets", ("name", "shape", "dtype"), rows)
    if trace.attrs["experiment"]:
        say(trace.attrs["experiment"])
