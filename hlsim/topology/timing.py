r"""How long signals are under way: longest paths, and delays padded so that all paths are equally long.

A wave is what one tick of the stimulus makes of the states on its way. With :math:`d` the delay of an edge
j -> i and a hop that costs a leaky neuron a tick and an instant one none, it comes to neuron i after

.. math:: T_i = \mathrm{hop}_i + \max_j (T_j + d_{ij})

ticks. Where every edge is padded to :math:`T_i - T_j - \mathrm{hop}_i`, all of it comes at that tick, and no
neuron mixes two ticks of the stimulus: retiming (Leiserson & Saxe, Algorithmica 6:5-35, 1991).

Backward, an error that comes to neuron i belongs to the drive that it had :math:`L_i` ticks ago. With
:math:`d'` the delay of a costate, and a hop there and back that costs a leaky neuron two ticks,

.. math:: L_i = \mathrm{hop}_i + \max_k (L_k + d_{ki} + d'_{ki})

over its targets k; an output's own loss counts as :math:`\mathrm{hop}_i`. A costate that comes sooner
waits :math:`L_i - L_k - d_{ki} - d'_{ki} - \mathrm{hop}_i` ticks, so that all that meets is of one tick:
temporal backpropagation (Wan, IJCNN 1990) with any delays, in any graph without a cycle of costates.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from hlsim.errors import TopologyError, shown
from hlsim.models import neurons
from hlsim.topology.expansion import BIAS, MATCHED, NONE, spans

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
    for first, last in pairwise([*levels, len(order)]):
        edges = order[first:last]
        np.maximum.at(found, target[edges], found[source[edges]] + length[edges])
    return found


def _paths(network: Mapping[str, Any]) -> tuple[Ints, Ints, Ints, Ints]:
    """Return sources and targets of synapses, the hops (n,), and the ranks (n,) of nodes along all paths."""
    label, period = network["label"], network["period"]
    for i in np.flatnonzero(network["clock"] & (period != 1))[:1]:
        raise TopologyError(f"node {label[i]!r}: period must be 1 where paths are compared, got {period[i]}")
    synapse = network["source"] != BIAS
    source, target = network["source"][synapse], network["target"][synapse]
    rank, cycle = longest_paths(np.ones(len(label), bool), source, target)
    if cycle:
        raise TopologyError(f"graph: paths in a cycle have no end: {named(label, cycle)}")
    return source, target, neurons.flags(network["model"], "stateful").astype(np.int64), rank


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
    before, after, hop, rank = _paths({**nodes, "source": source, "target": target})
    start, length = np.zeros(len(label), np.int64), delay[source != BIAS] + hop[after]
    start[inputs] = hop[inputs]
    found = furthest(rank, before, after, length, start)
    for i in inputs[found[inputs] > hop[inputs]][:1]:
        raise TopologyError(
            f"node {label[i]!r}: what the stimulus reaches at once cannot be balanced with paths of "
            f"{found[i]} ticks through others; feed it by an input node"
        )
    last = found[outputs].max(initial=0)
    start[outputs] = last
    together = furthest(rank, before, after, length, start)
    return (together if (together[outputs] == last).all() else found), hop


def padding(nodes: Mapping[str, Any], source: Ints, target: Ints, delay: Ints) -> Ints:
    """Return the ticks (m,) that every edge is to be longer by; parameters and errors as for ``waves``."""
    wave, hop = waves(nodes, source, target, delay)
    return np.where(source == BIAS, 0, wave[target] - wave[source] - hop[target] - delay)


def path_ticks(network: Mapping[str, Any]) -> int:
    """Return how many ticks a signal takes from inputs to outputs, by whatever path.

    Parameters
    ----------
    network : mapping
        Fields of a Network.

    Raises
    ------
    TopologyError
        Paths differ, there is none, or one of them has no end: names the outputs, or the cycle.
    """
    label, outputs = network["label"], network["outputs"]
    source, target, hop, rank = _paths(network)
    length = network["delay"][network["source"] != BIAS] + hop[target]
    start = np.full(len(label), -np.inf)
    start[network["inputs"]] = hop[network["inputs"]]
    longest = furthest(rank, source, target, length, start)[outputs]
    shortest = -furthest(rank, source, target, -length, np.where(np.isinf(start), start, -start))[outputs]
    reached = np.isfinite(longest)
    if not reached.any():
        raise TopologyError("graph: needs a path from an input to an output, got none")
    least, most = shortest[reached].min(), longest[reached].max()
    if least < most:
        far, near = longest == most, shortest == least
        first, last = (label[outputs[np.flatnonzero(where)[0]]] for where in (near, far))
        raise TopologyError(
            f"graph: paths from inputs to outputs must be equally long, got {int(least)} ticks to {first!r} "
            f"and {int(most)} to {last!r}; balance it first (topology.balance, [network] balance = true)"
        )
    return int(most)


def feedback_hop(model: Sequence[str]) -> Ints:
    """Return the ticks (n,) from a neuron's drive to its state and from its costate to what it sends."""
    return 2 * neurons.flags(model, "stateful").astype(np.int64)


