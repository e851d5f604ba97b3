"""Benchmarks: hlsim beside hand-written loops and autograd, side by side in one run.

    python tools/bench.py [--quick] [--only A,C] [--json FILE] [--check] [--threads N]

Every figure is a median over repeats that take turns, so that a foreign load meets both sides. ``--check``
exits 1 and names each row that falls short of its target.
"""

import argparse
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import simpy
import torch

import hlsim
from hlsim import experiment
from hlsim.network import flatten
from hlsim.rules import Hamiltonian

TOPOLOGIES = Path(__file__).resolve().parents[1] / "topologies"
BETA, ETA = 1e-4, 0.5


@dataclass(frozen=True)
class Row:
    """One comparison: ``ratio`` is to be at least (or at most) ``target``."""

    workload: str
    what: str
    hlsim: float
    other: float
    unit: str
    ratio: float
    target: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


def medians(repeats: int, *contenders: Callable[[], None]) -> list[float]:
    """Return the median seconds of each contender; they take turns, after one turn that does not count."""
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(repeats + 1):
        for each, contender in zip(times, contenders, strict=True):
            start = time.perf_counter()
            contender()
            if turn:
                each.append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]


# ---- A: plastic, sparse, delayed


def sparse(n: int, degree: int) -> nx.DiGraph:
    """Return n leaky neurons with tau = dt, each fed by ``degree`` others over 1 to 50 ticks, all outputs."""
    graph = nx.DiGraph()
    graph.add_node("n", size=n, role="output", update="clock", tau=1.0)
    graph.add_edge(
        "n",
        "n",
        connect="random",
        in_degree=degree,
        weight={"normal": 0.5 / math.sqrt(degree)},
        delay={"uniform": [1, 50]},
    )
    return graph


class SparseLoop:
    """The same network as a loop of torch calls with ring buffers."""

    def __init__(self, network: hlsim.network.Network, target: np.ndarray) -> None:
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
        self.target = tensor(target).float()

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
            self.a = torch.zeros(n).index_add_(0, self.to, self.w * self.s)
            self.slope = 1.0 - torch.tanh(self.a) ** 2
            self.q = self.z * self.slope
            heard = self.coming[now : now + n].clone()
            self.coming[now : now + n] = 0.0
            self.coming.index_add_(0, (t + self.back) % depth * n + self.source, self.w * self.q[self.to])
            self.g = self.h - self.target + heard
            self.t += 1


def workload_a(quick: bool, repeats: int) -> Iterator[Row]:
    """Sparse plastic synapses with delays: synaptic updates a second."""
    for n, ticks in ((1_000, 20),) if quick else ((1_000, 20), (10_000, 5)):
        network = flatten(sparse(n, 100))
        target = np.random.default_rng(0).uniform(-0.5, 0.5, n)
        sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA))
        sim.controls.target(target)
        loop = SparseLoop(network, target)

        def ours(sim: hlsim.Simulation = sim, ticks: int = ticks) -> None:
            sim.env.run(until=sim.tick + ticks)  # the ticks alone, without a trace

        mine, other = medians(repeats, ours, lambda loop=loop, ticks=ticks: loop.run(ticks))
        off = np.abs(sim.read("h")[0] - loop.h.numpy()).max()
        if off > 1e-3:
            sys.exit(f"A: the loop is another network: states differ by {off:.1e}")
        work = ticks * network.m / 1e6
        what = f"{n:,} x 100, delays 1-50, against a torch loop"
        yield Row("A", what, work / mine, work / other, "M synaptic updates/s", other / mine, 5.0)


# ---- C: dense, fully local


SIZES = (784, 512, 512, 10)


class DenseLoop:
    """784-512-512-10 leaky neurons with tau = dt, layer by layer, as a loop of torch calls."""

    def __init__(self, network: hlsim.network.Network, x: np.ndarray, target: np.ndarray, batch: int) -> None:
        self.w = []
        label = network.label
        layer = [name.partition("[")[0] for name in label]
        for before, after in (("input", "hidden1"), ("hidden1", "hidden2"), ("hidden2", "output")):
            size = layer.count(after), layer.count(before)
            w = torch.zeros(size)
            for e in np.flatnonzero([layer[t] == after for t in network.target]):
                i, j = (int(label[k].partition("[")[2][:-1]) for k in (network.target[e], network.source[e]))
                w[i, j] = network.weight[0, e]
            self.w.append(w)
        self.omega = [torch.zeros_like(w) for w in self.w]
        self.x, self.target = torch.as_tensor(x).float(), torch.as_tensor(target).float()
        self.h = [torch.zeros(batch, len(w)) for w in self.w]
        self.z, self.q, self.a, self.g = ([torch.zeros_like(h) for h in self.h] for _ in range(4))
        self.s = [torch.zeros(batch, w.shape[1]) for w in self.w]
        self.batch, self.t = batch, 0

    def run(self, ticks: int) -> None:
        """Run so many ticks of the explicit order."""
        for _ in range(ticks):
            if self.t:
                for k, w in enumerate(self.w):
                    step = self.q[k].T @ self.s[k] / self.batch
                    w.sub_(BETA * self.omega[k])
                    self.omega[k] += step - ETA * self.omega[k]
                    self.z[k] = self.g[k] - ETA * self.z[k]
                    self.h[k] = torch.tanh(self.a[k])
            self.s = [self.x, *self.h[:-1]]
            for k, w in enumerate(self.w):
                self.a[k] = self.s[k] @ w.T
                y = torch.tanh(self.a[k])
                self.q[k] = self.z[k] * (1.0 - y * y)
            for k in range(2):
                self.g[k] = self.q[k + 1] @ self.w[k + 1]
            self.g[2] = self.h[2] - self.target
            self.t += 1


