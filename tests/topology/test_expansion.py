"""From a graph to arrays: symmetric couplings, each a synapse either way; populations; draws."""

import re
import tracemalloc
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim import topology
from hlsim.errors import ExperimentError, TopologyError
from hlsim.models.rules import HolomorphicEquilibrium
from hlsim.topology.network import NONE, RANDOM, SYMMETRIC, Network, flatten
from tests.support.networks import assert_same

# ---- symmetric couplings


def synapses(network: Network, row: int = 0) -> dict[tuple[str, str], tuple[float, int]]:
    """Return (weight, delay) of every synapse by its ends."""
    ends = ((network.label[s], network.label[t]) for s, t in zip(network.source, network.target, strict=True))
    return dict(zip(ends, zip(network.weight[row], network.delay, strict=True), strict=True))


@pytest.mark.parametrize(
    "weight",
    [0.3, {"normal": 1.0}, {"uniform": [-1.0, 1.0]}, "array"],
    ids=["number", "normal", "uniform", "array"],
)
@pytest.mark.parametrize(
    "connect",
    [{}, {"connect": "random", "in_degree": 2}, {"connect": "random", "probability": 0.5}],
    ids=["dense", "degree", "probability"],
)
def test_populations_are_coupled_by_a_matrix_and_its_transpose(weight: Any, connect: dict[str, Any]) -> None:
    """Every seed draws its own weights, equal both ways; delays are drawn for each way."""
    rng = np.random.default_rng(0)
    graph = nx.DiGraph()
    graph.add_node("a", size=5)
    graph.add_node("b", size=4)
    written = rng.normal(size=(4, 5)) if isinstance(weight, str) else weight
    graph.add_edge("a", "b", weight=written, delay={"uniform": [1, 9]}, symmetric=True, **connect)
    network = flatten(graph, seeds=(3, 4))
    for row in range(2):
        found = synapses(network, row)
        assert all(found[v, u][0] == w for (u, v), (w, _) in found.items())
    if not connect:
        assert len(found) == 40
    assert any(found[v, u][1] != delay for (u, v), (_, delay) in found.items())
    twin = network.twin
    assert (twin[twin] == np.arange(network.m)).all()
    assert (network.source[twin] == network.target).all()
    if isinstance(weight, str) and not connect:
        assert found["a[2]", "b[3]"][0] == written[3, 2]


def test_one_to_one_and_delay_arrays_are_turned_with_the_edge() -> None:
    delay = np.arange(6).reshape(2, 3)
    graph = nx.DiGraph()
    graph.add_nodes_from([("a", {"size": 3}), ("b", {"size": 2}), ("c", {"size": 3})])
    graph.add_edge("a", "b", delay=delay, symmetric=True)
    graph.add_edge("a", "c", weight={"normal": 1.0}, connect="one_to_one", symmetric=True)
    found = synapses(flatten(graph))
    for i in range(3):
        assert found[f"a[{i}]", f"c[{i}]"][0] == found[f"c[{i}]", f"a[{i}]"][0]
        for j in range(2):
            assert found[f"a[{i}]", f"b[{j}]"][1] == found[f"b[{j}]", f"a[{i}]"][1] == delay[j, i]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.booleans())
def test_an_undirected_graph_is_one_of_couplings_and_edges_out_of_inputs(seed: int, parallel: bool) -> None:
    """And neither depends on the order in which it is built."""
    rng = np.random.default_rng(seed)
    nodes = [f"n{i}" for i in range(6)]
    pairs = [(u, v) for i, u in enumerate(nodes) for v in nodes[i + 1 :] if rng.random() < 0.5 and v > "n1"]
    weights = {pair: {"normal": 1.0} if rng.random() < 0.5 else float(rng.normal()) for pair in pairs}
    graphs = []
    for kind in (nx.MultiGraph, nx.MultiDiGraph) if parallel else (nx.Graph, nx.DiGraph):
        graph = kind()
        for node in nodes:
            graph.add_node(node, **({"model": "input"} if node < "n2" else {}))
        for u, v in rng.permutation(pairs).tolist() if pairs else []:
            symmetric = {"symmetric": True} if graph.is_directed() and u >= "n2" else {}
            graph.add_edge(u, v, weight=weights[u, v], **symmetric)
        graphs.append(flatten(graph))
    for name in ("source", "target", "twin", "weight", "delay"):
        np.testing.assert_array_equal(getattr(graphs[0], name), getattr(graphs[1], name))


