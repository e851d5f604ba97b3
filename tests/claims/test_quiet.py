"""A network is quiet when nothing would happen any more if nobody touched it: the same in all engines."""

from collections.abc import Generator, Mapping
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim.engine import build
from hlsim.errors import NumericalError, NumericalWarning
from hlsim.models.rules import Equilibrium
from hlsim.stimulus import Arrays
from tests.support.agreement import BATCHED, COMPILED, REFERENCE

Options = Mapping[str, Any]
ENGINES: tuple[Options, ...] = (BATCHED, COMPILED, REFERENCE)
engines = pytest.mark.parametrize("engine", ENGINES, ids=["batched", "compiled", "reference"])


@pytest.fixture(autouse=True, scope="module")
def compile_whatever_can_be() -> Generator[None]:
    """Networks too whose neurons are all synchronous, which torch would run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "synchronous_throughout", lambda *_: False)
        yield


def net(node: dict[str, Any], seed: int = 0) -> nx.Graph:
    """Return an input, a neuron that is fed by it and another that the stimulus feeds directly, coupled."""
    rng = np.random.default_rng(seed)
    graph = nx.Graph()
    graph.add_node("x", model="input")
    graph.add_node("a", **node)
    graph.add_node("b", **{"role": "input", **node})
    graph.add_node("c", **{"role": "output", **node})
    for u, v in (("x", "a"), ("a", "b"), ("b", "c"), ("a", "c")):
        graph.add_edge(u, v, weight=float(0.4 * rng.normal()), delay=int(rng.integers(1, 7)))
    return graph


def settle(
    graph: nx.Graph, engine: Options, nudge: float = 0.0, touch: int = 200
) -> tuple[int, int, int, np.ndarray]:
    """Touch a network at rest; return when it is quiet, the sends by then and at tick 800, and h."""
    sim = hlsim.Simulation(graph, rule=Equilibrium(), dtype="float64", **engine)
    found: list[int] = []

    def ask() -> Generator[simpy.Event]:
        sim.controls.target(np.full(len(sim.network.outputs), 0.5))
        sim.controls.nudge(nudge)
        yield sim.env.timeout(touch)
        sim.controls.input(np.full(2, 0.7))
        yield sim.controls.quiet(sim.env)
        found.extend((int(sim.env.now) - 1, int(sim.counts()["state"].sum())))

    sim.env.process(ask())
    sim.run(until=800, sampled=())
    assert found, "never quiet"
    return found[0], found[1], int(sim.counts()["state"].sum()), sim.read("h")[0]


nodes = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["leaky", "instant"]),
        "update": st.sampled_from(["clock", "arrival"]),
        "send_threshold": st.sampled_from([1e-3, 1e-6]),
        "send_interval": st.sampled_from([1, 3]),
        "activation": st.sampled_from(["tanh", "sigmoid"]),
    }
)


@settings(max_examples=25)
@given(nodes, st.integers(0, 5), st.sampled_from([0.0, 0.3]), st.integers(0, 100))
def test_after_it_nothing_is_sent_and_all_engines_tell_it_at_the_same_tick(
    node: dict[str, Any], extra: int, nudge: float, seed: int
) -> None:
    if node["update"] == "clock":
        node = {**node, "period": 1 + extra % 3, "tau": 4.0} if node["model"] == "leaky" else node
    graph = net(node, seed)
    ticks = []
    for engine in ENGINES:
        tick, by_then, later, _ = settle(graph, engine, nudge)
        assert by_then == later
        ticks.append(tick)
    assert ticks[0] == ticks[1] == ticks[2]


@engines
def test_a_slow_clock_first_hears_what_it_is_fed(engine: Options) -> None:
    """Nothing makes a clocked neuron due before its time, so that silence means nothing until then."""
    graph = nx.Graph()
    graph.add_node("a", model="instant", update="clock", period=7, phase=3, role="input", send_threshold=1e-9)
    graph.add_node("b", model="instant", update="clock", period=5, role="input", send_threshold=1e-9)
    graph.add_edge("a", "b", weight=0.3, delay=2)
    tick, _, _, h = settle(graph, engine, touch=201)
    assert tick > 206  # "b" has its turn at 205, "a" at 206 = 3 + 29 * 7
    a, b = 0.7, 0.7
    for _ in range(200):
        a, b = np.tanh(0.7 + 0.3 * b), np.tanh(0.7 + 0.3 * a)
    np.testing.assert_allclose(h, [a, b], atol=1e-8)


@engines
def test_a_network_that_goes_on_is_never_quiet(engine: Options) -> None:
    """Two neurons that swap their states."""
    graph = nx.DiGraph()
    node = {"model": "instant", "activation": "identity", "update": "clock", "send_threshold": 1e-9}
    graph.add_node("a", role="input", **node)
    graph.add_node("b", role="input", **node)
    graph.add_edge("a", "b", weight=-1.0, delay=1)
    graph.add_edge("b", "a", weight=1.0, delay=1)
    with pytest.raises(AssertionError, match="never quiet"):
        settle(graph, engine)


@engines
@pytest.mark.parametrize(("reset", "quiet"), [(True, 22), (False, 38)])
def test_what_is_on_its_way_is_waited_for_unless_a_reset_drops_it(
    engine: Options, reset: bool, quiet: int
) -> None:
    """Neurons that send at every tick: a state travels nine ticks twice from tick 20, or is lost."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_nodes_from("ab", model="instant", activation="identity", update="clock")
    graph.add_edge("x", "a", delay=9)
    graph.add_edge("a", "b", delay=9)
    sim = hlsim.Simulation(graph, rule=Equilibrium(), dtype="float64", **engine)
    ticks = []

    def act() -> Generator[simpy.Event]:
        yield sim.env.timeout(20)
        sim.controls.input(np.ones(1))
        yield sim.env.timeout(2)
        if reset:
            sim.controls.reset()
            sim.controls.input(np.zeros(1))
        yield sim.controls.quiet(sim.env)
        ticks.append(int(sim.env.now) - 1)

    sim.env.process(act())
    sim.run(until=60, sampled=())
    assert ticks == [quiet]


# ---- phases that do not come to rest


def diverging(**options: Any) -> hlsim.Simulation:
    """One linear neuron that the loss drives away: under nudge 3 it may be dh/dt = 2 h + ..., for one."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", activation="identity", role="output")
    graph.add_edge("x", "y", weight=0.5)
    rule = hlsim.rules.HolomorphicEquilibrium(nudge=3.0)
    return hlsim.Simulation(graph, rule=rule, stimulus=Arrays([[0.8]], [[1.0]]), **options)


@engines
def test_a_phase_that_diverges_is_not_quiet_however_large_its_numbers(engine: Options) -> None:
    """Beyond the fourth root of the largest number too, at which squares of squares overflow."""
    sim = diverging(**engine, dtype="float64", hold=400)
    with pytest.warns(NumericalWarning, match="4 of 5 phases did not settle in their time"):
        trace = sim.run()
    assert trace["phases/quiet"].tolist() == [1, 0, 0, 0, 0]
    assert abs(sim.read("h")[0, 1]) > 1e100
    assert (trace.summary["phases"], trace.summary["settled"]) == (5, 1)


@engines
@pytest.mark.parametrize("update", ["arrival", "clock"])
def test_a_phase_that_leaves_the_numbers_there_are_stops_the_run_by_name(
    engine: Options, update: str
) -> None:
    with pytest.raises(NumericalError, match=r"tick \d+: node 'y': .* must stay finite"):
        diverging(**engine, dtype="float64", hold=4000, node_defaults={"update": update}).run()
