"""A networkx graph as columns of checked values: every rule of nodes, edges and the whole graph."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from hlsim.errors import TopologyError, shown, unknown
from hlsim.models import neurons
from hlsim.textdata import STORABLE, storable
from hlsim.topology.attributes import (
    Attribute,
    edge_attributes,
    node_attributes,
    parsed,
)
from hlsim.topology.columns import Carried, Column, Edges, Ints, Written, columns

Columns = dict[str, list[Any]]
# Least change that is sent unless a threshold is given, by what makes a node's update due.
ARRIVAL_THRESHOLD = 0.001
# A key that names nothing.
_NUMBER = re.compile("-?[0-9]+")
# What parallel edges without names are put in order by.
_ORDER = ("delay", "feedback_delay", *(name for name in edge_attributes() if "delay" not in name))


@dataclass(frozen=True)
class Checked:
    """Nodes and edges of a graph, in its own order, with parsed values and defaults filled in.

    Attributes
    ----------
    names : list of str
        ``str(node)`` of every node.
    nodes : dict of lists
        Column of every node attribute; model parameters are NaN where the node's model has none, ``size`` is
        None for a node that is no population.
    source, target : int64 (edges,)
        Ends of every edge, as positions in ``names``.
    key : Column of str
        Key of every edge as text; "0" in a graph that holds no parallel edges.
    parallel : Column of str
        What tells an edge from parallel ones in draws and in the canonical order; "0" where there are none.
    edges : dict of Column
        Column of every edge attribute.
    given : Edges
        The edges as they came.
    mirror : list of int or None
        The edge of which an edge is the way back; empty where there are no such edges.
    """

    names: list[str]
    nodes: Columns
    source: Ints
    target: Ints
    key: Column
    parallel: Column
    edges: dict[str, Column]
    given: Edges
    mirror: list[int | None] = field(default_factory=list)

    @cached_property
    def is_input(self) -> NDArray[np.bool_]:
        """Which nodes (nodes,) are inputs."""
        return neurons.flags(self.nodes["model"], "is_input")

    def size(self, node: int) -> int:
        """Return how many neurons (or inputs) a node stands for."""
        return self.nodes["size"][node] or 1

    def edge(self, i: int) -> str:
        """Return how errors name an edge."""
        source, target = self.names[self.source[i]], self.names[self.target[i]]
        key = "" if self.key[i] == "0" else f" (key {self.key[i]!r})"
        return f"edge {source!r} -> {target!r}{key}"


def check(
    graph: nx.DiGraph, node_defaults: Written | None = None, edge_defaults: Written | None = None
) -> Checked:
    """Check a graph against every rule and return its columns.

    Parameters
    ----------
    graph : networkx.DiGraph or networkx.MultiDiGraph
        Of directed edges; see ``hlsim.topology.expansion`` for others.
    node_defaults, edge_defaults : mapping, optional
        For attributes that an element does not carry; they go before the built-in defaults. One that has no
        meaning for a node (tau of an input) is left out there, whereas on the node itself it is an error.

    Raises
    ------
    TopologyError
        For the first node, else edge, that breaks a rule.
    """
    _check_kind(graph)
    names = [str(node) for node in graph]
    _check_names(names)
    elements = [data for _, data in graph.nodes(data=True)]
    table = node_attributes()
    defaults = _defaults(table, "node_defaults", node_defaults)
    given = columns(table, Carried.by(elements), defaults, lambda i: f"node {names[i]!r}")
    nodes = {name: column.tolist() for name, column in given.items()}
    _settle_nodes(names, elements, nodes)
    return _with_edges(graph, names, nodes, edge_defaults)


def refuse_foreign(graph: nx.Graph) -> None:
    """Raise TopologyError for the first attribute that is not ours, where ``check`` passes over it."""
    nodes = ((f"node {str(node)!r}", data) for node, data in graph.nodes(data=True))
    edges = ((f"edge {str(a)!r} -> {str(b)!r}", data) for a, b, data in graph.edges(data=True))
    for known, elements in ((node_attributes(), nodes), (edge_attributes(), edges)):
        for where, data in elements:
            for name in data:
                if name not in known:
                    raise TopologyError(f"{where}: {unknown('attribute', name, known)}")


def _check_kind(graph: object) -> None:
    if not isinstance(graph, nx.Graph):
        raise TopologyError(f"graph: must be a networkx graph, got {shown(graph)}")


def _check_names(names: list[str]) -> None:
    if not storable("".join(names)):
        for name in names:
            if not storable(name):
                raise TopologyError(f"node {name!r}: its label {STORABLE}")


def _defaults(table: Mapping[str, Attribute], where: str, defaults: Written | None) -> dict[str, Any]:
    """Return the value of elements that do not carry an attribute, for each in the table."""
    values = {name: attribute.default for name, attribute in table.items()}
    for name, value in (defaults or {}).items():
        if name not in table:
            raise TopologyError(f"{where}: {unknown('attribute', name, table)}")
        values[name] = parsed(table[name], where, name, value)
    return values


def _settle_nodes(names: list[str], elements: Iterable[Written], nodes: Columns) -> None:
    models = {name: neurons.MODELS[name] for name in sorted(set(nodes["model"]))}
    parameters = {name for model in neurons.MODELS.values() for name in model.parameters}
    for i, written in enumerate(elements):
        where = f"node {names[i]!r}"
        _settle_model(where, written, nodes, i, parameters)
        _settle_update(where, written, nodes, i)
    if all(model.is_input for model in models.values()):
        raise TopologyError(
            f"graph: needs a neuron, a node that is no input; got {len(names)} nodes without one"
        )


def _refuse(where: str, written: Written, names: Iterable[str], reason: str) -> None:
    for name in names:
        if name in written:
            raise TopologyError(f"{where}: {name} {reason}, got {shown(written[name])}")


def _settle_model(where: str, written: Written, nodes: Columns, i: int, parameters: set[str]) -> None:
    """Give the node its model's parameters; take away what only a default says and the model has not."""
    name = nodes["model"][i]
    model = neurons.MODELS[name]
    foreign = f"has no meaning for model {name!r}"
    for parameter in parameters:
        if parameter not in model.parameters:
            _refuse(where, written, (parameter,), foreign)
            nodes[parameter][i] = np.nan
        elif nodes[parameter][i] is None:
            nodes[parameter][i] = float(model.parameters[parameter])
    if model.is_input:
        _refuse(where, written, ("activation", "bias", "period", "phase", "lag"), foreign)
        if written.get("role") == "output":
            raise TopologyError(f"{where}: role must be 'input' for model {name!r}, got 'output'")
        for column, value in (("activation", "identity"), ("bias", None), ("role", "input"), ("lag", None)):
            nodes[column][i] = value
    if model.reads_out:
        _refuse(where, written, ("activation",), foreign)
        nodes["activation"][i] = "identity"
        if nodes["role"][i] != "output":
            rule = f"role must be 'output' for model {name!r}"
            raise TopologyError(f"{where}: {rule}, got {shown(nodes['role'][i])}")


