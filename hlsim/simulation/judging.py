"""What a row asks of a network: its target, phi and the learning switch; and when its outputs are read.

All of that may come later than the input of the row, by the ticks that a signal needs to the outputs: then an
output meets the target that belongs to it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.engine.clock import READ, Cursor, call_at
from hlsim.engine.controls import Controls
from hlsim.engine.snapshot import Arrays, prefixed
from hlsim.models.rules.phi import changes
from hlsim.models.rules.rule import Rule
from hlsim.simulation.prequential import Prequential
from hlsim.stimulus import Stage

# Fields of a presentation that are always there.
_FIELDS = ("input", "label", "real")


@dataclass(frozen=True)
class Presentation:
    """What every replica is shown for one row.

    Attributes
    ----------
    input, target : (replica, columns)
    label : int64 (replica,)
        -1: none.
    real : bool (replica,)
        False for copies that fill a batch and do not count.
    readable : bool
        Whether there is a moment at which the loss does not pull at the outputs, so that they tell something.
    """

    stage: Stage
    input: NDArray[np.float64]
    target: NDArray[np.float64] | None
    label: NDArray[np.int64]
    real: NDArray[np.bool_]
    readable: bool = True


def follow(controls: Controls, points: Sequence[tuple[int, float]], step: int, tick: int) -> int:
    """Set phi to the value of each point from a step on whose tick has come; return the step that is next."""
    while step < len(points) and points[step][0] <= tick:
        controls.phi(points[step][1])
        step += 1
    return step


class Judge(Cursor):
    """Tells a network the targets of rows and reads its outputs, ``late`` ticks after their inputs.

    Parameters
    ----------
    rule : Rule
        Its phi holds for stages without one of their own; where it has phases, only targets and the learning
        switch are told here.
    hold : int
        Ticks a row is held, in stages without a hold of their own.
    prequential : Prequential
        When rows can be judged before their own target counts.
    late : int
        In ticks; the network learns nothing before the first target has come.
    on_told, on_row : callable
        As in ``Protocol``.
    """

    STATE = ("_stage", "_step", "_untouched", "_tells", "_ends")
    APART = ("_row", "_start", "_coming")
    # What follows from the row that is judged.
    SCRATCH = ("_points",)

    # The row that is judged, since when, which value of phi is next, and when it is to be read.
    _row: Presentation | None = None
    _start = _step = 0
    _untouched = False
    _tells = _ends = -1
    # The stage of the row that was judged last, by its place; -1: there was none.
    _stage = -1

    def __init__(
        self,
        controls: Controls,
        rule: Rule,
        stages: Sequence[Stage],
        hold: int,
        prequential: Prequential,
        late: int,
        on_told: Callable[[int, Presentation], None],
        on_row: Callable[[int, Presentation, bool], None],
    ) -> None:
        self._controls, self._rule, self._stages, self._hold = controls, rule, stages, hold
        self._prequential, self.late, self._on_told, self._on_row = prequential, late, on_told, on_row
        # Rows that are on their way to the outputs, and when they come.
        self._coming: deque[tuple[int, Presentation]] = deque()
        self._points: list[tuple[int, float]] = []

    def begin(self, env: simpy.Environment) -> None:
        """Be there from the tick that has come on; rows are given."""
        self._env = env
        if self.late:
            self._controls.learn(False)

    def take(self, tick: int, shown: Presentation) -> None:
        """Take a row whose input is shown at a tick."""
        self._coming.append((tick + self.late, shown))
        self.go_on(tick)

    def go_on(self, tick: int) -> None:
        """Tell the target of a row that has come, and set phi to its value in the row."""
        if self._coming and self._coming[0][0] <= tick:
            self._start, self._row = self._coming.popleft()
            self._tell_target(self._row)
        self._step = follow(self._controls, self._points, self._step, tick)
        coming = [self._coming[0][0]] if self._coming else []
        coming += [self._points[self._step][0]] if self._step < len(self._points) else []
        self.wait(min(coming, default=-1))

    def _tell_target(self, row: Presentation) -> None:
        if self._stage != self._number(row.stage):
            self._stage = self._number(row.stage)
            self._controls.learn(row.stage.learn)
        self._controls.target(row.target)
        if not self._rule.nudges:
            self._step, self._points = 0, self._changes_of_phi(row)
            self._plan_readings(row)

    def _number(self, stage: Stage) -> int:
        return [each.name for each in self._stages].index(stage.name)

    def _changes_of_phi(self, row: Presentation) -> list[tuple[int, float]]:
        phi = self._rule.phi if row.stage.phi is None else row.stage.phi
        return changes(phi, self._start, row.stage.hold or self._hold)

    def _plan_readings(self, row: Presentation) -> None:
        """Plan when the outputs are read: before the target of the row counts, and at its last tick."""
        hold = row.stage.hold or self._hold
        last = self._start + hold - 1
        taught = row.stage.learn and row.target is not None
        told = self._prequential.tick(self._start, hold, self._points, taught)
        self._untouched = told == last
        self._tells, self._ends = -1 if told is None or told >= last else told, last
        self._plan_calls()

    def _plan_calls(self) -> None:
        if self._tells >= 0:
            call_at(self._env, self._tells, READ, self._tell)
        if self._ends >= 0:
            call_at(self._env, self._ends, READ, self._end)

    def _tell(self) -> None:
        tick, self._tells = self._tells, -1
        if self._row is not None:
            self._on_told(tick, self._row)

    def _end(self) -> None:
        tick, self._ends = self._ends, -1
        if self._row is not None:
            self._on_row(tick, self._row, self._untouched)

    # ---- what is saved

    def collect(self) -> dict[str, NDArray[Any]]:
        """Return where it stands, and the rows that are judged or to be, (row, ...) by field."""
        judged = [] if self._row is None else [(self._start, self._row)]
        rows = [*judged, *self._coming]
        given = [row.target for _, row in rows if row.target is not None]
        fields = {name: np.array([getattr(row, name) for _, row in rows]) for name in _FIELDS}
        told = {
            "start": np.array([start for start, _ in rows], np.int64),
            "stage": np.array([self._number(row.stage) for _, row in rows], np.int64),
            "taught": np.array([row.target is not None for _, row in rows], np.int64),
            "target": np.array(given, np.float64),
            **fields,
        }
        return {**super().collect(), "judged": np.array(len(judged)), **prefixed("rows", told)}

    def put_back(self, arrays: Arrays) -> None:
        """Stand where another one stood."""
        super().put_back(arrays)
        given = arrays.within("rows")
        targets = iter(given["target"])
        for k, (start, stage, taught) in enumerate(
            zip(*(given[name].tolist() for name in ("start", "stage", "taught")), strict=True)
        ):
            fields = {name: given[name][k].copy() for name in _FIELDS}
            row = Presentation(self._stages[stage], target=next(targets).copy() if taught else None, **fields)
            if k < int(arrays["judged"]):
                self._start, self._row = start, row
            else:
                self._coming.append((start, row))
        if self._row is not None and not self._rule.nudges:
            self._points = self._changes_of_phi(self._row)
        self._plan_calls()
