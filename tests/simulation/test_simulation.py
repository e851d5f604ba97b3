"""What can be looked at while a network runs, and what leaves it."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim.engine.clock import TICK, call_at
from hlsim.errors import ExperimentError
from hlsim.simulation.watch import Progress
from tests.support.agreement import COMPILED
from tests.support.graphs import Case, build, cases

ENGINES: dict[str, dict[str, Any]] = {
    "reference": {"engine": "reference"},
    "torch": {"engine": "batched", "compiled": "never"},
    "compiled": dict(COMPILED),
}
engines = pytest.mark.parametrize("engine", ENGINES)
FIELDS = ("h", "z", "a", "w", "omega", "loss")


@engines
@pytest.mark.parametrize("kind", ["synchronous", "arrival", "mixed"])
def test_what_is_read_between_two_ticks_is_as_after_the_one_before(kind: str, engine: str) -> None:
    """Whoever looks, and when: what a sample of that tick holds."""

    @settings(max_examples=2)
    @given(cases(kind, 20), st.sampled_from((0.25, 0.5, 0.999)))
    def check(case: Case, between: float) -> None:
        watched, sampled = (build(case, **ENGINES[engine]) for _ in range(2))
        seen: dict[int, dict[str, np.ndarray]] = {}

        def look(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
            yield env.timeout(between)
            for tick in range(20):
                seen[tick] = {name: watched.read(name) for name in FIELDS}
                assert watched.tick == tick + 1
                yield env.timeout(1)

        watched.env.process(look(watched.env))
        watched.run(until=20, sampled=())
        trace = sampled.run(until=20, every=1)
        for name in FIELDS:
            for tick in range(19):
                expected = trace[f"sampled/{name}"][tick]
                np.testing.assert_array_equal(seen[tick][name].reshape(expected.shape), expected)

    check()


@engines
def test_progress_sees_the_tick_that_it_tells(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two neurons of one equation one is due at every tick, the other seldom; they read alike."""
    monkeypatch.setattr("hlsim.simulation.watch.PULSE_S", 0.0)
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    for name, threshold in (("often", 0.0), ("seldom", 10.0)):
        graph.add_node(name, tau=2.0, activation="identity", send_threshold=threshold)
        graph.add_node(f"after {name}")
        graph.add_edge("x", name, weight=1.0, plastic=False)
        graph.add_edge(name, f"after {name}")
    sim = hlsim.Simulation(graph, dtype="float64", loss=None, **ENGINES[engine])
    sim.controls.input(np.array([1.0]))
    told: list[tuple[int, float, float]] = []
    at = [sim.network.label.index(name) for name in ("often", "seldom")]

    def progress(now: Progress) -> None:
        told.append((now.tick, *sim.read("h")[0, at]))

    sim.run(until=6, progress=progress)
    for tick, often, seldom in told[:-1]:
        assert often == pytest.approx(1 - np.exp(-tick / 2), rel=1e-12)
        assert seldom == pytest.approx(often, rel=1e-12)
    assert sorted({tick for tick, *_ in told}) == [0, 1, 2, 3, 4, 5, 6]


@engines
@pytest.mark.parametrize("kind", ["synchronous", "arrival", "mixed"])
def test_what_leaves_a_simulation_is_a_copy(kind: str, engine: str) -> None:
    """What was read before stays as it was while the run goes on; to write on it changes no run."""

    @settings(max_examples=2)
    @given(cases(kind, 30))
    def check(case: Case) -> None:
        sim, other = (build(case, **ENGINES[engine]) for _ in range(2))
        sim.run(until=10)
        other.run(until=10)
        given_out = {**sim.counts(), **{name: sim.read(name) for name in FIELDS}}
        kept = {name: array.copy() for name, array in given_out.items()}
        sim.run(until=20)
        for name, array in given_out.items():
            np.testing.assert_array_equal(array, kept[name])
            array[...] = 77
        counts = sim.counts()
        for array in (counts["state"], *sim.traffic(), sim.read("w")):
            array[...] = 77
        sim.run(until=30)
        other.run(until=30)
        for name in FIELDS:
            np.testing.assert_array_equal(sim.read(name), other.read(name))
        for name, array in other.counts().items():
            np.testing.assert_array_equal(sim.counts()[name], array)

    check()


@engines
@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_a_difference_of_two_counts_is_what_was_sent_between(update: str, engine: str) -> None:
    sim = hlsim.Simulation(
        hlsim.topology.layered([20, 20, 5], delay=1), node_defaults={"update": update}, **ENGINES[engine]
    )
    sim.controls.input(np.ones(20))
    sim.controls.target(np.ones(5))
    sim.run(until=10)
    before = sim.counts()
    traces = [sim.run(until=40, sampled=(), events=("message",))]
    between = {name: sim.counts()[name] - before[name] for name in ("state", "costate")}
    traces.append(sim.run(until=41, sampled=(), events=("message",)))
    kind, edge, sent = (
        np.concatenate([trace[f"events/{name}"] for trace in traces]) for name in ("kind", "edge", "sent")
    )
    for number, (name, end) in enumerate((("state", sim.network.source), ("costate", sim.network.target))):
        mine = (kind == number) & (sent >= 10) & (sent < 40)
        told = np.unique(np.stack([end[edge[mine]], sent[mine]]), axis=1)[0]
        fans_out = np.isin(np.arange(sim.network.n), end[edge[kind == number]])
        expected = np.bincount(told, minlength=sim.network.n)
        np.testing.assert_array_equal(between[name][0][fans_out], expected[fans_out])
        assert expected.sum() > 20


