"""Four groups, fast inside and slow between: two that see, one where both meet, one that answers."""

from itertools import product

import networkx as nx


def build(
    hidden: int = 12, delay: int = 1, inside: int = 0, pixels: int = 8, back: int | None = None
) -> nx.DiGraph:
    """Return left and right, each with ``pixels`` inputs of its own, association and motor.

    A group is two layers of ``hidden`` tanh neurons, one that receives and one that sends; what the motor
    group sends is the answer, two linear read-outs. Messages take ``inside`` ticks within a group and
    ``delay`` ticks from group to group, costates on their way back ``back`` ticks where that is given.
    Weights are drawn with the experiment's seed.
    """
    graph = nx.DiGraph()
    for group in ("left", "right", "association", "motor"):
        _add_layer(graph, group, "receives", hidden)
        _add_layer(graph, group, "sends", hidden if group != "motor" else 2)
        _connect(graph, f"{group}.receives", f"{group}.sends", inside)
    for group in ("left", "right"):
        graph.add_nodes_from(_names(f"{group}.input", pixels), model="input", group=group)
        _connect(graph, f"{group}.input", f"{group}.receives", inside)
        _connect(graph, f"{group}.sends", "association.receives", delay, back)
    _connect(graph, "association.sends", "motor.receives", delay, back)
    for name in _names("motor.sends", 2):
        graph.nodes[name].update(role="output", activation="identity")
    return graph


def _names(layer: str, size: int) -> list[str]:
    return [f"{layer}[{k}]" for k in range(size)]


def _add_layer(graph: nx.DiGraph, group: str, layer: str, size: int) -> None:
    names = _names(f"{group}.{layer}", size)
    graph.add_nodes_from(names, model="instant", activation="tanh", bias=0.0, group=group)


def _connect(graph: nx.DiGraph, source: str, target: str, delay: int, back: int | None = None) -> None:
    """Connect all neurons of a layer to all of another; drives have about the spread of one source."""
    sources, targets = ([v for v in graph if v.startswith(f"{layer}[")] for layer in (source, target))
    std = len(sources) ** -0.5
    own = {} if back is None else {"feedback_delay": back}
    graph.add_edges_from(product(sources, targets), weight={"normal": std}, delay=delay, **own)
