"""How many messages went over the edges of a network, and how many numbers in them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hlsim.network import Network
from hlsim.rule import Rule

Counts = NDArray[np.int64]
STATE, COSTATE = "state", "costate"


class Traffic:
    """The edges on which a rule's messages travel; ``counts`` are sends by kind, (replica, node) each."""

    def __init__(self, network: Network, rule: Rule) -> None:
        real, back = network.source >= 0, network.carries_costates(rule)
        self._ends = {
            STATE: (network.source[real], network.target[real]),
            COSTATE: (network.target[back], network.source[back]),
        }
        self._fan = {kind: np.bincount(ends[0], minlength=network.n) for kind, ends in self._ends.items()}
        self._numbers = {STATE: 2 if rule.complex_states else 1, COSTATE: 1}
        names = sorted(set(network.group))
        self._groups = len(names)
        self._group = np.array([names.index(group) for group in network.group])

    def total(self, counts: Mapping[str, Counts]) -> int:
        """Return how many messages there were."""
        return sum(self._messages(counts, kind) for kind in self._fan)

    def numbers(self, counts: Mapping[str, Counts]) -> int:
        """Return how many real numbers they carried: a complex one is two."""
        return sum(self._numbers[kind] * self._messages(counts, kind) for kind in self._fan)

    def between_groups(self, counts: Mapping[str, Counts]) -> tuple[Counts, Counts]:
        """Return how many state and costate messages went from group to group (from, to), sorted by name."""
        matrices = []
        for kind, (origin, goal) in self._ends.items():
            matrix = np.zeros((self._groups, self._groups), dtype=np.int64)
            np.add.at(matrix, (self._group[origin], self._group[goal]), counts[kind].sum(0)[origin])
            matrices.append(matrix)
        return matrices[0], matrices[1]

    def _messages(self, counts: Mapping[str, Counts], kind: str) -> int:
        return int((counts[kind].sum(0) * self._fan[kind]).sum())
