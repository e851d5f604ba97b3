"""The same network gives the same bits, however it was built, whoever watches, and however it is run."""

import json
import os
from collections.abc import Generator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation, topology
from hlsim.stimulus import Arrays, Stage
from hlsim.trace.reader import Trace
from tests.support.graphs import KINDS, SAMPLED, Case, build, cases, run

EXAMPLES = 40 if os.environ.get("HLSIM_VERIFY") == "1" else 4
TICKS = 30
# What tells when a run was made, and how long it took.
WALL_CLOCK = {"start", "end", "wall_s"}
kinds = pytest.mark.parametrize("kind", KINDS)


def contents(trace: Trace, *without: str) -> dict[str, Any]:
    """Return every dataset and attribute as bytes or text, but for wall-clock time and those named."""
    values = {name: trace[name] for name in trace.names() if not name.startswith("log/")}
    attributes = trace.attrs | json.loads(trace.attrs["summary"])
    return {
        **{name: (array.shape, array.tobytes()) for name, array in values.items() if name not in without},
        **{name: str(x) for name, x in attributes.items() if name not in {*WALL_CLOCK, "summary"}},
    }


def assert_same_bits(one: Trace, two: Trace, *without: str) -> None:
    mine, other = contents(one, *without), contents(two, *without)
    assert mine.keys() == other.keys()
    assert [name for name in mine if mine[name] != other[name]] == []


def assert_same_state(one: Simulation, two: Simulation) -> None:
    for name in SAMPLED:
        assert one.read(name).tobytes() == two.read(name).tobytes(), name
    for name, count in one.counts().items():
        assert (count == two.counts()[name]).all(), name


# ---- the order of insertion


def shuffled(graph: nx.MultiDiGraph, order: np.random.Generator) -> nx.MultiDiGraph:
    """Return the graph built in another order, but for that of inputs and outputs, which name columns."""
    nodes = [str(node) for node in order.permutation(list(graph))]
    for role in ("input", "output"):
        columns = [
            node for node in graph if role in (graph.nodes[node].get("role"), graph.nodes[node]["model"])
        ]
        places = sorted(nodes.index(node) for node in columns)
        for place, node in zip(places, columns, strict=True):
            nodes[place] = node
    other = nx.MultiDiGraph()
    other.add_nodes_from((node, graph.nodes[node]) for node in nodes)
    edges = list(graph.edges(keys=True, data=True))
    for i in order.permutation(len(edges)):
        source, target, key, data = edges[i]
        other.add_edge(source, target, key=key, **data)
    return other


@kinds
@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_the_order_of_insertion_changes_not_one_bit(kind: str, engine: str) -> None:
    moved = []

    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(0, 1000))
    def check(case: Case, order: int) -> None:
        other = Case(shuffled(case.graph, np.random.default_rng(order)), case.options, case.script)
        moved.append(list(other.graph.edges(keys=True)) != list(case.graph.edges(keys=True)))
        # The graph as it was given stands in the trace too, in its own order.
        one, two = (run(each, TICKS, engine=engine)[1] for each in (case, other))
        assert_same_bits(one, two, "network/graph")

    check()
    assert any(moved)


# ---- who watches


@kinds
def test_recording_changes_not_one_bit(kind: str) -> None:
    """Everything at every tick, little now and then, or nothing at all: the state afterwards is the same."""

    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(2, 20))
    def check(case: Case, every: int) -> None:
        watched, _ = run(case, TICKS)
        for sampled, events in (SAMPLED, ()), (("z", "w"), ("message",)), ((), ()):
            sim = build(case)
            sim.run(until=TICKS, every={"default": every, "w": 3}, sampled=sampled, events=events)
            assert_same_state(sim, watched)

    check()


