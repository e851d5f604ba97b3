"""Three layers for 8 x 8 digits: every neuron a node of its own, weights drawn with the experiment's seed."""

import networkx as nx

from hlsim.topology import layered


def build(hidden: int = 32, delay: int = 0, model: str = "leaky") -> nx.DiGraph:
    """Return 64 inputs, ``hidden`` tanh neurons and ten linear read-outs; leaky ones have tau = 1."""
    return layered(
        [64, hidden, 10],
        draw=False,
        model=model,
        activation="tanh",
        output_activation="identity",
        bias=0.0,
        delay=delay,
    )
