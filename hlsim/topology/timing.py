r"""How long signals are under way: longest paths, and delays padded so that all paths are equally long.

A wave is what one tick of the stimulus makes of the states on its way. With :math:`d` the delay of an edge
j -> i and a hop that costs a leaky neuron a tick and an instant one none, it comes to neuron i after

.. math:: T_i = \mathrm{hop}_i + \max_j (T_j + d_{ij})

ticks. Where every edge is padded to :math:`T_i - T_j - \mathrm{hop}_i`, all of it comes at that tick, and no
neuron mixes two ticks of the stimulus: retiming (Leiserson & Saxe, Algorithmica 6:5-35, 1991).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from hlsim.errors import TopologyError
from hlsim.models import neurons
from hlsim.topology.expansion import BIAS, spans

Ints = NDArray[np.int64]


def longest_paths(
    members: np.ndarray, source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Return the edges of the longest path that ends in each member, and a cycle if there is one.

    Level by level: a node's turn comes with the last of its sources.

    Parameters
    ----------
    members : bool (n,)
    source, target : int64 (edges,)
        Edges between members.

    Returns
    -------
    rank : int64 (n,)
        -1 for nodes that are no members, arbitrary where there is a cycle.
    cycle : list of int
        Nodes along the edges, the first one again at the end; empty where there is no cycle.
    """
    order = np.argsort(source, kind="stable")
    first = np.searchsorted(source[order], np.arange(len(members) + 1))
    following = target[order]
    waiting = np.bincount(target, minlength=len(members))
    rank = np.where(members, 0, -1)
    level, depth = np.flatnonzero(members & (waiting == 0)), 0
    while level.size:
        rank[level] = depth
        reached = following[spans(first[level], first[level + 1])]
        np.subtract.at(waiting, reached, 1)
        level, depth = np.unique(reached[waiting[reached] == 0]), depth + 1
    return rank, _cycle(waiting > 0, source, target)


def _cycle(stuck: np.ndarray, source: np.ndarray, target: np.ndarray) -> list[int]:
    """Return a cycle among nodes of which each has a source among them; the smallest node stands first."""
    inside = stuck[source] & stuck[target]
    before = dict(zip(target[inside].tolist(), source[inside].tolist(), strict=True))
    if not before:
        return []
    cycle = [node for node, _ in nx.find_cycle(nx.DiGraph(before.items()), min(before))][::-1]
    turn = cycle.index(min(cycle))
    return cycle[turn:] + cycle[: turn + 1]


def named(label: Sequence[str], path: Sequence[int]) -> str:
    """Return how errors name a path."""
    return " -> ".join(repr(label[i])[1:-1] for i in path)


def furthest(rank: Ints, source: Ints, target: Ints, length: Ints, start: Ints) -> Ints:
    """Return the length of the longest path to every node (n,), its start (n,) at least.

    Edges lead from lower to higher ranks.
    """
    found = start.copy()
    order = np.argsort(rank[target], kind="stable")
    levels = np.flatnonzero(np.diff(rank[target][order], prepend=-1))
    for first, last in zip(levels, [*levels[1:], len(order)], strict=True):
        edges = order[first:last]
        np.maximum.at(found, target[edges], found[source[edges]] + length[edges])
    return found


def waves(nodes: Mapping[str, Any], source: Ints, target: Ints, delay: Ints) -> tuple[Ints, Ints]:
    """Return the ticks T (n,) after which a wave has come to every node, and the hops (n,) in them.

    Outputs are told the same tick where none of them leads to another: the last one of them.

    Parameters
    ----------
    nodes : mapping
        Fields ``label``, ``model``, ``clock``, ``period``, ``inputs`` and ``outputs`` of a Network.
    source, target, delay : int64 (m,)
        Edges of the network; biases count for nothing.

    Raises
    ------
    TopologyError
        Names a cycle, a neuron that is not updated at every tick, or one that the stimulus reaches at once
        and through others as well.
    """
    label, inputs, outputs = nodes["label"], nodes["inputs"], nodes["outputs"]
    for i in np.flatnonzero(nodes["clock"] & (nodes["period"] != 1))[:1]:
        raise TopologyError(f"node {label[i]!r}: period must be 1 to be balanced, got {nodes['period'][i]}")
    hop = neurons.flags(nodes["model"], "stateful").astype(np.int64)
    synapse = source != BIAS
    ends = source[synapse], target[synapse]
    rank, cycle = longest_paths(np.ones(len(label), bool), *ends)
    if cycle:
        raise TopologyError(f"graph: a cycle cannot be balanced: {named(label, cycle)}")
    start, length = np.zeros(len(label), np.int64), delay[synapse] + hop[ends[1]]
    start[inputs] = hop[inputs]
    found = furthest(rank, *ends, length, start)
    for i in inputs[found[inputs] > hop[inputs]][:1]:
        raise TopologyError(
            f"node {label[i]!r}: what the stimulus reaches at once cannot be balanced with paths of "
            f"{found[i]} ticks through others; feed it by an input node"
        )
    last = found[outputs].max(initial=0)
    start[outputs] = last
    together = furthest(rank, *ends, length, start)
    return (together if (together[outputs] == last).all() else found), hop


def padding(nodes: Mapping[str, Any], source: Ints, target: Ints, delay: Ints) -> Ints:
    """Return the ticks (m,) that every edge is to be longer by; parameters and errors as for ``waves``."""
    wave, hop = waves(nodes, source, target, delay)
    return np.where(source == BIAS, 0, wave[target] - wave[source] - hop[target] - delay)
