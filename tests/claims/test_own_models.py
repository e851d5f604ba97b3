"""Models of several fields, impulses, rules that see both sides of a synapse: one meaning in all engines.

And the meaning itself, against closed forms, plain loops of numpy, and orders of convergence.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, reject, seed, settings
from hypothesis import strategies as st

import hlsim
from hlsim import Simulation
from hlsim.engine.compiled.engine import Compiled
from hlsim.errors import ExperimentError, NumericalError, TopologyError
from hlsim.models.neurons import ACTIVATIONS, MODELS, Neuron, Parameters
from hlsim.models.rules import Equilibrium, Hamiltonian, Rule
from hlsim.models.rules.fixed import Fixed
from hlsim.simulation.faults import Faults
from hlsim.simulation.noise import Noise
from tests.claims.test_determinism import assert_same_bits
from tests.support.agreement import BATCHED, COMPILED, REFERENCE, assert_agree
from tests.support.graphs import Case, build, cases, run
from tests.support.own import OWN, Hebb, Traced, registered, with_own

VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
EXAMPLES, TICKS = (60, 120) if VERIFY else (8, 60)
ENGINES = {"reference": REFERENCE, "torch": BATCHED, "compiled": COMPILED}


@pytest.fixture(autouse=True, scope="module")
def _own() -> Iterator[None]:
    with registered(*OWN):
        yield


# ---- one meaning

WAYS = {
    "local, clock": ("clock", Hebb()),
    "traces, clock": ("clock", Traced(beta=0.05, eta=0.3)),
    "traces, sequential": ("sequential", Traced(beta=0.05, eta=0.3, order="sequential")),
    "no learning, mixed": ("mixed", Fixed()),
}


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize("way", WAYS)
def test_engines_agree_on_users_models(way: str, engine: str) -> None:
    """On drawn networks, with faults, noise and resets now and then."""
    kind, rule = WAYS[way]
    compared: list[int] = []
    seen: set[str] = set()

    @seed(3)
    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(0, 2**31))
    def agree(case: Case, number: int) -> None:
        case = with_own(case, number, rule)
        if number % 3 == 0:
            case.options["noise"] = Noise(std=0.2)  # type: ignore[index]
        if number % 4 == 0:
            case.options["faults"] = Faults(loss=0.1, jitter=2)  # type: ignore[index]
        if engine == "compiled":
            assert type(build(case, **COMPILED)._engine) is Compiled
        seen.update(case.network.model)
        try:
            compared.append(assert_agree(case, TICKS, ENGINES[engine], REFERENCE))
        except NumericalError:
            with pytest.raises(NumericalError):
                run(case, TICKS, **REFERENCE)
            reject()

    agree()
    assert len(seen & set(MODELS)) >= 3 + (not rule.sends_costates)
    assert sum(compared) >= 0.75 * EXAMPLES * TICKS


@pytest.mark.parametrize("engine", ["reference", "torch", "compiled"])
@pytest.mark.parametrize("way", ["local, clock", "traces, clock"])
def test_a_state_of_users_models_goes_on_in_a_fresh_simulation(way: str, engine: str) -> None:
    """Bit for bit: further variables and their costates, impulses under way, traces of synapses."""
    kind, rule = WAYS[way]

    @seed(7)
    @settings(max_examples=3)
    @given(cases(kind, 40), st.integers(0, 2**31))
    def goes_on(case: Case, number: int) -> None:
        case = with_own(case, number, rule)

        def make() -> Simulation:
            return Simulation(case.graph, **{"dtype": "float64", **case.options, **ENGINES[engine]})

        whole = make()
        generator = np.random.default_rng(number)
        shape = len(whole.network.inputs), len(whole.network.outputs)
        given_ = [(generator.normal(size=shape[0]), generator.dirichlet(np.ones(shape[1]))) for _ in range(2)]
        ask(whole, *given_[0])
        whole.run(until=17)
        other = make()
        other.restore(whole.state())
        for sim in (whole, other):
            ask(sim, *given_[1])
        one, two = (sim.run(until=40, every=1, events=("message", "update")) for sim in (whole, other))
        assert_same_bits(one, two)

    goes_on()


def ask(sim: Simulation, stimulus: np.ndarray, target: np.ndarray) -> None:
    sim.controls.input(stimulus)
    sim.controls.target(target)


# ---- what impulses mean


def driven(nodes: Mapping[str, Mapping[str, Any]], edges: list[Any], **options: Any) -> Simulation:
    """A network whose input x is 1 for ever."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    for name, data in nodes.items():
        graph.add_node(name, **data)
    graph.add_edges_from(edges)
    rows = hlsim.stimulus.Arrays([[1.0]])
    given = {"rule": Fixed(), "loss": None, "hold": 5000, "dtype": "float64"}
    stages = [hlsim.stimulus.Stage("run", learn=True)]
    return Simulation(graph, stimulus=rows, stages=stages, **{**given, **options})


