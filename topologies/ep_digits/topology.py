"""Instant neurons with a delay of one tick, and ten read-outs behind a hub that knows the softmax."""

import math

import networkx as nx

from hlsim.topology import layered


def build(hidden: int = 64, gain: float = 0.5, delay: int = 1) -> nx.DiGraph:
    """Return 64 inputs, ``hidden`` tanh neurons and 10 read-outs coupled to them both ways.

    Weights are uniform within ``gain sqrt(6/(fan in + fan out))``.
    """
    graph = layered(
        [64, hidden, 10],
        populations=True,
        model="instant",
        activation="tanh",
        output_model="readout",
        bias=0.0,
        delay=delay,
        symmetric=True,
    )
    for source, target, data in graph.edges(data=True):
        fans = graph.nodes[source]["size"] + graph.nodes[target]["size"]
        bound = gain * math.sqrt(6.0 / fans)
        data["weight"] = {"uniform": [-bound, bound]}
    return graph
