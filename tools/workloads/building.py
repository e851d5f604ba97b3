"""Beginning: imports and the command line, and from a graph to an engine (I)."""

import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

import networkx as nx
import numpy as np

import hlsim
from hlsim.topology.network import flatten
from workloads.rows import Row
from workloads.sparse import halves


def workload_i(quick: bool, repeats: int) -> Iterator[Row]:
    """What is done before the first tick."""
    yield from _processes(repeats)
    yield from _sparse(100_000 if quick else 1_000_000, repeats)
    yield from _singly(100_000 if quick else 1_000_000, repeats)
    yield from _groups(1000 if quick else 4000)


def _processes(repeats: int) -> Iterator[Row]:
    torch, package, run, told, wrong = _cpu(
        repeats,
        ["-c", "import torch"],
        ["-c", "import hlsim"],
        ["-c", "import hlsim; hlsim.Simulation"],
        ["-m", "hlsim", "run", "--help"],
        ["-m", "hlsim", "nonesuch"],
    )
    yield Row("I", "import hlsim", package, torch, "s", package / torch, 1.15, at_least=False)
    what = "import hlsim, and what runs a network, against torch alone"
    yield Row("I", what, run, torch, "s", run / torch, 1.5, at_least=False)
    for what, taken in (("hlsim run --help", told), ("an unknown command", wrong)):
        yield Row("I", what, taken, 0.4, "s", taken, 0.4, at_least=False)


def _cpu(repeats: int, *arguments: list[str]) -> list[float]:
    """Return the median CPU seconds of Python with each list of arguments; they take turns."""
    taken: list[list[float]] = [[] for _ in arguments]
    for _ in range(repeats + 1):
        for each, given in zip(taken, arguments, strict=True):
            before = _spent()
            subprocess.run([sys.executable, *given], capture_output=True, check=False)
            each.append(_spent() - before)
    return [statistics.median(each[1:]) for each in taken]


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sparse(synapses: int, repeats: int) -> Iterator[Row]:
    for degree in (100, 10):
        graph = halves(synapses // degree, degree, update="clock", tau=1.0)

        def build(graph: nx.DiGraph = graph) -> None:
            hlsim.Simulation(graph, loss=None)

        (taken,) = _medians(repeats, build)
        what = f"start-up, {synapses // degree:,} x {degree} drawn synapses, engine built"
        yield Row("I", what, taken, 0.8, "s", taken, 0.8, at_least=False)
    tracemalloc.start()
    hlsim.Simulation(halves(synapses // 100, 100, update="clock", tau=1.0), loss=None)
    peak = tracemalloc.get_traced_memory()[1] / synapses
    tracemalloc.stop()
    yield Row("I", "its peak of memory", peak, 100.0, "bytes a synapse", peak, 100.0, at_least=False)


def _medians(repeats: int, *contenders: Callable[[], None]) -> list[float]:
    """Return the median CPU seconds of each contender, after a turn that does not count."""
    taken: list[list[float]] = [[] for _ in contenders]
    for _ in range(repeats + 1):
        for each, contender in zip(taken, contenders, strict=True):
            start = time.process_time()
            contender()
            each.append(time.process_time() - start)
    return [statistics.median(each[1:]) for each in taken]


def _singly(edges: int, repeats: int) -> Iterator[Row]:
    """Edges of one number each, between neurons drawn at random."""
    rng, n = np.random.default_rng(0), edges // 100
    ends = zip(rng.integers(n, size=edges).tolist(), np.repeat(np.arange(n), 100).tolist(), strict=True)
    pairs, made = list(ends), [nx.DiGraph()]

    def build() -> None:
        made[0] = nx.DiGraph()
        made[0].add_edges_from(pairs, weight=0.1, delay=1)

    def check() -> None:
        flatten(made[0])

    building, checking = _medians(repeats, build, check)
    what = f"{edges:,} edges checked and laid out, against networkx's own time"
    yield Row("I", what, checking, building, "s", checking / building, 1.0, at_least=False)


def _groups(most: int) -> Iterator[Row]:
    """A chain of groups: time and memory of a build and a run of a few ticks."""
    _chain(100)  # what is loaded once does not count
    small, large = (_chain(count) for count in (most // 4, most))
    for what, few, many, unit in (
        ("time", small[0], large[0], "s"),
        ("peak of memory", small[1], large[1], "MB"),
    ):
        name = f"{most:,} groups, {what}, against a fourth as many"
        yield Row("I", name, many, few, unit, many / few, 5.0, at_least=False)


def _chain(count: int) -> tuple[float, float]:
    graph = nx.DiGraph()
    for i in range(count):
        graph.add_node(f"n{i}", size=4, group=f"n{i}", tau=2.0)
    for i in range(count):
        for j in (i + 1, i + 7, i + 50):
            graph.add_edge(f"n{i}", f"n{j % count}", weight={"normal": 0.1}, delay=1)
    start = time.process_time()
    hlsim.Simulation(graph, loss=None).run(until=3, sampled=()).close()
    taken = time.process_time() - start
    tracemalloc.start()
    hlsim.Simulation(graph, loss=None).run(until=3, sampled=()).close()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return taken, peak
