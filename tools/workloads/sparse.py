"""Sparse plastic synapses with delays, on a clock (A)."""

import math
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

import networkx as nx
import numpy as np
import torch

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network, flatten
from workloads.agreement import require_same
from workloads.rivals import rival
from workloads.rivals.wiring import BETA, ETA, look, wiring
from workloads.rows import Case, Figures, Pair, Running, beside, medians

# Ticks after which two sides must have the same numbers: every delay is over, forward and backward.
ALIKE = 120
# What a synapse takes a tick at least: w, omega and s read and written, and where it reads.
BYTES = 28


def halves(n: int, degree: int, **node: object) -> nx.DiGraph:
    """Return n leaky neurons, each fed by ``degree`` others over 1 to 50 ticks.

    Half of them have a stimulus and the others a target: without the one no state moves, without the other
    no weight does.
    """
    graph = nx.DiGraph()
    roles = {"driven": "input", "told": "output"}
    for name, role in roles.items():
        graph.add_node(name, size=n // 2, role=role, **node)
    for source in roles:
        for target in roles:
            weight, delay = {"normal": 0.5 / math.sqrt(degree)}, {"uniform": [1, 50]}
            graph.add_edge(
                source, target, connect="random", in_degree=degree // 2, weight=weight, delay=delay
            )
    return graph


@lru_cache(maxsize=2)
def synchronous(n: int, degree: int) -> Network:
    """Return the network of A: every neuron is updated at every tick, with tau = dt."""
    return flatten(halves(n, degree, update="clock", tau=1.0))


def held(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Return the stimulus and the target of A, which stand for ever."""
    rng = np.random.default_rng(0)
    stimulus, target = (rng.uniform(-0.5, 0.5, len(nodes)) for nodes in (network.inputs, network.outputs))
    return stimulus, target


def clocked(network: Network, **options: str) -> hlsim.Simulation:
    """Return a simulation of the network of A."""
    sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA), **options)
    stimulus, target = held(network)
    sim.controls.input(stimulus)
    sim.controls.target(target)
    return sim


def against(module: str, name: str, network: Network, ticks: int, **options: str) -> Pair:
    """Return a network of A and a rival, by its module and name, when every delay is over twice."""
    other = getattr(rival(module), name)(wiring(network, *held(network)))
    ours, unit = Running(clocked(network, **options), look), "M synaptic updates/s"
    return Pair(ours, other, ticks, network.m, unit=unit, scale=1e6, speed=True, alike=ALIKE)


def of_size(module: str, name: str, n: int, ticks: int, compiled: str = "auto") -> Pair:
    """Return n x 100 and a rival."""
    return against(module, name, synchronous(n, 100), ticks, compiled=compiled)


def against_a_copy(n: int, ticks: int) -> Callable[[int], Figures]:
    """Return the measurement of the bytes that n x 100 has to move, beside copying memory."""

    def measure(repeats: int) -> Figures:
        network = synchronous(n, 100)
        side = Running(clocked(network), look)
        side.run(ALIKE)
        x = torch.zeros(64_000_000)
        y = torch.empty_like(x)

        def copy() -> None:
            y.copy_(x)

        mine, other = medians(repeats, lambda: side.run(ticks), copy)
        rate, copying = ticks * network.m * BYTES / mine / 1e9, 2 * x.nbytes / other / 1e9
        return Figures(rate, copying, "GB/s", rate / copying)

    return measure


def against_the_reference(_repeats: int) -> Figures:
    """Measure a small network, since the reference engine needs seconds for it."""
    network = synchronous(200, 100)
    begun, compared = 2, 5
    sims = [clocked(network, compiled="always"), clocked(network, engine="reference")]
    for sim in sims:
        sim.env.run(until=begun)
    slow = _rate(sims[1], compared)
    sims[0].env.run(until=compared)
    for name in ("h", "z", "omega"):
        require_same(f"A, {name} of the reference engine", *(sim.read(name)[0] for sim in sims))
    rates = [each * network.m / 1e6 for each in (_rate(sims[0], compared + 2_000), slow)]
    return Figures(*rates, "M synaptic updates/s", rates[0] / rates[1])


def _rate(sim: hlsim.Simulation, until: int) -> float:
    """Return ticks a second."""
    ticks, start = until - sim.tick, time.process_time()
    sim.env.run(until=until)
    return ticks / (time.process_time() - start)


# Module, name, what it is, and how many times its speed ours is to be.
HAND = (
    ("torch_loops", "Loop", "a torch loop", 5.0),
    ("torch_loops", "Flat", "torch, flat indices, in place", None),
    ("torch_loops", "Compiled", "torch.compile of that", 2.0),
    ("jax_loops", "Scan", "a scan of JAX", 2.0),
    ("numba_loops", "Naive", "numba by hand, three passes", None),
    ("numba_loops", "Blocks", "numba by hand, blocks by delay", 1.0),
)
# Neurons with 100 synapses each, and ticks of a turn.
SIZES = ((1_000, 60), (10_000, 6))


def _cases(n: int, ticks: int) -> Iterator[Case]:
    what, quick = f"{n:,} x 100, delays 1-50", n <= 1_000
    for module, name, who, target in HAND:
        yield Case(f"{what}, against {who}", beside(of_size, module, name, n, ticks), target, True, quick)
    alone = beside(of_size, "torch_loops", "Loop", n, ticks, "never")
    yield Case(f"{what}, torch alone against a torch loop", alone, 1.5, True, quick)
    yield Case(f"{what}, {BYTES} bytes each against a copy", against_a_copy(n, ticks), 0.25, True, quick)


REFERENCE = "200 x 100, delays 1-50, against the reference engine"
A = (
    Case(REFERENCE, against_the_reference, 1_000.0, True),
    *(case for size in SIZES for case in _cases(*size)),
)
