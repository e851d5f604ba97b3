"""Running: an idle network (E), start-up (G), an ensemble (H)."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import networkx as nx

import hlsim
from hlsim import experiment
from workloads.rows import Case, Figures, medians

TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"


def idle(repeats: int) -> Figures:
    """Measure a network in which nothing happens."""
    times = []
    for _ in range(repeats):
        graph = hlsim.topology.layered([100, 100, 10], delay=3)
        sim = hlsim.Simulation(graph, loss=None)
        start = time.process_time()
        sim.run(until=10**9, sampled=())
        times.append(time.process_time() - start)
    taken = statistics.median(times) * 1e3
    return Figures(taken, 10.0, "ms", taken)


def bundled(side: int) -> Callable[[int], Figures]:
    """Return the measurement of a start-up from two populations."""

    def start() -> None:
        graph = nx.DiGraph()
        graph.add_node("a", size=side)
        graph.add_node("b", size=side)
        graph.add_edge("a", "b", weight={"normal": 0.1})
        hlsim.Simulation(graph, loss=None)

    def measure(repeats: int) -> Figures:
        (mine,) = medians(repeats, start)
        return Figures(mine, 2.0, "s", mine)

    return measure


def singly(side: int) -> Callable[[int], Figures]:
    """Return the measurement of a start-up from a graph with an edge each, beside building that graph."""
    made: list[nx.DiGraph] = []

    def build() -> None:
        graph = nx.DiGraph()
        graph.add_nodes_from(f"a[{i}]" for i in range(side))
        graph.add_nodes_from(f"b[{i}]" for i in range(side))
        graph.add_edges_from(
            (f"a[{i}]", f"b[{j}]", {"weight": 0.1}) for i in range(side) for j in range(side)
        )
        made[:] = [graph]

    def measure(repeats: int) -> Figures:
        building, mine = medians(repeats, build, lambda: hlsim.Simulation(made[0], loss=None) and None)
        return Figures(mine, building, "s", mine / building)

    return measure


def ensemble(members: int, rows: int) -> Callable[[int], Figures]:
    """Return the measurement of replicas with synapses of their own, beside as many runs."""

    def run(count: int) -> None:
        settings = (f"simulation.ensemble={count}", "simulation.seed=0", "stage.test.rows=1")
        plan = experiment.load(
            TOPOLOGIES / "digits", [*settings, "stage.train.passes=1", f"stage.train.rows={rows}"]
        )
        plan.simulation().run(sampled=())

    def measure(repeats: int) -> Figures:
        together, alone = medians(repeats, lambda: run(members), lambda: run(1))
        return Figures(together, alone * members, "s", alone * members / together)

    return measure


E = (Case("idle network, 1e9 ticks", idle, 10.0),)
_G = "start-up,"
G = tuple(
    case
    for side, quick in ((300, True), (1_000, False))
    for case in (
        Case(f"{_G} {side * side:,} synapses of populations", bundled(side), 2.0, quick=quick),
        Case(
            f"{_G} {side * side:,} synapses, an edge each, against networkx's own time",
            singly(side),
            1.0,
            quick=quick,
        ),
    )
)
_H = "digits networks as an ensemble, against one after another"
H = (
    Case(f"16 {_H}", ensemble(16, 20), 10.0, True),
    Case(f"64 {_H}", ensemble(64, 100), 10.0, True, quick=False),
)