def _settle_update(where: str, written: Written, nodes: Columns, i: int) -> None:
    """Give the node its clock and thresholds."""
    name = nodes["model"][i]
    model = neurons.MODELS[name]
    arrival = nodes["update"][i] == "arrival"
    if arrival and model.hold is None:
        raise TopologyError(f"{where}: update must be 'clock' for model {name!r}, which has no exact hold")
    if arrival:
        _refuse(where, written, ("period", "phase", "lag"), "needs update = 'clock'")
    if arrival or model.is_input:
        nodes["period"][i], nodes["phase"][i] = 1, 0
    elif nodes["phase"][i] >= nodes["period"][i]:
        raise TopologyError(
            f"{where}: phase must be less than the period = {nodes['period'][i]}, got {nodes['phase'][i]}"
        )
    if model.emits:
        _refuse(where, written, ("send_threshold", "send_interval"), f"has no meaning for model {name!r}")
        nodes["send_threshold"][i], nodes["send_interval"][i] = 0.0, 1
    for threshold in ("send_threshold", "costate_threshold"):
        if nodes[threshold][i] is None:
            nodes[threshold][i] = ARRIVAL_THRESHOLD if arrival and not model.is_input else 0.0


def _with_edges(graph: nx.DiGraph, names: list[str], nodes: Columns, defaults: Written | None) -> Checked:
    table = edge_attributes()
    filled = _defaults(table, "edge_defaults", defaults)
    edges = Edges.of(graph)
    elements = edges.carried.elements
    alone = Column.constant("0", len(elements))
    key = Column.shared([str(key) for key in edges.key]) if edges.key else alone
    checked = Checked(names, nodes, edges.source, edges.target, key, alone, {}, edges)
    checked.edges.update(columns(table, edges.carried, filled, checked.edge))
    _check_keys(checked, edges.key)
    if edges.key:
        _tell_apart(checked, elements)
    for i in _suspects(checked, elements):
        _check_edge(checked, elements[i], i)
    return checked


