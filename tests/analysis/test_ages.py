"""How old what meets at the synapses is, by the paths: of layers, of random graphs and with cycles."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hlsim import topology
from hlsim.analysis.ages import ages, exact_from
from hlsim.topology.network import flatten
from tests.claims.test_delays import DT, predicted, thicket
from tests.support.theory import CLOCK


@pytest.mark.parametrize("nu", [1, 2, 3, 5])
@pytest.mark.parametrize("delay", [0, 1, 4])
def test_a_layer_pairs_an_activation_with_an_older_error(nu: int, delay: int) -> None:
    """2 (nu - l) + 2 steps without delays, two more a hop and tick of delay; the target is off by nu.

    With delay d the error of layer l goes d (nu - l) back, after the state has gone (nu - l) (d + 1) + 1 on.
    """
    network = flatten(topology.layered([2] * (nu + 1), delay=delay, seed=0), node_defaults=CLOCK)
    found = ages(network)
    layer = {f"hidden{k + 1}": k + 1 for k in range(nu - 1)} | {"hidden": 1, "output": nu}
    for edge in np.flatnonzero(network.source >= 0):
        l = layer[network.label[network.target[edge]].partition("[")[0]]  # noqa: E741 - the layer, as in the theory
        one = found.isel(edge=edge)
        assert (one.staleness == (2 * (nu - l) + 2) * 1 + 2 * (nu - l) * delay).all()
        assert (one.output - one.target == nu * (delay + 1)).all()
        assert (one.state == (l - 1) * (delay + 1) + delay).all()
        assert exact_from(network)[edge] == (2 * nu - l) * (delay + 1) + 2


@settings(deadline=None, phases=[Phase.generate], max_examples=40)
@given(seed=st.integers(0, 10**6), order=st.sampled_from(["explicit", "sequential"]))
def test_a_gradient_is_exact_when_the_oldest_of_it_is_of_the_hold(seed: int, order: str) -> None:
    """Against the longest paths node by node, on random graphs of leaky and instant neurons."""
    network = flatten(thicket(seed), node_defaults=CLOCK, dt=DT)
    expected = np.array(predicted(network, order, linear_loss=False), float)
    known = exact_from(network, order)
    # A bias, or what no input reaches, has no path; what is exact then, is so from the loss on.
    has = np.isfinite(known)
    np.testing.assert_array_equal(known[has], expected[has])
    assert has[network.source >= 0].all()


def test_a_cycle_makes_the_oldest_path_endless_and_leaves_the_newest() -> None:
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("v")
    graph.add_node("y", role="output")
    graph.add_edge("u", "v", delay=2)
    graph.add_edge("v", "v", delay=1)
    graph.add_edge("v", "y", delay=3)
    network = flatten(graph, node_defaults=CLOCK)
    found = ages(network).state.values
    ends = zip(network.source, network.target, strict=True)
    edge = {(network.label[s], network.label[t]): k for k, (s, t) in enumerate(ends)}
    newest, oldest = found
    assert [newest[edge[x]] for x in (("u", "v"), ("v", "v"), ("v", "y"))] == [2, 4, 6]
    assert oldest[edge["u", "v"]] == 2
    assert np.isnan([oldest[edge["v", "v"]], oldest[edge["v", "y"]]]).all()


def reached(graph: nx.DiGraph, starts: set[str]) -> set[str]:
    return starts.union(*(nx.descendants(graph, node) for node in starts))


def endless(graph: nx.DiGraph) -> set[str]:
    """The nodes to which cycles lead."""
    components = [c for c in nx.strongly_connected_components(graph) if nx.number_of_edges(graph.subgraph(c))]
    return reached(graph, set().union(*components))


@settings(deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6))
def test_a_path_has_an_age_where_an_end_is_reached_and_an_oldest_one_where_no_cycle_is_on_the_way(
    seed: int,
) -> None:
    """For states from the inputs on, for targets from the outputs back; against networkx."""
    random = np.random.default_rng(seed)
    neurons = [f"n{k}" for k in range(random.integers(2, 8))]
    inputs, outputs = {"u0", "u1"}, set(random.choice(neurons, 2).tolist())
    graph = nx.DiGraph()
    graph.add_nodes_from(neurons)
    graph.add_nodes_from(inputs, model="input")
    nx.set_node_attributes(graph, dict.fromkeys(outputs, "output"), "role")
    for _ in range(random.integers(1, 2 * len(neurons))):
        graph.add_edge(random.choice([*neurons, "u0", "u1"]), random.choice(neurons))
    network = flatten(graph, node_defaults=CLOCK)
    found = ages(network)
    back = graph.subgraph(neurons).reverse()
    for quantity, way, starts, end in (
        ("state", graph, inputs, network.source),
        ("target", back, outputs, network.target),
    ):
        known = reached(way, starts)
        settled = known - endless(way.subgraph(known))
        for path, nodes in (("newest", known), ("oldest", settled)):
            expected = [network.label[i] in nodes for i in end]
            assert np.isfinite(found[quantity].sel(path=path).values).tolist() == expected
