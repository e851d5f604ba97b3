"""Figures of how credit reaches synapses: how well it is aligned with exact gradients, and how old it is."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from hlsim import analysis
from hlsim.analysis import laws
from hlsim.analysis.learned import rule_of, settings_of, weights_of
from hlsim.errors import TraceError
from hlsim.report import words
from hlsim.report.charts import DOTTED, INK, Boxes, Chart, Line, Mark, Panel, Reference, Told, color
from hlsim.trace import Trace
from hlsim.trace.network import network_of

# Ticks times synapses up to which exact gradients are computed without being asked for.
AFFORDABLE = 4_000_000
MESSAGES = 1_000_000  # whose origins are followed
BARS = 60  # of a histogram
AGES = {
    "state": "age of the state that meets",
    "staleness": "staleness: age of the error, less that of the state",
}
PATHS = {"newest": "by the newest path", "oldest": "by the oldest path"}


def alignment(trace: Trace, oracle: str | None = None) -> Chart:
    """Draw cosine and ratio of lengths of omega to its ideal, by group; laws where they apply."""
    if "sampled/omega" not in trace or not len(trace.ticks("sampled/omega")):
        raise TraceError("the trace has no samples of omega")
    if oracle is None:
        _check_cost(trace)
        if apart := _apart(trace):
            raise TraceError(
                f"weights move, and those that are known are up to {apart:,} steps of learning away; sample "
                "w at every tick, or ask for it with --oracle backpropagation"
            )
    against = oracle or "backpropagation"
    steps = laws.exact_from(trace) if against == "backpropagation" else {}
    found = analysis.alignment(trace, against=against, of="change" if steps else "omega")
    if found.cosine.isnull().all():
        raise TraceError("omega was 0 at every sample")
    panels = []
    for name, y in (("cosine", "cosine"), ("norm_ratio", "ratio of lengths")):
        lines: list[Mark] = list(_of_groups(found, name))
        lines += [
            Reference(float(step), f"{group}: exact from step {step}", "x", _group_color(found, group))
            for group, step in steps.items()
        ]
        panels.append(Panel(lines, x="tick", y=y, y_range=(-1.05, 1.05) if name == "cosine" else None))
    what = "what omega changed by between samples" if steps else "omega"
    law = "; dashed: the law of steps to exact, max(Tq, Th + d) + 1" if steps else ""
    late = f" {note}" if (note := words.age(found.age.values)) else ""
    caption = (
        f"Of {what} beside what the gradients of {against} would have made of it, by the group of the target"
        f"; 1 is the exact gradient{law}.{late}"
    )
    return Chart(caption, panels, columns=2, linked=True)


def _apart(trace: Trace) -> int:
    """Return how many steps of the weights lie, at most, between a tick and the weights known for it."""
    end = int(trace.ticks("sampled/omega")[-1]) + 1
    rule = rule_of(settings_of(trace))
    return int(weights_of(trace, network_of(trace), rule, end).away.max())


def _check_cost(trace: Trace) -> None:
    end = int(trace.ticks("sampled/omega")[-1]) + 1
    synapses = trace["network/source"].size
    if end * synapses > AFFORDABLE:
        raise TraceError(
            f"{end:,} ticks of {synapses:,} synapses take a while; ask for it with --oracle backpropagation"
        )


def _of_groups(found: xr.Dataset, name: str) -> Iterator[Line]:
    for group in map(str, found.group.values):
        values = found[name].sel(group=group).values
        if group == "all" and found.sizes["group"] == 2:
            continue  # the only group is all
        style = _group_color(found, group)
        yield Line(found.tick.values, values, group, style, width=1.6, dots=len(values) < DOTTED)


def _group_color(found: xr.Dataset, group: str) -> str:
    return INK if group == "all" else color(found.group.values.tolist().index(group))


# ---- ages


def staleness(trace: Trace) -> Chart:
    """Draw how old states were that met at synapses, and how much older errors; and what delays say."""
    messages = trace.rows("events/tick")
    if messages > MESSAGES:
        raise TraceError(f"{messages:,} events are too many to be followed, at most {MESSAGES:,}")
    found = analysis.staleness(trace)
    panels = [_histogram(found.sel(quantity=name), title) for name, title in AGES.items()]
    caption = (
        f"Of what met in {int(found.updates.sum()):,} updates of plastic synapses: how long ago the stimulus "
        "was that it goes back to. Dashed: by the delays of the paths, as if everybody sent at every tick; "
        "what has not changed is not sent again, and grows older."
    )
    return Chart(caption, panels, columns=2)


def _histogram(found: xr.Dataset, title: str) -> Panel:
    count, expected = (found[name].transpose("path", "age").values for name in ("count", "expected"))
    age = found.age.values
    there = np.flatnonzero((count + expected).any(0))
    if not there.size:
        raise TraceError("nothing met at a synapse of which it is known where it came from")
    first, last = int(age[there[0]]), int(age[there[-1]])
    width = max(1, -(-(last - first + 1) // BARS))
    edges = np.arange(first, last + width + 1, width) - 0.5
    marks: list[Mark] = []
    for number, path in enumerate(map(str, found.path.values)):
        share, law = (_shares(age, values[number], edges) for values in (count, expected))
        low = edges[:-1] + number * width / 2
        label = PATHS[path]
        told: Told = {"ticks": [_bin(edge, width) for edge in edges[:-1]], "share of updates": share}
        shown = np.flatnonzero(share)
        told = {name: np.asarray(values)[shown] for name, values in told.items()}
        marks.append(
            Boxes(
                low[shown],
                low[shown] + width / 2,
                0 * share[shown],
                share[shown],
                color(number),
                label,
                told,
            )
        )
        steps = np.repeat(edges, 2)[1:-1]
        marks.append(Line(steps, np.repeat(law, 2), f"{label}, from delays", color(number), "dashed", 1.2))
    return Panel(marks, x="ticks", y="share of updates", title=title.capitalize())


def _shares(age: np.ndarray, count: np.ndarray, edges: np.ndarray) -> np.ndarray:
    total = count.sum()
    return np.histogram(age, edges, weights=count)[0] / (total or 1)


def _bin(edge: float, width: int) -> str:
    first = round(edge + 0.5)
    return str(first) if width == 1 else f"{first} to {first + width - 1}"