def _check_keys(checked: Checked, keys: list[Any]) -> None:
    """Parallel edges are told apart by the text of their keys, so 0 and '0' will not do."""
    if set(map(type, keys)) in ({int}, {str}, set()):
        return
    seen = set()
    ends = checked.source.tolist(), checked.target.tolist(), checked.key.tolist()
    for i, edge in enumerate(zip(*ends, strict=True)):
        if edge in seen:
            raise TopologyError(
                f"{checked.edge(i)}: keys of parallel edges must differ as text, got two {edge[2]!r}"
            )
        seen.add(edge)


def _tell_apart(checked: Checked, elements: Sequence[Written]) -> None:
    """Name parallel edges: by keys that are words, else by their place in the order of what they carry.

    A number is what networkx gives an edge for its turn. Edges that are alike in all they carry may take each
    other's place: the network is the same.
    """
    numbers: dict[tuple[int, int], list[int]] = {}
    for i in _parallels(checked).tolist():
        if _NUMBER.fullmatch(checked.key[i]):
            numbers.setdefault((checked.source[i], checked.target[i]), []).append(i)
        else:
            checked.parallel[i] = checked.key[i]
    for edges in numbers.values():
        edges.sort(key=lambda i: [_ordered(checked, name, elements[i], i) for name in _ORDER])
        for place, i in enumerate(edges):
            checked.parallel[i] = str(place)


def _parallels(checked: Checked) -> Ints:
    """Return the edges that share source and target with others."""
    order = np.lexsort((checked.target, checked.source))
    source, target = checked.source[order], checked.target[order]
    same = (source[1:] == source[:-1]) & (target[1:] == target[:-1])
    return np.sort(order[np.append(same, False) | np.append(False, same)])


def _ordered(checked: Checked, name: str, written: Written, i: int) -> tuple[int, float, str]:
    """Return what puts an edge in order by an attribute: without it, a number, anything else as text."""
    if name not in written:
        return 0, 0.0, ""
    value = checked.edges[name][i]
    if isinstance(value, int | float):
        return 1, value, repr(value)
    return 2, 0.0, repr(value.tolist() if isinstance(value, np.ndarray) else value)


def _suspects(checked: Checked, elements: Sequence[Written]) -> list[int]:
    """Return, in their order, the edges that might break a rule of more than one attribute."""
    edges = checked.edges
    suspect = checked.is_input[checked.target]
    suspect[edges["connect"].where(lambda kind: kind != "dense")] = True
    for name in ("in_degree", "probability"):
        if edges[name].types() != {type(None)}:
            suspect |= np.array([name in written for written in elements], bool)
    for name in ("weight", "delay", "feedback_delay"):
        if np.ndarray in edges[name].types():
            suspect[edges[name].where(lambda value: type(value) is np.ndarray)] = True
    return np.flatnonzero(suspect).tolist()


def _check_edge(checked: Checked, written: Written, i: int) -> None:
    edges, target = checked.edges, checked.target[i]
    if checked.is_input[target]:
        model = checked.nodes["model"][target]
        raise TopologyError(f"{checked.edge(i)}: the target must be a neuron, got model {model!r}")
    if edges["connect"][i] == "random":
        _check_random(checked, written, i)
    elif "in_degree" in written or "probability" in written:
        reason = f"needs connect = 'random', not {edges['connect'][i]!r}"
        _refuse(checked.edge(i), written, ("in_degree", "probability"), reason)
    sizes = checked.size(target), checked.size(checked.source[i])
    if edges["connect"][i] == "one_to_one" and sizes[0] != sizes[1]:
        raise TopologyError(
            f"{checked.edge(i)}: connect = 'one_to_one' needs equal sizes, got {sizes[1]} and {sizes[0]}"
        )
    for name in ("weight", "delay", "feedback_delay"):
        value = edges[name][i]
        if type(value) is np.ndarray and value.shape != sizes:
            rule = f"must have shape (target size, source size) = {sizes}"
            raise TopologyError(f"{checked.edge(i)}: {name} {rule}, got {value.shape}")


def _check_random(checked: Checked, written: Written, i: int) -> None:
    """Settle which of in_degree and probability counts: one on the edge goes before one by default."""
    options = ("in_degree", "probability")
    given = [name for name in options if name in written]
    given = given or [name for name in options if checked.edges[name][i] is not None]
    if len(given) != 1:
        got = "both" if given else "neither"
        raise TopologyError(
            f"{checked.edge(i)}: connect = 'random' needs in_degree or probability, got {got}"
        )
    for name in options:
        if name not in given:
            checked.edges[name][i] = None
    source = checked.source[i]
    most = checked.size(source) - (source == checked.target[i])
    degree = checked.edges["in_degree"][i]
    if degree is not None and degree > most:
        raise TopologyError(
            f"{checked.edge(i)}: in_degree must be <= {most}, the sources there are, got {degree}"
        )
