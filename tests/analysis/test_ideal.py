"""What an ideal synapse would have learned in a run: known from finite differences of the run, or refused."""

import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hlsim import Simulation
from hlsim.analysis.alignment import alignment
from hlsim.analysis.ideal import ideals
from hlsim.analysis.learned import learned_by
from hlsim.errors import TraceError
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.phi import Gate, Schedule
from hlsim.simulation.faults import Faults
from hlsim.simulation.noise import Noise
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import Network, flatten
from hlsim.trace import Trace
from tests.support.learned import layers, learned

ROWS, DT = 3, 0.5


def graph_of(told: dict[str, Any], w: NDArray[np.float64]) -> nx.DiGraph:
    """Return an input, a hidden neuron and two outputs, all of whose synapses are plastic."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("hidden", model=told["model"], activation=told["activation"], bias=w[0])
    graph.add_nodes_from(["y1", "y2"], role="output", tau=2.0)
    graph.add_edge("x", "hidden", weight=w[1], delay=1)
    for target, weight in zip(("y1", "y2"), w[2:], strict=True):
        graph.add_edge("hidden", target, weight=weight, delay=told["delay"], feedback=told["feedback"],
                       feedback_delay=2)  # fmt: skip
    for name in ("x", "hidden", "y1", "y2"):
        graph.nodes[name].update(update=told["update"])
        if told["update"] == "arrival":
            graph.nodes[name].update(send_threshold=0.0, costate_threshold=0.0)
    return graph


def run(told: dict[str, Any], network: Network) -> Trace:
    """Run it: stages that learn, one of another hold and phi, one that does not learn; and a user's hand."""
    rng = np.random.default_rng(0)
    rule = Hamiltonian(beta=0.0, eta=0.4, phi=told["phi"], order=told["order"], weight_decay=told["decay"])
    sim = Simulation(
        network,
        ensemble=len(network.weight),
        rule=rule,
        stimulus=Arrays(rng.normal(size=(ROWS, 1)), rng.dirichlet(np.ones(2), ROWS)),
        loss=told["loss"],
        stages=[Stage("a"), Stage("b", hold=2, phi=0.7), Stage("c", learn=False, rows=1), Stage("d", rows=1)],
        hold=told["hold"],
        reset=told["reset"],
        dt=DT,
        dtype="float64",
    )

    def interfere(env: simpy.Environment) -> Generator[simpy.Event]:
        yield env.timeout(5)
        sim.controls.reset()
        sim.controls.learn(False)
        yield env.timeout(1)
        sim.controls.learn(True)

    if told["by hand"]:
        sim.env.process(interfere(sim.env))
    return sim.run(every=1)


def in_force(told: dict[str, Any]) -> tuple[list[float], list[bool]]:
    """Return phi and whether the network learns at every tick, from what the run is told."""
    phi: list[float] = []
    learns: list[bool] = []
    for stage, rows, hold in (("a", ROWS, told["hold"]), ("b", ROWS, 2), ("c", 1, told["hold"]),
                              ("d", 1, told["hold"])):  # fmt: skip
        for tick in [tick for _ in range(rows) for tick in range(hold)]:
            own = told["phi"]
            if isinstance(own, Gate):
                own = own.value if tick >= own.off else 0.0
            if isinstance(own, Schedule):
                own = dict(own.points)[max(t for t, _ in own.points if t <= len(phi))]
            phi.append(0.7 if stage == "b" else own)
            learns.append(stage != "c")
    if told["by hand"]:
        learns[5] = False
    return phi, learns


TOLD = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["leaky", "instant"]),
        "activation": st.sampled_from(["tanh", "sigmoid"]),
        "delay": st.sampled_from([0, 1, 3]),
        "feedback": st.sampled_from(["symmetric", "random", "none"]),
        "update": st.sampled_from(["clock", "arrival"]),
        "order": st.sampled_from(["explicit", "sequential"]),
        "phi": st.sampled_from([1.0, Gate(1, 2.0), Schedule(((0, 1.0), (4, 0.5)))]),
        "decay": st.sampled_from([0.0, 0.3]),
        "loss": st.sampled_from(["squared_error", "cross_entropy"]),
        "hold": st.sampled_from([1, 3]),
        "reset": st.booleans(),
        "by hand": st.booleans(),
    }
)


