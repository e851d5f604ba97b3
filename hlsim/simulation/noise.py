"""Noise on the drive of neurons: a SimPy process that acts through the controls, keyed by the seed."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.draws import Draws
from hlsim.engine.controls import Controls
from hlsim.errors import check_count, check_number


@dataclass(frozen=True)
class Noise:
    r"""Gaussian noise :math:`\xi` that is added to the drive, :math:`a = \sum w s + \xi`.

    Parameters
    ----------
    std : float
        Its standard deviation.
    shared : bool
        Whether all neurons get the same number, or each one its own.
    every : int
        Ticks that a number lasts; they start anew at the multiples of it.
    """

    std: float
    shared: bool = False
    every: int = 1

    def __post_init__(self) -> None:
        check_number("noise.std", self.std, 0.0)
        check_count("noise.every", self.every, 1, " of ticks")


class NoiseProcess:
    """Draws the noise of a run and hands it to the controls.

    Parameters
    ----------
    seeds : sequence of int
        One for every replica of an ensemble.
    batch, nodes : int
        Replicas of each seed, and nodes; noise has the shape (replica, node).
    """

    def __init__(
        self, noise: Noise, controls: Controls, seeds: Sequence[int], batch: int, nodes: int
    ) -> None:
        self._noise, self._controls = noise, controls
        self._draws, self._shape, self._on = [Draws(seed) for seed in seeds], (batch, nodes), True

    def switch(self, on: bool, tick: int) -> None:
        """Let there be noise from a tick on, or none."""
        self._on = on
        self._tell(tick)

    def run(self, env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        """Be the process."""
        while True:
            self._tell(int(env.now))
            yield env.timeout(self._noise.every)

    def _tell(self, tick: int) -> None:
        parts = [self._values(draws, tick // self._noise.every) for draws in self._draws]
        values = np.concatenate(parts)
        self._controls.noise(values if self._on else np.zeros_like(values))

    def _values(self, draws: Draws, slot: int) -> NDArray[np.float64]:
        batch, nodes = self._shape
        generator = draws.generator("noise", str(slot))
        drawn = generator.normal(0.0, self._noise.std, (batch, 1 if self._noise.shared else nodes))
        return np.broadcast_to(drawn, self._shape)
