"""Populations as single neurons, connections as single synapses, and all of them in canonical order."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np

from hlsim.draws import Distribution, Draws, Normal, bernoulli, subsets
from hlsim.errors import TopologyError, shown
from hlsim.models import neurons
from hlsim.topology.checking import Checked
from hlsim.topology.columns import Column, Written, is_spread, spread
from hlsim.topology.order import order

# Codes of the column ``feedback``.
NONE, SYMMETRIC, RANDOM = range(3)
FEEDBACK = {"none": NONE, "symmetric": SYMMETRIC, "random": RANDOM}
# What a column of values may hold besides arrays and distributions, as the checks leave it.
PLAIN = {float, int, type(None)}
# Memory that a neuron takes while its label is put in order, at least.
_LABEL_BYTES = 256
# Source of a bias, which is a synapse with s = 1 from no node.
BIAS = -1
# The lag of a neuron that is to be worked out.
MATCHED = -1
_NUMBER = re.compile("([0-9]+)")


def natural(text: str) -> tuple[list[Any], str]:
    """Return a key that sorts digits as numbers: "a[2]" before "a[10]"."""
    parts: list[Any] = _NUMBER.split(text)
    # by length, then as text: Python makes no int of more than 4300 digits
    parts[1::2] = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]
    return parts, text


@dataclass(frozen=True)
class Places:
    """Where the members of the graph's nodes stand in canonical order.

    Attributes
    ----------
    label : tuple of str (n,)
    node : int64 (n,)
        Node of the graph, by its position there, to which each place belongs.
    first : int64 (nodes + 1,)
        Start of every node's members in ``at``.
    at : int64 (n,)
        Place of every member, in the order of the graph.
    """

    label: tuple[str, ...]
    node: np.ndarray
    first: np.ndarray
    at: np.ndarray

    def members(self, nodes: list[int]) -> np.ndarray:
        """Return the places of the members of some nodes, one after the other."""
        spans = [self.at[self.first[i] : self.first[i + 1]] for i in nodes]
        return np.concatenate(spans) if spans else np.zeros(0, np.int64)


def place(checked: Checked) -> Places:
    """Expand the populations and put all members in natural order of their labels."""
    _check_room(sum(size or 1 for size in checked.nodes["size"]))
    labels: list[str] = []
    for name, size in zip(checked.names, checked.nodes["size"], strict=True):
        labels.extend([name] if size is None else [f"{name}[{i}]" for i in range(size)])
    sizes = np.array([size or 1 for size in checked.nodes["size"]], np.int64)
    node = np.repeat(np.arange(len(sizes)), sizes)
    first = np.concatenate(([0], np.cumsum(sizes)))
    canonical = _in_natural_order(checked, labels, first)
    label = tuple(map(labels.__getitem__, canonical.tolist()))
    _check_labels(label)
    at = np.empty_like(canonical)
    at[canonical] = np.arange(len(canonical))
    return Places(label, node[canonical], first, at)


def _in_natural_order(checked: Checked, labels: list[str], first: np.ndarray) -> np.ndarray:
    """Return what puts labels in natural order; populations as a whole, where no label stands within one."""
    sizes = checked.nodes["size"]
    heads = [
        natural(name if size is None else f"{name}[") for name, size in zip(checked.names, sizes, strict=True)
    ]
    populations = {tuple(parts) for (parts, _), size in zip(heads, sizes, strict=True) if size is not None}
    if populations and _within(heads, sizes, populations):
        keys = list(map(natural, labels))
        return np.array(sorted(range(len(labels)), key=keys.__getitem__), np.int64)
    nodes = np.array(sorted(range(len(heads)), key=heads.__getitem__), np.int64)
    return spans(first[nodes], first[nodes + 1])


def _within(heads: list[tuple[list[Any], str]], sizes: list[int | None], populations: set[tuple]) -> bool:
    """Tell whether a label may come between members of a population: it begins as all of these do."""
    several = sum(size is not None for size in sizes) > len(populations)
    return several or any(
        tuple(parts[:end]) in populations
        for (parts, _), size in zip(heads, sizes, strict=True)
        for end in range(1, len(parts) + (size is None))
    )


def spans(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return start[0], ..., stop[0] - 1, start[1], ..., stop[1] - 1, ..."""
    count = stop - start
    ends = np.cumsum(count)
    return np.arange(ends[-1]) + np.repeat(start - ends + count, count)


