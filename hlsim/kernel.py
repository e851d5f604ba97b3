"""Ticks on SimPy's clock: time is a whole number of ticks, phases of a tick are priorities within it."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

# SimPy runs events of one time by priority. Its own processes have 0 and 1, so whatever users' processes do
# at a tick is done before the network's part of it; recorders come after.
TICK = 1_000
RECORD = 2**40
READ = RECORD + 1


def call_at(env: simpy.Environment, tick: int, priority: int, callback: Callable[[], None]) -> None:
    """Schedule ``callback`` at ``tick``, not before now, among the events of that tick by ``priority``."""
    event = simpy.Event(env)
    event._ok, event._value = True, None
    event.callbacks.append(lambda _: callback())
    env.schedule(event, priority=priority, delay=tick - env.now)  # type: ignore[arg-type]


def coming_tick(env: simpy.Environment) -> int:
    """Return the tick of now; a user's process may stand between two, and then it is the later one."""
    return math.ceil(env.now)


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

    def read(self, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
        """Return fields at a tick: h, z, a (replica, node), w, omega (1 or replica, edge), loss (replica,).

        Also y (replica, output), h of the outputs. All are as after all phases of that tick; a neuron not
        due is read in closed form (arrival), evaluated once for all fields, or as last updated. Nothing is
        written back.
        """

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return state and costate sends and updates by neuron (replica, node); messages (1,).

        Those are ``overtaken`` by later ones, ``lost`` and ``in_flight``.
        """


class Ticks:
    """At most one SimPy event per busy tick.

    Parameters
    ----------
    callback : callable
        Called with the tick; a tick asked for after it has run becomes the next one.
    """

    def __init__(self, env: simpy.Environment, callback: Callable[[int], None]) -> None:
        self._env, self._callback = env, callback
        self._asked: set[int] = set()
        self._done = -1

    def request(self, tick: int) -> None:
        """Make sure that ``tick`` runs."""
        tick = max(tick, self._done + 1)
        if tick not in self._asked:
            self._asked.add(tick)
            call_at(self._env, tick, TICK, lambda: self._run(tick))

    def _run(self, tick: int) -> None:
        self._asked.discard(tick)
        self._done = tick
        self._callback(tick)
