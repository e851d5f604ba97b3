"""Edges are dealt out to projections: against the rule applied to one edge after the other."""

from collections import defaultdict

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hlsim.engine.circuit import plan as plans
from hlsim.engine.circuit.projections import Dense
from hlsim.engine.circuit.synapses import LAST
from hlsim.models.neurons import MODELS
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network, flatten


def rank_of(network: Network, e: int) -> tuple[int, int]:
    """Return the ranks at which an edge of delay 0 is summed, forward and backward; 0 for any other."""
    source, target = int(network.source[e]), int(network.target[e])
    to_instant = MODELS[network.model[target]].instant
    from_instant = source >= 0 and MODELS[network.model[source]].instant
    forward = int(network.rank[target]) if to_instant else LAST
    backward = int(network.back_rank[source]) if from_instant else LAST
    return (
        forward if from_instant and network.delay[e] == 0 else 0,
        backward if to_instant and network.feedback_delay[e] == 0 else 0,
    )


def dealt(network: Network) -> list[tuple[int, list[int]]]:
    """Return of every projection, in their order, the sources of a dense one (else 0) and the edges."""
    fans: dict[tuple, list[int]] = defaultdict(list)
    for e in range(network.m):
        target = int(network.target[e])
        shared = MODELS[network.model[target]].instant, *rank_of(network, e)
        own = int(network.delay[e]), int(network.feedback_delay[e]), int(network.feedback[e])
        fans[shared, own, bool(network.source[e] < 0), target].append(e)
    blocks: dict[tuple, list[tuple[int, list[int]]]] = defaultdict(list)
    for (shared, own, bias, target), fan in sorted(fans.items(), key=lambda item: item[0][-1]):
        sources = tuple(int(network.source[e]) for e in fan)
        blocks[shared, own, bias, sources].append((target, fan))
    made: list[tuple[int, list[int]]] = []
    rest: dict[tuple, list[int]] = defaultdict(list)
    matrices = {
        key: sum(len(fan) for _, fan in block)
        for key, block in blocks.items()
        if len(set(key[-1])) == len(key[-1])
    }
    small = [32 <= edges < 1024 for (_, _, bias, _), edges in matrices.items() if not bias]
    least = 1024 if sum(small) > 16 else 32
    for key, block in blocks.items():
        shared, _, bias, sources = key
        edges = [e for _, fan in block for e in fan]
        if key in matrices and (len(edges) >= least or bias):
            made.append((len(sources), edges))
        else:
            rest[shared] += edges
    for edges in rest.values():
        edges.sort(key=lambda e: (sends_back(network, e), *delays(network, e), network.target[e], e))
        made.append((0, edges))
    return sorted(made, key=lambda projection: min(projection[-1]))


def delays(network: Network, e: int) -> tuple[int, int]:
    return int(network.delay[e]), int(network.feedback_delay[e])


def sends_back(network: Network, e: int) -> int:
    """Return 0 where an edge sends no costate, 1 where it sends it at once, else 2."""
    return int(network.feedback[e] > 0) * (1 + int(network.feedback_delay[e] > 0))


def clocked(seed: int, parallel: bool) -> nx.MultiDiGraph:
    """Return populations and single neurons, instant and leaky, whose edges have few kinds of delay."""
    rng = np.random.default_rng(seed)
    graph = nx.MultiDiGraph()
    for i, size in enumerate(rng.choice([1, 3, 8, 9], 6).tolist()):
        bias = {"bias": 0.5} if rng.random() < 0.4 else {}
        model = str(rng.choice(["leaky", "instant"]))
        graph.add_node(f"n{i}", size=size, update="clock", model=model, **bias)
    for _ in range(14):
        source, target = rng.integers(6, size=2).tolist()
        least = int(source >= target)  # so that instant neurons make no cycle
        delay, back = rng.integers(least, 3), rng.integers(least, 3)
        feedback = str(rng.choice(["symmetric", "none"]))
        key = None if parallel else 0
        graph.add_edge(
            f"n{source}", f"n{target}", key, delay=int(delay), feedback_delay=int(back), feedback=feedback
        )
    return graph


def check(network: Network) -> None:
    """Check the plan of a network of which every edge can be pulled."""
    plan = plans.make(network, Hamiltonian(), 1, torch.float64, torch.float64, torch.device("cpu"))
    found = [(pull.shape[1] if isinstance(pull, Dense) else 0, pull.edges.tolist()) for pull in plan.pulls]
    assert found == dealt(network)
    assert len(plan.push.edges) == 0
    stored = np.concatenate([pull.edges for pull in plan.pulls])
    np.testing.assert_array_equal(stored[plan.place], np.arange(network.m))
    np.testing.assert_array_equal(plan.weight[:, plan.place], network.weight)


@given(st.integers(0, 10**6), st.booleans())
def test_projections_are_those_of_the_rule_edge_by_edge(seed: int, parallel: bool) -> None:
    check(flatten(clocked(seed, parallel)))


@pytest.mark.parametrize("pairs", [16, 17])
def test_many_small_matrices_are_one_sparse_projection(pairs: int) -> None:
    """Each costs calls: up to 16 blocks of 64 synapses are matrices, 17 are not; a large one always is."""
    graph = nx.DiGraph()
    for k in range(pairs):
        graph.add_node(f"u{k}", size=8, update="clock")
        graph.add_node(f"y{k}", size=8, update="clock")
        graph.add_edge(f"u{k}", f"y{k}")
    graph.add_node("large", size=128, update="clock")
    graph.add_edge("u0", "large", delay=1)
    network = flatten(graph)
    check(network)
    assert sorted(size for size, _ in dealt(network)) == [8] * 17 if pairs == 16 else [0, 8]


def test_fans_of_other_sources_with_the_same_sum_make_no_matrix_together() -> None:
    graph = nx.DiGraph()
    graph.add_nodes_from("abcd", update="clock")
    for i in range(20):
        graph.add_node(i, update="clock")
        graph.add_edges_from((source, i) for source in ("ad", "bc")[i % 2])
    network = flatten(graph)
    check(network)
    assert dealt(network)[0][0] == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(-1, 3), st.integers(0, 2**40)), min_size=1))
def test_rows_are_numbered_by_their_place_in_order(rows: list[tuple[bool, int, int]]) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    kinds = sorted(set(rows))
    assert plans.numbered(*columns).tolist() == [kinds.index(row) for row in rows]
