"""Instant neurons in layers: four lengths of a flower, tanh neurons or none, a linear read-out a class."""

import networkx as nx

from hlsim.topology import layered


def build(hidden: int = 30) -> nx.DiGraph:
    """Return 4 inputs, ``hidden`` tanh neurons and 3 linear read-outs; with ``hidden = 0`` a linear net."""
    sizes = [4, hidden, 3] if hidden else [4, 3]
    return layered(
        sizes,
        draw=False,
        model="instant",
        activation="tanh",
        output_activation="identity",
        bias=0.0,
    )
