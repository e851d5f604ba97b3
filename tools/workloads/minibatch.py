"""Minibatches over sparse synapses with delays, which share their weights (M)."""

import numpy as np

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network
from workloads.rivals import rival
from workloads.rivals.wiring import BETA, ETA, look, wiring
from workloads.rows import Case, Pair, Running, beside
from workloads.sparse import ALIKE, synchronous


def rows_of(network: Network, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a stimulus and a target of each row of a minibatch."""
    rng = np.random.default_rng(0)
    stimulus, target = (rng.uniform(-0.5, 0.5, (batch, len(x))) for x in (network.inputs, network.outputs))
    return stimulus, target


def together(network: Network, batch: int) -> hlsim.Simulation:
    """Return a simulation of a minibatch whose stimuli and targets stand."""
    sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA), batch=batch)
    stimulus, target = rows_of(network, batch)
    sim.controls.input(stimulus)
    sim.controls.target(target)
    return sim


def by_hand(network: Network, batch: int) -> Pair:
    """Return a network and blocks in numba, the row of the minibatch innermost."""
    other = rival("numba_loops").Blocks(wiring(network, *rows_of(network, batch)))
    work, ticks = network.m * batch, max(2, 40 // batch)
    ours = Running(together(network, batch), look)
    return Pair(ours, other, ticks, work, unit="ns a synapse and row", scale=1e9, alike=ALIKE)


def of_rows(batch: int) -> Pair:
    """Return 1,000 x 100 and what is written by hand."""
    return by_hand(synchronous(1_000, 100), batch)


M = tuple(
    Case(f"1,000 x 100, delays 1-50, batch {batch}, against numba by hand", beside(of_rows, batch), 1.2)
    for batch in (8, 32, 128)
)
