"""How many messages a run sends, between which groups, and a warning where messages make messages."""

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.snapshot import Stateful
from hlsim.errors import HlsimWarning, NumericalWarning
from hlsim.models.rules.rule import Rule
from hlsim.simulation.protocol import PhaseRun
from hlsim.topology.network import Network
from hlsim.trace.layout import group_of, group_pairs

Counts = NDArray[np.int64]
MESSAGES = STATE, COSTATE = "state", "costate"


class Traffic:
    """The edges on which a rule's messages travel; ``counts`` are sends by kind, (replica, node) each."""

    def __init__(self, network: Network, rule: Rule) -> None:
        self._network, self._back = network, network.carries_costates(rule)
        fans = network.source[network.source >= 0], network.target[self._back]
        self._fan = {
            kind: np.bincount(ends, minlength=network.n) for kind, ends in zip(MESSAGES, fans, strict=True)
        }
        self._numbers = {STATE: 2 if rule.complex_states else 1, COSTATE: 1}

    def total(self, counts: Mapping[str, Counts], kinds: Iterable[str] = MESSAGES) -> int:
        """Return how many messages there were, of some kinds."""
        return sum(int((counts[kind].sum(0) * self._fan[kind]).sum()) for kind in kinds)

    def numbers(self, counts: Mapping[str, Counts]) -> int:
        """Return how many real numbers they carried: a complex one is two."""
        return sum(self._numbers[kind] * self.total(counts, (kind,)) for kind in MESSAGES)

    def between_groups(self, counts: Mapping[str, Counts]) -> tuple[Counts, Counts]:
        """Return how many state and costate messages went between groups (pair,), see ``group_pairs``."""
        network, back = self._network, self._back
        group, (first, second), forth = group_of(network), group_pairs(network), network.source >= 0
        pairs, found = first * network.n + second, []
        for kind, chosen, (origin, goal) in (
            (STATE, forth, (network.source, network.target)),
            (COSTATE, back, (network.target, network.source)),
        ):
            sent = np.zeros(len(pairs), np.int64)
            at = np.searchsorted(pairs, group[origin[chosen]] * network.n + group[goal[chosen]])
            np.add.at(sent, at, counts[kind].sum(0)[origin[chosen]])
            found.append(sent)
        return found[0], found[1]


# Sends of a neuron in a phase above which sends set off sends; settling to rounding takes some hundred.
STORM = 1000
NEVER = 2**60


class EventStormWarning(HlsimWarning):
    """Messages made messages: neurons sent far more often than they would with a longer interval."""


class Storm(Stateful):
    """Watches how often neurons that update on arrival send in a phase."""

    STATE = ("_sent", "_warned")

    def __init__(self, network: Network) -> None:
        self._arrival = ~network.clock
        self._arrival[network.inputs] = False
        self._interval = int(network.send_interval[self._arrival].min(initial=NEVER))
        self._sent, self._warned = 0, False

    def check(self, run: PhaseRun, sends: NDArray[np.int64]) -> None:
        """Warn, once, of a phase with more sends than settling needs; ``sends`` (replica, node) so far."""
        total = int(sends[:, self._arrival].sum())
        sent, self._sent = total - self._sent, total
        neurons = sends.shape[0] * int(self._arrival.sum())
        if sent <= STORM * neurons or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"event storm: {sent / neurons:.0f} sends a neuron in the phase of ticks {run.start} to "
            f"{run.end}; a send_interval above {self._interval} would spare most of them",
            EventStormWarning,
            stacklevel=2,
        )


class Settled(Stateful):
    """Counts the phases that may end by quiescence, and those that did."""

    STATE = ("phases", "settled", "_told")

    def __init__(self) -> None:
        self.phases = self.settled = 0
        self._told = 0

    def count(self, run: PhaseRun) -> None:
        """Take a phase that is over."""
        self.phases += run.phase.settles
        self.settled += run.phase.settles and run.quiet

    @property
    def summary(self) -> dict[str, int]:
        """How many there were and how many settled; nothing where no phase may end so."""
        return {"phases": self.phases, "settled": self.settled} if self.phases else {}

    def warn(self) -> None:
        """Warn of phases that did not settle since this was last asked for."""
        late, self._told = self.phases - self.settled - self._told, self.phases - self.settled
        if late:
            warnings.warn(
                f"{self._told} of {self.phases} phases did not settle in their time: what is learned from "
                f"them is no gradient at a fixed point; hold rows longer, nudge less, or raise thresholds",
                NumericalWarning,
                stacklevel=4,
            )
