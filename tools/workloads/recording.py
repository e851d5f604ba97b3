"""What recording costs (F)."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import simpy

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network, flatten
from workloads.events import FRAME, pulsed, resting
from workloads.rows import Case, Figures, medians
from workloads.sparse import BETA, ETA, halves


def entertained(
    graph: nx.DiGraph | Network, every: int, share: float, size: float, **options: Any
) -> hlsim.Simulation:
    """Return a simulation in which a share of the stimuli and all targets are drawn anew now and then."""
    sim = hlsim.Simulation(graph, **{"rule": Hamiltonian(beta=BETA, eta=ETA), **options})
    rng, columns = np.random.default_rng(0), len(sim.network.inputs)

    def draw() -> Iterator[simpy.Event]:
        while True:
            shown = rng.random(columns) < share
            sim.controls.input(shown * rng.uniform(-size, size, columns))
            sim.controls.target(rng.uniform(-size, size, len(sim.network.outputs)))
            yield sim.env.timeout(every)

    sim.env.process(draw())
    return sim


def samples(ticks: int) -> Callable[[int], Figures]:
    """Return the measurement of a network on a clock that is sampled for so many ticks."""

    def measure(repeats: int) -> Figures:
        sim = entertained(halves(1_000, 10, update="clock", tau=1.0), every=50, share=1.0, size=0.5)
        options = {"sampled": ("loss", "h", "z", "w"), "every": {"default": 10, "w": 1_000}}
        return recorded(sim, ticks, repeats, options)

    return measure


def every_message(n: int) -> Callable[[int], Figures]:
    """Return the measurement of D of so many neurons, all messages recorded."""

    def measure(repeats: int) -> Figures:
        sim = pulsed(flatten(resting(n, 100)), 9e-3)
        sim.env.run(until=5 * FRAME)
        return recorded(sim, 20 * FRAME, repeats, {"sampled": (), "events": ("message",)})

    return measure


def recorded(sim: hlsim.Simulation, ticks: int, repeats: int, options: dict[str, Any]) -> Figures:
    """Measure a run that records beside the same run that records nothing; both write a trace."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.h5"

        def run(**options: Any) -> None:
            sim.run(until=sim.tick + ticks, record=file, overwrite=True, **options).close()

        mine, other = medians(repeats, lambda: run(**options), lambda: run(sampled=()))
    each = 1e6 / ticks
    return Figures(mine * each, other * each, "us a tick", mine / other)


F = (
    Case("1,000 neurons and 10,000 weights sampled, 5,000 ticks, against none", samples(5_000), 1.10),
    Case(
        "1,000 neurons and 10,000 weights sampled, 20,000 ticks, against none",
        samples(20_000),
        1.10,
        quick=False,
    ),
    Case("every message of D, 2,000 x 100, against none", every_message(2_000), 1.10),
    Case("every message of D, 10,000 x 100, against none", every_message(10_000), 1.10, quick=False),
)
