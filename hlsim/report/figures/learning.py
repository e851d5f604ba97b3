"""Figures of how a run learned: losses and accuracies, phases."""

from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
import xarray as xr

from hlsim import analysis
from hlsim.errors import TraceError
from hlsim.report.charts import DOTTED, Band, Boxes, Chart, Line, Mark, Panel, Told, color, span
from hlsim.trace import Trace

MEASURES = MappingProxyType(
    {
        "loss": "loss per row",
        "accuracy": "accuracy (share of rows)",
        "taught": "accuracy while taught",
    }
)
ACCURACY = (
    " Accuracy is of what was told before the row's own target counts; while taught, of what was told at its "
    "last tick."
)


# ---- learning


def learning_curve(trace: Trace) -> Chart:
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
            y_range=None if name == "loss" else (-0.02, 1.02),
        )
        for name in names
    ]
    bands = "; bands are standard deviations over replicas" if curve.sizes["replica"] > 1 else ""
    caption = f"Means of {_rows(curve.rows.values)} of the stream{bands}.{ACCURACY * (len(names) > 2)}"
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


# ---- phases


def phases(trace: Trace) -> Chart:
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