@kinds
def test_an_idle_process_of_a_user_changes_not_one_bit(kind: str) -> None:
    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.sampled_from((1, 3, 0.3)))
    def check(case: Case, pause: float) -> None:
        def idle(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
            while True:
                yield env.timeout(pause)

        sim = build(case)
        sim.env.process(idle(sim.env))
        trace = sim.run(until=TICKS, every=1, events=("message", "update"))
        assert_same_bits(trace, run(case, TICKS)[1])

    check()


# ---- how it is run


def rows(trace: Trace, cut: int) -> list[tuple]:
    """Return the events of a trace without messages that are under way when a run is cut."""
    names = ("tick", "kind", "edge", "node", "sent")
    # As bytes: the value of an update is NaN, which differs from itself.
    values = [value.tobytes() for value in trace["events/value"]]
    events = zip(*(trace[f"events/{name}"].tolist() for name in names), values, strict=True)
    return [row for row in events if row[1] == 2 or not row[4] < cut <= row[0]]


@kinds
def test_where_a_run_is_cut_changes_not_one_bit(kind: str) -> None:
    """run(until=a), run(until=b) is run(until=b): the samples stand in two traces, what follows is the same.

    A trace holds the messages that arrived during its run; what was under way at the cut is in neither.
    """

    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(1, TICKS - 1))
    def check(case: Case, cut: int) -> None:
        whole, trace = run(case, TICKS)
        sim = build(case)
        parts = [sim.run(until=until, every=1, events=("message", "update")) for until in (cut, TICKS)]
        assert_same_state(sim, whole)
        for name in ("tick", *SAMPLED):
            joined = np.concatenate([part[f"sampled/{name}"] for part in parts])
            assert joined.tobytes() == trace[f"sampled/{name}"].tobytes(), name
        assert [row for part in parts for row in rows(part, cut)] == rows(trace, cut)

    check()


LAYERS = topology.layered([300, 250, 10], populations=True, bias=0.0, model="instant")
SCATTERED = topology.random(400, in_degree=100, delay=(0, 5), inputs=100, outputs=100, bias=0.0)


@pytest.mark.parametrize("update", ["clock", "arrival"])
@pytest.mark.parametrize("graph", [LAYERS, SCATTERED], ids=["dense", "sparse"])
def test_the_number_of_threads_changes_not_one_bit(graph: nx.DiGraph, update: str) -> None:
    """On networks large enough for torch to share its work out (2**15 numbers), in float32."""
    one, two = (learner(graph, update, threads).run(until=4, every=3) for threads in (1, 2))
    assert np.abs(one["sampled/omega"]).max() > 0
    assert_same_bits(one, two)


@pytest.mark.parametrize("batch", [3, 16])
@pytest.mark.parametrize("graph", [LAYERS, SCATTERED], ids=["dense", "sparse"])
def test_the_number_of_threads_changes_not_one_bit_of_a_batch(graph: nx.DiGraph, batch: int) -> None:
    """Sums of a product of two matrices may be shared out otherwise among other numbers of threads."""
    one, two = (learner(graph, "clock", threads, batch).run(until=4, every=3) for threads in (1, 2))
    assert_same_bits(one, two)


def learner(graph: nx.DiGraph, update: str, threads: int, batch: int = 1) -> Simulation:
    sim = Simulation(graph, threads=threads, batch=batch, node_defaults={"update": update})
    generator = np.random.default_rng(1)
    sim.controls.input(generator.normal(size=(batch, len(sim.network.inputs))))
    sim.controls.target(generator.normal(size=(batch, len(sim.network.outputs))))
    return sim


# ---- what does change bits


def test_two_runs_with_one_seed_are_the_same_and_with_another_are_not() -> None:
    """Across everything that is drawn: weights, delays, connections, the order of rows."""

    def simulate(seed: int) -> Trace:
        graph = topology.random(12, 4, draw=False, delay=(1, 6), inputs=2, outputs=2)
        numbers = np.random.default_rng(0)
        stream = Arrays(numbers.normal(size=(30, 2)), numbers.normal(size=(30, 2)))
        stages = [Stage(shuffle=True)]
        return Simulation(graph, stimulus=stream, stages=stages, hold=2, seed=seed).run(every=1)

    first, again, other = simulate(3), simulate(3), simulate(4)
    assert_same_bits(first, again)
    assert (first["stimulus/input"] != other["stimulus/input"]).any()
    assert (first["network/weight0"] != other["network/weight0"]).any()
