"""Ticks on SimPy's clock: time is a whole number of ticks, phases of a tick are priorities within it."""

import math
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import simpy

from hlsim.engine.snapshot import Array, Arrays, Stateful

# SimPy runs events of one time by priority. Its own processes have 0 and 1, so whatever users' processes do
# at a tick is done before the network's part of it; recorders come after.
TICK = 1_000
RECORD = 2**40
READ = RECORD + 1


class Call(simpy.Event):
    """An event of hlsim's own: something is called at a tick, unless it is called off."""

    def __init__(
        self, env: simpy.Environment, tick: int, priority: int, callback: Callable[[], None]
    ) -> None:
        # What an event of SimPy's does, without another call: there is one of these for every busy tick.
        self.env, self.tick, self.priority, self.callback = env, tick, priority, callback
        self.callbacks = [self._call]
        self._ok, self._value = True, None
        env.schedule(self, priority=priority, delay=tick - env.now)  # type: ignore[arg-type]

    def _call(self, _: simpy.Event) -> None:
        if self.priority >= RECORD and isinstance(self.env, Clock):
            self.env.pass_by(self.tick)
        self.callback()

    def call_off(self) -> None:
        """Let nothing happen at its tick."""
        self.callbacks = []


class Clock(simpy.Environment, Stateful):
    """SimPy's environment, which knows how far ticks have come, and whose processes and events are whose."""

    STATE = ("_now", "_over")
    SCRATCH = ("_halting",)

    # The last tick at which something was called after all of its phases.
    _over = -1
    # Whether a run is to end as soon as it stands between two ticks.
    _halting = False

    def __init__(self, initial_time: int = 0) -> None:
        super().__init__(initial_time)
        self._users: WeakSet[simpy.Process] = WeakSet()

    @property
    def last(self) -> int:
        """The last tick whose phases are over: that before the one that has come, or it once it is over."""
        return max(self._over, math.ceil(self.now) - 1)

    def pass_by(self, tick: int) -> None:
        """Say that the phases of a tick are over."""
        self._over = max(self._over, tick)

    def halt(self, wanted: bool = True) -> None:
        """Let ``run`` return as soon as all of a tick is over; may be asked for by a signal, or a thread."""
        self._halting = wanted

    def step(self) -> None:
        """Go on to the next event, or end the run where that was asked for."""
        if self._halting and self.peek() > self.now:
            # An engine may have gone on by itself through ticks up to the next event, and never beyond.
            self._halting, self._now = False, self.peek()  # type: ignore[assignment]
            raise simpy.core.StopSimulation(None)
        super().step()

    def process(self, generator: Generator[simpy.Event, Any, Any]) -> simpy.Process:
        """Run a process of a user's beside the network."""
        made = simpy.Process(self, generator)
        self._users.add(made)
        return made

    def of_users(self) -> str | None:
        """Return the name of a process or event that is not hlsim's own and yet to come; None: none is."""
        alive = sorted(process.name for process in self._users if process.is_alive)
        events = (name for call in calls(self) if (name := _of_user(call)) is not None)
        return next(iter(alive), None) or next(events, None)

    def collect(self) -> dict[str, Array]:
        """Return the time; what is planned, those save who have planned it."""
        # A user may have stopped it between two ticks.
        return {"now": np.array(float(self.now)), "over": np.array(self._over)}

    def put_back(self, arrays: Arrays) -> None:
        """Go to the time that another clock saved, with nothing planned: whoever plans is loaded after it."""
        now = float(arrays["now"])
        self._now = int(now) if now.is_integer() else now
        self._over = int(arrays["over"])
        self._queue.clear()


class Life(simpy.Process):
    """A process of hlsim's own. Whoever starts it saves where it stands, and starts another one."""


def calls(env: simpy.Environment) -> list[simpy.Event]:
    """Return the events to come at which anything is to happen, in their order."""
    return [event for *_, event in sorted(env._queue, key=lambda entry: entry[:3]) if event.callbacks]


def _of_user(event: simpy.Event) -> str | None:
    """Return what an event of a user's is called, None for one of hlsim's own and for the end of a run."""
    for callback in event.callbacks:
        called = event.callback if isinstance(event, Call) else callback
        called = getattr(called, "func", called)
        process = getattr(called, "__self__", None)
        own = isinstance(process, Life) or called == simpy.core.StopSimulation.callback
        if not own and not str(getattr(called, "__module__", "")).startswith("hlsim."):
            return str(getattr(process, "name", None) or getattr(called, "__qualname__", event))
    return None


def call_at(env: simpy.Environment, tick: int, priority: int, callback: Callable[[], None]) -> Call:
    """Schedule ``callback`` at ``tick``, not before now, among the events of that tick by ``priority``."""
    return Call(env, tick, priority, callback)


def coming_tick(env: simpy.Environment) -> int:
    """Return the tick of now; a user's process may stand between two, and then it is the later one."""
    return math.ceil(env.now)


class Ticks(Stateful):
    """At most one SimPy event per busy tick.

    Parameters
    ----------
    callback : callable
        Called with the tick; a tick asked for after it has run becomes the next one.
    """

    STATE = ("_asked", "_done")

    def __init__(self, env: simpy.Environment, callback: Callable[[int], None]) -> None:
        self._env, self._callback = env, callback
        self._asked: set[int] = set()
        self._done = -1

    def request(self, tick: int) -> None:
        """Make sure that ``tick`` runs."""
        tick = max(tick, self._done + 1)
        if tick not in self._asked:
            self._asked.add(tick)
            call_at(self._env, tick, TICK, partial(self._run, tick))

    def collect(self) -> dict[str, Array]:
        """Return the ticks that were asked for, and the last one that has run."""
        return {"asked": np.array(sorted(self._asked), np.int64), "done": np.array(self._done)}

    def put_back(self, arrays: Arrays) -> None:
        """Ask for the ticks that others were asked for."""
        self._asked.clear()
        self._done = int(arrays["done"])
        for tick in arrays["asked"].tolist():
            self.request(tick)

    def _run(self, tick: int) -> None:
        self._asked.discard(tick)
        self._done = tick
        self._callback(tick)


class Cursor(Stateful):
    """A process of hlsim's own that can be saved: an object that knows where it stands, no generator's frame.

    It goes on where SimPy would have a process go on: it begins before all else of a tick, and comes then
    among the timeouts of users' processes.
    """

    STATE: ClassVar[tuple[str, ...]] = ("_at", "_priority")

    _env: simpy.Environment
    # When it goes on; -1: never again.
    _at, _priority = -1, 1
    _call: Call | None = None

    def begin(self, env: simpy.Environment) -> None:
        """Go on for the first time at the tick that has come."""
        self._env = env
        self._plan(int(env.now), 0)

    @property
    def alive(self) -> bool:
        """Whether it has yet to go on."""
        return self._at >= 0

    def go_on(self, tick: int) -> None:
        """Do what is to be done at a tick, and ``wait`` for the next one, if there is any."""
        raise NotImplementedError

    def wait(self, tick: int) -> None:
        """Go on at a tick, and at no other that was asked for before."""
        self._plan(tick, 1)

    def put_back(self, arrays: Arrays) -> None:
        """Stand where another one stood; it has begun."""
        super().put_back(arrays)
        self._plan(self._at, self._priority)

    def _plan(self, tick: int, priority: int) -> None:
        if self._call is not None:
            self._call.call_off()
        self._at, self._priority = tick, priority
        self._call = call_at(self._env, tick, priority, self._come) if tick >= 0 else None

    def _come(self) -> None:
        tick, self._at, self._call = self._at, -1, None
        self.go_on(tick)
