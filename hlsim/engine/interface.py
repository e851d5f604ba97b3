"""What runs a network, and who hears of it: the one door of every engine."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Observer(Protocol):
    """Hears every message and update as it happens; whoever listens changes nothing."""

    def message(
        self, kind: int, arrival: NDArray, edge: NDArray, value: NDArray, sent: int, replica: NDArray
    ) -> None:
        """Take messages sent at one tick: canonical edges (k,), values (k,), ticks of arrival (k,)."""

    def lost(self, kind: int, edge: NDArray, value: NDArray, sent: int, replica: NDArray) -> None:
        """Take messages sent at one tick that will not arrive."""

    def update(self, tick: int, node: NDArray, replica: NDArray) -> None:
        """Take which neurons were due at a tick."""

    def dropped(self, tick: int) -> None:
        """Everything in flight at ``tick`` was dropped by a reset."""


class Engine(Protocol):
    """What runs a network. ``Batched`` is made for speed, ``Reference`` to be obviously right."""

    observer: Observer | None

    def start(self) -> None:
        """Ask SimPy for tick 0."""

    def prepare(self) -> None:
        """Make ready what takes its time once: loops are compiled, or loaded if they have been before."""

    @property
    def made_of(self) -> Mapping[str, NDArray[np.uint8]]:
        """What a state belongs to: bytes of texts or digests, of the network for example."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all that changes in a run, between two ticks: plain arrays of numbers by name.

        What neurons hold is under neurons/, what synapses do under synapses/. The rest is the engine's own.
        """

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the state of another engine of the same kind, network, rule, loss and dtype.

        This one has not run, the clock of its environment stands where that of the other one stood, and
        nothing is planned there. ExperimentError, in one line, where the state is of something else.
        """

    def read(self, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
        """Return fields at a tick: h, z, a (replica, node), w, omega (1 or replica, edge), loss (replica,).

        Also y (replica, output), h of the outputs. All are as after all phases of that tick; a neuron not
        due is read in closed form (arrival), evaluated once for all fields, or as last updated. Nothing is
        written back.
        """

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return state and costate sends and updates by neuron (replica, node); messages (1,).

        Those are ``overtaken`` by later ones, which were heard in their place; of them ``replaced`` in the
        inbox of a clocked neuron, where they waited for its tick; ``lost``; and ``in_flight``. All are
        copies: of now.
        """
