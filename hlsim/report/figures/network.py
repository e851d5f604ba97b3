"""The network of a trace drawn: neurons and synapses of a small one, groups and what joins them of a large.

Columns run from the inputs on the left to what is furthest from them. Edges that would cover each other bend
to the right of their way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hlsim import analysis
from hlsim.errors import TraceError
from hlsim.report.charts import (
    FAINT,
    INK,
    PAPER,
    Boxes,
    Chart,
    Key,
    Mark,
    Panel,
    Paths,
    Points,
    Scale,
    Texts,
    Told,
    color,
    named,
    short,
)
from hlsim.report.words import spread
from hlsim.topology.network import BIAS
from hlsim.trace import Trace

NODES, EDGES = 150, 600  # drawn one by one; of more synapses the strongest
GROUPS, JOINS = 40, 400  # drawn as boxes
FEW_DELAYS = 6  # that have a legend entry each
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
CURVE = np.linspace(0.0, 1.0, 13)
BOX = (0.3, 0.3)  # half width and half height
BEND = 0.12  # of its length that an edge leaves its straight way by


@dataclass(frozen=True)
class Joint:
    """All synapses from one group to another."""

    source: str
    target: str
    synapses: int
    plastic: int
    delay: tuple[int, int]
    feedback_delay: tuple[int, int] | None
    weight: float


def network(trace: Trace) -> Chart:
    """Draw the network of a trace."""
    few = trace.network["node_label"].size <= NODES
    return _every_neuron(trace) if few else _groups(trace)


# ---- neuron by neuron


def _every_neuron(trace: Trace) -> Chart:
    arrays = trace.network
    edges = np.flatnonzero(arrays["source"] != BIAS)
    x, y, names = _places(trace, edges)
    marks: list[Mark] = []
    delay, weight = arrays["delay"][edges], np.atleast_2d(arrays["weight0"])[0, edges]
    scale, keys, shades = _edge_colors(delay, weight)
    if edges.size:
        marks.append(_edges(arrays, edges, x, y, weight, shades))
    marks.append(_nodes(trace, x, y))
    low, high = float(y.min()) - 0.6, float(y.max()) + 0.6
    title_at = high + 0.08 * (high - low)
    marks.append(
        Texts(np.array(list(names)), np.full(len(names), title_at), list(names.values()), INK, 9, True)
    )
    caption = _caption(delay, edges.size)
    panel = Panel(
        marks,
        x_range=(float(x.min()) - 0.7, float(x.max()) + 0.7),
        y_range=(low, title_at + 0.06 * (high - low)),
        height=int(np.clip(120 + 26 * (y.max() - y.min()), 260, 520)),
        bare=True,
    )
    return Chart(caption, [panel], keys=keys, scale=scale)


def _caption(delay: np.ndarray, synapses: int) -> str:
    several = np.unique(delay).size > 1
    by = "its delay" if several else "the sign of its weight"
    same = f" All delays are {spread(_extent(delay))}." if synapses and not several else ""
    part = f" Of {synapses:,} synapses the {EDGES:,} strongest are drawn." if synapses > EDGES else ""
    return f"The colour of a synapse is {by}, its width the size of its weight at the start.{same}{part}"


def _places(trace: Trace, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[float, str]]:
    """Return where every neuron stands, and what the columns are called by their place."""
    arrays = trace.network
    group = arrays["group"]
    order = analysis.groups(trace)
    place = {name: k for k, name in enumerate(order)}
    column = np.array([place[str(name)] for name in group], float)
    y = np.zeros(len(group))
    tallest = max(int((group == name).sum()) for name in order)
    x = column * 2.0
    for name in order:
        members = np.flatnonzero(group == name)
        among = np.isin(arrays["source"][edges], members) & np.isin(arrays["target"][edges], members)
        if among.any() and members.size > 2:
            angle = np.pi / 2 - 2 * np.pi * np.arange(members.size) / members.size
            x[members] += 0.75 * np.cos(angle)
            y[members] = max(2.0, min(tallest, 16) / 2) * np.sin(angle)
        else:
            spread = min(1.0, 16 / max(members.size, 1)) if members.size > 16 else 1.0
            y[members] = ((members.size - 1) / 2 - np.arange(members.size)) * spread
    return x, y, {2.0 * k: named(name) for k, name in enumerate(order)}


def _edges(
    arrays: dict[str, np.ndarray],
    edges: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    shades: list[str],
) -> Paths:
    source, target = arrays["source"][edges], arrays["target"][edges]
    pairs = set(zip(source.tolist(), target.tolist(), strict=True))
    order = np.argsort(np.abs(weight), kind="stable")[-EDGES:]  # the strongest on top
    ways = [
        _way((x[u], y[u]), (x[v], y[v]), BEND if (v, u) in pairs or x[u] >= x[v] else 0.0)
        for u, v in zip(source[order].tolist(), target[order].tolist(), strict=True)
    ]
    largest = float(np.nanmax(np.abs(weight), initial=0.0)) or 1.0
    label = arrays["node_label"]
    told = {
        "from": label[source],
        "to": label[target],
        "delay": arrays["delay"][edges],
        "feedback delay": arrays["feedback_delay"][edges],
        "weight": weight,
    }
    return Paths(
        [way[0] for way in ways],
        [way[1] for way in ways],
        [shades[k] for k in order],
        0.4 + 2.2 * np.abs(weight[order]) / largest,
        {name: values[order] for name, values in told.items()},
    )


def _way(start: tuple[float, float], end: tuple[float, float], bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a straight way of two points, one bent to its right, or a loop where it comes back."""
    (x0, y0), (x1, y1) = start, end
    if start == end:
        turn = 2 * np.pi * CURVE
        return x0 + 0.16 * np.sin(turn), y0 + 0.45 * (1 - np.cos(turn)) / 2
    if not bend:
        return np.array([x0, x1]), np.array([y0, y1])
    arc = 4 * bend * CURVE * (1 - CURVE)
    return x0 + (x1 - x0) * CURVE + arc * (y1 - y0) * 0.1, y0 + (y1 - y0) * CURVE - arc * (x1 - x0) * 2.0


