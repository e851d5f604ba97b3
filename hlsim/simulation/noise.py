"""Noise on the drive of neurons, which acts through the controls, keyed by the seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hlsim.engine import chance
from hlsim.engine.clock import Cursor
from hlsim.engine.controls import Controls
from hlsim.errors import check_count, check_number, plain_fields


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
        plain_fields(self)
        check_number("noise.std", self.std, 0.0)
        check_count("noise.every", self.every, 1, " of ticks")


class NoiseProcess(Cursor):
    """Draws the noise of a run and hands it to the controls.

    What a neuron gets depends on the seed, its label, its place in a minibatch and the tick, on nothing else.

    Parameters
    ----------
    seeds : sequence of int
        One for every replica of an ensemble.
    batch : int
        Replicas of each seed.
    labels : sequence of str
        Of the nodes; noise has the shape (replica, node).
    """

    STATE = ("_on",)

    def __init__(
        self, noise: Noise, controls: Controls, seeds: Sequence[int], batch: int, labels: Sequence[str]
    ) -> None:
        self._noise, self._controls, self._on = noise, controls, True
        self._shape = (batch * len(seeds), len(labels))
        # Nobody is called "shared" beside the labels: they come with a word of their own.
        names = [("shared",)] if noise.shared else [("node", label) for label in labels]
        replicas = [(str(seed), str(place)) for seed in seeds for place in range(batch)]
        of_names = chance.keys(names)
        of_replicas = chance.keys([("noise", *replica) for replica in replicas])
        self._keys = chance.joined(of_replicas[:, None], of_names[None, :]).reshape(-1)

    def switch(self, on: bool, tick: int) -> None:
        """Let there be noise from a tick on, or none."""
        self._on = on
        self._tell(tick)

    def go_on(self, tick: int) -> None:
        """Draw anew."""
        self._tell(tick)
        self.wait(tick + self._noise.every)

    def _tell(self, tick: int) -> None:
        if not self._on:
            self._controls.noise(np.zeros(self._shape))
            return
        drawn = self._noise.std * chance.normal(self._keys, tick // self._noise.every).numpy()
        self._controls.noise(np.broadcast_to(drawn.reshape(self._shape[0], -1), self._shape))
