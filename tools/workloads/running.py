"""Running: an idle network (E), start-up (G), an ensemble (H)."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

import hlsim
from hlsim import experiment
from workloads.rows import Row, medians

TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"


def workload_e(_quick: bool, repeats: int) -> Iterator[Row]:
    """A network in which nothing happens."""
    times = []
    for _ in range(repeats):
        graph = hlsim.topology.layered([100, 100, 10], delay=3)
        sim = hlsim.Simulation(graph, loss=None)
        start = time.perf_counter()
        sim.run(until=10**9, sampled=())
        times.append(time.perf_counter() - start)
    taken = statistics.median(times) * 1e3
    yield Row("E", "idle network, 1e9 ticks", taken, 10.0, "ms", taken, 10.0, at_least=False)


def workload_g(quick: bool, repeats: int) -> Iterator[Row]:
    """From a graph to a simulation."""
    side = 300 if quick else 1000

    def bundled() -> None:
        graph = nx.DiGraph()
        graph.add_node("a", size=side)
        graph.add_node("b", size=side)
        graph.add_edge("a", "b", weight={"normal": 0.1})
        hlsim.Simulation(graph, loss=None)

    made: list[nx.DiGraph] = []

    def build() -> None:
        graph = nx.DiGraph()
        graph.add_nodes_from(f"a[{i}]" for i in range(side))
        graph.add_nodes_from(f"b[{i}]" for i in range(side))
        graph.add_edges_from(
            (f"a[{i}]", f"b[{j}]", {"weight": 0.1}) for i in range(side) for j in range(side)
        )
        made[:] = [graph]

    mine, building, singly = medians(
        repeats, bundled, build, lambda: hlsim.Simulation(made[0], loss=None) and None
    )
    synapses = f"{side * side:,} synapses"
    yield Row("G", f"start-up, {synapses} of populations", mine, 2.0, "s", mine, 2.0, at_least=False)
    what = f"start-up, {synapses}, an edge each, against networkx's own time"
    yield Row("G", what, singly, building, "s", singly / building, 1.0, at_least=False)


def workload_h(quick: bool, repeats: int) -> Iterator[Row]:
    """Replicas with synapses of their own, side by side."""
    rows, members = (20, 16) if quick else (100, 64)

    def run(count: int, seed: int = 0) -> None:
        settings = (f"simulation.ensemble={count}", f"simulation.seed={seed}", "stage.test.rows=1")
        plan = experiment.load(
            TOPOLOGIES / "digits", [*settings, "stage.train.passes=1", f"stage.train.rows={rows}"]
        )
        plan.simulation().run(sampled=())

    together, alone = medians(repeats, lambda: run(members), lambda: run(1))
    what = f"ensemble of {members} digits networks, against one after another"
    yield Row("H", what, together, alone * members, "s", alone * members / together, 10.0)
