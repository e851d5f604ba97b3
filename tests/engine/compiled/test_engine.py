"""Compiled loops over ticks run what they run as the engine in torch and the reference do."""

import itertools
import os
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
import torch
from hypothesis import given, reject, seed, settings
from hypothesis import strategies as st
from numba import njit

from hlsim import Simulation, topology
from hlsim.engine.compiled import arrays, blocks, engine, layout
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.compiled.wakeups import _drift, crossing
from hlsim.engine.general import wakeups
from hlsim.engine.general.engine import Batched
from hlsim.errors import ExperimentError, NumericalError
from hlsim.models import ops
from hlsim.models.losses import Custom
from hlsim.models.ops import Value
from hlsim.models.rules import Equilibrium, Fields, Hamiltonian
from hlsim.simulation.noise import Noise
from tests.claims.test_determinism import assert_same_bits, assert_same_state, rows
from tests.support.agreement import BATCHED, COMPILED, REFERENCE, TOLERANCE, assert_agree
from tests.support.graphs import KINDS, SAMPLED, Case, build, cases, in_step, run

VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
EXAMPLES = 100 if VERIFY else 10
FEW = 40 if VERIFY else 4
TICKS = 150 if VERIFY else 60


# ---- the same meaning


@pytest.mark.parametrize("share", [0.0, 0.7], ids=["as drawn", "in step"])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_loops_agree_on_random_networks(
    kind: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reference engine, as the engine in torch does; also where many neurons are synchronous.

    The synapses between those stand in matrices or not, with weight rates in common or each its own, in parts
    or not, on networks that are far too small to have any by themselves.
    """
    compared, drawn = [], []

    @seed(1 + int(share * 10))
    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(0, 2**31))
    def agree(case: Case, number: int) -> None:
        case = in_step(case, share, number) if share else case
        arrange_in_many_ways(monkeypatch, number)
        assert type(build(case, **COMPILED)._engine) is Compiled
        try:
            ticks = assert_agree(case, TICKS, COMPILED, REFERENCE)
        except NumericalError:
            with pytest.raises(NumericalError):
                run(case, TICKS, **REFERENCE)
            reject()
        drawn.append(TICKS)
        compared.append(ticks)

    agree()
    assert len(drawn) >= EXAMPLES
    assert sum(compared) >= 0.75 * sum(drawn)


def arrange_in_many_ways(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let a small network have what large ones have; by the bits of a number."""
    small = bool(number & 1)
    monkeypatch.setattr(blocks, "_LEAST", 1 if small else 32)
    monkeypatch.setattr(blocks, "_NARROWEST", 1 if small else 4)
    monkeypatch.setattr(blocks, "_RATES", 0 if number & 2 else 8)
    monkeypatch.setattr(blocks, "_PART_LEAST", 1 if number & 4 else 100_000)
    monkeypatch.setattr(blocks, "_PER_SUM", 0 if number & 4 else 0.5)


def learner(*, dtype: str = "float64", threshold: float = 1e-3, **options: Any) -> Simulation:
    """A random recurrent network of both models that learns, whose input and target change now and then."""
    graph = topology.random(40, 6, draw=False, delay=(0, 5), inputs=3, outputs=4, bias=0.1)
    for index, (_, data) in enumerate(graph.nodes(data=True)):
        if data.get("model") != "input":
            data |= {"model": "leaky", "tau": 2.0 + index % 5, "update": "arrival", "refresh": 7 + index}
            data |= {"send_threshold": threshold, "costate_threshold": threshold / 10}
    sim = Simulation(
        graph, **{"rule": Hamiltonian(beta=0.02, eta=0.3), "seed": 2, "dtype": dtype, **COMPILED, **options}
    )
    sim.env.process(disturb(sim))
    return sim


def disturb(sim: Simulation) -> Generator[simpy.Event, object, None]:
    generator = np.random.default_rng(0)
    while True:
        sim.controls.input(generator.normal(size=len(sim.network.inputs)))
        sim.controls.target(generator.normal(size=len(sim.network.outputs)) / 2)
        yield sim.env.timeout(int(generator.integers(5, 30)))


def assert_close(one: Simulation, two: Simulation, tolerance: float) -> None:
    for name in SAMPLED:
        np.testing.assert_allclose(one.read(name), two.read(name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", [{"ensemble": 3}, {"noise": Noise(std=0.1)}], ids=["ensemble", "noise"])
def test_replicas_and_noise_are_those_of_torch(options: dict[str, Any]) -> None:
    mine, other = learner(**options), learner(**options, compiled="never")
    assert [type(sim._engine) for sim in (mine, other)] == [Compiled, Batched]  # type: ignore[comparison-overlap]
    for sim in (mine, other):
        sim.run(until=100, every=9)
    assert_close(mine, other, TOLERANCE)
    for name, count in mine.counts().items():
        np.testing.assert_array_equal(count, other.counts()[name])
    assert mine.counts()["state"].min() >= 0
    assert mine.counts()["costate"].sum() > 100


def test_float32_differs_from_float64_by_round_off() -> None:
    """Both formats send the same messages where no threshold is met within round-off: here for 60 ticks.

    States are of order 1, and sums of ten of them are good to ten units in the last place, 1e-6.
    """
    single, double = learner(dtype="float32"), learner(dtype="float64")
    for sim in (single, double):
        sim.run(until=60)
    assert single.read("h").dtype == np.float32
    assert_close(single, double, 1e-5)


def test_a_float32_network_with_thresholds_0_falls_silent() -> None:
    """A value that settles stands still in the format in which it is stored, and then has nothing to say."""
    network = learner(threshold=0.0).network
    sim = Simulation(network, loss=None, rule=Hamiltonian(beta=0.0), **COMPILED)
    sim.controls.learn(False)
    sim.controls.input(np.ones(3))
    sim.env.run(until=5000)
    before = sim.counts()
    assert before["state"].sum() > 1000
    sim.env.run(until=10**9)
    for name, count in sim.counts().items():
        np.testing.assert_array_equal(count, before[name])


@pytest.mark.parametrize("options", [COMPILED, BATCHED], ids=["compiled", "torch"])
def test_at_threshold_0_a_costate_is_sent_again_when_weights_may_have_moved(options: dict[str, Any]) -> None:
    """An error that stands still is sent at every update of a neuron that learns: here at every tick."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("x", model="instant")
    graph.add_node("v", model="instant", activation="identity", role="output", costate_threshold=0.0)
    graph.add_edge("u", "v", weight=0.0, plastic=False)
    graph.add_edge("x", "v", weight=0.5)
    sim = Simulation(graph, dtype="float64", **options)

    def wink() -> Generator[simpy.Event]:
        sim.controls.target(np.ones(1))
        for value in itertools.cycle((1.0, -1.0)):
            sim.controls.input(np.array([value]))
            yield sim.env.timeout(1)

    sim.env.process(wink())
    sim.env.run(until=20)
    assert sim.counts()["costate"][0].tolist() == [0, 20, 0]


# ---- when to wake


def lone(refresh: int, threshold: float, tau: float, eta: float, dt: float) -> Simulation:
    """One leaky neuron, of which all that its wake-up depends on can be set by hand."""
    graph = nx.DiGraph()
    graph.add_node("v", tau=tau, refresh=refresh, send_threshold=threshold, bias=0.0)
    rule = Hamiltonian(eta=eta)
    return Simulation(graph, loss=None, rule=rule, dt=dt, dtype="float64", compiled="always")


@njit(error_model="numpy")
def _compiled_wait(net: Any) -> int:
    return _drift(net.kit, net, net.terms[0], 0)


@settings(max_examples=200 if VERIFY else 60)
@given(
    st.integers(1, 300),
    st.sampled_from((0.0, 1e-4, 1e-2)),
    st.sampled_from((0.5, 3.0, 40.0)),
    st.sampled_from((0.0, 0.01, 0.4)),
    st.sampled_from((1.0, 0.1)),
    st.integers(0, 2**32 - 1),
)
def test_steps_are_passed_over_only_where_nothing_crosses(
    refresh: int, threshold: float, tau: float, eta: float, dt: float, draw: int
) -> None:
    """A neuron wakes at the first step at which the motion of its drive is at its threshold."""
    generator = np.random.default_rng(draw)
    engine_of_one: Any = lone(refresh, threshold, tau, eta, dt)._engine
    circuit, net = engine_of_one.circuit, engine_of_one._net
    traits = net.traits
    rule, steps = circuit.rule, dt * np.arange(1, refresh)
    waits = []
    for _ in range(20):
        x = generator.normal(size=5) * 10.0 ** generator.uniform((-5, -5, -2, -2, -1), (-2, -2, 1, 1, 1))
        x[1] = abs(x[1])
        x[generator.random(5) < 0.3] = 0.0  # let each part of the motion be all there is
        x[0] *= x[1] > 0
        a, b, z, g, gain = x
        i2 = np.array([gain * rule.costate_hold(z, g, 1.0 / tau, step)[2] for step in steps])
        motion = np.abs(a * np.array([rule.memory(step) for step in steps]) + b * i2)
        crossed = np.flatnonzero((motion >= traits[0]["send_threshold"]) & (motion != 0))
        first = crossed[0] + 1 if len(crossed) else refresh
        # One synapse, which hears 1 for ever: A is beta omega, B is beta.
        net.edges.beta[:], net.values.fields[0][:] = b, a / b if b else 0.0
        net.values.z[:], net.values.g[:], net.values.df_da[:] = z, g, gain
        wait = _compiled_wait(net)
        waits.append((refresh if wait == layout.NEVER else wait, first))
    assert [mine for mine, _ in waits] == [table for _, table in waits]


@njit(error_model="numpy")
def _compiled_crossings(x: Any, dt: Any, into: Any) -> None:
    for k in range(len(into)):
        into[k] = crossing(x[0, k], x[1, k], x[2, k], x[3, k], x[4, k], dt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_crossing_is_predicted_as_in_torch(dtype: torch.dtype) -> None:
    """At random, at rest, at the origin, where a threshold is the distance, and where a rate overflows.

    Where the value is at its threshold already it is sent at once, and nobody asks when it will be.
    """
    generator = np.random.default_rng(0)
    x, goal, origin = generator.normal(size=(3, 4000)) * 10.0 ** generator.integers(-3, 3, (3, 4000))
    rate, threshold = 10.0 ** generator.uniform(-3, 1, 4000), 10.0 ** generator.uniform(-4, 0, 4000)
    threshold[::7], goal[::5], x[::3] = 0.0, x[::5], origin[::3]
    threshold[::11] = np.abs(goal - origin)[::11] * (1 - 1e-16)
    rate[::13] = 1e-30
    numbers = torch.as_tensor(np.stack((x, goal, rate, origin, threshold))).to(dtype)
    x_, goal_, rate_, origin_, threshold_ = numbers
    circuit = lone(1, 0.1, 1.0, 0.0, 0.5)._engine.circuit  # type: ignore[attr-defined]
    oracle = wakeups._crossing(circuit, x_, goal_, rate_, origin_, threshold_)
    # Below 0: the level lies a last bit beyond the goal, and the logarithm is not a number.
    asked = ~((x_ != origin_) & ((x_ - origin_).abs() >= threshold_)) & (oracle > 0)
    mine = np.zeros(4000, np.int64)
    _compiled_crossings(numbers.numpy(), numbers.numpy().dtype.type(0.5), mine)
    mine, oracle = mine[asked.numpy()], oracle.numpy()[asked.numpy()]
    assert 0.2 < (oracle < wakeups._NEVER).mean() < 0.8
    # Where a last bit of exp or log decides.
    apart = mine != oracle
    assert apart.mean() < 0.01
    assert (np.abs(mine - oracle)[apart] <= np.maximum(1, 4 * torch.finfo(dtype).eps * oracle[apart])).all()


# ---- events, and nothing else


def test_nothing_is_touched_when_nothing_is_due() -> None:
    """One message goes down a chain: each neuron is updated at the start, by it, and when it crosses."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("v", send_threshold=0.3, tau=2.0)
    graph.add_edge("u", "v", weight=1.0, delay=7, plastic=False)
    sim = Simulation(graph, loss=None, dtype="float64", **COMPILED)
    sim.controls.input(np.ones(1))
    sim.env.run(until=10**6)
    assert sim.counts()["updates"].tolist() == [[1, 2]]
    assert sim.counts()["state"].tolist() == [[1, 0]]
    np.testing.assert_allclose(sim.read("h")[0, 1], np.tanh(1.0))


def test_a_loop_stops_before_whatever_else_happens() -> None:
    """A process that looks between two ticks sees the network as it is then, though it runs ahead."""
    seen: dict[str, list[bytes]] = {}
    for name in ("never", "always"):
        sim, seen[name] = learner(compiled=name), []

        def look(sim: Simulation = sim, seen: list[bytes] = seen[name]) -> Generator[simpy.Event]:
            while True:
                yield sim.env.timeout(3.3)
                seen.append(np.stack([sim.counts()[x] for x in ("state", "costate", "updates")]).tobytes())

        sim.env.process(look())
        sim.env.run(until=100)
    assert seen["always"] == seen["never"]
    assert len(seen["always"]) == 30


# ---- one run, however it is run


@settings(max_examples=FEW)
@given(cases("arrival", 60), st.integers(1, 59), st.integers(2, 20))
def test_neither_cuts_nor_watchers_change_one_bit(case: Case, cut: int, every: int) -> None:
    whole, trace = run(case, 60, **COMPILED)
    sim = build(case, **COMPILED)
    parts = [sim.run(until=until, every=1, events=("message", "update")) for until in (cut, 60)]
    assert_same_state(sim, whole)
    assert [row for part in parts for row in rows(part, cut)] == rows(trace, cut)
    for sampled, events in (SAMPLED, ()), (("z", "w"), ("message",)), ((), ()):
        other = build(case, **COMPILED)
        other.run(until=60, every={"default": every, "w": 3}, sampled=sampled, events=events)
        assert_same_state(other, whole)
    assert_same_bits(run(case, 60, **COMPILED)[1], trace)


def test_neither_the_length_of_a_turn_nor_room_changes_one_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """SimPy has its turn after every update, and the calendar begins with hardly any room and grows."""
    whole = learner()
    whole.env.run(until=100)
    monkeypatch.setattr(engine, "_BUDGET", 1)
    monkeypatch.setattr(arrays, "CHUNKS_AHEAD", 1)
    turns = learner()
    room = len(turns._engine._net.agenda.after)  # type: ignore[attr-defined]
    turns.env.run(until=100)
    assert len(turns._engine._net.agenda.after) > room  # type: ignore[attr-defined]
    assert_same_state(turns, whole)


def test_the_calendar_does_not_grow_with_time() -> None:
    sim = learner()
    sim.env.run(until=500)
    room = len(sim._engine._net.agenda.after)  # type: ignore[attr-defined]
    sim.env.run(until=20_000)
    assert len(sim._engine._net.agenda.after) == room  # type: ignore[attr-defined]


# ---- failures


def runaway() -> nx.DiGraph:
    """Two linear neurons that drive each other up, 4 times a round, and one apart from them."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    for name in ("v", "w"):
        graph.add_node(name, model="instant", activation="identity", send_threshold=0.0)
    graph.add_node("apart")
    graph.add_edge("u", "v", weight=1.0, plastic=False)
    graph.add_edge("v", "w", weight=2.0, delay=1, plastic=False, feedback="none")
    graph.add_edge("w", "v", weight=2.0, delay=2, plastic=False, feedback="none")
    graph.add_edge("u", "apart", weight=1.0)
    return graph


@pytest.mark.parametrize("every", [1, 10_000])
def test_a_run_that_overflows_stops_at_its_tick_and_names_its_node(every: int, tmp_path: Any) -> None:
    """Whether the loop stops at every tick or has run ahead: SimPy stands at the tick that failed."""
    caught: list[Any] = []
    for options in (COMPILED, BATCHED):
        sim = Simulation(runaway(), dtype="float64", loss=None, **options)
        sim.controls.input(np.ones(1))
        with pytest.raises(NumericalError, match="must stay finite, got inf") as error:
            sim.run(until=5000, record=tmp_path / f"{len(caught)}.h5", every=every, sampled=("h",))
        updates = sim.counts()["updates"].tolist()
        caught.append((error.value.tick, error.value.node, str(error.value), sim.tick, updates))
    assert caught[0] == caught[1]
    assert caught[0][0] > 1000


# ---- what qualifies


def engine_of(graph: nx.DiGraph, **options: Any) -> type:
    return type(Simulation(graph, **{**COMPILED, **options})._engine)


class Mine(Hamiltonian):
    """A rule of a user's own, whose formulas are compiled as they stand."""

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        w, fields = super().synapse_hold(w, fields, s1, s2, beta, duration)
        return self.clipped(w), fields

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        w, fields = Hamiltonian.synapse_euler(self, w, fields, qs, beta, duration)
        return self.clipped(w), fields

    def clipped(self, w: Value) -> Value:
        return w - ops.relu(w - 0.6) + ops.relu(-0.6 - w)


class OfTensors(Hamiltonian):
    """One that only torch can run."""

    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        return super().costate_hold(z, g - g.mean(), rate, duration)


def test_what_the_loops_do_not_know_runs_in_torch() -> None:
    """Never another meaning; formulas of anybody's are known if they are formulas of numbers."""
    graph = topology.ring(4, seed=0)
    assert engine_of(graph) is Compiled
    clocked = graph.copy()
    clocked.nodes["neuron[0]"]["update"] = "clock"
    assert engine_of(clocked) is Compiled
    assert engine_of(graph, rule=Mine()) is Compiled
    assert engine_of(graph.to_undirected(), rule=Equilibrium()) is Compiled
    with pytest.raises(ExperimentError, match="not be 'always' here: a formula of 'hamiltonian'"):
        engine_of(graph, rule=OfTensors())
    assert engine_of(topology.ring(200, seed=0), rule=OfTensors(), compiled="auto") is Batched
    assert engine_of(graph, loss=Custom(lambda y, target: ((y - target) ** 2).sum(-1))) is Compiled
    assert engine_of(graph, node_defaults={"update": "clock"}, batch=2) not in (Compiled, Batched)
    assert engine_of(graph, compiled="never") is Batched
    assert engine_of(graph, compiled="auto") is Batched
    assert engine_of(graph, engine="reference") not in (Compiled, Batched)
    # From 200 synapses on it pays.
    sizes = [len(topology.ring(n, seed=0).edges) for n in (20, 200)]
    assert sizes[0] < 200 <= sizes[1]
    assert engine_of(topology.ring(20, seed=0), compiled="auto") is Batched
    assert engine_of(topology.ring(200, seed=0), compiled="auto") is Compiled


def test_a_rule_of_ones_own_is_compiled_and_does_what_it_does_in_torch() -> None:
    mine, other = (learner(rule=Mine(beta=0.2, eta=0.1), compiled=mode) for mode in ("always", "never"))
    assert [type(sim._engine) for sim in (mine, other)] == [Compiled, Batched]  # type: ignore[comparison-overlap]
    for sim in (mine, other):
        sim.run(until=100, every=50)
    assert_close(mine, other, TOLERANCE)
    assert np.abs(mine.read("w")).max() == pytest.approx(0.6)
    assert np.abs(learner(rule=Hamiltonian(beta=0.2, eta=0.1)).network.weight).max() < 3.0


def test_the_compiler_is_not_imported_where_nothing_is_compiled() -> None:
    code = "import sys, hlsim; hlsim.Simulation(hlsim.topology.ring(4)).run(until=3)"
    code += "; print('numba' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
