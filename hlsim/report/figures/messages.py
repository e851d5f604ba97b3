"""Figures of messages: over time, by sender, between groups."""

import numpy as np
import xarray as xr

from hlsim import analysis
from hlsim.errors import TraceError
from hlsim.report.charts import (
    INK,
    Boxes,
    Chart,
    Heat,
    Line,
    Mark,
    Panel,
    Scale,
    Texts,
    Told,
    color,
    named,
    short,
)
from hlsim.trace import Trace

UNCOUNTED = "the run did not count its messages: it has not come to its end"
MANY = 12  # groups whose counts can no longer be written into a matrix


# ---- messages


def rates(trace: Trace) -> Chart:
    """Draw messages per tick over time where events were recorded, and by the group that sends."""
    rate = analysis.message_rates(trace)
    sent = analysis.traffic(trace)
    end = analysis.ticks(trace)
    panels = []
    if rate.sizes["bin"] > 1:
        panels.append(_over_time(rate))
    counted = not sent.state.isnull().all()
    if end and any(sent[kind].sum() > 0 for kind in sent):
        panels.append(_by_sender(sent / end))
    if not panels:
        raise TraceError("no message was sent" if counted else UNCOUNTED)
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


def traffic(trace: Trace) -> Chart:
    """Draw how many messages went from group to group, states and costates."""
    sent = analysis.traffic(trace)
    if sent.state.isnull().all():
        raise TraceError(UNCOUNTED)
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
