"""Generators: shapes, labels, what they write on the graph and what they leave to defaults."""

import inspect
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest

from hlsim import topology
from hlsim.errors import ExperimentError, TopologyError
from hlsim.topology.network import flatten
from tests.support.networks import assert_same

GENERATORS: dict[str, Callable[..., nx.DiGraph]] = {
    "layered": lambda **options: topology.layered([3, 4, 2], **options),
    "ring": lambda **options: topology.ring(6, **options),
    "random": lambda **options: topology.random(8, 3, **options),
}


def weights(graph: nx.DiGraph) -> np.ndarray:
    return np.array([weight for *_, weight in graph.edges(data="weight")])


def test_layers_are_connected_each_to_all_of_the_next() -> None:
    graph = topology.layered([2, 3, 4, 1])
    layers = {"input": 2, "hidden1": 3, "hidden2": 4, "output": 1}
    assert list(graph) == [f"{layer}[{i}]" for layer, size in layers.items() for i in range(size)]
    assert Counter(group for _, group in graph.nodes(data="group")) == layers
    names = list(layers)
    between = Counter((graph.nodes[u]["group"], graph.nodes[v]["group"]) for u, v in graph.edges)
    assert between == {(u, v): layers[u] * layers[v] for u, v in pairwise(names)}


def test_a_single_hidden_layer_has_no_number() -> None:
    assert list(topology.layered([1, 1, 1])) == ["input[0]", "hidden[0]", "output[0]"]
    assert list(topology.layered([1, 1])) == ["input[0]", "output[0]"]


def test_layered_says_which_nodes_are_inputs_and_outputs() -> None:
    network = flatten(topology.layered([3, 4, 11]))
    assert [network.label[i] for i in network.inputs] == [f"input[{i}]" for i in range(3)]
    assert [network.label[i] for i in network.outputs] == [f"output[{i}]" for i in range(11)]
    assert Counter(network.model) == {"input": 3, "leaky": 15}


def test_a_ring_is_a_cycle_of_all_neurons() -> None:
    graph = topology.ring(12)
    assert sorted(graph.edges) == sorted((f"neuron[{i}]", f"neuron[{(i + 1) % 12}]") for i in range(12))


def test_random_gives_every_neuron_its_in_degree_of_others() -> None:
    graph = topology.random(50, 7)
    assert set(dict(graph.in_degree).values()) == {7}  # a DiGraph holds no edge twice
    assert nx.number_of_selfloops(graph) == 0
    assert len({frozenset(graph.predecessors(v)) for v in graph}) > 1


def test_random_of_the_largest_degree_is_the_complete_graph() -> None:
    graph = topology.random(6, 5)
    complete = nx.complete_graph(6, create_using=nx.DiGraph)
    assert set(graph.edges) == {(f"neuron[{u}]", f"neuron[{v}]") for u, v in complete.edges}


@pytest.mark.parametrize("generate", [topology.ring, topology.random], ids=["ring", "random"])
def test_first_neurons_are_inputs_and_last_ones_outputs(generate: Callable[..., nx.DiGraph]) -> None:
    sizes = {"n": 5, "in_degree": 2} if generate is topology.random else {"n": 5}
    graph = generate(**sizes, inputs=2, outputs=1)
    assert [graph.nodes[f"neuron[{i}]"].get("role") for i in range(5)] == [
        "input",
        "input",
        None,
        None,
        "output",
    ]


@pytest.mark.parametrize(("name", "loops"), [("layered", 6), ("ring", 6), ("random", 8)])
def test_self_loops_come_on_top_of_the_other_edges(name: str, loops: int) -> None:
    without, graph = GENERATORS[name](), GENERATORS[name](self_loops=True)
    assert nx.number_of_selfloops(without) == 0
    assert nx.number_of_selfloops(graph) == loops
    assert set(graph.edges) - set(nx.selfloop_edges(graph)) == set(without.edges)


