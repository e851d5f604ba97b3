"""What a run needed from elsewhere, counted by hand and from every message, and what that costs."""

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, analysis, experiment, topology
from hlsim.analysis.hardware import PARTS, Hardware
from hlsim.models.rules import Equilibrium, Hamiltonian
from hlsim.trace import Trace
from tests.support import experiments
from tests.support.theory import CLOCK, samples


def run(graph: nx.Graph, rows: int = 20, **options: Any) -> Trace:
    given: dict[str, Any] = {
        "dtype": "float64",
        "node_defaults": CLOCK,
        "rule": Hamiltonian(beta=0.01),
    } | options
    return Simulation(graph, stimulus=samples(rows, 3, 2), **given).run(events=["message", "update"])


def layers(**attributes: Any) -> nx.DiGraph:
    return topology.layered([3, 4, 2], seed=0, **attributes)


def test_a_synchronous_network_sends_a_state_along_every_synapse_at_every_tick() -> None:
    """3 x 4 + 4 x 2 synapses; leaky neurons start at 0, which they do not send; inputs get no costates."""
    found = analysis.locality(run(layers()))
    trace = run(layers())
    kind = trace["events/kind"]
    # What is still on its way at the end was sent too: nothing, without delays.
    assert found.messages.values.tolist() == [(kind == 0).sum(), (kind == 1).sum()]
    assert found.messages.values.tolist() == [12 * 20 + 8 * 19, 8 * 19]
    np.testing.assert_allclose(found.per_synapse, found.messages / (20 * 20))
    np.testing.assert_allclose(found.per_neuron, found.messages / (6 * 20))
    assert found.bytes.values.tolist() == [8 * x for x in found.messages.values]


def test_messages_across_groups_are_those_between_layers() -> None:
    """layered makes a group of each layer: all messages cross, until two layers are one group."""
    graph = layers()
    assert analysis.locality(run(graph)).across.values.tolist() == [1.0, 1.0]
    nx.set_node_attributes(graph, {n: "core" for n in graph if not str(n).startswith("in")}, "group")
    found = analysis.locality(run(graph))
    assert found.across.values == pytest.approx([12 * 20 / (12 * 20 + 8 * 19), 0.0])


@pytest.mark.parametrize("feedback", ["symmetric", "random", "none"])
def test_weights_are_read_at_their_other_end_where_feedback_is_symmetric(feedback: str) -> None:
    graph = layers()
    nx.set_edge_attributes(graph, feedback, "feedback")
    found = analysis.locality(run(graph))
    assert found.weight_reads == (8 * 19 if feedback == "symmetric" else 0)


def test_of_mixed_feedback_the_messages_are_counted() -> None:
    graph = layers()
    nx.set_edge_attributes(graph, dict.fromkeys(graph.in_edges("out[0]"), "random"), "feedback")
    outputs = [n for n, d in graph.nodes(data=True) if d.get("role") == "output"]
    nx.set_edge_attributes(graph, dict.fromkeys(graph.in_edges(outputs[0]), "random"), "feedback")
    assert analysis.locality(run(graph)).weight_reads == 4 * 19
    sim = Simulation(graph, stimulus=samples(20, 3, 2), node_defaults=CLOCK)
    assert np.isnan(analysis.locality(sim.run()).weight_reads)


def test_barriers(tmp_path: Path) -> None:
    """A softmax at every tick, the ends of phases, the means of a minibatch; none in a squared error."""
    none = {"softmax": 0, "phase": 0, "minibatch": 0}

    def barriers(trace: Trace) -> dict[str, int]:
        found = analysis.locality(trace).barriers
        return dict(zip(found.barrier.values.tolist(), found.values.tolist(), strict=True))

    assert barriers(run(layers())) == none
    assert barriers(run(layers(), batch=4)) == none | {"minibatch": 5}
    folder = experiments.write(tmp_path / "tiny")
    softmax = experiment.load(folder, ["loss.kind='cross_entropy'"]).run()
    assert barriers(softmax) == none | {"softmax": experiments.TICKS}
    rule = Equilibrium(nudge=0.1, ends="dwell")
    graph = nx.Graph(layers())
    assert barriers(run(graph, rule=rule, hold=5, rows=6)) == none | {"phase": 2 * 6}


def test_backpropagation_keeps_a_state_until_its_error_is_back() -> None:
    """2 (nu - l) + 2 steps pass between an activation and its error: that many more than the present one."""
    found = analysis.locality(run(layers())).kept_by_backpropagation
    named = {name: float(found.sel(node=name)) for name in found.node.values}
    inputs = [name for name in named if name.startswith("in")]
    hidden = [name for name in named if name.startswith("hid")]
    assert {named[name] for name in inputs} == {5.0}
    assert {named[name] for name in hidden} == {3.0}
    looped = layers()
    looped.add_edge(hidden[0], hidden[0])
    assert np.isnan(analysis.locality(run(looped)).kept_by_backpropagation.sel(node=hidden[0]))


def test_a_cost_is_what_was_done_times_its_price() -> None:
    trace = run(layers())
    prices = {part: float(10**k) for k, part in enumerate(PARTS)}
    found = analysis.cost(trace, Hardware("own", "made up", prices, {"synapse": 2.0}))
    messages = 12 * 20 + 8 * 19 + 8 * 19
    # Nodes, inputs too, are updated at each of 20 ticks, and so are the 20 plastic synapses.
    expected = {"message": messages, "boundary": messages, "synapse": messages, "neuron": 9 * 20}
    expected |= {"learning": 20 * 20, "byte": 8 * messages}
    assert dict(zip(found.part.values.tolist(), found["count"].values.tolist(), strict=True)) == expected
    assert found.energy.values.tolist() == [expected[part] * prices[part] for part in PARTS]
    assert found.time.sum() == 2.0 * messages
    assert found.attrs == {"hardware": "own", "source": "made up", "caveat": ""}


def test_learning_counts_where_synapses_learn(tmp_path: Path) -> None:
    """On arrival by the updates that were recorded; in a stage that only shows, none."""
    folder = experiments.write(tmp_path / "tiny")
    clocked = experiment.load(folder, []).run()
    learns = 2 * experiments.TRAIN * experiments.HOLD
    synapses = int(clocked["network/plastic"].sum())
    assert analysis.cost(clocked)["count"].sel(part="learning") == learns * synapses
    trace = experiment.load(folder, ["network.node_defaults.update='arrival'"]).run()
    update = trace["events/kind"] == 2
    tick, node = trace["events/tick"][update], trace["events/node"][update]
    into = np.bincount(
        trace["network/target"][trace["network/plastic"].astype(bool)], minlength=node.max() + 1
    )
    assert analysis.cost(trace)["count"].sel(part="learning") == into[node[tick < learns]].sum()
