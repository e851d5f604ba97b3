"""Traces in numbers, and several beside one another in figures and tables."""

from collections.abc import Iterator, Mapping

import numpy as np

from hlsim import analysis
from hlsim.analysis.comparison import set_otherwise
from hlsim.errors import DamageError, TraceError
from hlsim.report.charts import DOTTED, Chart, Drawn, Line, Missing, Panel, color
from hlsim.report.figures.learning import MEASURES
from hlsim.report.words import UNTOLD, number, percent, seconds, size, spread
from hlsim.topology.network import BIAS
from hlsim.trace import Trace

# What ``analysis.summary`` tells, as a page calls it.
COUNTED = {
    "loss": "loss, last stage",
    "ticks": "ticks",
    "state_messages": "state messages",
    "costate_messages": "costate messages",
    "messages_per_tick": "messages per tick",
    "overtaken": "overtaken messages",
    "node_updates": "updates of neurons",
    "nodes": "neurons",
    "synapses": "synapses",
    "replicas": "replicas",
}
DASHES = ("solid", "dashed", "dotted")


def drawn(traces: Mapping[str, Trace]) -> Iterator[tuple[str, Drawn]]:
    """Yield the figures that compare traces, by name."""
    try:
        yield "comparison", learning_curves(traces)
    except DamageError:
        raise
    except TraceError as error:
        yield "comparison", Missing(str(error))


TITLES = {"comparison": "Learning curves"}


def learning_curves(traces: Mapping[str, Trace]) -> Chart:
    """Draw loss and accuracy over ticks: a colour a trace, a dash a stage, means over replicas."""
    curves = {name: analysis.learning_curve(trace) for name, trace in traces.items()}
    stages = list(dict.fromkeys(str(s) for curve in curves.values() for s in curve.stage.values))
    panels = []
    for measure, title in MEASURES.items():
        lines = []
        for number_, (name, curve) in enumerate(curves.items()):
            for place, stage in enumerate(stages):
                part = curve.isel(window=np.flatnonzero(curve.stage.values == stage))
                values = part[measure].mean("replica").values
                if np.isfinite(values).any():
                    dots = values.size < DOTTED
                    dash = DASHES[place % len(DASHES)]
                    lines.append(Line(part.tick.values, values, name, color(number_), dash, 1.8, dots))  # type: ignore[arg-type]
        if lines:
            limits = None if measure == "loss" else (-0.02, 1.02)
            panels.append(Panel(lines, x="tick", y=title, y_range=limits))
    if not panels:
        raise TraceError("no trace has rows with a loss or a label")
    told = (
        ", ".join(f"{s} {DASHES[k % len(DASHES)]}" for k, s in enumerate(stages)) if len(stages) > 1 else ""
    )
    return Chart(f"A colour a trace{'; stages: ' * bool(told)}{told}.", panels, columns=2, linked=True)


def table(traces: Mapping[str, Trace]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the traces in numbers: a row a number, a column a trace."""
    columns = [dict(in_numbers(trace)) for trace in traces.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return ["", *traces], [[name, *(column.get(name, "-") for column in columns)] for name in names]


def in_numbers(trace: Trace) -> Iterator[tuple[str, str]]:
    """Yield what is said of a run: what it was, what there was, what came of it."""
    attrs, told = trace.attrs, analysis.summary(trace)
    yield "status", trace.status
    yield from _accuracies(trace)
    for name, title in COUNTED.items():
        if name in told and (name, told[name].item()) != ("replicas", 1):
            yield title, number(told[name].item())
    yield from _of_network(trace)
    for name in ("engine", "device", "dtype", "seed", "dt"):
        if name in attrs:
            yield name, str(attrs[name])
    if "wall_s" in told:
        yield "wall time", seconds(told.wall_s.item())
    yield "started", str(attrs["start"]).replace("T", " ").removesuffix("+00:00") + " UTC"
    if trace.path is not None:
        yield "size of the trace", size(trace.path.stat().st_size)
    yield "hlsim", str(attrs["hlsim_version"])


def _accuracies(trace: Trace) -> Iterator[tuple[str, str]]:
    share = analysis.accuracy(trace)
    for stage in map(str, share.stage.values):
        part = share.sel(stage=stage)
        if np.isfinite(part.accuracy).any():
            error = float(part.standard_error.mean())
            yield f"accuracy, {stage}", percent(float(part.accuracy.mean()), error)
        if np.isfinite(part.taught).any():
            if np.isnan(part.accuracy).all():
                yield f"accuracy, {stage}", UNTOLD
            yield f"accuracy while taught, {stage}", percent(float(part.taught.mean()))


def _of_network(trace: Trace) -> Iterator[tuple[str, str]]:
    arrays = trace.network
    real = arrays["source"] != BIAS
    yield "plastic synapses", number(int((arrays["plastic"][real] != 0).sum()))
    yield "groups", number(len(analysis.groups(trace)))
    yield "delay", spread(_ends(arrays["delay"][real]))
    yield "feedback delay", spread(_ends(arrays["feedback_delay"][arrays["feedback"] != 0]))


def _ends(ticks: np.ndarray) -> tuple[int, int] | None:
    return (int(ticks.min()), int(ticks.max())) if ticks.size else None


def differences(traces: Mapping[str, Trace]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the keys in which the experiments differ."""
    found = set_otherwise(list(traces.values()))
    return ["key", *traces], [[key, *values] for key, values in found.items()]
