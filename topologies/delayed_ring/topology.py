"""A ring of neurons with random long edges on top, fed by one input and read by one output."""

import networkx as nx

from hlsim import topology


def build(n: int = 32, long: int = 4, seed: int = 0) -> nx.DiGraph:
    """Return a ring of ``n`` neurons, each fed by its neighbour, by ``long`` others and by the input.

    Weights and delays are drawn with the experiment's seed, the long edges with ``seed``.
    """
    options = {"std": (1 + long) ** -0.5, "draw": False, "bias": 0.0, "inputs": 0, "outputs": 0}
    ring = topology.ring(n, **options)
    graph = nx.compose(topology.random(n, long, seed=seed, **options), ring)
    graph.add_node("input", model="input", group="input")
    graph.add_edges_from((("input", neuron) for neuron in ring), weight={"normal": 1.0})
    graph.add_node("output", role="output", activation="identity", bias=0.0, group="output")
    graph.add_edge("neuron[0]", "output", weight=1.0)
    return graph
