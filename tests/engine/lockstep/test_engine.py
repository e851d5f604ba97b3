"""Compiled loops compute what torch and the reference engine do, on networks drawn at random."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings

import hlsim
from hlsim import Simulation, topology
from hlsim.engine.circuit import fused, plan
from hlsim.engine.circuit.fused import Fused
from hlsim.engine.circuit.projections import Dense
from hlsim.engine.lockstep.engine import Lockstep
from hlsim.errors import ExperimentError, NumericalError
from hlsim.models.neurons import Activation, Leaky, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules import Hamiltonian
from tests.support.agreement import TOLERANCE
from tests.support.graphs import SAMPLED, Case, build, cases, fixed

TICKS = 30
COUNTS = ("state", "costate", "updates")


def engine(sim: Simulation) -> Any:
    return sim._engine


def pulls(sim: Simulation) -> list[Any]:
    return engine(sim).circuit.plan.pulls


def traced(case: Case, **options: Any) -> tuple[Simulation, dict[str, np.ndarray]]:
    sim = build(case, **options)
    trace = sim.run(until=TICKS, every=1)
    return sim, {name: trace[f"sampled/{name}"] for name in SAMPLED}


def assert_close(mine: np.ndarray, other: np.ndarray, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


def unanimous(case: Case) -> Case:
    """Return a case in which everybody sends every change, so that all edges are in projections."""
    nodes = {"send_threshold": 0.0, "send_interval": 1}
    graph = case.graph.copy()
    for _, data in graph.nodes(data=True):
        data.update(nodes)
    return replace(case, graph=graph)


def in_order(case: Case, order: str) -> Case:
    return fixed(case, rule=replace(case.options["rule"], order=order))


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("dense", [1, 10**9], ids=["matrices", "sparse"])
def test_a_network_in_lockstep_retraces_both_engines(
    order: str, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared at every tick; ``dense``: from how many edges on a projection is a matrix."""
    monkeypatch.setattr(plan, "_DENSE_LEAST", dense)
    kinds: set[type] = set()

    @settings(max_examples=12)
    @given(cases("synchronous", TICKS))
    def check(case: Case) -> None:
        case = in_order(unanimous(case), order)
        try:
            compiled, mine = traced(case, compiled="always")
            plain, other = traced(case, compiled="never")
            _, oracle = traced(case, engine="reference")
        except NumericalError:
            assume(False)
        assert isinstance(engine(compiled), Lockstep)
        assert not isinstance(engine(plain), Lockstep)
        kinds.update(type(pull) for pull in pulls(compiled))
        for name in SAMPLED:
            assert_close(mine[name], other[name])
            assert_close(mine[name], oracle[name])

    check()
    assert (Dense if dense == 1 else Fused) in kinds


# ---- one network, looked at from all sides


def layers(**attributes: Any) -> nx.DiGraph:
    """Return leaky neurons in matrices, at different delays."""
    graph = topology.layered([30, 40, 20, 5], delay=1, bias=0.1, **attributes)
    for source, _, data in graph.edges(data=True):
        data["delay"] = 0 if source.startswith("input") else 2
    return graph


def scattered() -> nx.DiGraph:
    """Return a sparse recurrent network: two kinds of plastic synapse, one that is not, random feedback."""
    graph = topology.random(60, in_degree=20, delay=(0, 5), inputs=10, outputs=10, bias=0.0)
    for k, (*_, data) in enumerate(graph.edges(data=True)):
        data.update(({"beta": 0.003}, {"plastic": False}, {"feedback": "random"}, {}, {})[k % 5])
        data["weight"] = {"normal": 0.2}
    return graph


GRAPHS = {
    "leaky": layers(),
    "instant": layers(model="instant"),
    "relu": layers(activation="relu", model="instant"),
    "sparse": scattered(),
}


