"""Charts for print: drawn by matplotlib, as SVG and PNG files."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.rcsetup import cycler

from hlsim.errors import TraceError
from hlsim.report.charts import (
    COLORS,
    FAINT,
    PAPER,
    Band,
    Boxes,
    Chart,
    Heat,
    Key,
    Line,
    Panel,
    Paths,
    Points,
    Reference,
    Scale,
    Texts,
    Whiskers,
)

STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.dpi": 150,
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "hlsim",  # the same chart makes the same file
    "svg.fonttype": "none",  # text stays text, to be edited and found
    "text.parse_math": False,  # a dollar in a label is a dollar
}
WIDTH = 8.0  # inches
PIXEL = 1 / 90  # of a page, in inches of paper
SIGNS = 60  # letters in a row of a legend
THOUSANDS = "{x:,.0f}"


def save(charts: Mapping[str, Chart], folder: str | Path, suffix: str = "png") -> list[Path]:
    """Write every chart into a folder under its name, which may begin with a folder's, and return the paths.

    Raises
    ------
    TraceError
        The folder cannot be written to.
    """
    folder = Path(folder)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, chart in charts.items():
            file = folder / f"{name}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            with mpl.rc_context(STYLE):
                # a date within the file would make it another one every time
                draw(chart).savefig(file, metadata={"Date": None} if suffix == "svg" else None)
            written.append(file)
    except OSError as error:
        raise TraceError(f"{folder}: cannot write: {error.strerror}") from error
    return written


def draw(chart: Chart) -> Figure:
    """Draw a chart."""
    columns = min(chart.columns, len(chart.panels))
    rows = -(-len(chart.panels) // columns)
    heights = [
        max(panel.height for panel in chart.panels[columns * row : columns * (row + 1)])
        for row in range(rows)
    ]
    legend = chart.legend
    figure = Figure(figsize=(WIDTH, 0.3 + 0.25 * bool(legend) + sum(heights) * PIXEL), layout="constrained")
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex="all" if chart.linked else False,
        gridspec_kw={"height_ratios": heights},
    )
    places = list(grid.flat)
    for axes, panel in zip(places, chart.panels, strict=False):
        _panel(axes, panel)
    if chart.linked:  # one axis for all, below the last
        for axes in places[: len(chart.panels) - columns]:
            axes.set_xlabel("")
    for axes in places[len(chart.panels) :]:
        axes.remove()
    if legend:
        _legend(figure, legend)
    if chart.scale is not None:
        figure.colorbar(_mappable(chart.scale), ax=figure.axes, label=chart.scale.label, shrink=0.7, pad=0.01)
    return figure


def _legend(figure: Figure, keys: list[Key]) -> None:
    handles = [
        Line2D([], [], color=key.color, linestyle=key.dash, lw=2.5 if key.dash == "solid" else 1.2)
        for key in keys
    ]
    longest = max(len(key.label) for key in keys) + 4
    columns = max(1, min(len(keys), SIGNS // longest + 1))
    figure.legend(handles, [key.label for key in keys], loc="outside upper left", ncols=columns)


def _panel(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        DRAW[type(mark)](axes, mark)
    axes.autoscale_view()
    axes.set(xlabel=panel.x, ylabel=panel.y)
    if panel.title:
        axes.set_title(panel.title)
    if panel.bare:
        axes.set_axis_off()
    if panel.x_range is not None:
        axes.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    if panel.x == "tick":
        axes.xaxis.set_major_formatter(THOUSANDS)
    if panel.x_names is not None:
        slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        crowded = sum(map(len, panel.x_names.values())) > SIGNS
        axes.set_xticks(list(panel.x_names), list(panel.x_names.values()), **(slanted if crowded else {}))
        axes.grid(False, axis="x")
    if panel.y_names is not None:
        axes.set_yticks(list(panel.y_names), list(panel.y_names.values()))
        axes.grid(False, axis="y")


# ---- marks


def _line(axes: Axes, mark: Line) -> None:
    axes.plot(
        mark.x,
        mark.y,
        color=mark.color,
        lw=mark.width,
        linestyle=mark.dash,
        label=mark.label or None,
        marker="o" if mark.dots else None,
        markersize=3,
    )


def _band(axes: Axes, mark: Band) -> None:
    axes.fill_between(mark.x, mark.low, mark.high, color=mark.color, alpha=0.18, lw=0)


def _whiskers(axes: Axes, mark: Whiskers) -> None:
    axes.vlines(mark.x, mark.low, mark.high, color=mark.color, lw=1.2)


def _boxes(axes: Axes, mark: Boxes) -> None:
    ends = zip(mark.left, mark.right, mark.bottom, mark.top, strict=True)
    patches = [Rectangle((float(x0), float(y0)), x1 - x0, y1 - y0) for x0, x1, y0, y1 in ends]
    axes.add_collection(PatchCollection(patches, facecolor=mark.color, edgecolor=PAPER, lw=0.5, zorder=2.5))


def _paths(axes: Axes, mark: Paths) -> None:
    lines = [np.stack([x, y], axis=1) for x, y in zip(mark.xs, mark.ys, strict=True)]
    axes.add_collection(
        LineCollection(lines, colors=list(mark.color), linewidths=np.asarray(mark.width) * 0.75, alpha=0.75)
    )


def _points(axes: Axes, mark: Points) -> None:
    axes.scatter(
        mark.x, mark.y, s=(mark.size * 0.75) ** 2, c=list(mark.color), edgecolors=PAPER, lw=0.8, zorder=3
    )


def _texts(axes: Axes, mark: Texts) -> None:
    colors = [mark.color] * len(mark.text) if isinstance(mark.color, str) else mark.color
    for x, y, text, color in zip(mark.x, mark.y, mark.text, colors, strict=True):
        axes.text(
            x,
            y,
            text,
            color=color,
            fontsize=0.9 * mark.points,
            ha="center",
            va="center",
            zorder=4,
            fontweight="bold" if mark.bold else "normal",
            bbox={"facecolor": PAPER, "alpha": 0.85, "lw": 0, "pad": 1.0} if mark.halo else None,
        )


def _heat(axes: Axes, mark: Heat) -> None:
    mappable = _mappable(mark.scale)
    axes.imshow(
        mark.values,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
        cmap=mappable.cmap,
        vmin=mark.scale.low,
        vmax=mark.scale.high,
        extent=(mark.left, mark.right, mark.bottom, mark.top),
    )
    axes.grid(False)


def _reference(axes: Axes, mark: Reference) -> None:
    draw_line = axes.axhline if mark.axis == "y" else axes.axvline
    draw_line(mark.value, color=mark.color, linestyle="dashed", lw=0.9)


DRAW: Mapping[type, Callable[[Axes, Any], None]] = MappingProxyType(
    {
        Line: _line,
        Band: _band,
        Whiskers: _whiskers,
        Boxes: _boxes,
        Paths: _paths,
        Points: _points,
        Texts: _texts,
        Heat: _heat,
        Reference: _reference,
    }
)


def _mappable(scale: Scale) -> ScalarMappable:
    low, high = (scale.low, scale.high) if math.isfinite(scale.high - scale.low) else (0.0, 1.0)
    return ScalarMappable(Normalize(low, high), ListedColormap(scale.palette()))
