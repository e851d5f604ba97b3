"""Neurons that follow a sine, for targets of all phases: slow ones, and fast ones whose errors come late."""

from collections.abc import Sequence
from math import pi

import networkx as nx

WEIGHT = 0.001  # so small that the error is the target: it does not depend on what the neuron does


def build(
    period: int = 256,
    lags: Sequence[float] = (0.1, 0.3, 1.0, 2.0, 5.0),
    delays: Sequence[int] = (0, 16, 32, 64, 96),
    phases: int = 16,
) -> nx.DiGraph:
    """Return a group of neurons for every lag and every delay, of one neuron a phase, all with one input.

    A lag is omega T, with T the time constant of the group's neurons and omega = 2 pi/``period``. The neurons
    of a delay are instant; their errors take so many ticks back from an output of their own.
    """
    graph = nx.DiGraph()
    graph.add_node("input", model="input")
    for lag in lags:
        group = f"lag {lag:g}"
        tau = lag * period / (2.0 * pi)
        graph.add_node(group, size=phases, group=group, tau=tau, activation="identity", role="output")
        graph.add_edge("input", group, weight=WEIGHT)
    for delay in delays:
        group, late = f"delay {delay}", {"delay": 0, "feedback_delay": delay}
        graph.add_node(group, size=phases, group=group, model="instant", activation="identity")
        graph.add_node(f"{group} out", size=phases, model="instant", activation="identity", role="output")
        graph.add_edge("input", group, weight=WEIGHT)
        graph.add_edge(group, f"{group} out", connect="one_to_one", weight=1.0, plastic=False, **late)
    return graph