def learner(graph: nx.DiGraph, order: str = "explicit", replicas: int = 1, **options: Any) -> Simulation:
    rule = Hamiltonian(beta=0.01, eta=0.4, order=order)
    sim = Simulation(graph, rule=rule, node_defaults={"update": "clock"}, **options)
    sim.env.process(feed(sim, replicas))
    return sim


def feed(sim: Simulation, replicas: int) -> Any:
    """Show something new every third tick; turn learning off, reset and change phi once each."""
    generator = np.random.default_rng(1)
    columns = len(sim.network.inputs), len(sim.network.outputs)
    for row in range(12):
        sim.controls.input(generator.normal(size=(replicas, columns[0])))
        sim.controls.target(generator.normal(size=(replicas, columns[1])))
        if row in (3, 5):
            sim.controls.learn(row == 5)
        if row == 7:
            sim.controls.reset()
        if row == 9:
            sim.controls.phi(0.5)
        yield sim.env.timeout(3)


def bits(sim: Simulation) -> dict[str, bytes]:
    names = ("h", "z", "a", "w", "omega")
    counts = {name: sim.counts()[name].tobytes() for name in COUNTS}
    return {**{name: sim.read(name).tobytes() for name in names}, **counts}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_not_one_bit_depends_on_who_looks(graph: nx.DiGraph, order: str, dtype: str) -> None:
    """Ticks whose messages somebody observes are the general engine's; the others are run in lockstep."""
    alone, watched, both = (learner(graph, order, dtype=dtype, compiled="always") for _ in range(3))
    alone.run(until=36, sampled=())
    watched.run(until=36, every=5, events=("message", "update"))
    both.run(until=17, every=1)
    both.run(until=25, sampled=(), events=("message",))
    both.run(until=36, sampled=())
    assert isinstance(engine(alone), Lockstep)
    assert bits(alone) == bits(watched) == bits(both)


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("name", ["leaky", "instant", "relu"])
def test_matrices_in_lockstep_have_the_bits_and_counts_of_torch(name: str, order: str) -> None:
    """In a minibatch the products are torch's; a single row has its own loop, see the next test."""
    compiled, plain = (
        learner(GRAPHS[name], order, 2, batch=2, compiled=mode) for mode in ("always", "never")
    )
    for sim in (compiled, plain):
        sim.run(until=36, sampled=())
    assert {type(pull) for pull in pulls(compiled)} == {Dense}
    assert bits(compiled) == bits(plain)


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("replicas", [{}, {"ensemble": 3}, {"batch": 3}], ids=["one", "ensemble", "batch"])
@pytest.mark.parametrize("name", ["leaky", "instant", "sparse"])
def test_replicas_in_lockstep_are_those_of_torch(name: str, replicas: dict[str, int], order: str) -> None:
    both = [
        learner(GRAPHS[name], order, 3 if replicas else 1, compiled=mode, dtype="float64", **replicas)
        for mode in ("always", "never")
    ]
    for sim in both:
        sim.run(until=36, sampled=())
    compiled = any(isinstance(pull, Fused) for pull in pulls(both[0]))
    assert compiled == (name == "sparse" and "batch" not in replicas)
    for field in ("h", "z", "a", "w", "omega"):
        assert_close(both[0].read(field), both[1].read(field))


def test_float32_is_within_its_round_off() -> None:
    single, double = (learner(GRAPHS["sparse"], compiled="always", dtype=f"float{b}") for b in (32, 64))
    for sim in (single, double):
        sim.run(until=36, sampled=())
    for field in ("h", "z", "a", "w", "omega"):
        assert_close(single.read(field), double.read(field), 36 * 20 * float(np.finfo(np.float32).eps))


