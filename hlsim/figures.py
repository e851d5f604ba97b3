"""The figures of one trace, by name: a function and a line in the table each.

A figure is a function of a trace and of what was asked for that returns a ``Chart``. Where the trace does not
tell enough it raises an ``HlsimError`` that says in a sentence why, and the page says so in its place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import xarray as xr

from hlsim import analysis, credit, drawing, samples
from hlsim.charts import (
    DOTTED,
    INK,
    Band,
    Boxes,
    Chart,
    Heat,
    Line,
    Mark,
    Panel,
    Reference,
    Scale,
    Texts,
    Told,
    color,
    named,
    short,
    span,
)
from hlsim.errors import ExperimentError, HlsimError, TraceError, unknown
from hlsim.ideal import ORACLES, THROUGH_TIME
from hlsim.trace import Trace

MANY = 12  # groups whose counts can no longer be written into a matrix
MEASURES = MappingProxyType({"loss": "loss per row", "accuracy": "accuracy (share of rows)"})


@dataclass(frozen=True)
class Asked:
    """What a reader asked for.

    Attributes
    ----------
    oracle : str, optional
        What omega is compared with, however long it takes; None: backpropagation, where it is quick.
    references : mapping of str to sequence of Reference
        Straight lines to be laid over the first panel of a figure, by its name: what a law says.
    """

    oracle: str | None = None
    references: Mapping[str, Sequence[Reference]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*ORACLES, THROUGH_TIME]
        if self.oracle is not None and self.oracle not in known:
            raise ExperimentError(unknown("oracle", self.oracle, known))
        for name in self.references:
            if name not in FIGURES:
                raise ExperimentError(f"references: {unknown('figure', name, FIGURES)}")


@dataclass(frozen=True)
class Missing:
    """Why there is no such figure, in a sentence."""

    reason: str


Drawn = Chart | Missing


def drawn(
    trace: Trace, asked: Asked | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Drawn]]:
    """Yield every figure of the table by name; ``tell`` is called with the title of what comes next."""
    asked = asked or Asked()
    for name, (title, make) in FIGURES.items():
        if tell is not None:
            tell(title)
        try:
            chart = make(trace, asked)
        except HlsimError as error:
            yield name, Missing(" ".join(str(error).split()))
            continue
        yield name, _with_references(chart, asked.references.get(name, ()))


def _with_references(chart: Chart, references: Sequence[Reference]) -> Chart:
    if not references:
        return chart
    first, *others = chart.panels
    return replace(chart, panels=[replace(first, marks=[*first.marks, *references]), *others])


# ---- learning


def learning_curve(trace: Trace, _: Asked) -> Chart:
    """Draw loss and accuracy over ticks, a colour a stage; bands are standard deviations over replicas."""
    curve = analysis.learning_curve(trace)
    names = [name for name in MEASURES if np.isfinite(curve[name]).any()]
    if not names:
        raise TraceError("the trace has no rows with a loss or a label")
    panels = [
        Panel(
            list(stage_marks(curve, name)),
            x="tick",
            y=MEASURES[name],
            y_range=(-0.02, 1.02) if name == "accuracy" else None,
        )
        for name in names
    ]
    bands = "; bands are standard deviations over replicas" if curve.sizes["replica"] > 1 else ""
    caption = f"Means of {_rows(curve.rows.values)} of the stream{bands}."
    return Chart(caption, panels, columns=2, linked=True)


def stage_marks(curve: xr.Dataset, name: str) -> Iterator[Mark]:
    """Yield a line a stage, and a band where there are replicas."""
    for number, stage in enumerate(dict.fromkeys(curve.stage.values.tolist())):
        part = curve.isel(window=np.flatnonzero(curve.stage.values == stage))
        mean, spread = part[name].mean("replica").values, part[name].std("replica").values
        x = part.tick.values
        if part.sizes["replica"] > 1:
            yield Band(x, mean - spread, mean + spread, str(stage), color(number))
        dots = part.sizes["window"] < DOTTED
        yield Line(x, mean, str(stage), color(number), width=1.8, dots=dots)


def _rows(counts: np.ndarray) -> str:
    most = int(counts.max())
    return f"{'up to ' * bool(counts.min() < most)}{most:,} row{'s' * (most != 1)}"


# ---- messages


def rates(trace: Trace, _: Asked) -> Chart:
    """Draw messages per tick over time where events were recorded, and by the group that sends."""
    rate = analysis.message_rates(trace)
    sent = analysis.traffic(trace)
    end = analysis.ticks(trace)
    panels = []
    if rate.sizes["bin"] > 1:
        panels.append(_over_time(rate))
    if end and not sent.state.isnull().all():
        panels.append(_by_sender(sent / end))
    if not panels:
        raise TraceError("the run did not count its messages: it has not come to its end")
    without = "" if len(panels) > 1 else " Over time they are known where a run records events."
    return Chart(f"Messages per tick, all replicas together.{without}", panels, columns=2)


def _over_time(rate: xr.DataArray) -> Panel:
    edges = np.repeat(np.append(rate.tick.values, rate.tick.values[-1] + rate.width.values[-1]), 2)[1:-1]
    lines = []
    for kind in map(str, rate.kind.values):
        number = ("state", "costate", "update").index(kind)
        label = "updates of neurons" if kind == "update" else f"{kind} messages"
        lines.append(Line(edges, np.repeat(rate.sel(kind=kind).values, 2), label, color(number), width=1.3))
    return Panel(lines, x="tick", y="per tick", title="Arriving, over time")


def _by_sender(per_tick: xr.Dataset) -> Panel:
    names = [named(str(name)) for name in per_tick.source.values]
    place = np.arange(len(names), dtype=float)
    marks = []
    most = max(float(per_tick[kind].sum("target").max()) for kind in ("state", "costate")) or 1.0
    for number, (shift, kind) in enumerate(((-0.38, "state"), (0.0, "costate"))):
        sent = per_tick[kind].sum("target").values
        if not sent.any():
            continue  # there are rules without costates
        low = place + shift
        told: Told = {"group": names, f"{kind} messages per tick": sent}
        marks.append(
            Boxes(np.zeros(len(names)), sent, low, low + 0.38, color(number), f"{kind} messages", told)
        )
    return Panel(
        marks,
        x="messages per tick",
        title="Sent, by group",
        y_names=dict(zip(place, names, strict=True)),
        x_range=(0.0, 1.04 * most),
        y_range=(len(names) - 0.4, -0.6),
        height=max(260, 60 + 34 * len(names)),
    )


def traffic(trace: Trace, _: Asked) -> Chart:
    """Draw how many messages went from group to group, states and costates."""
    sent = analysis.traffic(trace)
    if sent.state.isnull().all():
        raise TraceError("the run did not count its messages: it has not come to its end")
    names = [named(str(name)) for name in sent.source.values]
    kinds = [kind for kind in ("state", "costate") if sent[kind].any()]
    if not kinds:
        raise TraceError("no message was sent")
    panels = [_matrix(sent[kind].values, names, kind) for kind in kinds]
    caption = "Messages of the whole run from group (rows) to group (columns); the darker, the more."
    return Chart(caption, panels, columns=2)


def _matrix(counts: np.ndarray, names: list[str], kind: str) -> Panel:
    size = len(names)
    most = float(counts.max()) or 1.0
    scale = Scale("amount", 0.0, most, "messages")
    upward = counts[::-1]  # of an image the first row is at the bottom
    marks: list[Mark] = [
        Heat(np.where(upward > 0, upward, np.nan), -0.5, size - 0.5, -0.5, size - 0.5, scale)
    ]
    if size <= MANY:
        row, column = np.indices(counts.shape)
        dark = counts > 0.45 * most
        marks.append(
            Texts(
                column.ravel().astype(float),
                (size - 1 - row).ravel().astype(float),
                [short(count) for count in counts.ravel()],
                np.where(dark, "#ffffff", INK).ravel().tolist(),
            )
        )
    return Panel(
        marks,
        x="to group",
        y="from group",
        title=f"{kind.capitalize()} messages: {short(counts.sum())}",
        x_names={float(k): name for k, name in enumerate(names)},
        y_names={float(size - 1 - k): name for k, name in enumerate(names)},
        x_range=(-0.5, size - 0.5),
        y_range=(-0.5, size - 0.5),
        height=110 + 44 * max(3, min(size, 2 * MANY)),
    )


# ---- phases


def phases(trace: Trace, _: Asked) -> Chart:
    """Draw how long the phases of rows took and how many messages they cost."""
    if "phases/tick" not in trace or not len(trace["phases/tick"]):
        raise TraceError("the rule has no phases")
    start, end, messages = (trace[f"phases/{name}"] for name in ("start", "tick", "messages"))
    quiet, nudge = trace["phases/quiet"] != 0, trace["phases/nudge"]
    number = np.arange(len(start), dtype=float)
    told: Told = {
        "phase": number.astype(int),
        "from tick": start,
        "to tick": end,
        "nudge": [f"{x:.3g}" for x in nudge],
    }
    panels = []
    for y, values in (("ticks", end - start + 1), ("messages", messages)):
        marks = []
        for free, label in ((True, "free"), (False, "nudged")):
            for ended, over in ((True, "ended quiet"), (False, "time was over")):
                chosen = np.flatnonzero(((nudge == 0) == free) & (quiet == ended))
                if chosen.size:
                    at, height = number[chosen], values[chosen].astype(float)
                    shown = {k: np.asarray(v)[chosen] for k, v in told.items()} | {y: values[chosen]}
                    shade = color(2 * free + (not ended))
                    marks.append(
                        Boxes(at - 0.4, at + 0.4, 0 * height, height, shade, f"{label}, {over}", shown)
                    )
        panels.append(Panel(marks, x="phase", y=y))
    caption = f"{len(start):,} phases of {span(*_ends(end - start + 1))} ticks."
    return Chart(caption, panels, columns=2, linked=True)


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


# Name of the figure and of its files: title, and the function that makes it.
FIGURES: Mapping[str, tuple[str, Callable[[Trace, Asked], Chart]]] = MappingProxyType(
    {
        "network": ("Network", lambda trace, _: drawing.network(trace)),
        "learning_curve": ("Learning curve", learning_curve),
        "rates": ("Message rates", rates),
        "traffic": ("Traffic between groups", traffic),
        "alignment": ("Alignment with exact gradients", lambda trace, x: credit.alignment(trace, x.oracle)),
        "staleness": ("Staleness", lambda trace, _: credit.staleness(trace)),
        "phases": ("Phases", phases),
        "neurons": ("Neurons over time", lambda trace, _: samples.neurons(trace)),
        "populations": ("All neurons over time", lambda trace, _: samples.populations(trace)),
        "synapses": ("Synapses over time", lambda trace, _: samples.synapses(trace)),
    }
)
