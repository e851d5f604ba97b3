"""A chain of four neurons, and what records a run of it that is written by hand."""

import networkx as nx
import numpy as np

from hlsim.topology.network import flatten
from hlsim.trace import Recorder

# The chain runs against the alphabet, so that groups by name and groups by position differ.
CHAIN = nx.DiGraph()
CHAIN.add_node("a", model="input", role="input", group="zone in")
CHAIN.add_node("b", group="middle")
CHAIN.add_node("c", group="middle")
CHAIN.add_node("d", group="arena", role="output")
CHAIN.add_edges_from([("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("d", "b")], weight=0.5, delay=1)


# From arena to middle, back, from middle to zone in, back.
TRAFFIC = np.array([1, 3, 5, 7])


def recorder(replicas: int = 1, batch: int = 1) -> Recorder:
    """Replicas have weights of their own, but for those of a batch."""
    network, count = flatten(CHAIN, seeds=range(replicas)), replicas * batch
    return Recorder(None, header={}, network=network, replicas=count, events=("message", "update"))
