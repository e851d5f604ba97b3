"""Equilibrium propagation: rows that go through phases (P)."""

from collections.abc import Callable

import numpy as np

import hlsim
from hlsim.models.rules import Equilibrium, HolomorphicEquilibrium, Rule
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import Network, flatten
from workloads.layers import Layers
from workloads.rivals import phase_loops
from workloads.rows import Case, Pair, Running, beside

BETA, ROWS = 0.1, 256
Phases = list[tuple[complex, int, complex]]


def one_sided() -> tuple[Rule, Phases]:
    """Return a rule with a free phase and a pulled one, and these phases by hand."""
    nudge, free, pulled = 0.1, 4, 6
    rule = Equilibrium(beta=BETA, nudge=nudge, dwell=pulled, ends="dwell")
    return rule, [(0.0, free, -1.0 / nudge), (nudge, pulled, 1.0 / nudge)]


def holomorphic() -> tuple[Rule, Phases]:
    """Return a rule that pulls in four directions of the complex plane, and these phases by hand."""
    nudge, free, pulled, points = 0.5, 4, 9, 4
    rule = HolomorphicEquilibrium(beta=BETA, nudge=nudge, dwell=pulled, ends="dwell")
    pulls: Phases = [(nudge * 1j**k, pulled, 1.0 / (points * nudge * 1j**k)) for k in range(points)]
    return rule, [(0.0, free, 0.0), *pulls]


def coupled(sizes: tuple[int, int, int]) -> Network:
    """Return inputs, instant neurons and read-outs, coupled both ways, delays 1."""
    graph = hlsim.topology.layered(
        sizes,
        populations=True,
        model="instant",
        activation="tanh",
        output_model="readout",
        bias=0.0,
        delay=1,
        symmetric=True,
    )
    for source, target, synapse in graph.edges(data=True):
        fans = graph.nodes[source]["size"] + graph.nodes[target]["size"]
        bound = 0.5 * (6.0 / fans) ** 0.5
        synapse["weight"] = {"uniform": [-bound, bound]}
    return flatten(graph, node_defaults={"update": "clock"})


def relaxing(of: Callable[[], tuple[Rule, Phases]], sizes: tuple[int, int, int], batch: int) -> Pair:
    """Return layers, and a loop of torch calls that goes through the same phases."""
    (rule, phases), network, rng = of(), coupled(sizes), np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], (ROWS, sizes[0])) * rng.uniform(0.0, 1.0, (ROWS, sizes[0]))
    y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], ROWS)]
    sim = hlsim.Simulation(
        network,
        rule=rule,
        loss="cross_entropy",
        stimulus=Arrays(x, y),
        stages=[Stage(passes=10**6)],
        hold=phases[0][1],
        reset=True,
        batch=batch,
    )
    net = Layers(network, [("input", "hidden"), ("hidden", "output")])
    loop = phase_loops.Loop(net.matrices(), x, y, beta=BETA, batch=batch, phases=phases)
    ticks = loop.length * (6 if sizes[1] < 100 else 2)
    # A row has been learned from when the next one begins.
    alike = 4 * loop.length + 1
    return Pair(Running(sim, net.moved), loop, ticks, unit="us a tick", scale=1e6, alike=alike)


_SMALL, _LARGE = (64, 64, 10), (784, 512, 10)
P = (
    Case("64-64-10, one-sided, batch 1, against torch", beside(relaxing, one_sided, _SMALL, 1), 1.0),
    Case("64-64-10, one-sided, batch 64, against torch", beside(relaxing, one_sided, _SMALL, 64), 1.2),
    Case("64-64-10, holomorphic, batch 1, against torch", beside(relaxing, holomorphic, _SMALL, 1), 1.2),
    Case(
        "64-64-10, holomorphic, batch 64, against torch",
        beside(relaxing, holomorphic, _SMALL, 64),
        1.2,
    ),
    Case("784-512-10, one-sided, batch 1, against torch", beside(relaxing, one_sided, _LARGE, 1), 1.2),
    Case("784-512-10, one-sided, batch 64, against torch", beside(relaxing, one_sided, _LARGE, 64), 1.2),
)