def workload_c(quick: bool, repeats: int) -> Iterator[Row]:
    """Dense layers, every neuron a tick: time of a tick."""
    ticks = 20 if quick else 50
    graph = hlsim.topology.layered(SIZES)
    network = flatten(graph, node_defaults={"update": "clock"})
    for batch in (1, 128):
        rng = np.random.default_rng(0)
        x, target = rng.normal(size=(batch, 784)), rng.uniform(-0.5, 0.5, (batch, 10))
        sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA), batch=batch)
        sim.controls.input(x)
        sim.controls.target(target)
        loop = DenseLoop(network, x, target, batch)

        def ours(sim: hlsim.Simulation = sim) -> None:
            sim.env.run(until=sim.tick + ticks)  # the ticks alone, without a trace

        mine, other = medians(repeats, ours, lambda loop=loop: loop.run(ticks))
        outputs = network.outputs
        off = np.abs(sim.read("h")[:, outputs] - loop.h[2].numpy()).max()
        if off > 1e-3:
            sys.exit(f"C: the loop is another network: states differ by {off:.1e}")
        what = f"784-512-512-10 fully local, batch {batch}, against a torch loop"
        each = 1e3 / ticks
        yield Row("C", what, mine * each, other * each, "ms a tick", mine / other, 1.15, at_least=False)


# ---- D: few messages


# Ticks that a stimulus is held, how many follow each other, and how far one moves the drive of a neuron.
FRAME, FRAMES, PULSE = 100, 50, 0.1
# Share of the neurons with a stimulus in a frame, and the share of synapses that then carry a message in a
# tick, about: a pulse makes its neuron cross its threshold a few times on the way there and back, each time
# with a message on each of its synapses, and whom they move far enough does the same.
PULSED = ((1e-4, 1e-5), (1e-3, 1e-4), (9e-3, 1e-3), (6e-2, 1e-2))


def resting(n: int, degree: int) -> nx.DiGraph:
    """Return n leaky neurons on arrival, a tenth of them outputs, connected as in ``sparse``.

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
    loop = SparseLoop(flatten(sparse(n, degree)), np.random.default_rng(0).uniform(-0.5, 0.5, n))
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


# ---- E, G, H


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
        max(1, repeats // 2), bundled, build, lambda: hlsim.Simulation(made[0], loss=None) and None
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

    together, alone = medians(max(1, repeats // 2), lambda: run(members), lambda: run(1))
    what = f"ensemble of {members} digits networks, against one after another"
    yield Row("H", what, together, alone * members, "s", alone * members / together, 10.0)


WORKLOADS = {
    "A": workload_a,
    "C": workload_c,
    "D": workload_d,
    "E": workload_e,
    "G": workload_g,
    "H": workload_h,
}


def load() -> float:
    """Return how many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def show(row: Row) -> None:
    """Print one row."""
    sign, mark = (">=" if row.at_least else "<="), ("" if row.met else "   SHORT")
    figures = f"{row.hlsim:10.3g} {row.other:10.3g} {row.unit:<22}"
    print(
        f"{row.workload}  {row.what:<66} {figures} {row.ratio:8.3g} {sign} {row.target:g}{mark}", flush=True
    )


def main() -> None:
    """Run the workloads asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under two minutes")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="letters, with commas between")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {given.threads} thread(s)"
    )
    print(f"{machine}; load before: {load():.2f}")
    print(f"   {'':<66} {'hlsim':>10} {'other':>10} {'':<22} {'ratio':>8}")
    rows = []
    for letter in given.only.split(","):
        for row in WORKLOADS[letter](given.quick, given.repeats):
            show(row)
            rows.append(row)
    if given.json:
        figures = [{**asdict(row), "met": row.met} for row in rows]
        given.json.write_text(json.dumps({"machine": machine, "load": load(), "rows": figures}, indent=1))
    missed = [row for row in rows if not row.met]
    if given.check and missed:
        sys.exit("short of the target: " + "; ".join(f"{row.workload} {row.what}" for row in missed))


if __name__ == "__main__":
    main()
