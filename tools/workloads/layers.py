"""Where the edges of a layered network stand in matrices, one for each pair of layers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

import hlsim

Array = np.ndarray


class Layers:
    """Matrices of a network whose neurons are called ``hidden[3]``, by the names of the layers at their ends.

    ``ways`` are (source, target), by default from each layer to the next.
    """

    def __init__(self, network: hlsim.network.Network, ways: Sequence[tuple[str, str]] | None = None) -> None:
        layer = np.array([name.partition("[")[0] for name in network.label])
        number = np.array([int(name.partition("[")[2][:-1]) for name in network.label])
        names = list(dict.fromkeys(layer.tolist()))
        if ways is None:
            order = ["input", *sorted(name for name in names if name.startswith("hidden")), "output"]
            ways = list(pairwise(order))
        self.network = network
        wired, begins = network.source >= 0, layer[np.maximum(network.source, 0)]
        self._places = []
        for source, target in ways:
            edges = np.flatnonzero(wired & (begins == source) & (layer[network.target] == target))
            self._places.append((edges, number[network.target[edges]], number[network.source[edges]]))

    def matrices(self, values: Array | None = None) -> list[Array]:
        """Return values (edge,), the initial weights by default, as matrices (target, source)."""
        values, made = self.network.weight[0] if values is None else values, []
        for edges, i, j in self._places:
            matrix = np.zeros((i.max() + 1, j.max() + 1))
            matrix[i, j] = values[edges]
            made.append(matrix)
        return made

    def moved(self, sim: hlsim.Simulation) -> Mapping[str, Array]:
        """Return what has become of the weights, by layer."""
        moves = self.matrices(sim.read("w")[0] - self.network.weight[0])
        return {f"changes of the weights of layer {k}": move for k, move in enumerate(moves, 1)}

    def look(self, sim: hlsim.Simulation) -> Mapping[str, Array]:
        """Return states of the outputs, and what has become of the weights."""
        return {"states of the outputs": sim.read("h")[:, self.network.outputs], **self.moved(sim)}
