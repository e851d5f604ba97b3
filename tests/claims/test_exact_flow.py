"""The exact hold in simulations: h, z, omega and w while the drive, the states heard and g stand still."""

import math
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import pytest

import hlsim
from hlsim import Simulation
from hlsim.engine.circuit import view
from hlsim.engine.reference.neuron import Process
from hlsim.models.losses import Custom
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays
from hlsim.trace import Trace
from tests.support.agreement import BATCHED, COMPILED, REFERENCE
from tests.support.holds import Held, closed_form, exponential, flow, start
from tests.support.plain import by_rows, exact
from tests.support.theory import ENGINES, FIELDS, Vector, distance, recorded, samples, simulate, tangle

LINEAR = Custom(lambda y, target: (y * target).sum(-1))
ASLEEP = {"update": "arrival", "send_threshold": 1e6, "costate_threshold": 1e6, "refresh": 20}


def one_neuron(tau: float, **attributes: Any) -> nx.DiGraph:
    """Return a leaky output that hears an input."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("y", model="leaky", tau=tau, role="output", **attributes)
    graph.add_edge("u", "y", weight=0.7)
    return graph


def of_the_neuron(trace: Trace) -> Vector:
    """Return its h, z, omega and w, (tick, 4)."""
    node = trace.network["node_label"].tolist().index("y")
    h, z, omega, w = (trace["sampled/" + name] for name in ("h", "z", "omega", "w"))
    return np.stack([h[:, node], z[:, node], omega[:, 0], w[:, 0]], 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_neuron_that_nothing_reaches_is_read_in_closed_form(engine: str) -> None:
    """It is updated once, at tick 0; its loss is linear, so that g does not depend on h."""
    x = Held(s=0.9, a=0.7 * 0.9, g=-0.8, h=0.0, z=0.0, omega=0.0, w=0.7)
    ticks, dt = 12, 0.8
    stimulus = Arrays([[x.s]], [[x.g]])
    options = {"loss": LINEAR, "hold": ticks, "dt": dt, "engine": engine}
    simulation = simulate(one_neuron(x.tau, **ASLEEP), stimulus, rule=Hamiltonian(x.beta, x.eta), **options)
    found = of_the_neuron(recorded(simulation))
    expected = [exponential(flow(x), t * dt, start(x))[:4] for t in range(ticks)]
    assert simulation.counts()["updates"][0, simulation.network.label.index("y")] == 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-15)


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """Have every call of a function added to the list that is returned."""
    calls, called = [], getattr(owner, name)

    def call(*arguments: Any) -> Any:
        calls.append(name)
        return called(*arguments)

    monkeypatch.setattr(owner, name, call)
    return calls


def asleep(engine: Mapping[str, Any], update: str = "arrival") -> Simulation:
    """Return one output that is shown one row for 12 ticks and, on arrival, is updated at the first only."""
    attributes = ASLEEP if update == "arrival" else {}
    return simulate(one_neuron(1.7, **attributes), Arrays([[0.9]], [[0.4]]), hold=12, dt=0.8, **engine)


@pytest.mark.parametrize(
    ("engine", "kind"), [(BATCHED, "Batched"), (COMPILED, "Compiled"), (REFERENCE, "Reference")]
)
def test_a_sample_holds_a_neuron_once_for_all_fields(
    engine: Mapping[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the 12 ticks all but the first, in torch outputs once more for the loss.

    Then what the row told before its target counted, its end, and the end of the run.
    """
    simulation = asleep(engine)
    assert type(simulation._engine).__name__ == kind
    owner = Process if kind == "Reference" else view
    holds = counted(monkeypatch, owner, "hold")
    simulation.run(every=1, sampled=("h", "z", "a", "loss", "w", "omega"))
    assert len(holds) == 11 * (1 if kind == "Reference" else 2) + 3


def test_a_loss_has_the_same_bits_whatever_else_is_sampled() -> None:
    """Though torch's last bits of a softplus depend on where a number stands in a tensor."""
    graph = hlsim.topology.layered([20, 227, 53], activation="softplus", seed=3, delay=2)
    rng = np.random.default_rng(0)
    rows = Arrays(rng.normal(size=(10, 20)), rng.normal(size=(10, 53)))
    found = []
    for names in (("loss",), ("h", "loss", "w")):
        simulation = hlsim.Simulation(graph, stimulus=rows, hold=8, dt=0.3, compiled="never")
        found.append(simulation.run(every=1, sampled=names)["sampled/loss"])
    assert found[0].tobytes() == found[1].tobytes()
    assert np.ptp(found[0]) > 0