def lags(nodes: Mapping[str, Any], edges: Mapping[str, Any], dt: float) -> tuple[Ints, Ints]:
    """Return the lag (n,) of every node, and the ticks (m,) that costates wait.

    Parameters
    ----------
    nodes, edges : mapping
        Fields of a Network; a lag is MATCHED where it is to be worked out.
    dt : float
        Length of a tick, in model time.

    Raises
    ------
    TopologyError
        Names a neuron that lags have no meaning for, or a cycle of costates.
    """
    given, matched = nodes["lag"], nodes["lag"] == MATCHED
    if not given.any():
        return given, np.broadcast_to(np.int64(0), len(edges["source"]))
    _check_steady(nodes, dt)
    carries = np.flatnonzero(edges["feedback"] != NONE)
    # A costate goes from the target of an edge to its source.
    sender, hearer = edges["target"][carries], edges["source"][carries]
    outputs, hop = np.isin(np.arange(len(given)), nodes["outputs"]), feedback_hop(nodes["model"])
    learns = _reached(outputs, sender, hearer)
    length = (edges["delay"] + edges["feedback_delay"])[carries] + hop[hearer]
    inner = matched[sender] & matched[hearer] & learns[sender]
    rank, cycle = longest_paths(matched, sender[inner], hearer[inner])
    if cycle:
        raise TopologyError(
            f"graph: lags have no end in a cycle of costates: {named(nodes['label'], cycle)}; one of its "
            f"edges needs feedback = 'none', or one of its nodes a lag of its own"
        )
    start = np.where(matched, np.where(outputs, hop, 0), given)
    fixed = matched[hearer] & ~matched[sender] & learns[sender]
    np.maximum.at(start, hearer[fixed], given[sender[fixed]] + length[fixed])
    lag = furthest(rank, sender[inner], hearer[inner], length[inner], start)
    waiting = np.zeros(len(edges["source"]), np.int64)
    waiting[carries] = np.where(learns[sender], np.maximum(0, lag[hearer] - lag[sender] - length), 0)
    return lag, waiting


def _check_steady(nodes: Mapping[str, Any], dt: float) -> None:
    """Refuse neurons of which a costate could not tell how old what it belongs to is."""
    model, clock, label = np.array(nodes["model"]), nodes["clock"], nodes["label"]
    inputs = neurons.flags(nodes["model"], "is_input")
    slow = (model == "leaky") & (nodes["parameters"].get("tau", np.zeros(len(model))) == dt)
    quick = neurons.flags(nodes["model"], "instant") & ~neurons.flags(nodes["model"], "reads_out")
    rules = (
        ("update must be 'clock'", clock | inputs, np.where(clock, "clock", "arrival")),
        ("model must be 'instant', or 'leaky' with tau = dt,", quick | slow | inputs, model),
        ("period must be 1", nodes["period"] == 1, nodes["period"]),
        ("send_threshold must be 0", nodes["send_threshold"] == 0, nodes["send_threshold"]),
        ("costate_threshold must be 0", nodes["costate_threshold"] == 0, nodes["costate_threshold"]),
        ("send_interval must be 1", nodes["send_interval"] == 1, nodes["send_interval"]),
    )
    for rule, holds, values in rules:
        for i in np.flatnonzero(~holds)[:1]:
            raise TopologyError(
                f"node {label[i]!r}: {rule} where neurons have a lag, which counts ticks, "
                f"got {shown(values[i])}"
            )


def _reached(starts: NDArray[np.bool_], before: Ints, after: Ints) -> NDArray[np.bool_]:
    """Return the nodes (n,) that edges lead to from some nodes, and these."""
    found = starts.copy()
    while (new := found[before] & ~found[after]).any():
        found[after[new]] = True
    return found
