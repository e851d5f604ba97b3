"""What recording costs (F)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import simpy

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import flatten
from workloads.rows import Row, medians
from workloads.sparse import BETA, ETA, FRAME, halves, pulsed, resting


def entertained(graph: nx.DiGraph, every: int, share: float, size: float) -> hlsim.Simulation:
    """Return a simulation in which a share of the stimuli and all targets are drawn anew now and then."""
    sim = hlsim.Simulation(graph, rule=Hamiltonian(beta=BETA, eta=ETA))
    rng, columns = np.random.default_rng(0), len(sim.network.inputs)

    def draw() -> Iterator[simpy.Event]:
        while True:
            shown = rng.random(columns) < share
            sim.controls.input(shown * rng.uniform(-size, size, columns))
            sim.controls.target(rng.uniform(-size, size, columns))
            yield sim.env.timeout(every)

    sim.env.process(draw())
    return sim


def workload_f(quick: bool, repeats: int) -> Iterator[Row]:
    """Recording to a file: samples of a network on a clock, messages of one on arrival."""
    samples = {"sampled": ("loss", "h", "z", "w"), "every": {"default": 10, "w": 1_000}}
    yield recorded(
        "1,000 neurons and 10,000 weights sampled",
        entertained(halves(1_000, 10, update="clock", tau=1.0), every=50, share=1.0, size=0.5),
        5_000 if quick else 20_000,
        repeats,
        samples,
    )
    n, share = 2_000 if quick else 10_000, 9e-3
    sim = pulsed(flatten(resting(n, 100)), share)
    sim.env.run(until=5 * FRAME)
    messages = {"sampled": (), "events": ("message",)}
    yield recorded(f"every message of D, {n:,} x 100", sim, 20 * FRAME, repeats, messages)


def recorded(what: str, sim: hlsim.Simulation, ticks: int, repeats: int, options: dict[str, Any]) -> Row:
    """Compare a run that records with the same run that records nothing; both write a trace."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.h5"

        def run(**options: Any) -> None:
            sim.run(until=sim.tick + ticks, record=file, overwrite=True, **options).close()

        mine, other = medians(repeats, lambda: run(**options), lambda: run(sampled=()))
    each = 1e6 / ticks
    return Row(
        "F",
        f"{what}, against none",
        mine * each,
        other * each,
        "us a tick",
        mine / other,
        1.10,
        at_least=False,
    )