def spikes(sim: Simulation, until: int) -> list[list[int]]:
    """Ticks at which each neuron, in canonical order, sent impulses."""
    trace = sim.run(until=until, events=("message",))
    network = sim.network
    sent = np.stack([network.source[trace["events/edge"]], trace["events/sent"]])
    return [sorted(set(sent[1][sent[0] == i].tolist())) for i in range(network.n)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_a_constant_current_makes_impulses_at_the_interval_of_the_closed_form(
    update: str, engine: str
) -> None:
    """T = tau ln(a / (a - theta)), seen at the first tick that is not before it."""
    if engine == "compiled" and update == "clock":
        pytest.skip("a kit of its own to compile, and the same formulas")
    weight, tau, theta, dt = 1.3, 20.0, 1.0, 0.5
    nodes = {
        "n": {"model": "lif", "tau": tau, "theta": theta, "update": update},
        "m": {"model": "lif", "theta": 1e9, "update": update},
    }
    edges = [("x", "n", {"weight": weight}), ("n", "m", {"delay": 1})]
    found = spikes(driven(nodes, edges, dt=dt, **ENGINES[engine]), 300)
    interval = math.ceil(tau * math.log(weight / (weight - theta)) / dt)
    # The first tick sees the input, which drives from then on.
    assert found[1] == list(range(interval, 300, interval))
    assert len(found[1]) > 4


def test_an_impulse_moves_its_target_by_its_weight_when_it_arrives() -> None:
    nodes = {
        "n": {"model": "lif", "tau": 5.0, "theta": 0.9},
        "m": {"model": "lif", "tau": 7.0, "theta": 1e9, "role": "output"},
    }
    sim = driven(nodes, [("x", "n", {"weight": 1.0}), ("n", "m", {"delay": 3, "weight": 0.25})])
    trace = sim.run(until=60, every=1, events=("message",), sampled=("h",))
    network = sim.network
    sent = trace["events/sent"][network.source[trace["events/edge"]] == network.label.index("n")]
    ticks = np.arange(60)
    wanted = sum(np.where(ticks >= t + 3, 0.25 * np.exp(-(ticks - t - 3) / 7.0), 0.0) for t in sent)
    assert len(sent) >= 3
    np.testing.assert_allclose(trace["sampled/h"][:, network.label.index("m")], wanted, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("late", ["a slow clock", "jitter"])
def test_of_impulses_on_one_edge_every_one_counts(late: str, engine: str) -> None:
    """Also those that wait together for a clock, that arrive together, or that a later one has overtaken."""
    nodes = {
        "n": {"model": "lif", "tau": 1e-3, "theta": 0.5, "update": "clock"},  # fires as long as x is there
        "m": {"model": "lif", "tau": 1e15, "theta": 1e9, "update": "clock"},  # forgets nothing
    }
    nodes["m"] |= {"period": 4} if late == "a slow clock" else {}
    faults = Faults(jitter=5) if late == "jitter" else None
    edges = [("x", "n", {"weight": 1.0}), ("n", "m", {"weight": 0.25, "delay": 2})]
    sim = driven(nodes, edges, faults=faults, **ENGINES[engine])
    sim.run(until=40)
    sim.controls.input(np.zeros(1))
    sim.run(until=60)
    m, n = (sim.network.label.index(name) for name in ("m", "n"))
    sent = sim.counts()["state"][0, n]
    assert sent >= 30
    assert sim.read("h")[0, m] == pytest.approx(0.25 * sent, rel=1e-9)
    assert sim.counts()["overtaken"][0] == 0


def loop(network: Any, dt: float, until: int) -> list[list[int]]:
    """A network of ``lif`` on a clock as a plain loop of numpy writes it: flow, hear, fire, reset."""
    n, v, w = network.n, np.zeros(network.n), network.weight[0]
    p = network.parameters
    neuron = ~network.is_input
    current = np.zeros(n)
    outward = network.is_input[network.source]
    coming: dict[int, np.ndarray] = {}
    told: list[list[int]] = [[] for _ in range(n)]
    for tick in range(until):
        if tick:
            v = np.where(neuron, current + (v - current) * np.exp(-dt / p["tau"]), 0.0)
        current = np.zeros(n)
        heard = outward & (network.delay <= tick)
        np.add.at(current, network.target[heard], w[heard])
        v = v + coming.pop(tick, np.zeros(n))
        fired = neuron & (v >= p["theta"])
        v[fired] = 0.0
        for i in np.flatnonzero(fired):
            told[i].append(tick)
            for e in np.flatnonzero(network.source == i):
                coming.setdefault(tick + network.delay[e], np.zeros(n))[network.target[e]] += w[e]
    return told


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_a_recurrent_network_of_impulses_is_a_plain_loop(engine: str) -> None:
    """Several impulses may reach a neuron at once, and several may be under way on one edge."""
    rng = np.random.default_rng(5)
    nodes = {
        f"n{i}": {"model": "lif", "tau": float(rng.uniform(3, 20)), "theta": 0.5, "update": "clock"}
        for i in range(12)
    }
    edges = [("x", name, {"weight": float(rng.uniform(0.3, 0.9)), "delay": 2}) for name in nodes]
    edges += [
        (a, b, {"weight": float(rng.normal(0, 0.2)), "delay": int(rng.integers(1, 25))})
        for a in nodes
        for b in nodes
        if a != b and rng.random() < 0.4
    ]
    sim = driven(nodes, edges, dt=0.5, **ENGINES[engine])
    wanted = loop(sim.network, 0.5, 300)
    found = spikes(sim, 300)
    assert sum(map(len, wanted)) > 100
    heard = sorted(set(sim.network.source.tolist()) - {sim.network.label.index("x")})
    # What is under way at the end is in no trace.
    for i in heard:
        assert [t for t in found[i] if t < 270] == [t for t in wanted[i] if t < 270]


# ---- what several fields mean


def oscillator(dt: float, ticks: int, **options: Any) -> hlsim.trace.Trace:
    nodes = {"n": {"model": "fhn", "update": "clock", "role": "output"}}
    sim = driven(nodes, [("x", "n", {"weight": 0.5})], dt=dt, **options)
    return sim.run(until=ticks, every=1, sampled=("h", "fhn_w"))


def test_an_oscillator_converges_with_the_first_order_of_euler() -> None:
    """To a solution of order four, on a limit cycle with a spike in it."""

    def f(x: np.ndarray) -> np.ndarray:
        v, r = x
        return np.array([v - v**3 / 3 - r + 0.5, 0.08 * (v + 0.7 - 0.8 * r)])

    x, step = np.zeros(2), 0.01
    for _ in range(3000):
        k1 = f(x)
        k2 = f(x + step / 2 * k1)
        k3 = f(x + step / 2 * k2)
        x = x + step / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + step * k3))
    errors = []
    for ticks in (600, 1200, 2400):
        trace = oscillator(30.0 / ticks, ticks + 1)
        found = trace["sampled/h"][-1, 0], trace["sampled/fhn_w"][-1, 0]
        errors.append(np.abs(np.array(found) - x).max())
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.1)
    assert np.isnan(trace["sampled/fhn_w"][:, 1]).all(), "an input has no such field"


