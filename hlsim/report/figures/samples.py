"""Figures of what a trace sampled: lines of single neurons and synapses, images and bands of many.

Long runs and large networks are thinned to what a screen can show, and the caption says how.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from hlsim import analysis
from hlsim.errors import TraceError
from hlsim.report.charts import Band, Chart, Heat, Line, Mark, Panel, Scale, color, named
from hlsim.trace import Trace

NEURONAL = {"h": "state h", "z": "costate z", "a": "drive a"}
FEW = 6  # neurons or synapses that are drawn as lines; of more, so many are chosen
BUCKETS = 500  # a line of more samples keeps the lowest and the highest of each of so many spans
ROWS, COLUMNS = 128, 600  # of an image
EDGES, MOMENTS = 20_000, 150  # synapses and samples that bands are computed from
PART = 4_000_000  # numbers that are read at a time
QUANTILES = (0.05, 0.5, 0.95)


def neurons(trace: Trace) -> Chart:
    """Draw h, z and a of a few neurons, of every group some."""
    names = _sampled(trace, NEURONAL)
    chosen = _chosen(trace, np.arange(trace["network/node_label"].size), trace["network/group"])
    labels = trace["network/node_label"][chosen]
    panels = []
    for name in names:
        ticks, values = _columns(trace, name, chosen)
        marks = [
            Line(*_thinned(ticks, values[:, k]), str(label), color(k), width=1.2)
            for k, label in enumerate(labels)
            if not _is_input_without(trace, name, chosen[k])
        ]
        panels.append(Panel(marks, x="tick", y=NEURONAL[name], height=220))
    many = trace["network/node_label"].size
    which = f"{len(chosen)} of {many:,} neurons" if len(chosen) < many else "All neurons"
    return Chart(f"{which}{_every(trace, names)}{_first(trace)}{_real(trace)}.", panels, linked=True)


def _is_input_without(trace: Trace, name: str, node: int) -> bool:
    """Tell whether a neuron is an input, which has neither costate nor drive."""
    return name != "h" and trace.network["model"][node] == "input"


def populations(trace: Trace) -> Chart:
    """Draw h, z and a of all neurons as images, in order of their groups."""
    if trace["network/node_label"].size <= FEW:
        raise TraceError("the neurons are few enough for lines")
    names = _sampled(trace, NEURONAL)
    panels, steps, most = [], [1], 0
    for name in names:
        nodes = _in_order(trace, name)
        most = max(most, nodes.size)
        nodes = nodes[np.linspace(0, nodes.size - 1, min(nodes.size, ROWS)).astype(int)]
        step = max(1, -(-trace.ticks(f"sampled/{name}").size // COLUMNS))
        steps.append(step)
        panels.append(_image(trace, name, nodes, step))
    thin = f", one of {max(steps)} samples" if max(steps) > 1 else ""
    rows = f"{ROWS} of {most:,} neurons, evenly chosen" if most > ROWS else "A row a neuron"
    caption = f"{rows}, sorted by group{thin}{_first(trace)}{_real(trace)}."
    return Chart(f"{caption} Blue is below zero, orange above; a scale a panel.", panels, linked=True)


def _in_order(trace: Trace, name: str) -> np.ndarray:
    group = trace["network/group"]
    place = {name: i for i, name in enumerate(analysis.groups(trace))}
    nodes = np.flatnonzero((trace["network/model"] != "input") | (name == "h"))
    return np.array(sorted(nodes, key=lambda node: place[str(group[node])]), np.int64)


def _image(trace: Trace, name: str, nodes: np.ndarray, step: int) -> Panel:
    ticks, values = _columns(trace, name, nodes, step)
    group = trace["network/group"][nodes]
    limit = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
    size = len(nodes)
    scale = Scale("signed", -limit, limit, NEURONAL[name])
    width = float(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
    image = Heat(values.T[::-1], float(ticks[0]), float(ticks[-1]) + width, 0.0, float(size), scale)
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    stops = np.append(starts[1:], size)
    middles = size - (starts + stops) / 2
    borders = [
        Line(np.array([image.left, image.right]), np.full(2, float(size - start)), color="#000000", width=0.8)
        for start in starts[1:]
    ]
    return Panel(
        [image, *borders],
        x="tick",
        title=f"{NEURONAL[name].capitalize()}, from {-limit:.3g} to {limit:.3g}",
        y_names={float(m): named(str(group[start])) for m, start in zip(middles, starts, strict=True)},
        y_range=(0.0, float(size)),
        height=max(200, min(320, 80 + 3 * size)),
    )


def synapses(trace: Trace) -> Chart:
    """Draw w and the fields of the rule's synapses: lines of few, bands by group of many."""
    fields = {name: name for name in _synaptic(trace)}
    names = _sampled(trace, fields)
    source = trace["network/source"]
    real = np.flatnonzero(source >= 0)
    if not real.size:
        raise TraceError("the network has no synapses")
    few = real.size <= FEW
    panels = []
    for name in names:
        marks = list(_edge_lines(trace, name, real) if few else _edge_bands(trace, name, real))
        panels.append(Panel(marks, x="tick", y={"w": "weight w"}.get(name, name), height=220))
    what = (
        "All synapses"
        if few
        else "Medians, and bands from the 5th to the 95th percentile, of the synapses onto each group"
    )
    return Chart(f"{what}{_every(trace, names)}{_first(trace)}.", panels, linked=True)