def _nodes(trace: Trace, x: np.ndarray, y: np.ndarray) -> Points:
    arrays = trace.network
    order = analysis.groups(trace)
    role = np.full(x.size, "", dtype=object)
    role[arrays["inputs"]], role[arrays["outputs"]] = "input", "output"
    tau = arrays.get("parameters/tau", np.full(x.size, np.nan))
    told: Told = {
        "neuron": arrays["node_label"],
        "group": [named(str(name)) for name in arrays["group"]],
        "model": arrays["model"],
        "activation": arrays["activation"],
        "tau": ["-" if np.isnan(value) else f"{value:g}" for value in tau],
        "update": np.where(arrays["clock"] != 0, "clock", "arrival"),
        "role": [text or "-" for text in role],
    }
    shades = [color(order.index(str(name))) for name in arrays["group"]]
    size = 13.0 if x.size <= 30 else 9.0
    return Points(x, y, shades, size, told)


def _edge_colors(delay: np.ndarray, weight: np.ndarray) -> tuple[Scale | None, list[Key], list[str]]:
    """Return scale or legend of the synapses' colours, and the colours."""
    kinds = sorted(set(delay.tolist()))
    if len(kinds) <= 1:
        keys = [Key("weight above 0", POSITIVE), Key("below 0", NEGATIVE)] if weight.size else []
        return None, keys, np.where(weight < 0, NEGATIVE, POSITIVE).tolist()
    scale = Scale("delay", float(kinds[0]), float(kinds[-1]), "delay in ticks")
    shades = scale.colors(delay)
    if len(kinds) > FEW_DELAYS:
        return scale, [], shades
    ticks = [f"delay {kind}" for kind in kinds]
    return None, [Key(t, s) for t, s in zip(ticks, scale.colors(np.array(kinds)), strict=True)], shades


# ---- group by group


