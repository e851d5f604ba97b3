"""What the command line shows: tables and progress."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import xarray as xr
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from hlsim.cli import profiling
from hlsim.cli.app import printable
from hlsim.experiment.forecast import Estimate
from hlsim.report.words import UNTOLD, counted, number, percent, seconds, size, spread
from hlsim.simulation.watch import Progress as Standing
from hlsim.sweep.course import Pace

PLAIN_SECONDS = 10.0  # between two lines of progress where there is no terminal
PLAIN_WIDTH = 1_000_000  # columns where there is no terminal: no table is as wide, and none is cut


def console(stream: IO[str]) -> Console:
    """Return a console that takes text as it is: labels of neurons hold brackets."""
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def out() -> Console:
    """Return the console for results."""
    return console(sys.stdout)


def show(title: str, rows: Iterable[tuple[str, Any]]) -> None:
    """Print names and values below one another."""
    table = Table(show_header=False, box=box.SIMPLE_HEAVY)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(printable(name), printable(value) if isinstance(value, str) else number(value))
    _print(title, table)


def _print(title: str, table: Table) -> None:
    # above the table and not its title, which would be broken to the table's width
    out().print(printable(title), table, sep="\n")


def show_table(title: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table; the first column names the rows."""
    table = Table(box=box.SIMPLE_HEAVY)
    for i, name in enumerate(header):
        table.add_column(printable(name), justify="right" if i else "left")
    for row in rows:
        table.add_row(*(printable(cell) if isinstance(cell, str) else number(cell) for cell in row))
    _print(title, table)


def show_matrix(title: str, matrix: xr.DataArray) -> None:
    """Print a matrix over (source, target)."""
    names = [str(name) or "(no group)" for name in matrix.target.values]
    rows = ([name, *row] for name, row in zip(names, matrix.values, strict=True))
    show_table(title, [f"{matrix.dims[0]} \\ {matrix.dims[1]}", *names], rows)


