"""The one door through which the protocol of stages and users' processes act on a running network."""

import cmath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.engine.clock import call_at
from hlsim.engine.links import PROPERTIES, LinkChange, Links, TouchableLinks
from hlsim.engine.snapshot import Arrays, Stateful, as_numbers, numbers
from hlsim.errors import ExperimentError, StimulusError, is_real, plain
from hlsim.models.rules.rule import Phase

Array = NDArray[np.float64]


@dataclass
class Changes(Stateful):
    """What takes effect in phase 1 of a tick; None: stays as it is."""

    STATE: ClassVar = ("reset", "input", "target", "no_target", "noise")

    reset: bool = False
    input: Array | None = None
    target: Array | None = None
    # There is no target from this tick on: the loss is silent.
    no_target: bool = False
    phi: float | None = None
    learn: bool | None = None
    nudge: complex | None = None
    # A phase is over: synapses take their products into account.
    mark: Phase | None = None
    noise: Array | None = None
    # In the order in which they were asked for; the last word on a link counts.
    links: tuple[LinkChange, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing was asked for."""
        given = (self.input, self.target, self.phi, self.learn, self.nudge, self.mark, self.noise)
        return not (self.reset or self.no_target or self.links) and all(value is None for value in given)

    def collect(self) -> dict[str, NDArray[Any]]:
        """Return what was asked for."""
        switches = [self.phi, self.learn, self.nudge]
        mark = [] if self.mark is None else list(vars(self.mark).values())
        links = [(PROPERTIES.index(each.what), each.kind, len(each.cells)) for each in self.links]
        return {
            **super().collect(),
            **numbers("switches", switches, (len(switches),)),
            **numbers("mark", mark, (len(mark),)),
            "links": np.array(links, np.int64).reshape(-1, 3),
            "links_cells": np.concatenate([np.zeros(0, np.int64), *(each.cells for each in self.links)]),
            "links_value": np.array([each.value for each in self.links], np.float64),
        }

    def put_back(self, arrays: Arrays) -> None:
        """Take what others were asked for."""
        super().put_back(arrays)
        self.phi, self.learn, self.nudge = as_numbers("switches", arrays, (3,))
        mark = as_numbers("mark", arrays, arrays["mark"].shape)
        self.mark = Phase(*mark) if mark else None
        what, kind, count = arrays["links"].T
        cells = np.split(arrays["links_cells"], np.cumsum(count)[:-1]) if len(count) else []
        columns = zip(what.tolist(), kind.tolist(), cells, arrays["links_value"].tolist(), strict=True)
        self.links = tuple(LinkChange(PROPERTIES[w], k, mine, value) for w, k, mine, value in columns)


class Controls(Stateful):
    """Collects what is asked for at a tick; the engine takes it in phase 1 of that tick.

    Whatever is asked for after the tick's phases have run takes effect at the next tick.

    Parameters
    ----------
    replicas, n_input, n_output, nodes : int
        Shapes that values are checked against: ``(columns,)`` for all replicas, or ``(replica, columns)``.
    phases : bool
        Whether the rule has phases; without them ``nudge``, ``mark`` and ``quiet`` are refused.
    touchable : TouchableLinks, optional
        Links that may be touched; without, ``links`` is refused. An attribute.
    """

    # Who waits to be told that the network is quiet asks again when it is loaded.
    STATE = ("_changes",)

    def __init__(
        self,
        replicas: int,
        n_input: int,
        n_output: int,
        nodes: int = 0,
        *,
        phases: bool = True,
        touchable: TouchableLinks | None = None,
    ) -> None:
        self._has_phases, self.touchable = phases, touchable
        self._replicas, self._n_input, self._n_output, self._nodes = replicas, n_input, n_output, nodes
        self._waiting: Callable[[int], None] | None = None
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
        if not is_real(value):
            raise StimulusError(f"phi: must be finite, got {plain(value)}")
        self._changes.phi = float(value)
        self._ring()

    def learn(self, on: bool) -> None:
        """Let synapses move (True), or hold w and every synapse field (False)."""
        self._changes.learn = bool(on)
        self._ring()

    def nudge(self, value: complex) -> None:
        """Let the loss pull at the drive of the outputs by -value dL/dh; rules that nudge only."""
        self._need_phases("nudge")
        value = plain(value)
        if not cmath.isfinite(value):
            raise StimulusError(f"nudge: must be finite, got {value}")
        self._changes.nudge = value
        self._ring()

    def mark(self, phase: Phase) -> None:
        """Say that a phase is over, before anything else happens at this tick; makes every neuron due."""
        self._need_phases("mark")
        self._changes.mark = phase
        self._ring()

    def noise(self, values: Array) -> None:
        """Set what is added to the drive of every node (node,), or (replica, node), until it is set again."""
        self._changes.noise = self._columns("noise", values, self._nodes)
        self._ring()

    def links(
        self,
        where: Links | None = None,
        *,
        replica: int | None = None,
        down: bool | None = None,
        delay: int | None = None,
        loss: float | None = None,
        jitter: int | None = None,
    ) -> None:
        """Change links for the messages that are sent from this tick on; what is left out stays as it is.

        Parameters
        ----------
        where : Links, optional
            Which links; without, all that the faults of the simulation are about.
        replica : int, optional
            In which member of an ensemble; without, in all.
        down : bool
            Whether whatever is sent is lost.
        delay, jitter : int
            Ticks a message travels, and how many more chance may add to them: uniform in 0 ... jitter.
        loss : float
            Probability that a message is lost.
        """
        if self.touchable is None:
            raise ExperimentError("links: need a simulation with faults, such as faults=Faults(manual=True)")
        values = {"down": down, "delay": delay, "loss": loss, "jitter": jitter}
        self.rewire(self.touchable.changes(values, where, replica))

    def rewire(self, changes: Sequence[LinkChange]) -> None:
        """Change links one by one, by index; nothing is checked."""
        self._changes.links += tuple(changes)
        self._ring()

    def reset(self) -> None:
        """Set h, z, all heard and last-sent values to 0 and drop messages in flight; w and omega stay."""
        self._changes.reset = True
        self._ring()

    def rest(self) -> None:
        """Show nothing and learn nothing from this tick on, but for what has been asked for already."""
        changes = self._changes
        if changes.input is None:
            self.input(np.zeros(self._n_input))
        if changes.target is None:
            self.target(None)
        if changes.learn is None:
            self.learn(False)

    def take(self) -> Changes:
        """Return what was asked for since the last call."""
        changes, self._changes = self._changes, Changes()
        self._heard(changes)
        return changes

    # ---- quiescence

    @property
    def waiting(self) -> bool:
        """Whether somebody wants to know when the network is quiet."""
        return self._waiting is not None

    def quiet(self, env: simpy.Environment) -> simpy.Event:
        """Return an event of the first tick after one at whose end the network is quiet.

        Nothing is in flight then, and no neuron has anything to send unless something happens to it.
        """
        event = env.event()
        self.when_quiet(lambda tick: _fire_at(event, tick))
        return event

    def when_quiet(self, told: Callable[[int], None]) -> None:
        """Call ``told`` at the end of the first tick at which the network is quiet, with the next one."""
        self._need_phases("quiet")
        self._waiting = told

    def forget_quiet(self) -> None:
        """Wait no longer."""
        self._waiting = None

    def settled(self, tick: int) -> None:
        """Say that the network is quiet at the end of a tick."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(tick + 1)

    def _need_phases(self, what: str) -> None:
        if not self._has_phases:
            raise StimulusError(f"{what}: is for rules with phases, by which the loss nudges")

    def _columns(self, what: str, values: Array, columns: int) -> Array:
        array = np.asarray(values, dtype=np.float64)
        if array.shape not in ((columns,), (self._replicas, columns)):
            raise StimulusError(
                f"{what}: must have shape ({columns},) or ({self._replicas}, {columns}), got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise StimulusError(f"{what}: must be finite, got {array[~np.isfinite(array)][0]}")
        return np.broadcast_to(array, (self._replicas, columns)).copy()


def _fire_at(event: simpy.Event, tick: int) -> None:
    def fire() -> None:
        if not event.triggered:
            event.succeed()

    call_at(event.env, tick, 0, fire)
