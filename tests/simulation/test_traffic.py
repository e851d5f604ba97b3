"""Messages between groups: against a count edge by edge, and in memory that grows as edges do."""

import tracemalloc

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation
from hlsim.models.rules import Hamiltonian
from hlsim.simulation.traffic import Traffic
from hlsim.topology.network import Network, flatten
from hlsim.trace.layout import group_names, group_pairs


def grouped(groups: int, seed: int) -> Network:
    """Three neurons a group, each group joined to two others or itself at random, some by parallel edges."""
    rng, graph = np.random.default_rng(seed), nx.MultiDiGraph()
    for i in range(groups):
        graph.add_node(f"n{i}", size=3, group=f"g{i % max(1, groups - 2)}", bias=0.1)
    for i in range(groups):
        for j in rng.integers(groups, size=2).tolist():
            feedback = ("none", "symmetric")[int(rng.integers(2))]
            graph.add_edge(f"n{i}", f"n{j}", weight=0.1, delay=1, feedback=feedback)
    return flatten(graph)


@pytest.mark.parametrize(("groups", "seed"), [(1, 0), (3, 1), (9, 2), (30, 3)])
def test_messages_between_groups_are_those_of_every_edge(groups: int, seed: int) -> None:
    network, rng = grouped(groups, seed), np.random.default_rng(seed)
    counts = {kind: rng.integers(9, size=(2, network.n)) for kind in ("state", "costate")}
    matrices = {kind: dict.fromkeys(zip(*group_pairs(network), strict=True), 0) for kind in counts}
    names = group_names(network)
    group = [names.index(name) for name in network.group]
    for edge in np.flatnonzero(network.source >= 0):
        source, target = network.source[edge], network.target[edge]
        matrices["state"][group[source], group[target]] += counts["state"][:, source].sum()
        if network.has_feedback[edge]:
            matrices["costate"][group[target], group[source]] += counts["costate"][:, target].sum()
    traffic = Traffic(network, Hamiltonian())
    for found, matrix in zip(traffic.between_groups(counts), matrices.values(), strict=True):
        assert found.tolist() == [*matrix.values()]
    assert traffic.total(counts) == sum(sum(matrix.values()) for matrix in matrices.values())
    assert traffic.numbers(counts) == traffic.total(counts)


def test_the_memory_of_a_run_grows_as_its_groups_do() -> None:
    """Twice as many groups joined as sparsely take about twice as much, not four times."""
    peaks = []
    for groups in (400, 800):
        sim = Simulation(grouped(groups, 0), loss=None, compiled="never")
        tracemalloc.start()
        sim.run(until=2, sampled=()).close()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]