def _synaptic(trace: Trace) -> list[str]:
    edges = trace["network/source"].size
    paths = [name for name in trace.names() if name.startswith("sampled/")]
    wide = [path for path in paths if trace.h5[path].ndim > 1 and trace.h5[path].shape[-1] == edges]
    found = [path.removeprefix("sampled/") for path in wide]
    return sorted(set(found) - NEURONAL.keys(), key=lambda name: (name != "w", name))


def _edge_lines(trace: Trace, name: str, edges: np.ndarray) -> Iterator[Mark]:
    label, source, target = (trace[f"network/{key}"] for key in ("node_label", "source", "target"))
    ticks, values = _columns(trace, name, edges)
    for k, edge in enumerate(edges):
        title = f"{label[source[edge]]} → {label[target[edge]]}"
        yield Line(*_thinned(ticks, values[:, k]), title, color(k), width=1.2)


def _edge_bands(trace: Trace, name: str, edges: np.ndarray) -> Iterator[Mark]:
    group = trace["network/group"][trace["network/target"]]
    count = trace.ticks(f"sampled/{name}").size
    chosen = edges[np.linspace(0, edges.size - 1, min(edges.size, EDGES)).astype(int)]
    ticks, values = _columns(trace, name, chosen, max(1, -(-count // MOMENTS)))
    present = [name for name in analysis.groups(trace) if (group[chosen] == name).any()]
    for number, wanted in enumerate(present[:FEW]):
        low, middle, high = np.nanquantile(values[:, group[chosen] == wanted], QUANTILES, axis=1)
        title = f"onto {named(wanted)}"
        yield Band(ticks, low, high, title, color(number))
        yield Line(ticks, middle, title, color(number))


# ---- what is sampled


def _sampled(trace: Trace, names: Sequence[str] | dict[str, str]) -> list[str]:
    found = [name for name in names if f"sampled/{name}" in trace and trace.ticks(f"sampled/{name}").size]
    if not found:
        raise TraceError(f"the trace has no samples of {', '.join(names) or 'synapses'}")
    return found


def _chosen(trace: Trace, nodes: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return at most ``FEW`` nodes: the first of every group, those near the outputs before all others."""
    if nodes.size <= FEW:
        return nodes
    groups = [np.flatnonzero(group == name) for name in reversed(analysis.groups(trace))]
    turn = [members[k] for k in range(FEW) for members in groups if k < members.size]
    return np.sort(np.array(turn[:FEW]))


def _columns(trace: Trace, name: str, chosen: np.ndarray, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (tick, chosen) of the first replica, as real numbers, and their ticks; read in parts."""
    ticks = trace.ticks(f"sampled/{name}")
    path = f"sampled/{name}"
    size = max(step, PART // trace.h5[path].shape[-1] // step * step)
    parts = []
    for start in range(0, ticks.size, size):
        part = trace.part(path, slice(start, min(start + size, ticks.size), step))
        part = part[:, 0] if part.ndim == 3 else part
        parts.append(np.real(part[:, chosen]))
    return ticks[::step], np.concatenate(parts).astype(float)


def _thinned(ticks: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a line as it looks on a screen: the lowest and the highest value of every span of samples."""
    if values.size <= 2 * BUCKETS:
        return ticks, values
    cuts = np.linspace(0, values.size, BUCKETS + 1).astype(int)
    kept = {0, values.size - 1}
    for start, stop in pairwise(cuts):
        part = np.where(np.isnan(values[start:stop]), 0.0, values[start:stop])
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    order = np.array(sorted(kept))
    return ticks[order], values[order]


def _every(trace: Trace, names: Sequence[str]) -> str:
    ticks = {name: trace.ticks(f"sampled/{name}") for name in names}
    steps = {name: int(x[1] - x[0]) for name, x in ticks.items() if x.size > 1}
    if len(set(steps.values())) <= 1:
        return "".join(f", sampled {_rate(step)}" for step in set(steps.values()))
    return f", sampled {', '.join(f'{name} {_rate(step)}' for name, step in steps.items())}"


def _rate(step: int) -> str:
    return f"every {step:,} ticks" if step > 1 else "at every tick"


def _first(trace: Trace) -> str:
    return ", of the first replica" if "replica" in trace else ""


def _real(trace: Trace) -> str:
    return (
        "; of complex numbers the real part"
        if str(trace.attrs.get("dtype", "")).startswith("complex")
        else ""
    )
