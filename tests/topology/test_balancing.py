"""Balanced delays: every tick of the stimulus is one wave, and nothing else is changed."""

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from hlsim import Simulation, experiment, topology
from hlsim.errors import TopologyError
from hlsim.topology.network import Network, flatten

TICKS = 60


@st.composite
def graphs(draw: DrawFn) -> nx.DiGraph:
    """Draw populations of linear neurons, leaky ones with tau = dt, with edges to any later one."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graph = nx.DiGraph()
    graph.add_node("x", model="input", size=draw(st.integers(1, 2)))
    count = draw(st.integers(1, 5))
    for i in range(count):
        role = {"role": "output"} if i == count - 1 or generator.random() < 0.3 else {}
        model = draw(st.sampled_from(("leaky", "instant")))
        size = draw(st.integers(1, 3))
        graph.add_node(f"n{i}", model=model, update="clock", activation="identity", size=size, **role)
    nodes = list(graph)
    for k, target in enumerate(nodes[1:], 1):
        for source in {nodes[k - 1], *generator.choice(nodes[:k], k)}:
            shape = graph.nodes[target]["size"], graph.nodes[source]["size"]
            one = int(generator.integers(6))
            delay = generator.integers(0, 6, shape) if generator.random() < 0.5 else one
            graph.add_edge(source, target, delay=delay, weight=generator.uniform(0.5, 1.5, shape))
    return graph


def heard_at(graph: nx.DiGraph | Network) -> np.ndarray:
    """Ticks (node, tick) at which neurons are moved by an impulse of the stimulus at tick 0."""
    sim = Simulation(graph, loss=None, dtype="float64", compiled="never")
    sim.controls.input(np.ones((1, len(sim.network.inputs))))
    sim.controls.learn(False)
    sim.env.process(_silence(sim))
    trace = sim.run(until=TICKS, every=1, sampled=["h"])
    return np.asarray(trace["sampled/h"] != 0).T


def _silence(sim: Simulation) -> Any:
    yield sim.env.timeout(1)
    sim.controls.input(np.zeros((1, len(sim.network.inputs))))


@given(graphs())
@settings(max_examples=25, deadline=None)
def test_a_tick_of_the_stimulus_reaches_every_neuron_at_one_tick(graph: nx.DiGraph) -> None:
    """Weights are positive, so that nothing cancels; unbalanced networks hear it again and again."""
    balanced = topology.balance(graph)
    assert (heard_at(balanced).sum(1) == 1).all()
    assert (heard_at(flatten(graph, balance=True)) == heard_at(balanced)).all()


@given(graphs())
@settings(max_examples=25, deadline=None)
def test_the_wave_is_as_late_as_the_longest_path(graph: nx.DiGraph) -> None:
    """No delay becomes shorter, and no neuron but outputs waits for longer than the last it hears."""
    before, after = flatten(graph), flatten(topology.balance(graph))
    assert (after.delay >= before.delay).all()
    assert (after.feedback_delay == before.feedback_delay).all()
    last = [np.flatnonzero(heard)[-1] for heard in heard_at(before)]
    wave = [int(np.flatnonzero(heard)[0]) for heard in heard_at(after)]
    lengths = nx.DiGraph()
    for u, v, d in zip(before.source, before.target, before.delay, strict=True):
        lengths.add_edge(int(u), int(v), length=int(d) + int(before.stateful[v]))
    outputs = set(before.outputs.tolist())
    for node in lengths:
        if not outputs & {node, *nx.ancestors(lengths, node)}:
            assert wave[node] == last[node]
    deepest = max(wave[node] for node in outputs)
    assert deepest == nx.dag_longest_path_length(lengths, "length") or len(outputs) > 1
    if not any(outputs & nx.ancestors(lengths, node) for node in outputs):
        assert {wave[node] for node in outputs} == {deepest}


def test_balancing_again_changes_nothing() -> None:
    graph = topology.balance(diamond())
    assert graph.edges["a", "d"]["delay"] == 7
    again = topology.balance(graph)
    assert list(again.edges(data=True)) == list(graph.edges(data=True))


def diamond() -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    for name in "abd":
        graph.add_node(name, update="clock")
    graph.nodes["d"]["role"] = "output"
    graph.add_edges_from([("x", "a"), ("a", "b"), ("b", "d"), ("a", "d")])
    graph.edges["a", "b"]["delay"], graph.edges["b", "d"]["delay"] = 2, 4
    return graph


def test_what_is_drawn_is_balanced_when_it_is_drawn() -> None:
    graph = diamond()
    graph.edges["a", "b"]["delay"] = {"uniform": [1, 5]}
    with pytest.raises(TopologyError, match="edge 'a' -> 'b': delays that are drawn are balanced by flatten"):
        topology.balance(graph)
    network = flatten(graph, seeds=(3,), balance=True)
    (drawn,) = flatten(graph, seeds=(3,)).delay[(network.source == 0) & (network.target == 1)]
    (padded,) = network.padding[(network.source == 0) & (network.target == 2)]
    assert padded == drawn + 1 + 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda graph: graph.add_edge("d", "a"), "graph: paths in a cycle have no end: a -> b -> d -> a"),
        (
            lambda graph: graph.nodes["b"].update(period=3),
            "node 'b': period must be 1 where paths are compared, got 3",
        ),
        (lambda graph: graph.nodes["b"].update(role="input"), "node 'b': what the stimulus reaches at once"),
    ],
)
def test_what_cannot_be_balanced_is_named(change: Any, said: str) -> None:
    graph = diamond()
    change(graph)
    for attempt in (topology.balance, lambda each: flatten(each, balance=True)):
        with pytest.raises(TopologyError) as raised:
            attempt(graph)
        assert str(raised.value).startswith(said)


def test_an_experiment_balances_and_its_trace_says_so(tmp_path: Path) -> None:
    topology.save(diamond(), tmp_path / "graph.json")
    text = '[network]\ntopology = "graph.json"\nbalance = true\n[simulation]\nuntil = 5\n'
    (tmp_path / "experiment.toml").write_text(text, encoding="utf-8")
    trace = experiment.load(tmp_path).run()
    assert trace.summary["padding"] == {"edges": 1, "longest": 7}
    assert trace["network/padding"].tolist() == [0, 7, 0, 0]
    plain = experiment.load(tmp_path, ["network.balance=false"]).run()
    assert "padding" not in plain.summary
    assert "network/padding" not in plain