def test_weights_have_the_standard_deviation_of_the_fan_in() -> None:
    """40 000 draws: the relative error of a standard deviation is 1/sqrt(2 * 40 000) = 0.35 %."""
    assert weights(topology.layered([400, 100])).std() == pytest.approx(1 / 20, rel=0.02)
    assert weights(topology.layered([400, 100], std=3.0)).std() == pytest.approx(3.0, rel=0.02)
    assert weights(topology.random(1000, 40)).std() == pytest.approx(1 / np.sqrt(40), rel=0.02)
    for graph in (topology.random(8000, 4, self_loops=True), topology.layered([4, 8000], self_loops=True)):
        assert weights(graph).std() == pytest.approx(1 / np.sqrt(5), rel=0.02)
    assert weights(topology.ring(20_000, self_loops=True)).std() == pytest.approx(1 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("generate", GENERATORS.values(), ids=GENERATORS.keys())
class TestEveryGenerator:
    def test_gives_a_plain_graph_that_can_be_simulated(self, generate: Callable[..., nx.DiGraph]) -> None:
        graph = generate()
        assert type(graph) is nx.DiGraph
        network = flatten(graph)
        assert network.n == len(graph)
        assert network.inputs.size
        assert network.outputs.size

    def test_repeats_with_a_seed_and_differs_with_another(self, generate: Callable[..., nx.DiGraph]) -> None:
        first, again, other = generate(seed=1), generate(seed=1), generate(seed=2)
        assert list(first.edges(data=True)) == list(again.edges(data=True))
        assert sorted(weights(first)) != sorted(weights(other))

    def test_leaves_to_defaults_what_is_not_given(self, generate: Callable[..., nx.DiGraph]) -> None:
        graph = generate()
        assert {name for _, data in graph.nodes(data=True) for name in data} <= {"model", "role", "group"}
        assert {name for *_, data in graph.edges(data=True) for name in data} == {"weight"}
        network = flatten(graph, node_defaults={"model": "instant"}, edge_defaults={"delay": 3})
        assert "leaky" not in network.model
        assert set(network.delay) == {3}

    def test_writes_what_is_given_on_every_neuron(self, generate: Callable[..., nx.DiGraph]) -> None:
        network = flatten(generate(model="instant", activation="relu", bias=0.25, delay=2))
        neurons = {i for i, model in enumerate(network.model) if model != "input"}
        assert all((network.model[i], network.activation[i]) == ("instant", "relu") for i in neurons)
        biases = network.source == -1
        assert set(network.target[biases]) == neurons
        assert set(network.weight[0, biases]) == {0.25}
        assert set(network.delay[~biases]) == {2}

    def test_draws_a_delay_for_every_edge(self, generate: Callable[..., nx.DiGraph]) -> None:
        delays = {
            delay for seed in range(20) for *_, delay in generate(seed=seed, delay=(1, 3)).edges(data="delay")
        }
        assert delays == {1, 2, 3}

    def test_can_leave_the_draws_to_the_simulation(self, generate: Callable[..., nx.DiGraph]) -> None:
        graph = generate(draw=False, delay=(1, 3), std=0.5)
        assert set(graph.edges) == set(generate().edges)
        assert all(
            data == {"weight": {"normal": 0.5}, "delay": {"uniform": [1, 3]}}
            for *_, data in graph.edges(data=True)
        )
        network = flatten(graph, seeds=(1, 2))
        assert not np.isclose(*network.weight).any()

    def test_edges_share_no_value_that_could_be_edited(self, generate: Callable[..., nx.DiGraph]) -> None:
        graph = generate(draw=False)
        next(iter(graph.edges(data=True)))[2]["weight"]["normal"] = 9.0
        assert Counter(weight["normal"] for *_, weight in graph.edges(data="weight"))[9.0] == 1

    def test_documents_every_parameter(self, generate: Callable[..., nx.DiGraph]) -> None:
        for function in (topology.layered, topology.ring, topology.random):
            for name in inspect.signature(function).parameters:
                assert name in (function.__doc__ or ""), (function.__name__, name)


def test_output_activation_concerns_the_last_layer_alone() -> None:
    graph = topology.layered([1, 1, 1], activation="relu", output_activation="identity")
    assert [graph.nodes[v].get("activation") for v in graph] == [None, "relu", "identity"]


def test_populations_stand_for_the_same_neurons_and_synapses() -> None:
    """One node a layer with constant weights simulates as the graph of single neurons does."""
    options: dict[str, Any] = {"std": 0.0, "bias": 0.5, "delay": 2, "self_loops": True, "activation": "relu"}
    compact = topology.layered([3, 12, 2], populations=True, **options)
    assert len(compact) == 3
    assert_same(flatten(compact), flatten(topology.layered([3, 12, 2], **options)))


SIZES = "layered: sizes must be two or more whole numbers >= 1, got"


def test_the_weights_of_populations_are_drawn_by_the_simulation() -> None:
    graph = topology.layered([20, 2000], populations=True, delay=(1, 3))
    assert list(graph.edges(data=True)) == [
        ("input", "output", {"weight": {"normal": 1 / np.sqrt(20)}, "delay": {"uniform": [1, 3]}})
    ]
    assert flatten(graph).weight.std() == pytest.approx(1 / np.sqrt(20), rel=0.02)


@pytest.mark.parametrize(
    ("generate", "options", "message"),
    [
        (topology.layered, {"sizes": [3]}, f"{SIZES} [3]"),
        (topology.layered, {"sizes": [3, 0]}, f"{SIZES} [3, 0]"),
        (topology.layered, {"sizes": 3}, f"{SIZES} 3"),
        (
            topology.layered,
            {"sizes": [1, 1], "activation": "tan"},
            "layered: unknown activation 'tan' (did you mean 'tanh'?); "
            "known: identity, relu, sigmoid, softplus, steep_sigmoid, tanh",
        ),
        (topology.layered, {"sizes": [1, 1], "std": -1}, "layered: std must be finite and >= 0, got -1"),
        (
            topology.layered,
            {"sizes": [1, 1], "delay": 0.5},
            "layered: delay must be a whole number of ticks >= 0, got 0.5",
        ),
        (
            topology.ring,
            {"n": 4, "delay": (3, 1)},
            "ring: delay needs whole numbers of ticks 0 <= low <= high in {'uniform': [low, high]}, "
            "got {'uniform': (3, 1)}",
        ),
        (topology.ring, {"n": 1}, "ring: n must be a whole number >= 2, got 1"),
        (topology.ring, {"n": 3, "inputs": -1}, "ring: inputs must be a whole number >= 0, got -1"),
        (
            topology.ring,
            {"n": 3, "inputs": 2, "outputs": 2},
            "ring: inputs + outputs must be <= n = 3, got 2 + 2",
        ),
        (topology.random, {"n": 4, "in_degree": 4}, "random: in_degree must be <= n - 1 = 3, got 4"),
        (
            topology.random,
            {"n": 4, "in_degree": 1.5},
            "random: in_degree must be a whole number >= 0, got 1.5",
        ),
    ],
)
def test_a_bad_parameter_is_named_with_its_rule(
    generate: Callable[..., nx.DiGraph], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TopologyError) as caught:
        generate(**options)
    assert str(caught.value) == message


def test_a_bad_seed_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"^seed: must be a whole number >= 0, got None$"):
        topology.ring(3, seed=None)  # type: ignore[arg-type]
