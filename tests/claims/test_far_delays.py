"""Delays, periods and intervals are whole numbers below 2**53: right at any of them, and cheap."""

import tracemalloc
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

import hlsim
from hlsim.engine.circuit import plan
from hlsim.engine.compiled import arrays
from tests.claims.test_determinism import assert_same_bits
from tests.support.agreement import COMPILED
from tests.support.graphs import Case, cases, fixed, run

ENGINES: dict[str, dict[str, Any]] = {
    "reference": {"engine": "reference"},
    "torch": {"engine": "batched", "compiled": "never"},
    "compiled": dict(COMPILED),
}
engines = pytest.mark.parametrize("engine", ENGINES)
# Around what fits 31, 32 and 40 bits, and the largest; not one is a round number.
FAR = (2**31 - 2, 2**31 + 3, 2**32 + 5, 2**40 + 9, 2**53 - 1)
fars = pytest.mark.parametrize("far", FAR)


@engines
@fars
def test_messages_arrive_after_their_delay_both_ways(far: int, engine: str) -> None:
    """x -> y -> o at rest otherwise: y hears x at d, o hears y at d + 3, y hears the error at 2 d + 3."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    for name, more in (("y", {}), ("o", {"role": "output"})):
        graph.add_node(
            name, model="instant", activation="identity", send_threshold=1e-9, costate_threshold=1e-9, **more
        )
    graph.add_edge("x", "y", weight=2.0, delay=far)
    graph.add_edge("y", "o", weight=0.5, delay=3, feedback_delay=far)
    sim = hlsim.Simulation(graph, dtype="float64", **ENGINES[engine])
    sim.controls.learn(False)
    sim.controls.input(np.array([1.5]))
    sim.controls.target(np.array([0.25]))
    trace = sim.run(until=2 * far + 10, sampled=(), events=("message",))
    found = list(
        zip(*(trace[f"events/{name}"].tolist() for name in ("sent", "tick", "kind", "value")), strict=True)
    )
    assert found == [
        (0, far, 0, 1.5),
        (0, far, 1, 0.5 * -0.25),
        (far, far + 3, 0, 3.0),
        (far + 3, 2 * far + 3, 1, 0.5 * (1.5 - 0.25)),
    ]
    assert sim.counts()["in_flight"][0] == 0


@engines
@fars
def test_a_clock_may_tick_as_seldom(far: int, engine: str) -> None:
    """One that ticks at phase, phase + period; and one on arrival that may not send again before."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("seldom", update="clock", period=far, phase=far - 7, tau=2.0 * far, activation="identity")
    graph.add_node("o", update="clock", period=far, phase=1, tau=2.0 * far)
    graph.add_edge("x", "seldom", weight=1.0)
    graph.add_edge("seldom", "o", weight=1.0)
    rule = hlsim.rules.Hamiltonian(eta=0.0)
    sim = hlsim.Simulation(graph, rule=rule, loss=None, dtype="float64", **ENGINES[engine])
    sim.controls.input(np.array([1.0]))
    trace = sim.run(until=2 * far, sampled=(), events=("update",))
    mine = trace["events/node"] == sim.network.label.index("seldom")
    assert trace["events/tick"][mine].tolist() == [0, far - 7, 2 * far - 7]


@pytest.mark.parametrize("kind", ["arrival"])
def test_whether_a_message_waits_in_a_bucket_or_elsewhere_changes_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled loops on arrival with buckets for 3 ticks: also through resets, with everything recorded."""
    waited = []

    @settings(max_examples=12)
    @given(cases(kind, 60))
    def check(case: Case) -> None:
        near, trace = run(case, 60, **COMPILED)
        with monkeypatch.context() as patch:
            patch.setattr(arrays, "NEAR", 3)
            far, other = run(case, 60, **COMPILED)
        assert_same_bits(other, trace)
        for name, counts in near.counts().items():
            np.testing.assert_array_equal(far.counts()[name], counts)
        waited.append(len(far._engine._net.edges.far) if hasattr(far._engine, "_net") else 0)

    check()
    assert sum(waited) > 5


@pytest.mark.parametrize("compiled", ["never", "always"])
@pytest.mark.parametrize("kind", ["synchronous", "sequential"])
def test_whether_a_delay_is_a_ring_or_single_messages_changes_nothing_but_rounding(
    kind: str, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=5)
    @given(cases(kind, 40))
    def check(drawn: Case) -> None:
        case = fixed(drawn, without=("reset",))
        ring = run(case, 40, compiled=compiled)[1]
        with monkeypatch.context() as patch:
            patch.setattr(plan, "_RING_TICKS", 2)
            patch.setattr(plan, "_RING_BYTES", 0)
            single = run(case, 40, compiled=compiled)[1]
        for name in ("h", "z", "w", "omega"):
            np.testing.assert_allclose(
                single[f"sampled/{name}"], ring[f"sampled/{name}"], rtol=1e-11, atol=1e-12
            )

    check()


@engines
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_a_long_delay_takes_no_memory_before_something_travels(update: str, engine: str) -> None:
    """What is set up for a delay of 10**7 ticks is what is set up for one of 10**4."""
    everything = {"send_threshold": 0.0, "costate_threshold": 0.0}
    own = {"update": update} | (everything if update == "clock" else {})

    def begun(delay: int) -> hlsim.Simulation:
        graph = hlsim.topology.random(30, 3, delay=delay, inputs=3, outputs=2, draw=False)
        sim = hlsim.Simulation(graph, node_defaults=own, **ENGINES[engine])
        sim.controls.input(np.ones(3))
        sim.run(until=5)
        return sim

    begun(1)  # what is compiled is compiled now
    sizes = {}
    for delay in (10**4, 10**7):
        tracemalloc.start()
        sim = begun(delay)
        sizes[delay] = tracemalloc.get_traced_memory()[1] + tensors(sim)
        tracemalloc.stop()
    # A ring over 10**4 ticks is worth it: the bound is on what is more than that.
    assert sizes[10**7] < 1.2 * sizes[10**4] + 2**20


def tensors(sim: hlsim.Simulation) -> int:
    """Return the bytes of all tensors of an engine's projections, which tracemalloc does not see."""
    if not hasattr(sim._engine, "circuit"):
        return 0
    found = [x for pull in sim._engine.circuit.plan.pulls for x in vars(pull).values()]
    return sum(x.numel() * x.element_size() for x in found if hasattr(x, "element_size"))
