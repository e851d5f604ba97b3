"""The exact hold: h, z, omega and w over any time for which the drive, the states heard and g stand still."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hlsim
from hlsim import Simulation
from hlsim.engine.circuit import view
from hlsim.engine.reference.neuron import Process
from hlsim.models import ops
from hlsim.models.losses import Custom
from hlsim.models.neurons import ACTIVATIONS, MODELS
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays
from hlsim.trace import Trace
from tests.support.agreement import BATCHED, COMPILED, REFERENCE
from tests.support.plain import by_rows, exact
from tests.support.theory import (
    ENGINES,
    FIELDS,
    Vector,
    distance,
    recorded,
    samples,
    simulate,
    tangle,
)

DIGITS = 60


# ---- phi_1 and phi_2

POINTS = [
    *(0.0, 1e-300, 1e-20, 1e-16, 1e-12, 1e-9, 1e-8, 3e-6, 1e-4, 0.01, 0.1, 0.3, 0.4999, 0.5, 0.5001),
    *(0.75, 1.0, 3.0, 10.0, 40.0, 300.0, 700.0),
]


def series(x: float, order: int) -> Decimal:
    """Return sum_k x^k / (k + order)!, which is phi_order, with many digits."""
    with localcontext() as context:
        # For negative x the terms cancel: as many digits more as the largest of them has.
        context.prec = DIGITS + int(abs(x))
        term, total, k = Decimal(1) / math.factorial(order), Decimal(0), 0
        while abs(term) > abs(total) * Decimal(10) ** -(DIGITS + int(abs(x))):
            total += term
            k += 1
            term *= Decimal(x) / (k + order)
        return total


@pytest.mark.parametrize(("order", "function"), [(1, ops.phi1), (2, ops.phi2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_phi_functions_are_their_series(order: int, function: Callable[[Any], Any], sign: int) -> None:
    """Of numbers, and of tensors."""
    points = [sign * x for x in POINTS]
    expected = np.array([float(series(x, order)) for x in points])
    np.testing.assert_allclose([function(x) for x in points], expected, rtol=1e-15)
    np.testing.assert_allclose(function(torch.tensor(points, dtype=torch.float64)), expected, rtol=1e-15)


# ---- the closed form of one neuron and one synapse


@dataclass(frozen=True)
class Held:
    """What a leaky neuron and one of its synapses start a hold with; ``g`` and ``s`` stand still."""

    tau: float = 1.7
    eta: float = 0.6
    beta: float = 0.3
    a: float = 0.4
    g: float = -0.8
    s: float = 0.9
    h: float = 0.2
    z: float = 0.5
    omega: float = -0.3
    w: float = 0.7

    @property
    def goal(self) -> float:
        return math.tanh(self.a)

    @property
    def c(self) -> float:
        return (1.0 - math.tanh(self.a) ** 2) / self.tau

    @property
    def lam(self) -> float:
        return 1.0 / self.tau + self.eta


def closed_form(x: Held, duration: float, tensors: bool = False) -> Vector:
    """Return h, z, omega, w after a hold, as the engines compute them."""
    number: Callable[[float], Any] = (lambda v: torch.tensor(v, dtype=torch.float64)) if tensors else float
    leaky, sigma, rule = MODELS["leaky"], ACTIVATIONS["tanh"], Hamiltonian(x.beta, x.eta)
    p, D = {"tau": number(x.tau)}, number(duration)
    h = leaky.held(number(x.h), number(x.a), D, sigma, p)
    _, c = leaky.partials(number(x.h), number(x.a), sigma, p)
    z, i1, i2 = rule.costate_hold(number(x.z), number(x.g), leaky.rate(p), D)
    fields = {"omega": number(x.omega)}
    w, fields = rule.synapse_hold(number(x.w), fields, x.s * c * i1, x.s * c * i2, x.beta, D)  # type: ignore[assignment]
    return np.array([float(v) for v in (h, z, fields["omega"], w)])


def flow(x: Held) -> Vector:
    """Return the matrix of the four equations, d/dt (h, z, omega, w, 1)."""
    matrix = np.zeros((5, 5))
    matrix[0, [0, 4]] = -1.0 / x.tau, x.goal / x.tau
    matrix[1, [1, 4]] = -x.lam, x.g
    matrix[2, [1, 2]] = x.s * x.c, -x.eta
    matrix[3, 2] = -x.beta
    return matrix


def exponential(matrix: Vector, duration: float, start: Vector) -> Vector:
    """Return e^(matrix duration) start, by scaling and squaring with many digits."""
    with localcontext() as context:
        context.prec = DIGITS
        halvings = max(0, math.ceil(math.log2(max(np.abs(matrix).sum() * duration, 1e-9))) + 4)
        exact = np.vectorize(Decimal, otypes=[object])
        step = exact(matrix) * Decimal(duration) / 2**halvings
        term = power = exact(np.eye(len(start)))
        for k in range(1, 36):
            term = term @ step / k
            power = power + term
        for _ in range(halvings):
            power = power @ power
        return (power @ exact(start)).astype(float)


def start(x: Held) -> Vector:
    return np.array([x.h, x.z, x.omega, x.w, 1.0])


def most_memory(x: Held, duration: float) -> float:
    """Return a bound of p1 = (1 - exp(-eta D)) / eta."""
    return min(duration, 1.0 / x.eta if x.eta else math.inf)


def size(x: Held, duration: float) -> Vector:
    """Return how large the terms of h, z, omega and w may be, to which their round-off is proportional."""
    p1 = most_memory(x, duration)
    p2 = p1 * duration
    z = abs(x.z) + abs(x.g) / x.lam
    sc = abs(x.s * x.c)
    omega = abs(x.omega) + sc * z * (p1 + x.tau)
    w = abs(x.w) + x.beta * (abs(x.omega) * p1 + sc * z * (p2 + x.tau * p1))
    return np.array([abs(x.h) + abs(x.goal), z, omega, w])


@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "tensors"])
@pytest.mark.parametrize("duration", [1e-6, 1e-3, 0.5, 1.0, 7.0, 300.0])
@pytest.mark.parametrize("tau", [0.05, 1.7, 400.0])
@pytest.mark.parametrize("eta", [0.0, 1e-12, 1e-6, 0.6, 30.0])
def test_closed_form_is_the_exponential_of_the_four_equations(
    eta: float, tau: float, duration: float, tensors: bool
) -> None:
    """From eta D = 0 to 9000, with 60 digits on the other side."""
    x = Held(tau=tau, eta=eta)
    expected = exponential(flow(x), duration, start(x))[:4]
    error = np.abs(closed_form(x, duration, tensors) - expected) / size(x, duration)
    assert error.max() <= 1e-15, error


NUMBERS = st.floats(-2.0, 2.0)
HELD = st.builds(
    Held,
    tau=st.floats(0.01, 1000.0),
    eta=st.one_of(st.just(0.0), st.floats(1e-12, 1e-3), st.floats(1e-3, 20.0)),
    beta=st.floats(0.0, 1.0),
    **dict.fromkeys(("a", "g", "s", "h", "z", "omega", "w"), NUMBERS),
)


@given(x=HELD, duration=st.floats(1e-3, 1000.0), part=st.floats(0.0, 1.0))
def test_two_holds_are_one(x: Held, duration: float, part: float) -> None:
    """The semigroup property, wherever the time is split."""
    h, z, omega, w = closed_form(x, part * duration)
    twice = closed_form(replace(x, h=h, z=z, omega=omega, w=w), duration - part * duration)
    error = np.abs(twice - closed_form(x, duration))
    assert (error <= 2e-15 * size(x, duration)).all(), error


@given(x=HELD, duration=st.floats(1e-3, 100.0))
def test_dissipation_may_go_to_zero(x: Held, duration: float) -> None:
    """What it does to first order in eta is all that it does: there is no jump at 0."""
    without = closed_form(replace(x, eta=0.0), duration)
    for eta in (1e-16, 1e-13, 1e-10):
        change = np.abs(closed_form(replace(x, eta=eta), duration) - without)
        assert (
            change <= (4.0 * eta * (duration + x.tau) + 2e-15) * size(replace(x, eta=0.0), duration)
        ).all()


def test_without_dissipation_integrals_are_those_of_a_straight_line() -> None:
    i1, i2 = Hamiltonian(eta=0.0).constant_hold(3.0, 4.0)
    assert (i1, i2) == (3.0 * 4.0, 3.0 * 4.0**2 / 2)
    assert Hamiltonian(eta=0.0).memory(4.0) == 4.0


@given(q=NUMBERS, x=HELD, duration=st.floats(1e-3, 100.0))
def test_a_constant_q_is_held_exactly(q: float, x: Held, duration: float) -> None:
    """An instant neuron's: the same equations with z standing still and c = 1."""
    rule = Hamiltonian(x.beta, x.eta)
    i1, i2 = rule.constant_hold(q, duration)
    w, fields = rule.synapse_hold(x.w, {"omega": x.omega}, x.s * i1, x.s * i2, x.beta, duration)
    matrix = np.array([[-x.eta, 0.0, x.s * q], [-x.beta, 0.0, 0.0], [0.0, 0.0, 0.0]])
    expected = exponential(matrix, duration, np.array([x.omega, x.w, 1.0]))[:2]
    terms = (abs(x.omega) + abs(x.s * q) * most_memory(x, duration)) * np.array([1.0, x.beta * duration]) + [
        0.0,
        abs(x.w),
    ]
    error = np.abs(np.array([fields["omega"], w]) - expected)
    assert (error <= 2e-15 * terms).all()


