"""Faults of links, which act through the controls, with draws keyed by the seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hlsim.engine.clock import Cursor
from hlsim.engine.controls import Controls
from hlsim.engine.links import (
    PROPERTIES,
    SPELL,
    LinkChange,
    Links,
    TouchableLinks,
    check_probability,
    check_property,
    check_ticks,
    uniform,
)
from hlsim.errors import ExperimentError, check_number, plain_fields
from hlsim.models.messages import MESSAGES
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import Network

# Longer than any run: a link that does not change again.
__all__ = ["Change", "FaultProcess", "Faults", "Links"]

_NEVER = 2**60


@dataclass(frozen=True)
class Change:
    """Something about links that changes at a tick, for the messages that are sent from then on.

    Parameters
    ----------
    tick : int
    links : Links, optional
        Which; without, those that the faults are about.
    down, delay, loss, jitter
        What they become, see ``hlsim.engine.controls.Controls.links``; what is left out stays as it is.
    """

    tick: int
    links: Links | None = None
    down: bool | None = None
    delay: int | None = None
    loss: float | None = None
    jitter: int | None = None

    def __post_init__(self) -> None:
        plain_fields(self)
        check_ticks("faults: tick of a change", self.tick)
        for what, value in self.values.items():
            check_property("faults", what, value)
        if not self.values:
            raise ExperimentError(
                f"faults: the change at tick {self.tick} needs one of {', '.join(PROPERTIES)}, got none"
            )

    @property
    def values(self) -> dict[str, Any]:
        """What changes, by name."""
        given = {what: getattr(self, what) for what in PROPERTIES}
        return {what: value for what, value in given.items() if value is not None}


@dataclass(frozen=True)
class Faults:
    """What goes wrong on links: messages are lost or late, links fail and come back, delays change.

    Parameters
    ----------
    loss : float
        Probability that a message is lost. Its sender does not know: the value counts as sent.
    jitter : int
        Every message takes 0 ... jitter ticks longer than its delay, all equally likely.
    failing : float
        Probability with which a link that works fails at a tick, from tick 1 on. What is sent on it while it
        is down is lost; what is on its way arrives.
    downtime : float
        Ticks, in the mean, that a link is down then: at every tick it comes back with probability 1/downtime.
    changes : sequence of Change
        What changes at a given tick; of two at one tick the later in the list counts.
    links : Links
        Which links all this is about.
    manual : bool
        Whether processes of your own touch the links too, by ``Controls.links``.
    """

    loss: float = 0.0
    jitter: int = 0
    failing: float = 0.0
    downtime: float = 1.0
    changes: Sequence[Change] = ()
    links: Links = field(default_factory=Links)
    manual: bool = False

    def __post_init__(self) -> None:
        plain_fields(self)
        object.__setattr__(self, "changes", tuple(self.changes))
        check_probability("faults: loss", self.loss)
        check_ticks("faults: jitter", self.jitter)
        check_probability("faults: failing", self.failing)
        check_number("faults: downtime", self.downtime, 1.0)

    def touchable(self, network: Network, rule: Rule, seeds: Sequence[int]) -> TouchableLinks | None:
        """Return the links of a network that may be touched; None: nothing ever happens to any.

        Raises
        ------
        ExperimentError
            Links that are not there, or a change that they cannot have.
        """
        if self == Faults():
            return None
        own = self.links.among(network, rule)
        touched = own & bool(self.loss or self.jitter or self.failing or self.manual)
        for change in self.changes:
            touched |= own if change.links is None else change.links.among(network, rule)
        if not touched.any():
            return None
        touchable = TouchableLinks(network, rule, touched, seeds)
        for change in self.changes:
            touchable.changes(change.values, change.links or self.links)
        return touchable


class FaultProcess(Cursor):
    """Brings faults about during a run.

    A link works and fails in turns. The length of the k-th turn is drawn by the link and k, so that nobody
    has to look at links that stay as they are.
    """

    STATE = ("_begun", "_scripted", "_turn", "_ends")

    def __init__(self, faults: Faults, controls: Controls, touchable: TouchableLinks, rule: Rule) -> None:
        self._faults, self._controls, self._wiring = faults, controls, touchable
        self._script = sorted(faults.changes, key=lambda change: change.tick)
        # How many of these have been made.
        self._scripted, self._begun = 0, False
        chosen = faults.links.among(touchable.network, rule) & (faults.failing > 0)
        self._chosen = np.tile(chosen, touchable.replicas)
        self._cells = np.flatnonzero(self._chosen.any(0))
        self._turn = np.zeros(len(self._cells), np.int64)
        self._ends = self._lengths(np.arange(len(self._cells)))

    def go_on(self, tick: int) -> None:
        """Change what changes at a tick; at the beginning, what lasts."""
        if self._begun:
            while self._next_scripted() == tick:
                change = self._script[self._scripted]
                self._controls.links(change.links or self._faults.links, **change.values)
                self._scripted += 1
            self._turn_over(tick)
        else:
            self._begin_lasting()
        following = self._next()
        if following < _NEVER:
            self.wait(following)

    def _begin_lasting(self) -> None:
        self._begun = True
        lasting: dict[str, Any] = {
            what: value for what in ("loss", "jitter") if (value := getattr(self._faults, what))
        }
        if lasting:
            self._controls.links(self._faults.links, **lasting)

    def _next(self) -> int:
        return min(self._next_scripted(), int(self._ends.min(initial=_NEVER)))

    def _next_scripted(self) -> int:
        return self._script[self._scripted].tick if self._scripted < len(self._script) else _NEVER

    def _turn_over(self, tick: int) -> None:
        """Let links fail or come back whose turn ends at a tick."""
        over = np.flatnonzero(self._ends == tick)
        self._turn[over] += 1
        self._ends[over] = tick + self._lengths(over)
        changes = []
        for down in (1, 0):
            cells = self._cells[over[self._turn[over] % 2 == down]]
            for kind in range(len(MESSAGES)):
                mine = cells[self._chosen[kind, cells]]
                changes += [LinkChange("down", kind, mine, float(down))] if len(mine) else []
        if changes:
            self._controls.rewire(changes)

    def _lengths(self, which: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw the lengths of turns, geometric and at least 1, by inversion of their distribution."""
        drawn = np.empty(len(which))
        for turn in np.unique(self._turn[which]).tolist():
            mine = np.flatnonzero(self._turn[which] == turn)
            keys = self._wiring.keys[torch.as_tensor(self._cells[which[mine]])]
            drawn[mine] = uniform(keys, turn, 0, SPELL).numpy()
        ends = np.where(self._turn[which] % 2, 1.0 / self._faults.downtime, self._faults.failing)
        with np.errstate(divide="ignore"):
            lengths = 1 + np.floor(np.log1p(-drawn) / np.log1p(-ends))
        return np.minimum(lengths, _NEVER).astype(np.int64)