def network_rows(described: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what ``hlsim.network.describe`` says of a network."""
    yield "nodes", counted(described["neurons"])
    yield "groups", counted(described["groups"])
    yield "inputs, outputs", f"{described['inputs']:,}, {described['outputs']:,}"
    yield "synapses", described["synapses"]
    yield "biases", described["biases"]
    yield "plastic", described["plastic"]
    yield "delay", spread(described["delay"])
    yield "feedback delay", spread(described["feedback_delay"])
    if described["lag"] is not None:
        yield "lag", spread(described["lag"])
        yield "numbers kept for lags", described["kept"]
    if any(described["padding"]):
        yield "balanced", balanced(*described["padding"])
    yield "zero-delay ranks, back", f"{described['ranks']}, {described['back_ranks']}"
    if described["contraction"] is not None:
        value, label = described["contraction"]
        settles = "settles" if value < 1 else "may not settle"
        yield "slope * sum |w|", f"{value:.3g} at most, at {label!r}: {settles}"
    yield "memory, one replica without delays", size(described["memory_bytes"])


def balanced(edges: int, longest: int) -> str:
    """Return what balancing has made of a network: how many edges are longer, and by how much at most."""
    return f"{edges:,} edges made longer, by up to {longest:,} ticks"


def estimate_rows(estimate: Estimate) -> Iterator[tuple[str, Any]]:
    """Yield what a run would take."""
    yield "ticks, at most" if estimate.may_be_shorter else "ticks", estimate.ticks
    yield "rows shown", estimate.rows
    yield "messages, at most", estimate.messages
    yield "memory", size(estimate.memory_bytes)
    if estimate.under_way_bytes:
        yield "and messages on their way, at most", size(estimate.under_way_bytes)
    yield "trace before compression", size(estimate.sampled_bytes)
    if estimate.event_bytes:
        yield "and its events, at most", size(estimate.event_bytes)


def run_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a run told at its end."""
    wall = max(summary["wall_s"], 1e-9)
    messages = summary["state_messages"] + summary["costate_messages"]
    yield "ticks", summary["ticks"]
    yield "state messages", summary["state_messages"]
    yield "costate messages", summary["costate_messages"]
    yield "overtaken", summary["overtaken"]
    if summary.get("replaced"):
        yield "of them waiting for a clock", summary["replaced"]
    yield "lost", summary["lost"]
    yield "node updates", summary["node_updates"]
    yield "loss", summary["loss"]
    if "padding" in summary:
        yield "balanced", balanced(*summary["padding"].values())
    if "phases" in summary:
        yield "phases settled", f"{summary['settled']:,} of {summary['phases']:,}"
    for stage, share in summary["accuracy"].items():
        yield f"accuracy {stage}", percent(share)
    for stage, share in summary["accuracy_taught"].items():
        if stage not in summary["accuracy"]:
            yield f"accuracy {stage}", UNTOLD
        yield f"accuracy while taught {stage}", percent(share)
    yield "wall time", seconds(summary["wall_s"])
    yield "speed", f"{number(summary['ticks'] // wall)} ticks/s, {number(messages // wall)} messages/s"


def show_profile(name: str, profile: profiling.Profile, ticks: int | None) -> None:
    """Print the time of every part of a run, by the tick what is not done once."""
    parts = profile.parts()
    total = sum(parts.values()) or 1.0
    rows = [
        (part, f"{spent:.3f}", percent(spent / total), None if once or not ticks else 1e6 * spent / ticks)
        for part, spent, once in ((part, s, part == profiling.START) for part, s in parts.items())
    ]
    rows.append(("all", f"{total:.3f}", percent(1.0), None))
    title = f"{name}: {seconds(profile.wall)} of wall time while profiled, which slows Python down"
    show_table(title, ("part", "seconds", "share", "us a tick"), rows)


@contextmanager
def progress(stream: IO[str]) -> Iterator[Any]:
    """Give a function that shows where a run stands: a bar on a terminal, now and then a line elsewhere."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} ticks"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stream), transient=True) as bar:
        yield _Bar(bar)


@contextmanager
def steps(stream: IO[str]) -> Iterator[Callable[[str], None]]:
    """Give a function that shows what comes next: on a terminal at once, elsewhere now and then a line."""
    if not stream.isatty():
        yield _Steps(stream)
        return
    with console(stream).status("") as status:
        yield lambda text: status.update(f"{printable(text)} ...")


class _Steps:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._next = time.monotonic() + PLAIN_SECONDS

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_SECONDS
            self._stream.write(f"next: {printable(text)}\n")
            self._stream.flush()


@contextmanager
def sweep_progress(stream: IO[str]) -> Iterator[Callable[[Pace], None]]:
    """Give a function that shows where a sweep stands: a bar on a terminal, now and then a line elsewhere."""
    if not stream.isatty():
        yield _SweepLines(stream)
        return
    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console(stream), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda pace: bar.update(task, completed=pace.share, description=sweep_line(pace))


class _SweepLines:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._next = time.monotonic() + PLAIN_SECONDS

    def __call__(self, pace: Pace) -> None:
        if time.monotonic() < self._next or pace.done == pace.runs:
            return
        self._next = time.monotonic() + PLAIN_SECONDS
        self._stream.write(sweep_line(pace) + "\n")
        self._stream.flush()


def sweep_line(pace: Pace) -> str:
    """Return where a sweep stands: 3 of 12 runs, 1 failed, 4.20 s a run, 38.00 s left."""
    parts = [f"{pace.done:,} of {pace.runs:,} runs"]
    parts += [f"{pace.failed:,} failed"] * bool(pace.failed)
    if pace.mean is not None and pace.left is not None:
        parts += [f"{seconds(pace.mean)} a run", f"{seconds(pace.left)} left"]
    return ", ".join(parts)


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def __call__(self, standing: Standing) -> None:
        if self._task is None:
            self._task = self._bar.add_task("", total=standing.until, speed="", start=False)
        if not standing.compiling:
            self._bar.start_task(self._task)
        self._bar.update(self._task, total=standing.until, completed=standing.tick, speed=_speed(standing))


class _Lines:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._next = time.monotonic() + PLAIN_SECONDS

    def __call__(self, standing: Standing) -> None:
        if standing.compiling:
            self._stream.write(f"{_speed(standing)}\n")
            self._stream.flush()
            return
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PLAIN_SECONDS
        left = standing.wall_s * (standing.until - standing.tick) / max(standing.tick, 1)
        line = f"{standing.tick:,} of {standing.until:,} ticks, {_speed(standing)}, {seconds(left)} left"
        self._stream.write(line + "\n")
        self._stream.flush()


def _speed(standing: Standing) -> str:
    if standing.compiling:
        return "compiling, once for this rule and number format"
    wall = max(standing.wall_s, 1e-9)
    return f"{standing.tick / wall:,.0f} ticks/s, {standing.messages / wall:,.0f} messages/s"
