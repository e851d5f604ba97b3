"""Beginning: imports and the command line, and from a graph to an engine (I)."""

import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import networkx as nx
import numpy as np

import hlsim
from hlsim.topology.network import flatten
from workloads.rows import Case, Figures, medians
from workloads.sparse import halves


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


def _beside_torch(*arguments: str) -> Callable[[int], Figures]:
    def measure(repeats: int) -> Figures:
        torch, own = _cpu(repeats, ["-c", "import torch"], list(arguments))
        return Figures(own, torch, "s", own / torch)

    return measure


def _alone(*arguments: str) -> Callable[[int], Figures]:
    def measure(repeats: int) -> Figures:
        (taken,) = _cpu(repeats, list(arguments))
        return Figures(taken, taken, "s", taken)

    return measure


def _start(synapses: int, degree: int) -> Callable[[int], Figures]:
    def measure(repeats: int) -> Figures:
        graph = halves(synapses // degree, degree, update="clock", tau=1.0)

        def build() -> None:
            hlsim.Simulation(graph, loss=None)

        (taken,) = medians(repeats, build)
        return Figures(taken, taken, "s", taken)

    return measure


def _peak(synapses: int) -> Callable[[int], Figures]:
    def measure(_: int) -> Figures:
        tracemalloc.start()
        hlsim.Simulation(halves(synapses // 100, 100, update="clock", tau=1.0), loss=None)
        peak = tracemalloc.get_traced_memory()[1] / synapses
        tracemalloc.stop()
        return Figures(peak, peak, "bytes a synapse", peak)

    return measure


def _singly(edges: int) -> Callable[[int], Figures]:
    """Edges of one number each, between neurons drawn at random."""

    def measure(repeats: int) -> Figures:
        rng, n = np.random.default_rng(0), edges // 100
        sources, targets = rng.integers(n, size=edges), np.repeat(np.arange(n), 100)
        pairs, made = list(zip(sources.tolist(), targets.tolist(), strict=True)), [nx.DiGraph()]

        def build() -> None:
            made[0] = nx.DiGraph()
            made[0].add_edges_from(pairs, weight=0.1, delay=1)

        def check() -> None:
            flatten(made[0])

        building, checking = medians(repeats, build, check)
        return Figures(checking, building, "s", checking / building)

    return measure


def _groups(most: int, of: int) -> Callable[[int], Figures]:
    """A chain of groups: time (0) or memory (1) of a build and a run of a few ticks."""

    def measure(_: int) -> Figures:
        few, many = (_chain(count)[of] for count in (most // 4, most))
        return Figures(many, few, ("s", "MB")[of], many / few)

    return measure


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


def _sizes(what: str, measure: Callable[[int], Callable[[int], Figures]], target: float) -> list[Case]:
    return [
        Case(f"{size:,} {what}", measure(size), target, quick=size < 1_000_000)
        for size in (100_000, 1_000_000)
    ]


BEGINNING = [
    Case("import hlsim, against torch alone", _beside_torch("-c", "import hlsim"), 1.15),
    Case(
        "import hlsim and what runs a network, against torch alone",
        _beside_torch("-c", "import hlsim; hlsim.Simulation"),
        1.5,
    ),
    Case("hlsim run --help", _alone("-m", "hlsim", "run", "--help"), 0.4),
    Case("an unknown command", _alone("-m", "hlsim", "nonesuch"), 0.4),
    *_sizes("drawn synapses, 100 a neuron: start-up, engine built", lambda size: _start(size, 100), 0.8),
    *_sizes("drawn synapses, 10 a neuron: start-up, engine built", lambda size: _start(size, 10), 0.8),
    *_sizes("drawn synapses: peak of memory of the start-up", _peak, 100.0),
    *_sizes("edges checked and laid out, against networkx's own time", _singly, 1.0),
    Case("4,000 groups, time, against 1,000", _groups(4000, 0), 5.0),
    Case("4,000 groups, peak of memory, against 1,000", _groups(4000, 1), 5.0),
]
