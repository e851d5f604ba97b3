"""Sparse plastic synapses with delays: clocked (A), and on arrival where little travels (D)."""

import itertools
import math
import statistics
import sys
import time
from collections.abc import Iterator

import networkx as nx
import numpy as np
import simpy
import torch

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import flatten
from workloads.agreement import require_same
from workloads.rows import Row, medians

BETA, ETA = 1e-4, 0.5
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


def synchronous(n: int, degree: int) -> hlsim.network.Network:
    """Return the network of A: every neuron is updated at every tick, with tau = dt."""
    return flatten(halves(n, degree, update="clock", tau=1.0))


def held(network: hlsim.network.Network) -> tuple[np.ndarray, np.ndarray]:
    """Return the stimulus and the target of A, which stand for ever."""
    rng = np.random.default_rng(0)
    stimulus, target = (rng.uniform(-0.5, 0.5, len(nodes)) for nodes in (network.inputs, network.outputs))
    return stimulus, target


class SparseLoop:
    """The same network as a loop of torch calls with ring buffers."""

    def __init__(self, network: hlsim.network.Network) -> None:
        def tensor(x: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(x)

        self.n, self.depth, self.t = network.n, 51, 0
        self.source, self.to = tensor(network.source), tensor(network.target)
        self.delay, self.back = tensor(network.delay), tensor(network.feedback_delay)
        self.w = tensor(network.weight[0]).float()
        self.omega = torch.zeros_like(self.w)
        self.s = torch.zeros_like(self.w)
        self.h, self.z, self.q, self.g, self.a = (torch.zeros(self.n) for _ in range(5))
        self.slope = torch.ones(self.n)
        self.history, self.coming = torch.zeros(self.depth * self.n), torch.zeros(self.depth * self.n)
        stimulus, target = (tensor(values).float() for values in held(network))
        self.u = torch.zeros(self.n)
        self.u[tensor(network.inputs)] = stimulus
        self.told, self.target = tensor(network.outputs), target

    def run(self, ticks: int) -> None:
        """Run so many ticks: Algorithm 1 with delays, explicit order."""
        n, depth = self.n, self.depth
        for _ in range(ticks):
            t = self.t
            if t:
                step = self.q[self.to] * self.s
                self.w -= BETA * self.omega
                self.omega += step - ETA * self.omega
                self.z = self.g - ETA * self.z
                self.h = torch.tanh(self.a)
            now = (t % depth) * n
            self.history[now : now + n] = self.h
            self.s = self.history[(t - self.delay) % depth * n + self.source]
            self.a = self.u.index_add(0, self.to, self.w * self.s)
            self.slope = 1.0 - torch.tanh(self.a) ** 2
            self.q = self.z * self.slope
            heard = self.coming[now : now + n].clone()
            self.coming[now : now + n] = 0.0
            self.coming.index_add_(0, (t + self.back) % depth * n + self.source, self.w * self.q[self.to])
            self.g = heard
            self.g[self.told] += self.h[self.told] - self.target
            self.t += 1


def clocked(network: hlsim.network.Network, **options: str) -> hlsim.Simulation:
    """Return a simulation of the network of A."""
    sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA), **options)
    stimulus, target = held(network)
    sim.controls.input(stimulus)
    sim.controls.target(target)
    return sim


def workload_a(quick: bool, repeats: int) -> Iterator[Row]:
    """Sparse plastic synapses with delays: synaptic updates a second."""
    yield from _against_the_reference()
    copying = copy_bandwidth()
    for n, ticks in ((1_000, 200),) if quick else ((1_000, 200), (10_000, 24)):
        network = synchronous(n, 100)
        sims = [clocked(network), clocked(network, compiled="never")]
        loop = SparseLoop(network)

        def run(sim: hlsim.Simulation, ticks: int = ticks) -> None:
            sim.env.run(until=sim.tick + ticks)  # the ticks alone, without a trace

        contenders = [lambda sim=sim: run(sim) for sim in sims]
        mine, plain, other = medians(repeats, *contenders, lambda loop=loop, ticks=ticks: loop.run(ticks))
        for sim in sims:
            _require_same_network(network, sim, loop)
        work, unit = ticks * network.m / 1e6, "M synaptic updates/s"
        what = f"{n:,} x 100, delays 1-50"
        yield Row("A", f"{what}, against a torch loop", work / mine, work / other, unit, other / mine, 5.0)
        yield Row(
            "A", f"{what}, the same on torch alone", work / plain, work / other, unit, other / plain, 1.5
        )
        share = work * BYTES / 1e3 / mine / copying
        yield Row(
            "A", f"{what}, {BYTES} bytes each against a copy", share * copying, copying, "GB/s", share, 0.25
        )


def _require_same_network(network: hlsim.network.Network, sim: hlsim.Simulation, loop: SparseLoop) -> None:
    """End the benchmark where states, or what has become of the weights, are not those of the loop."""
    require_same("A, states", sim.read("h")[0], loop.h)
    moved = (np.asarray(w) - network.weight[0] for w in (sim.read("w")[0], loop.w))
    require_same("A, changes of the weights", *moved, within=0.02)