def test_parts_on_two_threads_have_the_bits_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many parts there are depends on the network alone."""
    monkeypatch.setattr(fused, "_PART_LEAST", 100)
    monkeypatch.setattr(fused, "_PER_SUM", 0)
    sims = [learner(GRAPHS["sparse"], compiled="always", threads=threads) for threads in (1, 2)]
    for sim in sims:
        sim.run(until=36, sampled=())
    assert max(len(pull._parts) for pull in pulls(sims[0]) if isinstance(pull, Fused)) > 1
    assert bits(sims[0]) == bits(sims[1])


def test_sums_do_not_depend_on_the_parts_of_a_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is in one part; what its sources hear is the sum of the parts', to round-off."""
    whole = learner(GRAPHS["sparse"], compiled="always", dtype="float64")
    monkeypatch.setattr(fused, "_PART_LEAST", 50)
    monkeypatch.setattr(fused, "_PER_SUM", 0)
    parted = learner(GRAPHS["sparse"], compiled="always", dtype="float64")
    for sim in (whole, parted):
        sim.run(until=36, sampled=())
    for field in ("h", "z", "a", "w", "omega"):
        assert_close(whole.read(field), parted.read(field))


def test_what_is_not_finite_stops_the_run_at_the_tick_at_which_torch_does() -> None:
    said = []
    for mode in ("always", "never"):
        sim = learner(layers(activation="identity"), compiled=mode)
        with pytest.raises(NumericalError) as caught:
            sim.run(until=5000, sampled=())
        said.append(str(caught.value))
    assert said[0] == said[1]


# ---- when loops are compiled


def chosen(**options: Any) -> str:
    sim = Simulation(topology.layered([3, 4, 2]), node_defaults={"update": "clock"}, **options)
    return type(engine(sim)).__name__


def test_small_networks_are_left_to_torch_unless_told_otherwise() -> None:
    assert chosen() == chosen(compiled="never") == "Batched"
    assert chosen(compiled="always") == "Lockstep"


def test_large_networks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hlsim.engine.build, "_LEAST_SYNCHRONOUS", 10)
    assert chosen() == "Lockstep"
    assert chosen(compiled="never") == "Batched"


def test_without_the_compiler_everything_runs_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hlsim.engine.build, "_LEAST_SYNCHRONOUS", 10)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert chosen() == "Batched"
    with pytest.raises(ExperimentError, match="compiled: always needs numba"):
        chosen(compiled="always")


def test_a_rule_or_model_without_loops_is_left_to_torch() -> None:
    class Own(Hamiltonian):
        pass

    sim = Simulation(GRAPHS["sparse"], rule=Own(), node_defaults={"update": "clock"}, compiled="always")
    assert type(engine(sim)).__name__ == "Batched"
    assert not any(isinstance(pull, Fused) for pull in pulls(sim))


class Bent(Leaky):
    """A model of one's own: it relaxes faster the larger its state is."""

    def velocity(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return (sigma.value(a) - h - 0.1 * h * abs(h)) / p.tau

    def partials(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        return (-1.0 - 0.2 * abs(h)) / p.tau, sigma.slope(a, sigma.value(a)) / p.tau


def test_a_model_of_ones_own_is_evaluated_by_its_formulas_in_lockstep() -> None:
    """Even one that inherits from a model which has a loop."""
    sims = [learner(GRAPHS["leaky"], compiled=mode, dtype="float64") for mode in ("always", "never")]
    plain = learner(GRAPHS["leaky"], compiled="always", dtype="float64")
    for sim in sims:
        blocks = engine(sim).circuit.sync_blocks
        blocks[:] = [replace(block, model=Bent()) for block in blocks]
    for group, block in zip(engine(sims[0])._groups, engine(sims[0]).circuit.sync_blocks, strict=True):
        group.block = block
    for sim in (*sims, plain):
        sim.run(until=36, sampled=())
    for field in ("h", "z", "a", "w", "omega"):
        assert_close(sims[0].read(field), sims[1].read(field))
    assert np.abs(sims[0].read("h") - plain.read("h")).max() > 1e-3


def test_importing_hlsim_does_not_start_the_compiler() -> None:
    code = "import sys, hlsim.cli; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