def _check_room(members: int) -> None:
    """Ask for the memory of all labels at once: piece by piece it would be used up before it is refused."""
    try:
        np.empty(members * _LABEL_BYTES, np.uint8)
    except (MemoryError, ValueError, OverflowError):
        raise TopologyError(f"graph: {members:,} neurons and inputs do not fit in memory") from None


def _check_labels(label: Sequence[str]) -> None:
    for first, second in pairwise(label):
        if first == second:
            rule = "label must be unique as text, among members of populations too"
            raise TopologyError(f"node {first!r}: {rule}, got it twice")


def node_columns(checked: Checked, places: Places) -> dict[str, Any]:
    """Return the node fields of a Network but for its ranks."""
    columns, node = checked.nodes, places.node
    parameters = sorted(
        {name for model in set(columns["model"]) for name in neurons.MODELS[model].parameters}
    )

    def array(name: str, dtype: type) -> np.ndarray:
        return np.array(columns[name], dtype)[node]

    def words(name: str) -> tuple[str, ...]:
        return tuple(map(columns[name].__getitem__, node.tolist()))

    def places_of(role: str) -> np.ndarray:
        return places.members([i for i, own in enumerate(columns["role"]) if own == role])

    return {
        "label": places.label,
        **{name: words(name) for name in ("group", "model", "activation")},
        "parameters": {name: array(name, np.float64) for name in parameters},
        "clock": np.array([update == "clock" for update in columns["update"]], bool)[node],
        **{name: array(name, np.int64) for name in ("period", "phase", "send_interval", "refresh")},
        **{name: array(name, np.float64) for name in ("send_threshold", "costate_threshold")},
        "lag": np.array([_ticks(lag) for lag in columns["lag"]], np.int64)[node],
        "inputs": places_of("input"),
        "outputs": places_of("output"),
    }


def _ticks(lag: int | str | None) -> int:
    return MATCHED if lag == "matched" else int(lag or 0)


@dataclass(frozen=True)
class Synapses:
    """The synapses of the graph's edges, edge by edge, every edge's ordered by target, then source.

    Attributes
    ----------
    start : int64 (edges + 1,)
        Where each edge's synapses begin.
    source, target : int32 (m,)
        Which member of the source's and of the target's population.
    single : bool
        Whether every edge is one synapse, as in a graph without populations.
    """

    start: np.ndarray
    source: np.ndarray
    target: np.ndarray
    single: bool = False

    def __len__(self) -> int:
        return len(self.source)

    @property
    def edge(self) -> np.ndarray:
        """The edge of every synapse, int64 (m,)."""
        return self.each(np.arange(len(self.start) - 1))

    def span(self, edge: int) -> slice:
        """Return where an edge's synapses are."""
        return slice(self.start[edge], self.start[edge + 1])

    def each(self, values: np.ndarray) -> np.ndarray:
        """Return for every synapse the value of its edge."""
        if self.single:
            return values
        return spread(values[0], len(self)) if is_spread(values) else np.repeat(values, np.diff(self.start))


def connect(checked: Checked, draws: Draws) -> Synapses:
    """Pair the members of the populations that edges connect."""
    sizes = np.array([size or 1 for size in checked.nodes["size"]], np.int64)
    kinds = checked.edges["connect"]
    sources, targets = sizes[checked.source], sizes[checked.target]
    one_to_one = kinds.map(lambda kind: kind == "one_to_one").array(bool)
    back = _ways_back(checked)
    random = kinds.where(lambda kind: kind == "random").tolist()
    drawn = {i: _random_pairs(checked, i, draws) for i in random if i not in back}
    drawn |= {i: _turned_pairs(*drawn[back[i]]) for i in random if i in back}
    count = np.where(one_to_one, sources, sources * targets)
    for i, (source, _) in drawn.items():
        count[i] = len(source)
    start = np.concatenate(([0], np.cumsum(count)))
    if not drawn and (count == 1).all():
        first = spread(np.int32(0), len(count))
        return Synapses(start, first, first, single=True)
    synapses = Synapses(start, *np.empty((2, start[-1]), np.int32))
    for i, (source, target) in drawn.items():
        synapses.source[synapses.span(i)], synapses.target[synapses.span(i)] = source, target
    rest = np.ones(len(kinds), bool)
    rest[list(drawn)] = False
    _connect_all(synapses, np.flatnonzero(rest), sources, one_to_one)
    return synapses


