"""A graph whose paths are made equally long."""

import networkx as nx
import numpy as np

from hlsim.draws import Distribution, Draws
from hlsim.errors import TopologyError
from hlsim.topology.checking import check
from hlsim.topology.columns import Written
from hlsim.topology.expansion import edge_columns, mirrored, node_columns, outward, place
from hlsim.topology.timing import waves


def balance(
    graph: nx.Graph, *, node_defaults: Written | None = None, edge_defaults: Written | None = None
) -> nx.DiGraph:
    r"""Return a graph whose delays of states are padded so that every tick of the stimulus is one wave.

    .. math:: T_i = \mathrm{hop}_i + \max_j (T_j + d_{ij}), \quad d_{ij} \to T_i - T_j - \mathrm{hop}_i

    Outputs are reached at the same tick, where none of them leads to another. Delays of costates stay what
    they were: where an edge had none of its own, it is written down.

    Parameters
    ----------
    graph : networkx graph
        Stays as it is. Delays are numbers or arrays: what is drawn is balanced when it is drawn, by
        ``flatten(graph, balance=True)`` or ``balance = true`` in an experiment's ``[network]``.
    node_defaults, edge_defaults : mapping, optional
        For attributes that an element does not carry.

    Raises
    ------
    TopologyError
        Names the cycle, the edge with what is drawn, or a node as in ``waves``.
    """
    made = outward(graph, node_defaults).copy()
    checked = mirrored(check(made, node_defaults, edge_defaults))
    drawn = (checked.edges[name].tolist() for name in ("delay", "connect"))
    for i, (delay, kind) in enumerate(zip(*drawn, strict=True)):
        if kind == "random" or isinstance(delay, Distribution):
            what = "connections" if kind == "random" else "delays"
            raise TopologyError(
                f"{checked.edge(i)}: {what} that are drawn are balanced by flatten(graph, balance=True), or "
                f"balance = true in [network]"
            )
    places = place(checked)
    edges = edge_columns(checked, places, [Draws(0)])
    wave, hop = waves(node_columns(checked, places), edges["source"], edges["target"], edges["delay"])
    for i, (*_, data) in enumerate(made.edges(data=True)):
        source, target = (places.members([int(ends[i])]) for ends in (checked.source, checked.target))
        back = checked.edges["feedback_delay"][i]
        data["feedback_delay"] = checked.edges["delay"][i] if back is None else back
        longer = np.maximum(0, (wave - hop)[target][:, None] - wave[source])
        data["delay"] = int(longer.flat[0]) if (longer == longer.flat[0]).all() else longer
    return made
