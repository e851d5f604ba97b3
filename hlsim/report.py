"""Figures of a trace, as PNG files: the learning curve, message rates, traffic between groups, states."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from hlsim import analysis
from hlsim.errors import TraceError
from hlsim.trace import Trace

# Okabe and Ito's colours, told apart by most eyes; yellow, which is pale on white, comes last.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.dpi": 150,
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
NAMES = {"h": "state h", "z": "costate z"}
THOUSANDS = "{x:,.0f}"
MANY = 12  # groups whose counts can no longer be written into a matrix
FEW = 8  # nodes that are drawn as lines; more are rows of an image
COLUMNS = 1200  # samples across an image: more would only be thinned out by the screen


def save(trace: Trace, folder: str | Path) -> list[Path]:
    """Draw every figure the trace has data for and return their paths.

    Raises
    ------
    TraceError
        The folder cannot be written to.
    """
    folder = Path(folder)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in FIGURES.items():
            with mpl.rc_context(STYLE):
                figure = draw(trace)
                if figure is not None:
                    figure.savefig(folder / f"{name}.png")
                    written.append(folder / f"{name}.png")
    except OSError as error:
        raise TraceError(f"{folder}: cannot write: {error.strerror}") from error
    return written


def learning_curve(trace: Trace) -> Figure | None:
    """Draw loss and accuracy over ticks, a colour a stage; bands are standard deviations over replicas."""
    curve = analysis.learning_curve(trace)
    names = [name for name in ("loss", "accuracy") if np.isfinite(curve[name]).any()]
    if not names:
        return None
    figure = _figure(7.0, 1.0 + 2.1 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        _draw_stages(axes, curve, name)
    panels[0].set_title(f"Learning curve: means of {_span(curve.rows.values)} rows")
    panels[0].legend(ncols=4)
    panels[-1].set_xlabel("tick")
    panels[-1].xaxis.set_major_formatter(THOUSANDS)
    return figure


def _draw_stages(axes: Axes, curve: xr.Dataset, name: str) -> None:
    for stage in dict.fromkeys(curve.stage.values.tolist()):
        part = curve.isel(window=np.flatnonzero(curve.stage.values == stage))
        mean, spread = part[name].mean("replica").values, part[name].std("replica").values
        marker = "o" if part.sizes["window"] < 40 else None
        (line,) = axes.plot(part.tick, mean, marker=marker, markersize=3, label=stage)
        axes.fill_between(part.tick, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, lw=0)
    axes.set_ylabel("accuracy (share of rows)" if name == "accuracy" else "loss per row")
    axes.set_ylim(*((-0.02, 1.02) if name == "accuracy" else (min(0.0, axes.get_ylim()[0]), None)))


def rates(trace: Trace) -> Figure | None:
    """Draw messages per tick over time where events were recorded, and by the group that sends."""
    rate = analysis.message_rates(trace)
    sent = analysis.traffic(trace)
    end = analysis.ticks(trace)
    over_time = rate.sizes["bin"] > 1
    if not end or (not over_time and sent.state.isnull().all()):
        return None
    figure = _figure(9.0 if over_time else 6.0, 3.4)
    panels = figure.subplots(1, 1 + over_time, squeeze=False)[0]
    if over_time:
        _draw_rates(panels[0], rate)
    _draw_senders(panels[-1], sent / end)
    return figure


def _draw_rates(axes: Axes, rate: xr.DataArray) -> None:
    edges = np.append(rate.tick.values, rate.tick.values[-1] + rate.width.values[-1])
    for kind in rate.kind.values:
        label = f"{kind} messages" if kind != "update" else "updates of neurons"
        axes.stairs(rate.sel(kind=kind), edges, baseline=None, lw=1.3, label=label)
    axes.set(title="Messages that arrive", xlabel="tick", ylabel="per tick", ylim=(0, None))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.legend()


def _draw_senders(axes: Axes, per_tick: xr.Dataset) -> None:
    names = _group_names(per_tick)
    place = np.arange(len(names))
    for shift, kind in ((-0.2, "state"), (0.2, "costate")):
        axes.barh(place + shift, per_tick[kind].sum("target"), 0.38, label=f"{kind} messages")
    axes.set_yticks(place, names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(title="Messages sent, by group", xlabel="messages per tick")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def traffic(trace: Trace) -> Figure | None:
    """Draw how many messages went from group to group, states and costates."""
    sent = analysis.traffic(trace)
    if sent.state.isnull().all():
        return None
    names = _group_names(sent)
    side = 1.4 + 0.6 * max(3, len(names))
    figure = _figure(2 * side + 0.4, side)
    for axes, kind in zip(figure.subplots(1, 2), ("state", "costate"), strict=True):
        counts = sent[kind].values
        image = axes.imshow(np.where(counts > 0, counts, np.nan), cmap="Blues", vmin=0)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.grid(False)
        title = f"{kind.capitalize()} messages: {_short(np.nansum(counts))}"
        axes.set(title=title, xlabel="to group", ylabel="from group")
        if len(names) <= MANY:
            _write_counts(axes, counts)
        else:
            figure.colorbar(image, ax=axes, label="messages", shrink=0.8)
    return figure


def _write_counts(axes: Axes, counts: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        dark = count > 0.6 * counts.max()
        axes.text(
            column,
            row,
            _short(count),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )


def states(trace: Trace) -> Figure | None:
    """Draw states and costates over time: lines for few nodes, an image for many, nodes sorted by group."""
    names = [
        name for name in ("h", "z") if f"sampled/{name}" in trace and trace.ticks(f"sampled/{name}").size
    ]
    if not names:
        return None
    figure = _figure(8.0, 0.6 + 2.9 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        # inputs have no costate
        nodes = np.flatnonzero((trace["network/model"] != "input") | (name == "h"))
        draw = _draw_lines if nodes.size <= FEW else _draw_image
        draw(axes, trace, name, nodes)
        first = " of the first replica" if "replica" in trace else ""
        axes.set_title(NAMES[name].capitalize() + first)
    panels[-1].set_xlabel("tick")
    panels[-1].xaxis.set_major_formatter(THOUSANDS)
    return figure


def _sampled(trace: Trace, name: str, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return every so many samples of the first replica, as real numbers, and their ticks."""
    ticks = trace.ticks(f"sampled/{name}")[::every]
    # read in part: all samples of a long run may not fit into memory
    values = trace.h5[f"sampled/{name}"][::every][: ticks.size]
    return ticks, np.real(values[:, 0] if values.ndim == 3 else values)


