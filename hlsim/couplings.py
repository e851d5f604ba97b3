"""Symmetric couplings: an edge without direction is a synapse each way, of one weight at the start."""

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np

from hlsim import neurons
from hlsim.checking import Checked
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
    for u, v, *key, data in graph.edges(data=True, **keys):
        ends = (v, u) if graph.nodes[v].get("model") == "input" else (u, v)
        at_input = graph.nodes[ends[0]].get("model") == "input"
        directed.add_edge(*ends, *key, **({} if at_input else {"symmetric": True}) | data)
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
        key=key.with_more([key[i] for i in symmetric]),
        edges={
            name: column.with_more([_turned(column[i]) for i in symmetric])
            for name, column in checked.edges.items()
        },
        mirror=[None] * len(source) + symmetric,
    )


def _turned(value: Any) -> Any:
    return value.T if isinstance(value, np.ndarray) else value


def _check(checked: Checked, i: int, present: set[tuple[int, int, str]]) -> None:
    source, target, key = checked.source[i], checked.target[i], checked.key[i]
    where = checked.edge(i)
    if source == target:
        raise TopologyError(
            f"{where}: symmetric needs two different nodes, got {checked.names[source]!r} twice"
        )
    if neurons.MODELS[checked.nodes["model"][source]].is_input:
        raise TopologyError(f"{where}: symmetric needs two neurons, got an input at the source")
    if (target, source, key) in present:
        raise TopologyError(f"{where}: symmetric makes the edge back as well, got that one too")
