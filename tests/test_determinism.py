"""The same bits, whatever the order of insertion, the threads, what is watched, and where a run ends."""

from collections.abc import Generator, Mapping
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import hlsim
from hlsim.reading import Trace
from hlsim.rules import Hamiltonian
from tests.graphs import KINDS, Case, build, cases, run

TICKS = 50
# Where wall time and memory are written down.
NOT_THE_RUN = ("log",)


def bits(trace: Trace) -> dict[str, NDArray[Any]]:
    """Every dataset of a trace but those about the machine and the graph as it was given."""
    names = [
        name for name in trace.names() if name.split("/")[0] not in NOT_THE_RUN and name != "network/graph"
    ]
    return {name: trace[name] for name in names}


def assert_same_bits(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert np.array_equal(
            np.asarray(values), np.asarray(other[name]), equal_nan=values.dtype.kind == "f"
        ), name


def shuffled(graph: nx.MultiDiGraph, seed: int) -> nx.MultiDiGraph:
    """The same graph, made in another order; inputs and outputs keep theirs, for the columns of a stream."""
    generator = np.random.default_rng(seed)
    nodes = list(graph.nodes(data=True))
    fixed = [k for k, (_, data) in enumerate(nodes) if data.get("role") or data["model"] == "input"]
    places = np.sort(generator.permutation(len(nodes))[: len(fixed)])
    rest = generator.permutation([k for k in range(len(nodes)) if k not in fixed]).tolist()
    order = [fixed[int(np.searchsorted(places, k))] if k in places else rest.pop() for k in range(len(nodes))]
    other = nx.MultiDiGraph()
    other.add_nodes_from(nodes[k] for k in order)
    edges = list(graph.edges(keys=True, data=True))
    other.add_edges_from(edges[k] for k in generator.permutation(len(edges)))
    return other


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_insertion_changes_no_bit(kind: str) -> None:
    @settings(max_examples=6)
    @given(cases(kind, TICKS), st.integers(0, 1000))
    def same(case: Case, seed: int) -> None:
        other = Case(shuffled(case.graph, seed), case.options, case.script)
        assert_same_bits(bits(run(case, TICKS)[1]), bits(run(other, TICKS)[1]))

    same()


def learner(threads: int, sizes: tuple[int, ...] = (784, 512, 512, 10)) -> hlsim.Simulation:
    graph = hlsim.topology.layered(sizes, populations=True, seed=1, output_activation="identity")
    rows = np.random.default_rng(0)
    stream = hlsim.stimulus.Arrays(rows.normal(size=(6, sizes[0])), rows.normal(size=(6, sizes[-1])))
    defaults = {"update": "clock"}
    return hlsim.Simulation(graph, stimulus=stream, hold=3, threads=threads, node_defaults=defaults)


def test_the_number_of_threads_changes_no_bit_of_a_large_network() -> None:
    one, two = (bits(learner(threads).run(every=3)) for threads in (1, 2))
    assert np.abs(one["sampled/omega"]).max() > 0
    assert_same_bits(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_bit_of_small_networks(kind: str) -> None:
    @settings(max_examples=3)
    @given(cases(kind, TICKS))
    def same(case: Case) -> None:
        one, two = (bits(run(case, TICKS, threads=threads)[1]) for threads in (1, 2))
        assert_same_bits(one, two)

    same()


@pytest.mark.parametrize("kind", KINDS)
def test_watching_stopping_and_neighbours_change_no_bit_of_the_outcome(kind: str) -> None:
    """Sampled or not, events or not, in one run or two, with an idle process beside it."""

    @settings(max_examples=6)
    @given(cases(kind, TICKS), st.integers(1, TICKS - 1), st.integers(2, 9))
    def same(case: Case, stop: int, rate: int) -> None:
        watched = build(case)
        watched.run(until=TICKS, every=1, events=("message", "update"))
        seldom = build(case)
        seldom.run(until=TICKS, every=rate, sampled=["w"])
        halting = build(case)
        halting.run(until=stop, sampled=[])
        halting.run(until=TICKS, sampled=[])
        accompanied = build(case)
        accompanied.env.process(idle(accompanied.env))
        accompanied.run(until=TICKS, sampled=[])
        for other in (seldom, halting, accompanied):
            assert_same_bits(outcome(watched), outcome(other))

    same()


def idle(env: simpy.Environment) -> Generator[simpy.Event]:
    while True:
        yield env.timeout(1)


def outcome(sim: hlsim.Simulation) -> dict[str, NDArray[Any]]:
    fields = {name: sim.read(name) for name in ("h", "z", "a", "w", "omega", "loss")}
    return {**fields, **sim.counts()}


def test_two_runs_with_one_seed_are_the_same_and_with_another_are_not() -> None:
    """Across everything that is drawn: weights, delays, connections, the order of rows."""

    def simulate(seed: int) -> dict[str, NDArray[Any]]:
        graph = hlsim.topology.random(12, 4, draw=False, delay=(1, 6), inputs=2, outputs=2)
        rows = np.random.default_rng(0)
        stream = hlsim.stimulus.Arrays(rows.normal(size=(30, 2)), rows.normal(size=(30, 2)))
        stages = [hlsim.stimulus.Stage(shuffle=True)]
        sim = hlsim.Simulation(graph, rule=Hamiltonian(), stimulus=stream, stages=stages, hold=2, seed=seed)
        return bits(sim.run(every=1))

    first, again, other = simulate(3), simulate(3), simulate(4)
    assert_same_bits(first, again)
    assert (first["stimulus/input"] != other["stimulus/input"]).any()
    assert (first["network/weight0"] != other["network/weight0"]).any()