@pytest.mark.parametrize("model", ["fhn", "driven"])
def test_costates_of_several_fields_are_those_of_the_jacobian(model: str) -> None:
    """z' = z + dt (g + J^T z - eta z), q = z df/da, omega' = omega + dt (q s - eta omega): J by autograd."""
    eta, beta, dt, weight, ticks = 0.3, 0.1, 0.1, 0.4, 120
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("n", model=model, update="clock", role="output")
    graph.add_edge("x", "n", weight=weight)
    rows = hlsim.stimulus.Arrays([[0.7]], [[-0.4]])
    rule = Hamiltonian(beta=beta, eta=eta)
    sim = Simulation(graph, rule=rule, stimulus=rows, hold=ticks, dt=dt, dtype="float64")
    trace = sim.run(every=1, sampled=("h", "z", "w", "omega"))
    neuron = MODELS[model]
    p, sigma = Parameters(**neuron.parameters), ACTIVATIONS["tanh"]

    def velocity(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(neuron.velocity(neuron.state(list(x[:-1])), x[-1], sigma, p))

    x, z, w, omega = np.zeros(2), np.zeros(2), weight, 0.0
    for tick in range(ticks):
        for name, value in (("h", x[0]), ("z", z[0])):
            assert trace[f"sampled/{name}"][tick, 0] == pytest.approx(value, abs=1e-12), (name, tick)
        assert trace["sampled/w"][tick, 0] == pytest.approx(w, abs=1e-12)
        at = torch.tensor([*x, 0.7 * w], dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(velocity, at).numpy()
        g = np.array([x[0] + 0.4, 0.0])
        q = z @ jacobian[:, 2]
        w, omega = w - dt * beta * omega, omega + dt * (0.7 * q - eta * omega)
        x, z = x + dt * velocity(at).numpy(), z + dt * (g + z @ jacobian[:, :2] - eta * z)
    assert abs(w - weight) > 1e-2


# ---- what both sides of a synapse mean


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_a_trace_is_the_low_pass_of_what_was_heard(engine: str) -> None:
    """Of a constant input s from tick d on: s (1 - (1 - dt/T)^k) after k steps."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", update="clock", tau=2.0, role="output")
    graph.add_edge("x", "y", weight=0.5, delay=4)
    rows, rule = hlsim.stimulus.Arrays([[0.8]], [[0.1]]), Traced(beta=0.2, eta=0.1, memory_time=5.0)
    options: dict[str, Any] = {"dtype": "float64", "dt": 0.5, "hold": 40, **ENGINES[engine]}
    trace = Simulation(graph, rule=rule, stimulus=rows, **options).run(every=1, sampled=("trace", "w"))
    steps = np.maximum(np.arange(40) - 4, 0)
    np.testing.assert_allclose(trace["sampled/trace"][:, 0], 0.8 * (1 - 0.9**steps), atol=1e-14)
    assert abs(trace["sampled/w"][-1, 0] - 0.5) > 1e-3


# ---- what is refused


def refuse(node: Mapping[str, Any], rule: Any, **options: Any) -> None:
    nodes = {"n": node, "m": {"update": "clock"}}
    delay = options.pop("delay", 1)
    edges = [("x", "n", {}), ("n", "m", {"delay": delay})]
    rows = hlsim.stimulus.Arrays([[1.0]] * 4)
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    for name, data in nodes.items():
        graph.add_node(name, **data)
    graph.add_edges_from(edges)
    Simulation(graph, rule=rule, stimulus=rows, **{"loss": None, **options})


@dataclass(frozen=True)
class Sampled(Hamiltonian):
    name: ClassVar[str] = "sampled"
    synapse_fields = {"h": "what everybody has"}  # noqa: RUF012


@dataclass(frozen=True)
class Decay(Rule):
    """It would never be told anything but 0."""

    name: ClassVar[str] = "decay"

    def synapse_euler(self, w: Any, fields: Any, qs: Any, beta: Any, duration: Any) -> Any:
        return w - duration * beta * (w + qs), ()


@dataclass(frozen=True)
class Both(Equilibrium):
    """Nobody would ever call what it adds."""

    name: ClassVar[str] = "both"

    def synapse(self, w: Any, fields: Any, pre: Any, post: Any, beta: Any, duration: Any) -> Any:
        return w, fields


@dataclass(frozen=True)
class Ordered(Hebb):
    name: ClassVar[str] = "ordered"
    order: str = "sequential"


class Absolute(Neuron):
    name = "absolute"

    def velocity(self, x: Any, a: Any, sigma: Any, p: Any) -> Any:
        return abs(a) - x


@pytest.mark.parametrize(
    ("node", "rule", "options", "error", "line"),
    [
        ({"model": "lif"}, Fixed(), {"delay": 0}, TopologyError, "delay must be >= 1 where model 'lif'"),
        ({"model": "lif"}, Hamiltonian(), {}, ExperimentError, "impulses of model 'lif' have none"),
        ({"model": "lif"}, Equilibrium(), {"loss": "squared_error"}, ExperimentError, "got model 'lif'"),
        ({"model": "fhn"}, Fixed(), {}, TopologyError, "update must be 'clock' for model 'fhn'"),
        ({"model": "adaptive"}, Fixed(), {}, TopologyError, "update must be 'clock' for model 'adaptive'"),
        (
            {"model": "lif"},
            Hebb(),
            {},
            ExperimentError,
            "by the clock, as it defines synapse",
        ),
        ({}, Traced(), {}, ExperimentError, "by the clock, as it defines synapse"),
        ({"update": "clock"}, Sampled(), {}, ExperimentError, "field of synapses cannot be called 'h'"),
        ({"update": "clock"}, Decay(), {}, ExperimentError, "sends no costates.*give synapse"),
        ({"update": "clock"}, Both(), {"loss": "squared_error"}, ExperimentError, "no steps of Euler"),
        ({"update": "clock"}, Ordered(), {}, ExperimentError, "order: has no meaning for rule 'ordered'"),
        ({"update": "clock"}, Traced(weight_decay=0.1), {}, ExperimentError, "weight_decay: must be 0"),
        ({"update": "clock"}, Traced(), {"batch": 2}, ExperimentError, "must be 1 for rule 'traced'"),
        (
            {"model": "fhn", "update": "clock"},
            Fixed(),
            {"batch": 2},
            ExperimentError,
            "1 with node 'n'",
        ),
        (
            {"model": "lif", "send_threshold": 0.1},
            Fixed(),
            {},
            TopologyError,
            "threshold has no meaning",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(
    node: Mapping[str, Any], rule: Any, options: dict[str, Any], error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line):
        refuse(node, rule, **options)


def test_impulses_do_not_reach_instant_neurons() -> None:
    graph = nx.DiGraph()
    graph.add_node("n", model="lif")
    graph.add_node("y", model="instant")
    graph.add_edge("n", "y", delay=1)
    with pytest.raises(TopologyError, match="edge 'n' -> 'y': model 'lif' sends impulses, which"):
        Simulation(graph, rule=Fixed(), loss=None)


def test_a_formula_that_is_not_differentiable_by_complex_numbers_is_left_to_autograd() -> None:
    from hlsim.engine import formulas

    assert not formulas.derives(Absolute())
    assert formulas.derives(MODELS["fhn"])
    assert formulas.derives(MODELS["leaky"])