@given(held=st.lists(HELD, min_size=1, max_size=5), duration=st.floats(1e-3, 100.0))
def test_a_neuron_knows_how_far_it_moves_its_own_drive(held: list[Held], duration: float) -> None:
    """The sum of s times what w moves by is -(A p1 + B c I2), A = sum beta omega s, B = sum beta s^2."""
    neuron = held[0]
    held = [replace(neuron, beta=x.beta, s=x.s, omega=x.omega, w=x.w) for x in held]
    moved = sum(x.s * (closed_form(x, duration)[3] - x.w) for x in held)
    rule = Hamiltonian(eta=neuron.eta)
    _, _, i2 = rule.costate_hold(neuron.z, neuron.g, 1.0 / neuron.tau, duration)
    A, B = sum(x.beta * x.omega * x.s for x in held), sum(x.beta * x.s**2 for x in held)
    scale = sum(abs(x.s) * size(x, duration)[3] for x in held)
    # Subnormal numbers have no digits to lose.
    least = np.finfo(np.float64).tiny
    assert abs(moved + A * rule.memory(duration) + B * neuron.c * i2) <= 4e-15 * scale + least


def test_euler_comes_near_in_proportion_to_its_step() -> None:
    """Order 1 in h, z, omega and w: the slope of the logarithms, over five step sizes."""
    x, duration = Held(), 4.0
    steps = np.array([256, 512, 1024, 2048, 4096])
    expected = closed_form(x, duration)
    errors = []
    for n in steps:
        state, matrix = start(x), flow(x)
        for _ in range(n):
            state = state + duration / n * (matrix @ state)
        errors.append(np.abs(state[:4] - expected))
    slopes = np.polyfit(np.log(duration / steps), np.log(errors), 1)[0]
    assert np.abs(slopes - 1.0).max() < 0.01, slopes


# ---- the same through a simulation


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
    ("engine", "kind"), [(BATCHED, "Batched"), (COMPILED, "Arrivals"), (REFERENCE, "Reference")]
)
def test_a_sample_holds_a_neuron_once_for_all_fields(
    engine: Mapping[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the 12 ticks all but the first, in torch outputs once more for the loss; then those of the row."""
    simulation = asleep(engine)
    assert type(simulation._engine).__name__ == kind
    owner = Process if kind == "Reference" else view
    holds = counted(monkeypatch, owner, "hold")
    simulation.run(every=1, sampled=("h", "z", "a", "loss", "w", "omega"))
    assert len(holds) == 11 * (1 if kind == "Reference" else 2) + 1


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
    assert type(simulation._engine).__name__ == "Lockstep"
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
