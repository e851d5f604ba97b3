"""Whom changes of the controls concern: the neurons that are due because something happens to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.controls import Changes
from hlsim.engine.snapshot import Stateful
from hlsim.topology.network import Network

Ints = NDArray[np.int64]


class Concern(Stateful):
    """Keeps what is asked for now, to know what a change is.

    Parameters
    ----------
    synchronous : bool (node,)
        Who is due at every tick anyway.
    real : dtype
        In which numbers come: what is no other number then is no change.
    """

    STATE = ("_input", "_target", "_phi", "_nudge", "_learning")

    def __init__(self, network: Network, replicas: int, synchronous: NDArray[np.bool_], real: Any) -> None:
        self._n, self._replicas, self._real = network.n, replicas, real
        first = network.n * np.arange(replicas)[:, None]
        everybody = np.flatnonzero(~synchronous)
        waiting = ~(network.clock & ~network.is_input)
        self._everybody = (first + everybody).ravel()
        # Neurons on arrival; outputs among them; and what emits the stimulus or is driven by it on arrival.
        self._arrival = (first + np.flatnonzero(waiting & ~network.is_input)).ravel()
        self._inputs, self._outputs = first + network.inputs, first + network.outputs
        self._fed, self._told = waiting[network.inputs], waiting[network.outputs]
        self._input = np.zeros((replicas, len(network.inputs)), real)
        self._target: NDArray | None = None
        self._phi, self._nudge, self._learning = 0.0, 0j, True

    def due(self, changes: Changes, tick: int) -> Ints:
        """Return whom the changes of a tick make due, by flat index in rising order, each once."""
        found = [self._everybody] if tick == 0 or changes.reset or changes.mark is not None else []
        if changes.noise is not None or (changes.learn is not None and changes.learn != self._learning):
            found.append(self._arrival)
        self._learning = self._learning if changes.learn is None else changes.learn
        if changes.input is not None:
            new = changes.input.astype(self._real)
            found.append(self._inputs[(new != self._input) & self._fed])
            self._input = new
        outputs = self._outputs_changed(changes)
        if outputs is not None:
            found.append(self._outputs[outputs & self._told])
        if not found:
            return np.zeros(0, np.int64)
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _outputs_changed(self, changes: Changes) -> NDArray[np.bool_] | None:
        """Return where the gradient of the loss may be another (replica, output); None: nowhere."""
        everywhere = changes.phi is not None and changes.phi != self._phi
        everywhere |= changes.nudge is not None and changes.nudge != self._nudge
        everywhere |= changes.no_target and self._target is not None
        self._phi = self._phi if changes.phi is None else changes.phi
        self._nudge = self._nudge if changes.nudge is None else changes.nudge
        changed = np.full(self._outputs.shape, everywhere)
        if changes.target is not None:
            new = changes.target.astype(self._real)
            changed |= True if self._target is None else new != self._target
            self._target = new
        self._target = None if changes.no_target else self._target
        return changed if changed.any() else None
