"""Long delays, many neurons, many small matrices, and memory (L)."""

import math
from collections.abc import Callable
from multiprocessing import get_context

import networkx as nx

from hlsim.topology.network import Network, flatten
from workloads.kinds import BEGUN
from workloads.memory import resident
from workloads.recording import entertained
from workloads.rivals.wiring import look
from workloads.rows import Case, Figures, Pair, Running, beside
from workloads.sparse import clocked, halves


def stretched(longest: int) -> nx.DiGraph:
    """Return 1,000 neurons with 100 synapses each and delays from 1 to so many ticks."""
    graph = halves(1_000, 100, update="clock", tau=1.0)
    for *_, synapse in graph.edges(data=True):
        synapse["delay"] = {"uniform": [1, longest]}
    return graph


def by_synapse(ours: Network, base: Network, ticks: int, begun: int) -> Pair:
    """Return two networks by time for a synapse, once they have run for so many ticks."""
    sides = [Running(clocked(network), look) for network in (ours, base)]
    for side in sides:
        side.run(begun)
    return Pair(*sides, ticks, ours.m, base.m, unit="ns a synapse", scale=1e9)


def long_delays() -> Pair:
    """Return delays from 1 to 1,000 beside 1 to 50; all are over at the start."""
    return by_synapse(flatten(stretched(1_000)), flatten(stretched(50)), 60, 2_000)


def many_neurons() -> Pair:
    """Return a million synapses on 100,000 neurons beside as many on 10,000."""
    sizes = ((100_000, 10), (10_000, 100))
    return by_synapse(*(flatten(halves(*size, update="clock", tau=1.0)) for size in sizes), 6, BEGUN)


# ---- matrices beside the sparse form


def tiles(width: int, sparse: bool) -> nx.DiGraph:
    """Return 512 neurons in groups of a width, each group wired to all, a delay for each pair of groups.

    Everybody hears all of a group, which makes a matrix; where ``sparse`` is set three quarters of it, each
    neuron others, which makes none.
    """
    graph, count = nx.DiGraph(), 512 // width
    names = [f"group{k}" for k in range(count)]
    for k, name in enumerate(names):
        role = "input" if k % 2 == 0 else "output"
        graph.add_node(name, size=width, role=role, update="clock", tau=1.0)
    wired = {"connect": "random", "in_degree": 3 * width // 4} if sparse else {}
    for i, source in enumerate(names):
        for j, target in enumerate(names):
            synapse = {"weight": {"normal": 0.5 / math.sqrt(512)}, "delay": 1 + (7 * i + 11 * j) % 50}
            graph.add_edge(source, target, **wired, **synapse)
    return graph


def matrices(width: int) -> Pair:
    """Return matrices of a width and their sparse form, by time for a synapse."""
    return by_synapse(*(flatten(tiles(width, sparse=sparse)) for sparse in (False, True)), 20, BEGUN)


# ---- memory


def bytes_each(update: str, neurons: int) -> float:
    """Return the bytes a synapse that a network takes which has run, 100 synapses a neuron."""

    def made(count: int) -> object:
        graph = halves(count, 100, update=update, tau=1.0)
        sim = entertained(graph, every=10, share=1.0, size=0.5)
        sim.env.run(until=3)
        return sim

    made(200)  # what is loaded once
    return resident(lambda: made(neurons)) / (100 * neurons)


def at_rest(update: str, neurons: int, target: float) -> Callable[[int], Figures]:
    """Return the measurement of memory in a process of its own, where nothing else is left."""

    def measure(_repeats: int) -> Figures:
        with get_context("spawn").Pool(1) as pool:
            mine = pool.apply(bytes_each, (update, neurons))
        return Figures(mine, target, "bytes a synapse", mine)

    return measure


def _memory(neurons: int, quick: bool) -> tuple[Case, ...]:
    return tuple(
        Case(f"{neurons // 10_000} M synapses {how}, at rest", at_rest(key, neurons, most), most, quick=quick)
        for key, how, most in (("clock", "on a clock", 32.0), ("arrival", "on arrival", 48.0))
    )


L = (
    Case("1,000 x 100, delays 1-1,000, against 1-50", beside(long_delays), 1.5),
    Case("1 M synapses on 100,000 neurons, against 10,000", beside(many_neurons), 2.0),
    Case("256 matrices of 32 x 32, against the sparse form", beside(matrices, 32), 1.0),
    Case("4,096 matrices of 8 x 8, against the sparse form", beside(matrices, 8), 1.0),
    *_memory(10_000, True),
    *_memory(100_000, False),
)