@settings(max_examples=6)
@given(TOLD)
def test_the_ideal_is_made_of_the_slopes_of_the_losses_of_the_run(told: dict[str, Any]) -> None:
    """Each tick's loss, differentiated by running again with other weights; faded by Euler or exactly."""
    if told["update"] == "arrival":
        told |= {"order": "explicit", "decay": 0.0}
    w, step = np.array([0.3, 0.7, -0.4, 0.6]), 1e-5
    network = flatten(graph_of(told, w), dt=DT)
    place = [int(np.flatnonzero(network.weight[0] == x)[0]) for x in w]
    nudges = step * np.eye(network.m)[place]
    others = replace(
        network,
        weight=network.weight + np.concatenate([nudges, -nudges]),
        feedback_weight=network.feedback_weight.repeat(2 * len(w), 0),
    )
    trace, losses = run(told, network), run(told, others)["sampled/loss"]
    slopes = (losses[:, : len(w)] - losses[:, len(w) :]) / (2 * step)
    phi, learns = in_force(told)
    late, fade = told["order"] == "explicit", math.exp(-0.4 * DT)
    keep, gain = (1 - 0.4 * DT, DT) if told["update"] == "clock" else (fade, (1 - fade) / 0.4)
    omega, expected = np.zeros(4), []
    for t in range(len(slopes)):
        if (s := t - late) >= 0 and learns[s]:
            omega = keep * omega + gain * phi[s] * (slopes[s] + told["decay"] * w)
        expected.append(omega)
    ticks = trace.ticks("sampled/omega")
    found = ideals(trace, network, learned_by(trace), "recurrent", ticks)
    np.testing.assert_allclose(found.omega[:, place], expected, rtol=1e-6, atol=1e-8)
    assert not found.age.any()
    if not told["decay"]:
        through = ideals(trace, network, learned_by(trace), "through_time", ticks[-1:])
        np.testing.assert_allclose(through.omega[0, place], expected[-1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", ["explicit", "sequential"])
def test_weight_decay_is_part_of_what_is_ideal(order: str) -> None:
    """Instant neurons learn what backpropagation has, and the pull of their weights to 0."""
    rule = Hamiltonian(beta=0.05, eta=0.3, order=order, weight_decay=0.4, phi=0.5)
    trace = learned(layers(model="instant"), rule, hold=2)
    for of in ("omega", "change", "step"):
        found = alignment(trace, of=of).isel(tick=slice(2, None))
        np.testing.assert_allclose(found.cosine, 1.0, rtol=1e-9)
        np.testing.assert_allclose(found.norm_ratio, 1.0, rtol=1e-9)


def test_onto_neurons_on_arrival_the_ideal_fades_as_they_do() -> None:
    """Held exactly: omega of an instant neuron on a constant gradient g goes to g/eta by e^(-eta t)."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", model="instant", activation="identity", role="output")
    graph.add_edge("x", "y", weight=0.0)
    for node in graph.nodes.values():
        node.update(update="arrival", send_threshold=0.0, costate_threshold=0.0)
    eta, beta = 0.5, 0.0
    sim = Simulation(graph, rule=Hamiltonian(beta=beta, eta=eta), stimulus=Arrays([[1.0]], [[-1.0]]), hold=9,
                     dtype="float64")  # fmt: skip
    trace = sim.run(every=1)
    np.testing.assert_allclose(trace["sampled/omega"][:, 0], (1 - np.exp(-eta * np.arange(9))) / eta)
    found = alignment(trace).isel(tick=slice(1, None))
    np.testing.assert_allclose(found.norm_ratio, 1.0, rtol=1e-9)


# ---- what no oracle knows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": Noise(std=0.1)}, "'recurrent' knows no noise, and the drives of this run had some"),
        ({"faults": Faults(loss=0.5)}, "'recurrent' knows no faults, and links of this run had some"),
    ],
)
def test_what_happened_to_the_run_alone_is_refused(options: dict[str, Any], said: str) -> None:
    trace = learned(layers(), Hamiltonian(beta=0.0), rows=3, **options)
    with pytest.raises(TraceError, match=said):
        alignment(trace, against="recurrent")
    assert alignment(trace, against="backpropagation").sizes["tick"] == 3


@pytest.mark.parametrize(
    ("attribute", "value", "against"),
    [
        ("period", 2, "backpropagation"),
        ("period", 2, "recurrent"),
        ("send_threshold", 0.25, "recurrent"),
        ("send_interval", 3, "through_time"),
    ],
)
def test_devices_that_an_oracle_does_not_know_are_refused(attribute: str, value: Any, against: str) -> None:
    graph = layers()
    graph.nodes["hidden1[2]"][attribute] = value
    graph.nodes["hidden1[2]"]["tau"] = 4.0
    trace = learned(graph, Hamiltonian(beta=0.0), rows=3)
    with pytest.raises(TraceError, match=rf"node 'hidden1\[2\]': {attribute} must be .*, got {value}"):
        alignment(trace, against=against)


def test_decay_through_time_is_refused() -> None:
    trace = learned(layers(), Hamiltonian(beta=0.0, weight_decay=0.1), rows=3)
    with pytest.raises(TraceError, match="through_time knows no weight decay, take recurrent"):
        alignment(trace, against="through_time")