def test_layers_can_be_coupled_both_ways() -> None:
    coupled = flatten(topology.layered([3, 4, 2], seed=1, symmetric=True, delay=1))
    forward = flatten(topology.layered([3, 4, 2], seed=1, delay=1))
    found, expected = synapses(coupled), synapses(forward)
    back = {(v, u): value for (u, v), value in expected.items() if u.startswith("hidden")}
    assert found == expected | back


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_undirected_graphs_can_be_kept_in_files(suffix: str, tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_node("x", model="input")
    graph.add_edge("x", "a", weight=0.5)
    graph.add_edge("a", "b", weight={"normal": 0.5}, delay=2)
    topology.save(graph, tmp_path / f"graph{suffix}")
    assert_same(flatten(topology.load(tmp_path / f"graph{suffix}")), flatten(graph))


def coupled(**edge: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_nodes_from(["a", "b"])
    graph.add_edge("a", "b", **edge)
    return graph


def test_what_cannot_be_coupled_is_refused() -> None:
    graph = coupled(symmetric=True)
    graph.add_edge("b", "a")
    with pytest.raises(TopologyError, match="edge 'a' -> 'b': symmetric makes the edge back as well"):
        flatten(graph)
    graph = coupled()
    graph.add_edge("x", "a", symmetric=True)
    with pytest.raises(TopologyError, match="edge 'x' -> 'a': symmetric needs two neurons"):
        flatten(graph)
    graph = coupled()
    graph.add_edge("a", "a", symmetric=True)
    with pytest.raises(TopologyError, match="edge 'a' -> 'a': symmetric needs two different nodes"):
        flatten(graph)
    with pytest.raises(ExperimentError, match="edges must have a direction for rule 'hamiltonian'"):
        hlsim.Simulation(coupled(symmetric=True))


def test_what_is_not_holomorphic_is_refused_with_the_reason() -> None:
    """And what else a rule by which the loss nudges cannot do without."""
    rule = HolomorphicEquilibrium()
    graph = coupled()
    graph.nodes["b"]["activation"] = "relu"
    with pytest.raises(ExperimentError, match=r"node 'b': activation: .* holomorphic, .*, got 'relu'"):
        hlsim.Simulation(graph, rule=rule)
    loss = hlsim.losses.Custom(lambda y, target: ((y - target) ** 2).sum(-1))
    with pytest.raises(ExperimentError, match=r"loss.kind: .* holomorphic, .*, got 'python'"):
        hlsim.Simulation(coupled(), rule=rule, loss=loss)
    with pytest.raises(ExperimentError, match=r"loss.kind: .* needs a loss that pulls, got none"):
        hlsim.Simulation(coupled(), rule=rule, loss=None)
    graph.nodes["b"].update(model="readout", role="output")
    del graph.nodes["b"]["activation"]
    with pytest.raises(
        ExperimentError, match=r"node 'b': model 'readout' needs a rule .*, got 'hamiltonian'"
    ):
        hlsim.Simulation(graph)
    graph.nodes["b"].pop("role")
    with pytest.raises(TopologyError, match="node 'b': role must be 'output' for model 'readout', got None"):
        flatten(graph)


def test_what_has_no_meaning_for_a_rule_is_refused_and_not_ignored() -> None:
    graph, stream = coupled(), hlsim.stimulus.Arrays([[1.0]])
    for options, line in (
        ({"hold": 1}, r"stimulus.hold: a phase of rule .* needs more than 1 tick to settle, got 1$"),
        (
            {"hold": 9, "stages": [hlsim.stimulus.Stage(phi=0.5)]},
            r"stage 'train': phi has no meaning for rule",
        ),
    ):
        with pytest.raises(ExperimentError, match=line):
            hlsim.Simulation(graph, rule=HolomorphicEquilibrium(), stimulus=stream, **options)
    sim = hlsim.Simulation(graph)
    for ask in (
        lambda: sim.controls.nudge(0.1),
        lambda: sim.controls.mark(hlsim.rules.Phase()),
        lambda: sim.controls.quiet(sim.env),
    ):
        with pytest.raises(hlsim.HlsimError, match=r"is for rules with phases"):
            ask()


# ---- populations and random connections


def test_labels_stand_in_natural_order() -> None:
    graph = nx.DiGraph()
    labels = ["a", "a1", "a02", "a2", "a10", "a10b2", "a10b10", "b[2]", "b[10]"]
    graph.add_nodes_from(reversed(labels))
    assert list(flatten(graph).label) == labels


NAMES = st.sampled_from(
    ["a", "b", "a[1]", "a[2]b", "a[", "a[3", "b01", "b1", "b001", "b[2]", "b[10]x", "c9", "c10", "1", "x[0]y"]
)


@given(st.dictionaries(NAMES, st.none() | st.integers(1, 12), min_size=1))
def test_populations_stand_where_each_of_their_members_belongs(sizes: dict[str, int | None]) -> None:
    """Against all labels put in order one by one; some labels belong between the members of a population."""
    graph = nx.DiGraph()
    for name, size in sizes.items():
        graph.add_node(name, **({} if size is None else {"size": size}))
    every = [
        [name] if size is None else [f"{name}[{i}]" for i in range(size)] for name, size in sizes.items()
    ]
    labels = [label for members in every for label in members]

    def key(label: str) -> tuple[list[Any], str]:
        return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", label)], label

    if len(set(labels)) < len(labels):
        with pytest.raises(TopologyError, match="label must be unique"):
            flatten(graph)
    else:
        assert flatten(graph).label == tuple(sorted(labels, key=key))


@pytest.mark.parametrize(("bias", "weight"), [(0.0, -0.0), (-0.0, 0.0), (0.0, 0.0), (0.5, 0.5)])
def test_numbers_that_all_synapses_share_are_those_that_were_given(bias: float, weight: float) -> None:
    """Also the sign of 0, where biases and weights are alike but for that."""
    graph = nx.DiGraph([("a", "b", {"weight": weight, "delay": 1})])
    graph.nodes["a"].update(size=2, bias=bias)
    graph.nodes["b"].update(size=1)
    found = flatten(graph).weight[0]
    assert found.tolist() == [bias, bias, weight, weight]
    assert np.signbit(found).tolist() == [*map(np.signbit, (bias, bias, weight, weight))]


def test_a_network_takes_little_memory_while_it_is_built() -> None:
    """What all synapses share, most of their columns, stands there once; the engine counts as well."""
    graph, n = nx.DiGraph([("in", "out")]), 2000
    graph.add_nodes_from(("in", "out"), size=n, update="clock")
    graph.edges["in", "out"].update(
        connect="random", in_degree=100, weight={"normal": 0.1}, delay={"uniform": [1, 50]}
    )
    hlsim.Simulation(graph, loss=None)  # what is loaded once does not count
    tracemalloc.start()
    sim = hlsim.Simulation(graph, loss=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / sim.network.m < 115


def test_parallel_edges_stand_in_natural_order_of_their_keys() -> None:
    graph = nx.MultiDiGraph()
    for key in (10, 2, "b", "a", 1):
        graph.add_edge("x", "y", key=key, weight=float(key) if isinstance(key, int) else 0.5)
    graph.edges["x", "y", "b"]["weight"] = 0.75
    assert flatten(graph).weight.tolist() == [[1.0, 2.0, 10.0, 0.5, 0.75]]


def test_a_population_equals_the_graph_expanded_by_hand() -> None:
    rng = np.random.default_rng(0)
    w_ab, w_bb, w_bc = rng.normal(size=(12, 3)), rng.normal(size=(12, 12)), rng.normal(size=(12, 12))
    d_ab, f_ab = rng.integers(0, 9, (12, 3)), rng.integers(0, 9, (12, 3))
    compact = nx.DiGraph()
    compact.add_node("a", size=3, role="input", tau=2.0)
    compact.add_node("b", size=12, bias=0.5, group="g")
    compact.add_node("c", size=12, model="instant", role="output")
    compact.add_edge("a", "b", weight=w_ab, delay=d_ab.tolist(), feedback_delay=f_ab, beta=0.5)
    compact.add_edge("b", "b", weight=w_bb, delay=2, feedback="none")
    compact.add_edge("b", "c", weight=w_bc, connect="one_to_one", plastic=False)

    single = nx.DiGraph()
    single.add_nodes_from((f"a[{i}]" for i in range(3)), role="input", tau=2.0)
    single.add_nodes_from((f"b[{i}]" for i in range(12)), bias=0.5, group="g")
    single.add_nodes_from((f"c[{i}]" for i in range(12)), model="instant", role="output")
    for i in range(12):
        for j in range(3):
            delays = {"delay": int(d_ab[i, j]), "feedback_delay": int(f_ab[i, j])}
            single.add_edge(f"a[{j}]", f"b[{i}]", weight=w_ab[i, j], beta=0.5, **delays)
        for j in range(12):
            single.add_edge(f"b[{j}]", f"b[{i}]", weight=w_bb[i, j], delay=2, feedback="none")
        single.add_edge(f"b[{i}]", f"c[{i}]", weight=w_bc[i, i], plastic=False)
    assert_same(flatten(compact), flatten(single))


def pairs(network: Network) -> list[tuple[str, str]]:
    names = np.array(network.label)
    return list(zip(names[network.source].tolist(), names[network.target].tolist(), strict=True))


@pytest.mark.parametrize(
    ("sources", "targets", "in_degree"), [(20, 7, 3), (20, 7, 18), (20, 7, 20), (1, 4, 1)]
)
def test_a_random_connection_gives_every_target_its_in_degree(
    sources: int, targets: int, in_degree: int
) -> None:
    graph = nx.DiGraph()
    graph.add_node("a", size=sources)
    graph.add_node("b", size=targets)
    graph.add_edge("a", "b", connect="random", in_degree=in_degree)
    network = flatten(graph)
    assert len(set(pairs(network))) == network.m == targets * in_degree
    assert set(np.bincount(network.target)[np.unique(network.target)]) == {in_degree}


@pytest.mark.parametrize(
    "how", [{"in_degree": 5}, {"in_degree": 29}, {"probability": 0.3}, {"probability": 1.0}]
)
def test_a_random_connection_within_a_population_leaves_out_the_neuron_itself(how: dict[str, Any]) -> None:
    graph = nx.DiGraph()
    graph.add_node("p", size=30)
    graph.add_edge("p", "p", connect="random", **how)
    network = flatten(graph)
    assert (network.source != network.target).all()
    assert len(set(pairs(network))) == network.m
    if how.get("in_degree") == 29 or how.get("probability") == 1.0:
        assert network.m == 30 * 29


def test_random_sources_are_drawn_evenly() -> None:
    """400 times 10 of 99 others: every neuron is a source 40.4 +- 6 times; chi-square over 100 neurons."""
    out = np.zeros(100)
    for seed in range(4):
        graph = nx.DiGraph()
        graph.add_node("p", size=100)
        graph.add_edge("p", "p", connect="random", in_degree=10)
        out += np.bincount(flatten(graph, seeds=(seed,)).source, minlength=100)
    assert ((out - 40) ** 2 / 40).sum() < 149  # 99 degrees of freedom, probability 0.001


def test_a_probability_connects_that_share_of_pairs() -> None:
    graph = nx.DiGraph()
    graph.add_node("a", size=200)
    graph.add_node("b", size=300)
    graph.add_edge("a", "b", connect="random", probability=0.1)
    network = flatten(graph)
    assert network.m == pytest.approx(6000, abs=4 * np.sqrt(60_000 * 0.1 * 0.9))
    assert len(set(pairs(network))) == network.m


# ---- draws


def drawn(**attributes: Any) -> Network:
    graph = nx.DiGraph()
    graph.add_node("a", size=200)
    graph.add_node("b", size=200)
    graph.add_edge("a", "b", **attributes)
    return flatten(graph, seeds=(0, 1))


def test_weights_have_the_moments_that_were_asked_for() -> None:
    """40 000 draws each; four standard errors."""
    normal = drawn(weight={"normal": 0.5}).weight
    np.testing.assert_allclose(normal.mean(axis=1), 0.0, atol=4 * 0.5 / 200)
    np.testing.assert_allclose(normal.std(axis=1), 0.5, rtol=4 / np.sqrt(80_000))
    uniform = drawn(weight={"uniform": [1, 3]}).weight
    assert ((uniform >= 1) & (uniform <= 3)).all()
    np.testing.assert_allclose(uniform.mean(axis=1), 2.0, atol=4 * np.sqrt(1 / 3) / 200)
    np.testing.assert_allclose(uniform.var(axis=1), 1 / 3, rtol=0.02)


def test_delays_are_drawn_with_both_ends_and_feedback_delays_are_the_same_unless_given() -> None:
    network = drawn(delay={"uniform": [2, 5]})
    counts = np.bincount(network.delay, minlength=7)
    assert counts[[0, 1, 6]].sum() == 0
    assert ((counts[2:6] - 10_000) ** 2 / 10_000).sum() < 16.3  # 3 degrees of freedom, probability 0.001
    assert np.array_equal(network.delay, network.feedback_delay)
    other = drawn(delay={"uniform": [2, 5]}, feedback_delay={"uniform": [2, 5]})
    assert np.array_equal(other.delay, network.delay)
    assert abs(np.corrcoef(other.delay, other.feedback_delay)[0, 1]) < 4 / 200


def test_replicas_share_the_structure_but_not_the_weights() -> None:
    network = drawn(weight={"normal": 1.0}, feedback="random", delay={"uniform": [0, 9]})
    assert abs(np.corrcoef(network.weight)[0, 1]) < 4 / 200
    assert abs(np.corrcoef(network.feedback_weight)[0, 1]) < 4 / 200
    assert network.delay.shape == (network.m,)


def test_connections_and_delays_are_those_of_the_first_seed() -> None:
    graph = nx.DiGraph()
    graph.add_node("p", size=30)
    graph.add_edge(
        "p", "p", connect="random", in_degree=5, delay={"uniform": [0, 9]}, feedback_delay={"uniform": [0, 9]}
    )
    alone, first, second = (flatten(graph, seeds=seeds) for seeds in ((3,), (3, 4), (4, 3)))
    for name in ("source", "target", "delay", "feedback_delay"):
        assert np.array_equal(getattr(alone, name), getattr(first, name)), name
        assert not np.array_equal(getattr(alone, name), getattr(second, name)), name
    assert (alone.seed, first.seed, second.seed) == (3, 3, 4)


def test_a_seed_gives_the_same_weights_whatever_its_place_among_the_seeds() -> None:
    graph = topology.layered([3, 4, 2], draw=False)
    alone, second = flatten(graph, seeds=(7,)), flatten(graph, seeds=(5, 7))
    assert np.array_equal(alone.weight[0], second.weight[1])
    assert not np.isclose(second.weight[0], second.weight[1]).any()


def test_a_draw_does_not_depend_on_what_else_is_in_the_graph() -> None:
    small = topology.layered([3, 4], draw=False, delay=(0, 9))
    large = small.copy()
    large.add_edge("a new one", "output[0]", weight={"normal": 1.0})
    one, other = flatten(small), flatten(large)
    kept = np.array([other.label[i] != "a new one" for i in other.source])
    assert np.array_equal(one.weight, other.weight[:, kept])
    assert np.array_equal(one.delay, other.delay[kept])


def test_feedback_is_coded_and_never_sent_to_inputs() -> None:
    graph = nx.DiGraph()
    graph.add_node("in", model="input")
    for target, feedback in (("n", "none"), ("r", "random"), ("s", "symmetric")):
        graph.add_edge("a", target, weight={"normal": 1.0}, feedback=feedback)
        graph.add_edge("in", target, weight={"normal": 1.0}, feedback=feedback)
    network = flatten(graph)
    assert [network.label[i] for i in network.source] == ["a"] * 3 + ["in"] * 3
    assert network.feedback.tolist() == [NONE, RANDOM, SYMMETRIC, NONE, NONE, NONE]
    assert np.isnan(network.feedback_weight[0]).tolist() == [True, False, True, True, True, True]


def test_random_feedback_is_drawn_like_the_weight_and_apart_from_it() -> None:
    normal = drawn(weight={"normal": 0.5}, feedback="random")
    np.testing.assert_allclose(normal.feedback_weight.std(axis=1), 0.5, rtol=0.02)
    assert abs(np.corrcoef(normal.weight[0], normal.feedback_weight[0])[0, 1]) < 4 / 200
    uniform = drawn(weight={"uniform": [1, 3]}, feedback="random")
    assert (uniform.feedback_weight.min(), uniform.feedback_weight.max()) >= (1, 1)
    np.testing.assert_allclose(uniform.feedback_weight.mean(axis=1), 2.0, atol=0.02)


def test_random_feedback_of_given_weights_is_normal_with_their_mean_square() -> None:
    array = np.where(np.arange(40_000).reshape(200, 200) % 2, 1.0, -7.0)
    for weight, scale in ((-2.0, 2.0), (array, 5.0)):
        feedback = drawn(weight=weight, feedback="random").feedback_weight
        np.testing.assert_allclose(feedback.mean(axis=1), 0.0, atol=4 * scale / 200)
        np.testing.assert_allclose(feedback.std(axis=1), scale, rtol=0.02)


def test_a_network_that_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """2**50 labels fit in no address space; what fits depends on the machine."""
    graph = nx.DiGraph()
    graph.add_node("a", size=2**50)
    with pytest.raises(TopologyError, match=r"graph: 1,125,899,906,842,624 neurons and inputs do not fit"):
        flatten(graph)

    def no_room(*_: Any) -> None:
        raise MemoryError("Unable to allocate 298. GiB")

    monkeypatch.setattr(hlsim.topology.expansion, "connect", no_room)
    with pytest.raises(TopologyError, match=r"graph: its synapses do not fit in memory: Unable to allocate"):
        flatten(nx.DiGraph([("a", "b")]))


def test_numbers_in_labels_are_compared_however_long_they_are() -> None:
    """As integers compare, up to the digits that Python's make."""
    long = ["9" * 5000, "1" + "0" * 5000, "1" + "0" * 4999 + "1"]
    graph = nx.DiGraph()
    graph.add_nodes_from(reversed(long))
    assert list(flatten(graph).label) == long
    numbers = ["0", "00", "7", "007", "010", "10", "99", "100", "0100"]
    graph.add_nodes_from(numbers)
    assert list(flatten(graph).label) == [*sorted(numbers, key=lambda text: (int(text), text)), *long]