def joints(trace: Trace) -> list[Joint]:
    """Return what joins the groups, in order of their distance from the inputs."""
    arrays = trace.network
    order = analysis.groups(trace)
    place = {name: k for k, name in enumerate(order)}
    number = np.array([place[str(name)] for name in arrays["group"]], np.int64)
    edges = np.flatnonzero(arrays["source"] != BIAS)
    pair = number[arrays["source"][edges]] * len(order) + number[arrays["target"][edges]]
    sort = np.argsort(pair, kind="stable")
    edges, pair = edges[sort], pair[sort]
    starts = np.flatnonzero(np.append(True, pair[1:] != pair[:-1])[: pair.size])
    stops = np.append(starts[1:], pair.size)[: starts.size]
    weight = np.atleast_2d(arrays["weight0"])[0]
    found = []
    for start, stop in zip(starts, stops, strict=True):
        part = edges[start:stop]
        back = part[arrays["feedback"][part] != 0]
        found.append(
            Joint(
                order[pair[start] // len(order)],
                order[pair[start] % len(order)],
                part.size,
                int((arrays["plastic"][part] != 0).sum()),
                _extent(arrays["delay"][part]),
                _extent(arrays["feedback_delay"][back]) if back.size else None,
                float(np.abs(weight[part]).mean()),
            )
        )
    return found


def _groups(trace: Trace) -> Chart:
    order, found = analysis.groups(trace), joints(trace)
    if not found:
        raise TraceError("no synapse joins the groups")
    if len(order) > GROUPS or len(found) > JOINS:
        raise TraceError(
            f"{len(order):,} groups with {len(found):,} kinds of synapses are too many to be drawn"
        )
    at = _group_places(order, found)
    sizes = {name: int((trace["network/group"] == name).sum()) for name in order}
    lowest, highest = min(joint.delay[0] for joint in found), max(joint.delay[1] for joint in found)
    scale = (
        Scale("delay", float(lowest), float(highest), "longest delay in ticks") if highest > lowest else None
    )
    paths, texts = _ways_of(found, at, scale)
    centres = np.array([at[name] for name in order])
    boxes = Boxes(
        centres[:, 0] - BOX[0],
        centres[:, 0] + BOX[0],
        centres[:, 1] - BOX[1],
        centres[:, 1] + BOX[1],
        [color(k) for k in range(len(order))],
        told={"group": [named(name) for name in order], "neurons": np.array(list(sizes.values()))},
    )
    written = [
        Texts(centres[:, 0], centres[:, 1] + BOX[1] + 0.14, [named(name) for name in order], INK, 9, True),
        Texts(centres[:, 0], centres[:, 1], [short(size) for size in sizes.values()], PAPER, 9.5, True),
    ]
    low, high = float(centres[:, 1].min()), float(centres[:, 1].max())
    panel = Panel(
        [paths, boxes, *written, *texts],
        x_range=(float(centres[:, 0].min()) - 0.6, float(centres[:, 0].max()) + 0.6),
        y_range=(low - 0.9, high + 0.75),
        height=int(min(170 + 110 * (high - low), 640)),
        bare=True,
    )
    caption = (
        "Groups with the number of their neurons, inputs on the left; on the lines the number of synapses "
        "(the wider, the more) and their delays in ticks."
    )
    return Chart(caption, [panel], scale=scale)


def _group_places(order: list[str], found: list[Joint]) -> dict[str, tuple[float, float]]:
    """Return where groups stand: a column for each distance from the first group."""
    depth = {order[0]: 0} if order else {}
    for name in order:  # nearest first: whatever leads to a group from nearer by is known
        depth.setdefault(name, max(depth.values()) + 1)
        for joint in found:
            if joint.source == name:
                depth.setdefault(joint.target, depth[name] + 1)
    columns: dict[int, list[str]] = {}
    for name in order:
        columns.setdefault(depth[name], []).append(name)
    return {
        name: (1.6 * x, (len(names) - 1) / 2 * 1.2 - 1.2 * k)
        for x, names in enumerate(columns[key] for key in sorted(columns))
        for k, name in enumerate(names)
    }


def _ways_of(
    found: list[Joint], at: dict[str, tuple[float, float]], scale: Scale | None
) -> tuple[Paths, list[Texts]]:
    xs, ys, places = [], [], []
    for joint in found:
        x, y, place = _joint_way(at[joint.source], at[joint.target])
        xs.append(x)
        ys.append(y)
        places.append(place)
    most = max(joint.synapses for joint in found)
    shade = scale.colors(np.array([joint.delay[1] for joint in found])) if scale else [FAINT] * len(found)
    told: Told = {
        "from": [named(joint.source) for joint in found],
        "to": [named(joint.target) for joint in found],
        "synapses": np.array([joint.synapses for joint in found]),
        "delay": [spread(joint.delay) for joint in found],
        "feedback delay": [spread(joint.feedback_delay) for joint in found],
    }
    paths = Paths(xs, ys, shade, [1.0 + 5.0 * (joint.synapses / most) ** 0.5 for joint in found], told)
    spot = np.array(places).reshape(-1, 2)
    text = [f"{short(joint.synapses)} · {_span(joint.delay)}" for joint in found]
    few = len(found) <= GROUPS
    return paths, [Texts(spot[:, 0], spot[:, 1], text, "#3d444d", 7.5, halo=True)] if few else []


def _span(delay: tuple[int, int]) -> str:
    low, high = delay
    return f"{low}" if low == high else f"{low}–{high}"


def _joint_way(
    start: tuple[float, float], end: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return the way between two groups and where its text stands."""
    (x0, y0), (x1, y1) = start, end
    if start == end:
        turn = 2 * np.pi * CURVE
        x, y = x0 + 0.2 * np.sin(turn), y0 - BOX[1] - 0.16 * (1 - np.cos(turn))
        return x, y, (x0, y0 - BOX[1] - 0.46)
    if x1 > x0 and x1 - x0 < 2.0:
        return np.array([x0, x1]), np.array([y0, y1]), ((x0 + x1) / 2, (y0 + y1) / 2)
    side = 1.0 if x1 > x0 else -1.0  # far forward above, backward below
    height = side * (0.55 + 0.12 * abs(x1 - x0)) if x1 != x0 else 0.0
    swing = 0.6 * np.sign(y0 - y1) if x1 == x0 else 0.0
    arc = 4 * CURVE * (1 - CURVE)
    x, y = x0 + (x1 - x0) * CURVE + swing * arc, y0 + (y1 - y0) * CURVE + height * arc
    middle = len(CURVE) // 2
    return x, y, (float(x[middle]), float(y[middle]))


def _extent(ticks: np.ndarray) -> tuple[int, int]:
    return (int(ticks.min()), int(ticks.max())) if ticks.size else (0, 0)


def rows(found: list[Joint]) -> Iterator[list[str]]:
    """Yield the rows of a table: from, to, synapses, plastic ones, delays there and back, mean |w|."""
    for joint in found:
        yield [
            named(joint.source),
            named(joint.target),
            f"{joint.synapses:,}",
            f"{joint.plastic:,}",
            spread(joint.delay),
            spread(joint.feedback_delay),
            f"{joint.weight:.3g}",
        ]