def test_a_sample_of_clocked_neurons_holds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = asleep(COMPILED, "clock")
    assert type(simulation._engine).__name__ == "Compiled"
    holds = counted(monkeypatch, view, "hold")
    simulation.run(every=1, sampled=("h", "z", "a", "loss", "w", "omega"))
    assert not holds


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reset", [False, True], ids=["unbroken", "reset"])
@pytest.mark.parametrize("hold", [1, 4])
def test_on_arrival_with_thresholds_0_every_tick_is_an_exact_hold(
    hold: int, reset: bool, engine: str
) -> None:
    """Recurrent, leaky and instant neurons, delays of their own on all edges; against plain loops."""
    stimulus = samples(64 // hold, 2, 2)
    told = {"update": "arrival", "send_threshold": 0.0, "costate_threshold": 0.0}
    options = {"hold": hold, "reset": reset, "dt": 0.7, "engine": engine, "node_defaults": told}
    simulation = simulate(tangle(4, 0.5), stimulus, rule=Hamiltonian(0.05, 0.6), **options)
    expected, trace = by_rows(simulation, stimulus, exact, hold, reset), recorded(simulation)
    for name in FIELDS:
        assert distance(expected[name][-1], expected[name][0]) > 1e-3, name
        assert distance(trace["sampled/" + name], expected[name]) <= 1e-13, name


@pytest.mark.parametrize("engine", ENGINES)
def test_a_clock_comes_near_to_the_exact_hold_in_proportion_to_its_tick(engine: str) -> None:
    """Order 1 in h, z and omega. The weight is frozen: if it moved, so would a clocked drive."""
    x = Held(beta=0.0, s=0.9, a=0.7 * 0.9, h=0.0, z=0.0, omega=0.0, w=0.7)
    expected = closed_form(x, 4.0)[:3]
    ticks = np.array([32, 64, 128, 256])
    errors = []
    for n in ticks.tolist():
        stimulus, rule = Arrays([[x.s]], [[x.g]]), Hamiltonian(x.beta, x.eta)
        options = {"loss": LINEAR, "hold": n + 1, "dt": 4.0 / n, "engine": engine}
        simulation = simulate(one_neuron(x.tau), stimulus, rule=rule, **options)
        errors.append(np.abs(of_the_neuron(simulation.run(every=n))[-1, :3] - expected))
    slopes = np.polyfit(np.log(4.0 / ticks), np.log(errors), 1)[0]
    assert np.abs(slopes - 1.0).max() < 0.05, slopes


def relaxing(threshold: float, engine: str) -> tuple[Vector, Vector]:
    """Return z of an output with tau = 4 that follows a step of its input, as simulated and as it must be."""
    tau, eta, target, dt = 4.0, 0.5, 1.0, 0.005
    graph = one_neuron(tau, **ASLEEP | {"send_threshold": threshold})
    options = {"hold": 1001, "dt": dt, "engine": engine}
    simulation = simulate(graph, Arrays([[2.0]], [[target]]), rule=Hamiltonian(0.0, eta), **options)
    trace = simulation.run(every=100)
    goal = math.tanh(1.4)
    # z hears h: dz/dt = (h - target) - lam z, together with dh/dt = (goal - h)/tau.
    matrix = np.array([[-1.0 / tau, 0.0, goal / tau], [1.0, -1.0 / tau - eta, -target], [0.0, 0.0, 0.0]])
    ticks = trace.ticks("sampled/z")
    expected = [exponential(matrix, t * dt, np.array([0.0, 0.0, 1.0]))[1] for t in ticks.tolist()]
    return of_the_neuron(trace)[:, 1], np.array(expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_is_heard_as_finely_as_the_output_wakes_up_for_it(engine: str) -> None:
    """Its gradient is held although h moves: without a wake-up z is wrong by a factor, else in proportion."""
    errors = []
    for threshold in (10.0, 0.01, 0.001):
        found, expected = relaxing(threshold, engine)
        errors.append(np.abs(found[1:] / expected[1:] - 1.0).max())
    asleep, coarse, fine = errors
    assert asleep > 1.0
    assert 0.01 < coarse < 0.03
    assert 0.001 < fine < 0.003
