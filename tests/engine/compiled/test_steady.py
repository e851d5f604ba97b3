"""Networks all of whose neurons are synchronous, compiled: against torch and the reference engine."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

import hlsim
from hlsim import Simulation, topology
from hlsim.engine.compiled import blocks, steady
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.compiled.sweep import sweep_part
from hlsim.errors import ExperimentError, NumericalError
from hlsim.models.losses import Custom
from hlsim.models.rules import Hamiltonian
from tests.support.agreement import TOLERANCE
from tests.support.graphs import SAMPLED, Case, build, cases, fixed

TICKS = 30
COUNTS = ("state", "costate", "updates")


def engine(sim: Simulation) -> Any:
    return sim._engine


def rows(sim: Simulation) -> np.ndarray:
    """Return the table of blocks of a compiled engine."""
    return np.asarray(engine(sim)._net.blocks.rows)


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
def test_a_network_in_step_retraces_both_engines(
    order: str, dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared at every tick; ``dense``: from how many synapses on a block is a matrix."""
    monkeypatch.setattr(blocks, "_LEAST", dense)
    monkeypatch.setattr(blocks, "_NARROWEST", min(dense, 4))
    matrices: list[bool] = []

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
        assert engine(compiled)._loops is steady
        assert not isinstance(engine(plain), Compiled)
        matrices.extend(rows(compiled)["width"] > 0)
        for name in SAMPLED:
            assert_close(mine[name], other[name])
            assert_close(mine[name], oracle[name])

    check()
    assert any(matrices) == (dense == 1)


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
    alone, watched, both = (learner(graph, order, dtype=dtype, compiled="always") for _ in range(3))
    alone.run(until=36, sampled=())
    watched.run(until=36, every=5, events=("message", "update"))
    both.run(until=17, every=1)
    both.run(until=25, sampled=(), events=("message",))
    both.run(until=36, sampled=())
    assert engine(alone)._loops is steady
    assert bits(alone) == bits(watched) == bits(both)


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("replicas", [{}, {"ensemble": 3}], ids=["one", "ensemble"])
@pytest.mark.parametrize("name", ["leaky", "instant", "sparse"])
def test_replicas_are_those_of_torch(name: str, replicas: dict[str, int], order: str) -> None:
    both = [
        learner(GRAPHS[name], order, 3 if replicas else 1, compiled=mode, dtype="float64", **replicas)
        for mode in ("always", "never")
    ]
    for sim in both:
        sim.run(until=36, sampled=())
    assert engine(both[0])._loops is steady
    assert (rows(both[0])["width"] > 0).any() == (name != "sparse")
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
    monkeypatch.setattr(blocks, "_PART_LEAST", 100)
    monkeypatch.setattr(blocks, "_PER_SUM", 0)
    sims = [learner(GRAPHS["sparse"], compiled="always", threads=threads) for threads in (1, 2)]
    for sim in sims:
        sim.run(until=36, sampled=())
    assert rows(sims[0])["part"].max() > 0
    assert [bool(engine(sim)._net.terms["parts"][0]) for sim in sims] == [False, True]
    assert bits(sims[0]) == bits(sims[1])


def beside_a_matrix() -> nx.DiGraph:
    """Return a sparse recurrent network all of whose neurons are driven by a matrix too."""
    graph = nx.DiGraph()
    graph.add_node("in", model="input", size=12)
    graph.add_node("x", size=60, role="output")
    graph.add_edge("in", "x", weight={"normal": 0.3}, delay=1)
    times = {"uniform": [1, 5]}
    graph.add_edge("x", "x", connect="random", in_degree=20, weight={"normal": 0.2}, delay=times)
    return graph


def test_parts_may_be_computed_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that one adds to is another's, matrices' neither: threads need not wait for one another."""
    monkeypatch.setattr(blocks, "_PART_LEAST", 100)
    monkeypatch.setattr(blocks, "_PER_SUM", 0)
    sims = [learner(beside_a_matrix(), compiled="always", threads=threads) for threads in (1, 2, 2)]
    backwards = engine(sims[2])

    def sweep(tick: int) -> None:
        for part in reversed(range(len(backwards._net.blocks.scratch))):
            sweep_part(backwards._net, tick, part)

    monkeypatch.setattr(backwards, "_sweep", sweep)
    for sim in sims:
        sim.run(until=36, sampled=())
    assert (rows(sims[0])["width"] > 0).any()
    assert rows(sims[0])["part"].max() > 0
    assert bits(sims[0]) == bits(sims[1]) == bits(sims[2])


def test_sums_do_not_depend_on_the_parts_of_a_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is in one part; what its sources hear is the sum of the parts', to round-off."""
    whole = learner(GRAPHS["sparse"], compiled="always", dtype="float64")
    monkeypatch.setattr(blocks, "_PART_LEAST", 50)
    monkeypatch.setattr(blocks, "_PER_SUM", 0)
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
    assert chosen(compiled="always") == "Compiled"


def test_large_networks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hlsim.engine.build, "_LEAST_SYNCHRONOUS", 10)
    assert chosen() == "Compiled"
    assert chosen(compiled="never") == "Batched"


def test_without_the_compiler_everything_runs_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hlsim.engine.build, "_LEAST_SYNCHRONOUS", 10)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert chosen() == "Batched"
    with pytest.raises(ExperimentError, match="compiled: always needs numba"):
        chosen(compiled="always")


class Own(Hamiltonian):
    """A copy of a rule: what is compiled is its formulas, whoever it is."""


def test_a_rule_of_ones_own_has_the_bits_of_the_one_it_copies() -> None:
    sims = [learner(GRAPHS["sparse"], compiled="always") for _ in range(2)]
    sims[1] = Simulation(
        GRAPHS["sparse"],
        rule=Own(beta=0.01, eta=0.4),
        node_defaults={"update": "clock"},
        compiled="always",
    )
    sims[1].env.process(feed(sims[1], 1))
    for sim in sims:
        sim.run(until=36, sampled=())
        assert engine(sim)._loops is steady
    assert bits(sims[0]) == bits(sims[1])


def curved(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A loss of one's own."""
    return ((y - target) ** 4).sum(-1) / 4


@pytest.mark.parametrize("order", ["explicit", "sequential"])
def test_the_gradient_of_ones_own_loss_is_asked_for(order: str) -> None:
    mine, other = (
        learner(GRAPHS["leaky"], order, compiled=mode, dtype="float64", loss=Custom(curved))
        for mode in ("always", "never")
    )
    for sim in (mine, other):
        sim.run(until=36, sampled=())
    assert engine(mine)._loops is steady
    for field in ("h", "z", "a", "w", "omega"):
        assert_close(mine.read(field), other.read(field))
    assert np.abs(mine.read("omega")).max() > 1e-3


def test_what_ones_own_loss_raises_ends_the_run() -> None:
    def fails(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such loss")

    sim = learner(GRAPHS["leaky"], compiled="always", loss=Custom(fails))
    with pytest.raises(ValueError, match="no such loss"):
        sim.run(until=36, sampled=())
    assert sim.tick < 10


def test_importing_hlsim_does_not_start_the_compiler() -> None:
    code = "import sys, hlsim.cli; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