def _draw_lines(axes: Axes, trace: Trace, name: str, nodes: np.ndarray) -> None:
    labels = trace["network/node_label"]
    ticks, values = _sampled(trace, name)
    for node in nodes:
        axes.plot(ticks, values[:, node], label=labels[node], lw=1)
    axes.set_ylabel(NAMES[name])
    axes.legend(ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)


def _draw_image(axes: Axes, trace: Trace, name: str, nodes: np.ndarray) -> None:
    group = trace["network/group"]
    place = {name: i for i, name in enumerate(analysis.groups(trace))}
    order = np.array(sorted(nodes, key=lambda node: place[str(group[node])]))
    count = trace.ticks(f"sampled/{name}").size
    ticks, values = _sampled(trace, name, every=max(1, -(-count // COLUMNS)))
    limit = float(np.nanpercentile(np.abs(values[:, order]), 99.5)) or 1.0
    image = axes.imshow(
        values[:, order].T,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(float(ticks[0]), float(ticks[-1]) + 1.0, float(order.size), 0.0),
    )
    _name_groups(axes, group[order])
    axes.grid(False)
    axes.figure.colorbar(image, ax=axes, label=NAMES[name], extend="both", pad=0.01)


def _name_groups(axes: Axes, group: np.ndarray) -> None:
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    stops = np.append(starts[1:], group.size)
    axes.set_yticks((starts + stops) / 2, [_named(str(group[start])) for start in starts])
    axes.tick_params(axis="y", length=0)
    for start in starts[1:]:
        axes.axhline(start, color="black", lw=0.8)


def _group_names(sent: xr.Dataset) -> list[str]:
    return [_named(str(name)) for name in sent.source.values]


def _named(group: str) -> str:
    return group or "(no group)"


def _span(counts: np.ndarray) -> str:
    return f"up to {counts.max()}" if counts.min() < counts.max() else str(counts.max())


def _short(count: float) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.56M."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.3g}"


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


FIGURES: dict[str, Callable[[Trace], Figure | None]] = {
    "learning_curve": learning_curve,
    "rates": rates,
    "traffic": traffic,
    "states": states,
}