def _against_the_reference() -> Iterator[Row]:
    """A small network, since the reference engine needs seconds for it."""
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
    what = "200 x 100, delays 1-50, against the reference engine"
    yield Row("A", what, *rates, "M synaptic updates/s", rates[0] / rates[1], 1_000.0)


def _rate(sim: hlsim.Simulation, until: int) -> float:
    """Return ticks a second."""
    ticks, start = until - sim.tick, time.perf_counter()
    sim.env.run(until=until)
    return ticks / (time.perf_counter() - start)


def copy_bandwidth(megabytes: int = 256) -> float:
    """Return GB/s read and written by copying a tensor much larger than the caches."""
    x = torch.zeros(megabytes * 250_000)
    y = torch.empty_like(x)
    return 2 * megabytes / 1e3 / medians(5, lambda: y.copy_(x))[0]


# ---- D: few messages


# Ticks that a stimulus is held, how many follow each other, and how far one moves the drive of a neuron.
FRAME, FRAMES, PULSE = 100, 50, 0.1
# Share of the neurons with a stimulus in a frame, and the share of synapses that then carry a message in a
# tick, about: a pulse makes its neuron cross its threshold a few times on the way there and back, each time
# with a message on each of its synapses, and whom they move far enough does the same.
PULSED = ((1e-4, 1e-5), (1e-3, 1e-4), (9e-3, 1e-3), (6e-2, 1e-2))


def resting(n: int, degree: int) -> nx.DiGraph:
    """Return n leaky neurons on arrival, a tenth of them outputs, connected as in ``halves``.

    Without a stimulus all are at rest at their targets, 0. With one, outputs are off theirs, costates run and
    every synapse learns. A learning neuron is looked at every ``refresh`` ticks although nothing reaches it:
    here so seldom that it is not what is measured.
    """
    graph = nx.DiGraph()
    populations = (("inner", "input", n - n // 10), ("output", "output", n // 10))
    thresholds = {"send_threshold": 0.02, "costate_threshold": 0.002, "refresh": 10_000}
    for name, role, size in populations:
        graph.add_node(name, size=size, role=role, tau=5.0, **thresholds)
    for source, _, size in populations:
        for target, *_ in populations:
            graph.add_edge(
                source,
                target,
                connect="random",
                in_degree=degree * size // n,
                weight={"normal": 0.5 / math.sqrt(degree)},
                delay={"uniform": [1, 50]},
            )
    return graph


def pulsed(network: hlsim.network.Network, share: float) -> hlsim.Simulation:
    """Return a simulation in which a process gives a share of the neurons a stimulus, anew each frame."""
    sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA))
    columns, rng = len(network.inputs), np.random.default_rng(0)
    count = max(1, round(share * network.n))
    stimuli = np.zeros((FRAMES, columns))
    for stimulus in stimuli:
        stimulus[rng.choice(columns, count, replace=False)] = rng.choice((-PULSE, PULSE), count)

    def frames() -> Iterator[simpy.Event]:
        sim.controls.target(np.zeros(len(network.outputs)))
        for stimulus in itertools.cycle(stimuli):
            sim.controls.input(stimulus)
            yield sim.env.timeout(FRAME)

    sim.env.process(frames())
    return sim


def workload_d(quick: bool, repeats: int) -> Iterator[Row]:
    """Sparse plastic synapses over which little travels: time of a tick, and of a message."""
    n, degree, turn = 2_000 if quick else 10_000, 100, 5
    network = flatten(resting(n, degree))
    loop = SparseLoop(synchronous(n, degree))
    times = []
    for share, about in PULSED:
        sim, ticks = pulsed(network, share), FRAME * (10 if about < 1e-3 else 2)
        sim.env.run(until=5 * FRAME)  # until as many messages come as go
        counts = [sim.counts()]

        def ours(sim: hlsim.Simulation = sim, ticks: int = ticks, counts: list[dict] = counts) -> None:
            sim.env.run(until=sim.tick + ticks)  # the ticks alone, without a trace
            counts.append(sim.counts())

        mine, other = medians(repeats, ours, lambda: loop.run(turn))
        if not np.abs(sim.read("omega")).max() > 0:
            sys.exit("D: no synapse learns")
        sent = [messages(network, each) for each in counts]
        carried = statistics.median(np.diff(sent)[1:])
        times.append(mine / carried * 1e6)
        what = f"{n:,} x {degree} on arrival, x = {carried / ticks / network.m:.1e}, against the loop of A"
        tick, theirs = mine / ticks * 1e3, other / turn * 1e3
        # Where much travels, an engine of events need only not be the slower one.
        yield Row("D", what, tick, theirs, "ms a tick", theirs / tick, 20.0 if about <= 1e-3 else 1.0)
    what = "the longest time of a message among these, against the shortest"
    yield Row("D", what, max(times), min(times), "us", max(times) / min(times), 2.0, at_least=False)


def messages(network: hlsim.network.Network, counts: dict[str, np.ndarray]) -> int:
    """Return how many messages sends make: one on every edge of the sender, states forward, costates back."""
    out, back = (np.bincount(ends, minlength=network.n) for ends in (network.source, network.target))
    return int((counts["state"] * out).sum() + (counts["costate"] * back).sum())
