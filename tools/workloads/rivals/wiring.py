"""A sparse network on a clock as plain arrays, for rivals to start from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import hlsim

Array = np.ndarray
BETA, ETA = 1e-4, 0.5


@dataclass(frozen=True)
class Wiring:
    """Leaky neurons with tau = dt, all of which have so many synapses, in the network's order of edges.

    Attributes
    ----------
    source, to, delay, back : int (m,)
        Ends, and delays forward and backward.
    weight : float32 (m,)
    stimulus, target : float32 (n, replica)
        Added to drives; for the states of those that are ``told`` (n,), 1 or 0.
    """

    n: int
    source: Array
    to: Array
    delay: Array
    back: Array
    weight: Array
    stimulus: Array
    target: Array
    told: Array

    @property
    def m(self) -> int:
        """How many synapses there are."""
        return len(self.source)

    @property
    def depth(self) -> int:
        """How many ticks a ring buffer goes back."""
        return int(max(self.delay.max(), self.back.max())) + 1

    @cached_property
    def by_target(self) -> Array:
        """Edges target by target: the rows of a matrix (n, synapses of a neuron)."""
        return np.lexsort((self.source, self.delay, self.to))

    @cached_property
    def by_delay(self) -> Array:
        """Edges delay by delay, and there target by target."""
        return np.lexsort((self.source, self.to, self.delay))

    def edges(self, values: Array, order: Array) -> Array:
        """Return values that stand in an order as they stand in the network."""
        placed = np.empty(self.m)
        placed[order] = np.asarray(values).reshape(-1)
        return placed

    def numbers(
        self, h: Array, a: Array, z: Array, omega: Array, w: Array, order: Array
    ) -> Mapping[str, Array]:
        """Return what a rival has come to, in the names and the order of ``look``.

        Neurons are (n, replica), synapses stand in ``order``.
        """
        neurons = {"states": h, "drives": a, "costates": z}
        found = {name: np.asarray(x).reshape(self.n, -1).T for name, x in neurons.items()}
        moved = self.edges(w, order) - self.weight
        return found | {"weight costates": self.edges(omega, order), "changes of the weights": moved}


def look(sim: hlsim.Simulation) -> Mapping[str, Array]:
    """Return states, what messages brought (drives, costates), and what synapses have come to."""
    neurons = {"states": "h", "drives": "a", "costates": "z"}
    found = {name: sim.read(field) for name, field in neurons.items()}
    moved = sim.read("w")[0] - sim.network.weight[0]
    return found | {"weight costates": sim.read("omega")[0], "changes of the weights": moved}


def wiring(network: hlsim.network.Network, stimulus: Array, target: Array) -> Wiring:
    """Return a network's, with a stimulus of its inputs and a target of its outputs (replica, ...)."""
    replicas = np.atleast_2d(stimulus).shape[0]
    u, goal = (np.zeros((network.n, replicas), np.float32) for _ in range(2))
    u[network.inputs], goal[network.outputs] = np.atleast_2d(stimulus).T, np.atleast_2d(target).T
    told = np.zeros(network.n, np.float32)
    told[network.outputs] = 1.0
    return Wiring(
        network.n,
        network.source,
        network.target,
        network.delay,
        network.feedback_delay,
        network.weight[0].astype(np.float32),
        u,
        goal,
        told,
    )
