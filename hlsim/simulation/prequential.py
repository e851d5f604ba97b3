"""Until when a row can be judged before its own target counts.

A target acts on the states of a network by the weights alone: the costates that it makes move them, and they
enter the drives. So there is a last tick at which no state of an output can depend on the target of the row,
and what the outputs say there is *prequential*: told before learned (Dawid, J. R. Stat. Soc. A 147:278-292,
1984).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import Network

# Longer than any row is held.
_FAR = 2**32


@dataclass(frozen=True)
class Prequential:
    """When the outputs tell something of a row that its target has not touched.

    Attributes
    ----------
    untouched : float
        How many ticks after its target begins to count outputs are as they would be without it; endless
        where no weight moves.
    heard : float
        After how many ticks every output has heard of a new input, at the soonest; endless where one has not.
    """

    untouched: float
    heard: float

    @classmethod
    def of(cls, network: Network, rule: Rule, late: int = 0) -> "Prequential":
        """Return this of a network whose targets come ``late`` ticks after inputs; ticks count from there."""
        still = not network.weight_rate(rule)[network.plastic].any()
        heard = max(0.0, _ticks_to_outputs(network) - late)
        return cls(math.inf if still else _ticks_untouched(network, rule), heard)

    def tick(self, start: int, hold: int, phi: Sequence[tuple[int, float]], taught: bool) -> int | None:
        """Return at which tick to read the row, its last one if nothing touches it; None: there is none.

        Parameters
        ----------
        phi : sequence of (tick, value)
            What the loss counts in the row, see ``hlsim.models.rules.phi.changes``.
        taught : bool
            Whether the network learns, and the row has a target.
        """
        last = start + hold - 1
        counts = [tick for tick, value in phi if value != 0]
        if not taught or not counts or counts[0] + self.untouched >= last:
            return last if not taught or hold > self.heard else None
        tick = counts[0] + int(self.untouched)
        return tick if tick - start >= self.heard else None


def _ticks_untouched(network: Network, rule: Rule) -> int:
    """Return what has to be at least: weights move at the tick after the first, at the soonest.

    Those of ``Hamiltonian`` in the explicit order, on a clock, move a tick later, since omega comes first,
    and another one where every output is leaky, since its costate does. A leaky output takes one more from
    its drive to its state.
    """
    instant = bool(network.instant[network.outputs].any())
    clocked = bool((network.clock | network.is_input).all())
    slow = type(rule) is Hamiltonian and rule.order == "explicit" and clocked
    moves = 1 if not slow else 2 if instant else 3
    return moves - 1 + (not instant)


def _ticks_to_outputs(network: Network) -> float:
    """Return the length of the shortest path from inputs to the output that is farthest from them.

    A leaky neuron passes on a tick later what it hears.
    """
    n, slow = network.n, network.stateful
    edges = (network.source >= 0) & (network.delay < _FAR)
    # One more node leads to all inputs.
    source = np.concatenate([network.source[edges], np.full(len(network.inputs), n)])
    target = np.concatenate([network.target[edges], network.inputs])
    delay = np.concatenate([network.delay[edges], np.zeros(len(network.inputs), np.int64)])
    # Imported here: scipy takes a third of a second, and a run without a stimulus does without.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    # In units in which a step counts for a little, since what is 0 is no edge to scipy.
    length = (delay + slow[target]) * (n + 2.0) + 1
    order = np.lexsort((length, target, source))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(source[order]) != 0) | (np.diff(target[order]) != 0)
    kept = order[first]
    graph = csr_array((length[kept], (source[kept], target[kept])), shape=(n + 1, n + 1))
    reached = dijkstra(graph, indices=n)[network.outputs]
    return float(np.floor(reached / (n + 2.0)).max(initial=0.0))
