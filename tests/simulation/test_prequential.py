"""What is told of a row before its own target counts: random labels stay at chance, and no target is felt."""

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation, analysis, topology
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.phi import Gate, changes
from hlsim.simulation.prequential import Prequential
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import Network, flatten
from hlsim.trace import Trace

CLASSES = 10


# ---- random labels, each row seen once


def noise(rows: int, hold: int, delay: int, update: str, **options: Any) -> Trace:
    """A network that learns what cannot be learned: a target says nothing of any other row."""
    rng = np.random.default_rng(0)
    x, label = rng.random((rows, 16)), rng.integers(0, CLASSES, rows)
    sim = Simulation(
        topology.layered([16, 12, CLASSES], output_activation="identity", seed=0, delay=delay),
        stimulus=Arrays(x, np.eye(CLASSES)[label], label),
        loss="cross_entropy",
        rule=Hamiltonian(beta=0.05, phi=options.pop("phi", 1.0)),
        node_defaults={"update": update},
        hold=hold,
        **options,
    )
    return sim.run(every=1000)


@pytest.mark.parametrize(
    ("hold", "delay", "update", "options"),
    [
        (4, 0, "clock", {}),
        (16, 0, "clock", {}),
        (4, 0, "clock", {"engine": "reference"}),
        (16, 0, "clock", {"batch": 4}),
        (16, 0, "clock", {"ensemble": 2}),
        (16, 3, "clock", {"phi": Gate(6)}),
        (16, 1, "arrival", {"phi": Gate(4)}),
        (8, 1, "arrival", {"phi": Gate(4), "engine": "reference"}),
    ],
)
def test_random_labels_are_told_by_chance(
    hold: int, delay: int, update: str, options: dict[str, Any]
) -> None:
    """10 % within four standard deviations; at the last tick far more are right where a row is held long."""
    rows = 40 if options.get("engine") == "reference" else 120
    trace = noise(rows, hold, delay, update, **options)
    told = trace.summary["accuracy"]["train"]
    assert abs(told - 1 / CLASSES) < 4 * math.sqrt(0.09 / rows)
    found = analysis.accuracy(trace).sel(stage="train")
    assert float(found.accuracy.mean()) == pytest.approx(told)
    if hold == 16 and delay == 0 and not options:
        assert trace.summary["accuracy_taught"]["train"] > 0.3
        assert float(found.taught.mean()) == pytest.approx(trace.summary["accuracy_taught"]["train"])


@pytest.mark.parametrize(("hold", "delay", "update"), [(16, 3, "clock"), (1, 0, "clock"), (16, 0, "arrival")])
def test_where_nothing_can_be_told_in_time_there_is_no_accuracy(hold: int, delay: int, update: str) -> None:
    """The target moves weights before the outputs have heard of the row, or the row is over by then."""
    trace = noise(40, hold, delay, update)
    assert trace.summary["accuracy"] == {}
    assert "train" in trace.summary["accuracy_taught"]
    assert analysis.accuracy(trace).rows.values.tolist() == [[0]]
    assert np.isnan(analysis.learning_curve(trace).accuracy).all()
    assert (trace["rows/told"] == -1).all()
    assert (trace["rows/prediction"] >= 0).all()


def test_a_stage_that_does_not_learn_is_read_at_its_last_ticks() -> None:
    trace = noise(40, 16, 0, "clock", stages=[Stage("test", learn=False)])
    np.testing.assert_array_equal(trace["rows/told"], trace["rows/prediction"])
    assert trace.summary["accuracy_taught"] == {}
    assert np.isnan(analysis.accuracy(trace).taught).all()


# ---- against runs with another target


def network_of(told: dict[str, Any]) -> Network:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("h", model=told["hidden"])
    graph.add_nodes_from(["y1", "y2"], role="output", model=told["output"])
    graph.add_edge("x", "h", weight=0.7, delay=told["delay"])
    for k, name in enumerate(("y1", "y2")):
        graph.add_edge("h", name, weight=0.5 - k, delay=told["delay"], feedback_delay=0)
        graph.add_edge("x", name, weight=0.3 + k, delay=told["delay"])
    for node in graph.nodes.values():
        node.update(update=told["update"])
    exact = {"send_threshold": 0.0, "costate_threshold": 0.0}
    return flatten(graph, node_defaults=exact if told["update"] == "arrival" else {})


@settings(max_examples=12)
@given(
    st.fixed_dictionaries(
        {
            "hidden": st.sampled_from(["leaky", "instant"]),
            "output": st.sampled_from(["leaky", "instant"]),
            "delay": st.sampled_from([0, 1]),
            "update": st.sampled_from(["clock", "arrival"]),
            "order": st.sampled_from(["explicit", "sequential"]),
            "phi": st.sampled_from([1.0, Gate(3), Gate(20)]),
            "hold": st.sampled_from([1, 4, 12]),
            "loss": st.sampled_from(["squared_error", "cross_entropy"]),
        }
    )
)
def test_until_a_row_is_read_its_target_has_changed_nothing(told: dict[str, Any]) -> None:
    """Run again with another target in the second row: the outputs are the same, bit for bit, up to then."""
    network, hold = network_of(told), told["hold"]
    order = told["order"] if told["update"] == "clock" else "explicit"
    rule = Hamiltonian(beta=0.1, eta=0.4, phi=told["phi"], order=order)
    x = np.array([[0.4], [0.9], [-0.5]])
    states = []
    for second in ([1.0, 0.0], [0.0, 1.0]):
        y = np.array([[0.3, 0.7], second, second])
        sim = Simulation(network, rule=rule, stimulus=Arrays(x, y), loss=told["loss"], hold=hold,
                         dtype="float64")  # fmt: skip
        states.append(sim.run(every=1, sampled=["h"])["sampled/h"][:, network.outputs])
    apart = np.flatnonzero((states[0] != states[1]).any(1))
    first = int(apart[0]) if apart.size else 10**6
    found = Prequential.of(network, rule).tick(hold, hold, changes(told["phi"], hold, hold), True)
    if found is not None:
        assert hold <= found < min(first, 2 * hold)
    if told["update"] == "clock" and found is not None and found < 2 * hold - 1 and told["delay"] == 0:
        assert found == first - 1


def test_weights_that_do_not_move_leave_all_of_the_row() -> None:
    network = flatten(topology.layered([2, 2, 2]))
    assert Prequential.of(network, Hamiltonian(beta=0.0)).tick(0, 9, [(0, 1.0)], True) == 8
    assert Prequential.of(network, Hamiltonian(beta=0.1)).tick(0, 9, [(0, 0.0)], True) == 8
