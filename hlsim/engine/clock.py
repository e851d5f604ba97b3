"""Ticks on SimPy's clock: time is a whole number of ticks, phases of a tick are priorities within it."""

import math
from collections.abc import Callable

import simpy

# SimPy runs events of one time by priority. Its own processes have 0 and 1, so whatever users' processes do
# at a tick is done before the network's part of it; recorders come after.
TICK = 1_000
RECORD = 2**40
READ = RECORD + 1


class Clock(simpy.Environment):
    """SimPy's environment, which knows how far ticks have come."""

    # The last tick at which something was called after all of its phases.
    _over = -1

    @property
    def last(self) -> int:
        """The last tick whose phases are over: that before the one that has come, or it once it is over."""
        return max(self._over, math.ceil(self.now) - 1)

    def pass_by(self, tick: int) -> None:
        """Say that the phases of a tick are over."""
        self._over = max(self._over, tick)


def call_at(env: simpy.Environment, tick: int, priority: int, callback: Callable[[], None]) -> None:
    """Schedule ``callback`` at ``tick``, not before now, among the events of that tick by ``priority``."""

    def call(_: simpy.Event) -> None:
        if priority >= RECORD and isinstance(env, Clock):
            env.pass_by(tick)
        callback()

    event = simpy.Event(env)
    event._ok, event._value = True, None
    event.callbacks.append(call)
    env.schedule(event, priority=priority, delay=tick - env.now)  # type: ignore[arg-type]


def coming_tick(env: simpy.Environment) -> int:
    """Return the tick of now; a user's process may stand between two, and then it is the later one."""
    return math.ceil(env.now)


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