def _connect_all(synapses: Synapses, edges: np.ndarray, sources: np.ndarray, one_to_one: np.ndarray) -> None:
    """Pair all members at the ends of edges, or each with its own."""
    if not len(edges):
        return
    start, stop = synapses.start[edges], synapses.start[edges + 1]
    position = spans(np.zeros_like(start), stop - start)
    target, source = np.divmod(position, np.repeat(sources[edges], stop - start))
    at = slice(None) if len(edges) == len(synapses.start) - 1 else spans(start, stop)
    synapses.source[at] = source
    synapses.target[at] = np.where(np.repeat(one_to_one[edges], stop - start), source, target)


def _random_pairs(checked: Checked, i: int, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Return (source, target) members of a random connection; a population's neuron never draws itself."""
    source, target = checked.source[i], checked.target[i]
    within = source == target
    rows, columns = checked.size(target), checked.size(source) - within
    generator = draws.generator("connect", *_name(checked, i))
    degree = checked.edges["in_degree"][i]
    if degree is None:
        pair = bernoulli(generator, rows * columns, checked.edges["probability"][i])
        targets, sources = np.divmod(pair, columns)
    else:
        targets = np.repeat(np.arange(rows), degree)
        sources = subsets(generator, rows, columns, degree).ravel()
    return sources + (within & (sources >= targets)), targets


def _ways_back(checked: Checked) -> dict[int, int]:
    """Return the edge of which each edge is the way back."""
    return {i: forth for i, forth in enumerate(checked.mirror) if forth is not None}


def _turned_pairs(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (source, target) of the synapses back, by target, then source."""
    order = np.lexsort((target, source))
    return target[order], source[order]


def twins(checked: Checked, synapses: Synapses) -> np.ndarray:
    """Return for each synapse the one that goes the other way on a symmetric edge, -1: none."""
    ways = _ways_back(checked)
    if not ways:
        return spread(np.int64(-1), len(synapses))
    twin, edge = np.full(len(synapses), -1), synapses.edge
    # Edges back stand in the order of those forth, and every edge's synapses by target, then source.
    role = np.zeros(len(checked.source), np.int8)
    role[list(ways.values())], role[list(ways)] = 1, 2
    here, there = (np.flatnonzero(role[edge] == kind) for kind in (2, 1))
    there = there[order(synapses.target[there], synapses.source[there], edge[there])]
    twin[here], twin[there] = there, here
    return twin


def _name(checked: Checked, i: int) -> tuple[str, str, str]:
    """Return what tells an edge's draws from those of others."""
    return checked.names[checked.source[i]], checked.names[checked.target[i]], checked.parallel[i]


def edge_columns(checked: Checked, places: Places, draws: Sequence[Draws]) -> dict[str, np.ndarray]:
    """Return the edge fields of a Network: biases by target, then synapses by source and target.

    Only parallel edges share both; what tells them apart (``Checked.parallel``) puts them in order.
    """
    synapses, biases = connect(checked, draws[0]), _bias_fields(checked, places, len(draws))
    first = len(biases["source"])
    source, target = (
        places.at[synapses.each(places.first[ends]) + members]
        for ends, members in ((checked.source, synapses.source), (checked.target, synapses.target))
    )
    canonical = _canonical(checked.parallel, synapses, source, target)
    made: dict[str, np.ndarray] = {}

    def lay(name: str, field: np.ndarray) -> None:
        made[name] = _after(biases[name], field if is_spread(field) else field[..., canonical])

    # One after the other, so that of a million synapses there are never all fields twice.
    lay("source", source)
    lay("target", target)
    del source, target
    twin = twins(checked, synapses)
    lay("twin", twin if is_spread(twin) else _moved(twin, canonical, first))
    for name, field in _synapse_fields(checked, synapses, draws, twin):
        lay(name, field)
    if checked.edges["feedback_delay"].types() == {type(None)}:
        made["feedback_delay"] = made["delay"]
    return made


def _after(biases: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return the field of biases and then of synapses, (..., edge)."""
    if not biases.shape[-1]:
        return field
    # Bit by bit: NaN is NaN, and -0 is not 0.
    bits = biases.view(f"u{biases.itemsize}")
    if is_spread(field) and field.size and (bits == field.flat[:1].view(bits.dtype)).all():
        return np.broadcast_to(biases.flat[0], (*field.shape[:-1], biases.shape[-1] + field.shape[-1]))
    return np.concatenate((biases, field), axis=-1)


def _moved(twin: np.ndarray, canonical: np.ndarray | slice, first: int) -> np.ndarray:
    """Return where the twins of synapses, which are not yet in order, stand once they are."""
    position = np.empty_like(twin)
    position[canonical] = np.arange(first, first + len(twin))
    return np.where(twin < 0, -1, position[twin])


def _canonical(
    parallel: Column, synapses: Synapses, source: np.ndarray, target: np.ndarray
) -> np.ndarray | slice:
    """Return what puts synapses in order; a slice where they are, which spares ten fields a shuffle."""
    ahead = (source[:-1] < source[1:]) | ((source[:-1] == source[1:]) & (target[:-1] < target[1:]))
    if ahead.all():
        return slice(None)
    rank = {name: i for i, name in enumerate(sorted(set(parallel.values), key=natural))}
    return order(synapses.each(parallel.map(rank.__getitem__).array(np.int64)), target, source)


def _synapse_fields(
    checked: Checked, synapses: Synapses, draws: Sequence[Draws], twin: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the fields of synapses, edge by edge."""
    edges, each = checked.edges, synapses.each
    delay = _values(checked, synapses, "delay", edges["delay"], draws[:1])[0]
    back = edges["feedback_delay"]
    if back.types() != {type(None)}:
        other = _values(checked, synapses, "feedback_delay", back, draws[:1])[0]
        yield "feedback_delay", np.where(np.isnan(other), delay, other).astype(np.int64)
        del other
    yield "delay", delay.astype(np.int64)
    del delay
    yield "plastic", each(edges["plastic"].array(bool))
    yield "beta", each(edges["beta"].array(np.float64))
    feedback = _feedback(checked)
    yield "feedback", each(feedback)
    weight = _values(checked, synapses, "weight", edges["weight"], draws)
    if not is_spread(twin) and not is_spread(weight):
        forth, weight = np.flatnonzero((twin >= 0) & (twin < np.arange(len(twin)))), weight.copy()
        weight[:, forth] = weight[:, twin[forth]]
    yield "weight", weight
    del weight
    random = _random_feedback(edges["weight"], feedback)
    yield "feedback_weight", _values(checked, synapses, "feedback", random, draws)


def _feedback(checked: Checked) -> np.ndarray:
    """Return the code of every edge; nothing is sent back to input nodes."""
    codes = checked.edges["feedback"].map(FEEDBACK.__getitem__).array(np.int8)
    inputs = checked.is_input[checked.source]
    return np.where(inputs, np.int8(NONE), codes) if inputs.any() else codes


def _random_feedback(weight: Column, feedback: np.ndarray) -> Column:
    """Return what the feedback weights are drawn from; None where they are not random."""
    column = Column.constant(None, len(feedback))
    for i in np.flatnonzero(feedback == RANDOM).tolist():
        column[i] = _like(weight[i])
    return column


def _like(weight: float | np.ndarray | Distribution) -> Distribution:
    """Return the distribution of random feedback: the weight's own, or a normal one of equal mean square."""
    if isinstance(weight, float | np.ndarray):
        return Normal(float(np.sqrt(np.mean(np.square(weight)))))
    return weight


def _values(
    checked: Checked, synapses: Synapses, purpose: str, column: Column, draws: Sequence[Draws]
) -> np.ndarray:
    """Return the value of every synapse for every seed, (seeds, m) float64; NaN for None.

    Whole numbers below 2**53, as delays are, come through exactly.
    """
    drawn: list[int] = []
    plain = column
    if not column.types() <= PLAIN:
        drawn = column.where(lambda value: type(value) not in PLAIN).tolist()
        plain = column.map(lambda value: value if type(value) in PLAIN else None)
    known = synapses.each(plain.array(np.float64))
    if not drawn:
        return known[None] if len(draws) == 1 else np.broadcast_to(known, (len(draws), len(synapses)))
    values = np.empty((len(draws), len(synapses)))
    values[:] = known
    for i in drawn:
        value, span = column[i], synapses.span(i)
        if isinstance(value, np.ndarray):
            values[:, span] = value[synapses.target[span], synapses.source[span]]
        else:
            name, count = _name(checked, i), span.stop - span.start
            for row, draw in zip(values, draws, strict=True):
                row[span] = value.sample(draw.generator(purpose, *name), None if count == 1 else count)
    return values


def _bias_fields(checked: Checked, places: Places, seeds: int) -> dict[str, np.ndarray]:
    bias = np.array(checked.nodes["bias"], np.float64)[places.node]
    target = np.flatnonzero(~np.isnan(bias))
    whole = np.zeros(len(target), np.int64)
    return {
        "source": whole + BIAS,
        "target": target,
        "delay": whole,
        "feedback_delay": whole,
        "plastic": np.ones(len(target), bool),
        "beta": np.full(len(target), np.nan),
        "feedback": np.full(len(target), NONE, np.int8),
        "twin": whole - 1,
        "weight": np.tile(bias[target], (seeds, 1)),
        "feedback_weight": np.full((seeds, len(target)), np.nan),
    }


def outward(graph: nx.Graph, node_defaults: Written | None = None) -> nx.Graph:
    """Return a graph whose edges have a direction, those of an undirected one marked symmetric.

    Edges at an input go out from it, since nothing goes in there; the others from the node whose label comes
    first in natural order.
    """
    if not isinstance(graph, nx.Graph) or graph.is_directed():
        return graph
    directed = nx.MultiDiGraph() if graph.is_multigraph() else nx.DiGraph()
    directed.add_nodes_from(graph.nodes(data=True))
    default = (node_defaults or {}).get("model")
    order = {
        node: (model != "input", natural(str(node))) for node, model in graph.nodes("model", default=default)
    }
    keys = {"keys": True} if graph.is_multigraph() else {}
    for u, v, *key, data in graph.edges(data=True, **keys):
        source, target = sorted((u, v), key=order.__getitem__)
        symmetric = order[source][0]
        if symmetric and not data.get("symmetric", True):
            raise TopologyError(
                f"edge {str(source)!r} -> {str(target)!r}: symmetric must be true in an undirected graph, "
                f"got {shown(data['symmetric'])}"
            )
        directed.add_edges_from([(source, target, *key, {"symmetric": symmetric} | data)])
    return directed


def mirrored(checked: Checked) -> Checked:
    """Return the columns with a second edge, the other way, for every symmetric one."""
    symmetric = checked.edges["symmetric"].where(bool).tolist()
    if not symmetric:
        return checked
    source, target = checked.source, checked.target
    present = set(zip(source.tolist(), target.tolist(), strict=True))
    for i in symmetric:
        _check(checked, i, present)
    return replace(
        checked,
        source=np.concatenate((source, target[symmetric])),
        target=np.concatenate((target, source[symmetric])),
        key=_with_back(checked.key, symmetric),
        parallel=_with_back(checked.parallel, symmetric),
        edges={name: _with_back(column, symmetric) for name, column in checked.edges.items()},
        mirror=[None] * len(source) + symmetric,
    )


def _with_back(column: Column, symmetric: list[int]) -> Column:
    """Return a column with the values of symmetric edges once more, as those of the edges back have them."""
    values, back = column.values, column.index[symmetric]
    if np.ndarray in column.types():
        back += len(values)
        values = values + [value.T if isinstance(value, np.ndarray) else value for value in values]
    return Column(values, np.concatenate((column.index, back)))


def _check(checked: Checked, i: int, present: set[tuple[int, int]]) -> None:
    source, target = checked.source[i], checked.target[i]
    where = checked.edge(i)
    if source == target:
        raise TopologyError(
            f"{where}: symmetric needs two different nodes, got {checked.names[source]!r} twice"
        )
    if checked.is_input[source]:
        raise TopologyError(f"{where}: symmetric needs two neurons, got an input at the source")
    if (target, source) in present:
        raise TopologyError(f"{where}: symmetric makes the edge back as well, got that one too")
