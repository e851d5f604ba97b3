"""Symmetric couplings: an edge without direction is a synapse each way, of one weight at the start."""

from dataclasses import replace

import networkx as nx
import numpy as np

from hlsim.checking import Checked
from hlsim.columns import Column
from hlsim.errors import TopologyError


def outward(graph: nx.Graph) -> nx.Graph:
    """Return a graph whose edges have a direction, those of an undirected one marked symmetric.

    Edges at an input go out from it, since nothing goes in there; the others from the node that stands first
    in the graph.
    """
    if not isinstance(graph, nx.Graph) or graph.is_directed():
        return graph
    directed = nx.MultiDiGraph() if graph.is_multigraph() else nx.DiGraph()
    directed.add_nodes_from(graph.nodes(data=True))
    keys = {"keys": True} if graph.is_multigraph() else {}
    inputs = {node for node, model in graph.nodes(data="model") if model == "input"}
    for u, v, *key, data in graph.edges(data=True, **keys):
        ends = (v, u) if v in inputs else (u, v)
        directed.add_edge(*ends, *key, **({} if ends[0] in inputs else {"symmetric": True}) | data)
    return directed


def mirrored(checked: Checked) -> Checked:
    """Return the columns with a second edge, the other way, for every symmetric one."""
    symmetric = checked.edges["symmetric"].where(bool).tolist()
    if not symmetric:
        return checked
    source, target, key = checked.source, checked.target, checked.key
    present = set(zip(source.tolist(), target.tolist(), key.tolist(), strict=True))
    for i in symmetric:
        _check(checked, i, present)
    return replace(
        checked,
        source=np.concatenate((source, target[symmetric])),
        target=np.concatenate((target, source[symmetric])),
        key=_with_back(key, symmetric),
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


def _check(checked: Checked, i: int, present: set[tuple[int, int, str]]) -> None:
    source, target, key = checked.source[i], checked.target[i], checked.key[i]
    where = checked.edge(i)
    if source == target:
        raise TopologyError(
            f"{where}: symmetric needs two different nodes, got {checked.names[source]!r} twice"
        )
    if checked.is_input[source]:
        raise TopologyError(f"{where}: symmetric needs two neurons, got an input at the source")
    if (target, source, key) in present:
        raise TopologyError(f"{where}: symmetric makes the edge back as well, got that one too")