# ---- two at a time


def short(seed: int) -> hlsim.Simulation:
    sim = hlsim.Simulation(hlsim.topology.ring(8, seed=seed), seed=seed, loss=None)
    sim.controls.input(np.array([1.0]))
    return sim


def test_a_run_within_a_run_is_a_run_of_its_own() -> None:
    """Both in memory: an inner loop, or a world that is simulated beside the network."""
    outer, inner, alone = short(1), short(2), short(2)

    def nested(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        yield env.timeout(5)
        mine.append(inner.run(until=10, every=1)["sampled/h"])

    mine: list[np.ndarray] = []
    outer.env.process(nested(outer.env))
    trace = outer.run(until=20, every=1)
    np.testing.assert_array_equal(mine[0], alone.run(until=10, every=1)["sampled/h"])
    np.testing.assert_array_equal(trace["sampled/h"], short(1).run(until=20, every=1)["sampled/h"])


def test_runs_in_two_threads_are_runs_of_their_own() -> None:
    def work(seed: int) -> list[bytes]:
        return [short(seed).run(until=50, every=1)["sampled/h"].tobytes() for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, (3, 4)))
    assert found == [work(3), work(4)]


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_compiling_is_told_if_it_takes_its_time_and_is_not_the_runs(
    patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hlsim.simulation.watch._PATIENCE", patience)
    sim = hlsim.Simulation(hlsim.topology.ring(4))
    told: list[Progress] = []
    began = threading.Event()

    def hear(now: Progress) -> None:
        told.append(now)
        began.set()

    # A clock on which compiling takes a quarter of an hour.
    late, now_of = [0.0], time.perf_counter
    monkeypatch.setattr("hlsim.simulation.simulation.time.perf_counter", lambda: now_of() + late[0])

    def prepare() -> None:
        began.wait(5.0 if patience == 0 else 0.0)
        late[0] = 900.0

    monkeypatch.setattr(sim._engine, "prepare", prepare)
    trace = sim.run(until=3, progress=hear)
    assert [now.compiling for now in told].count(True) == (patience == 0)
    assert told[0].compiling == (patience == 0)
    assert not told[-1].compiling
    assert trace.summary["wall_s"] < 600


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"batch": 10**11},
            r"^simulation: 100000000000 replicas of 2 nodes: needs \S+ bytes of memory, this",
        ),
        (
            {"ensemble": 10**11},
            r"^graph: 100000000000 seeds: needs \S+ bytes of memory, this process may have",
        ),
        ({"threads": 10**6}, r"^simulation.threads: must be a whole number >= 1 and < \d+, got 1000000$"),
        (
            {"hold": 2**53},
            r"^simulation.hold: must be a whole number >= 1 and < 2\*\*53 = 9007199254740992, got",
        ),
        ({"seed": 2**63}, r"^seed: must be a whole number >= 0 and < 2\*\*63 = 9223372036854775808, got"),
    ],
)
def test_what_no_machine_has_is_refused_before_it_is_taken(given: dict[str, Any], message: str) -> None:
    clock = {"update": "clock"}
    with pytest.raises(ExperimentError, match=message):
        hlsim.Simulation(hlsim.topology.layered([1, 1]), node_defaults=clock, **given)


def test_a_trace_ends_with_its_run_where_rows_are_over_early() -> None:
    """The first sample that lies beyond the end was planned when nobody knew of the end; others run on."""
    graph = hlsim.topology.layered([1, 3, 1], model="leaky").to_undirected()
    stream = hlsim.stimulus.Arrays(np.ones((2, 1)), np.zeros((2, 1)))
    sim = hlsim.Simulation(
        graph,
        rule=hlsim.rules.Equilibrium(beta=0.1),
        stimulus=stream,
        hold=400,
        dtype="float64",
        node_defaults={"update": "arrival", "send_threshold": 0.05},
    )
    first = sim.run(every=7)
    end = sim.tick
    assert end % 7 != 1
    sim.run(until=end + 100)
    assert first["sampled/tick"].tolist() == list(range(0, end, 7))


def test_a_halt_ends_a_run_between_two_ticks_and_changes_nothing() -> None:
    """Asked for in the middle of a tick, whose phases are run to their end."""
    halted, whole = (
        hlsim.Simulation(
            hlsim.topology.ring(4, seed=0), loss=None, node_defaults={"update": "clock"}, **ENGINES["torch"]
        )
        for _ in range(2)
    )
    call_at(halted.env, 7, TICK - 1, halted.env.halt)
    halted.env.run(until=20)
    assert halted.tick == 8
    for sim in (halted, whole):
        sim.env.run(until=20)
    mine, other = halted.state(), whole.state()
    assert mine.keys() == other.keys()
    assert all(mine[name].tobytes() == other[name].tobytes() for name in mine)
