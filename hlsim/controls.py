"""The one door through which the protocol of stages and users' processes act on a running network."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlsim.errors import StimulusError

Array = NDArray[np.float64]


@dataclass
class Changes:
    """What takes effect in phase 1 of a tick; None: stays as it is."""

    reset: bool = False
    input: Array | None = None
    target: Array | None = None
    # There is no target from this tick on: the loss is silent.
    no_target: bool = False
    phi: float | None = None
    learn: bool | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was asked for."""
        given = (self.input, self.target, self.phi, self.learn)
        return not (self.reset or self.no_target) and all(value is None for value in given)


class Controls:
    """Collects what is asked for at a tick; the engine takes it in phase 1 of that tick.

    Whatever is asked for after the tick's phases have run takes effect at the next tick.

    Parameters
    ----------
    replicas, n_input, n_output : int
        Shapes that values are checked against: ``(columns,)`` for all replicas, or ``(replica, columns)``.
    """

    def __init__(self, replicas: int, n_input: int, n_output: int) -> None:
        self._replicas, self._n_input, self._n_output = replicas, n_input, n_output
        self._changes = Changes()
        self._ring: Callable[[], None] = lambda: None
        self._heard: Callable[[Changes], None] = lambda _: None

    def attach(self, ring: Callable[[], None]) -> None:
        """Call ``ring`` whenever something is asked for."""
        self._ring = ring

    def listen(self, heard: Callable[[Changes], None]) -> None:
        """Call ``heard`` with what the engine takes, at the tick at which it takes effect."""
        self._heard = heard

    def input(self, values: Array) -> None:
        """Set the stimulus of the input nodes, in column order."""
        self._changes.input = self._columns("input", values, self._n_input)
        self._ring()

    def target(self, values: Array | None) -> None:
        """Set the targets of the output nodes, in column order; None: no target."""
        self._changes.no_target = values is None
        self._changes.target = None if values is None else self._columns("target", values, self._n_output)
        self._ring()

    def phi(self, value: float) -> None:
        """Set the scale of the loss gradient."""
        if not math.isfinite(value):
            raise StimulusError(f"phi: must be finite, got {value}")
        self._changes.phi = float(value)
        self._ring()

    def learn(self, on: bool) -> None:
        """Let synapses move (True), or hold w and every synapse field (False)."""
        self._changes.learn = bool(on)
        self._ring()

    def reset(self) -> None:
        """Set h, z, all heard and last-sent values to 0 and drop messages in flight; w and omega stay."""
        self._changes.reset = True
        self._ring()

    def take(self) -> Changes:
        """Return what was asked for since the last call."""
        changes, self._changes = self._changes, Changes()
        self._heard(changes)
        return changes

    def _columns(self, what: str, values: Array, columns: int) -> Array:
        array = np.asarray(values, dtype=np.float64)
        if array.shape not in ((columns,), (self._replicas, columns)):
            raise StimulusError(
                f"{what}: must have shape ({columns},) or ({self._replicas}, {columns}), got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise StimulusError(f"{what}: must be finite, got {array[~np.isfinite(array)][0]}")
        return np.broadcast_to(array, (self._replicas, columns)).copy()
