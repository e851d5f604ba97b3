"""Symmetric couplings: an edge without direction is a synapse each way, of one weight."""

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
from hlsim.topology.network import Network, flatten
from tests.support.networks import assert_same


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
