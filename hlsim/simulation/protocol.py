"""Stages and rows in time: what is shown acts on the network only through its controls."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.engine.clock import Cursor, call_at
from hlsim.engine.controls import Controls
from hlsim.engine.snapshot import Arrays, is_nothing, put, taken
from hlsim.errors import ExperimentError, StimulusError
from hlsim.models.rules.phi import Phi, changes
from hlsim.models.rules.rule import Phase, Rule
from hlsim.simulation.judging import Judge, Presentation, follow
from hlsim.simulation.noise import NoiseProcess
from hlsim.simulation.prequential import Prequential
from hlsim.stimulus import Row, Stage, Stream
from hlsim.stimulus.stages import length, phases_of, presented


@dataclass(frozen=True)
class PhaseRun:
    """How a phase went: its first and its last tick, and whether the network was quiet in the end."""

    phase: Phase
    start: int
    end: int
    quiet: bool


class Protocol(Cursor):
    """Leads a network through its stages.

    Parameters
    ----------
    stream, stages : Stream, sequence of Stage
        What is shown, and in which order.
    hold : int
        Ticks a row is held, in stages without a hold of their own.
    reset : bool
        Whether every row begins with a reset of the state.
    rule : Rule
        Its phi holds for stages without one of their own; its phases divide the rows.
    seeds : sequence of int
        One for every replica of an ensemble; each shuffles by its own.
    batch : int
        Replicas that are shown consecutive rows of one stream. Rows left over at the end of a stage are left
        out where the stage learns; else copies that do not count fill the batch.
    prequential : Prequential
        When rows can be judged before their own target counts.
    late : int
        Ticks by which the target of a row, and the reading of it, come later than its input.
    on_told : callable
        Called with (tick, presentation) after that tick, where it is not the last of the row.
    on_row : callable
        Called with (tick, presentation, untouched) after the last tick of a row; of its free phase, if it has
        phases. ``untouched``: whether its own target has not touched the outputs by then.
    on_phase : callable
        Called with a PhaseRun after the last tick of a phase.
    noise : NoiseProcess, optional
        Switched on and off as the stages want it.
    first : bool
        Whether no row was shown before: the first one needs no reset.

    Attributes
    ----------
    ended : simpy.Event
        Happens when all rows were shown; made when it begins.
    """

    STATE = (
        "_first",
        "_over",
        "_stage",
        "_number",
        "_start",
        "_step",
        "_read",
        "_waits",
        "_quiet_at",
        "_judge",
    )

    # Where it stands: the stage and how many rows of it were shown, the one that is; when that, or its phase,
    # began, which phase is next, and whether the row has been read.
    _stage = -1
    _number = _start = _step = 0
    _shown: Presentation | None = None
    _read = False
    # Whether it waits for the network to be quiet, and the first tick after that.
    _waits, _quiet_at = False, -1
    ended: simpy.Event

    def __init__(
        self,
        controls: Controls,
        stream: Stream,
        stages: Sequence[Stage],
        *,
        hold: int,
        reset: bool,
        rule: Rule,
        seeds: Sequence[int],
        batch: int,
        prequential: Prequential,
        late: int,
        on_told: Callable[[int, Presentation], None],
        on_row: Callable[[int, Presentation, bool], None],
        on_phase: Callable[[PhaseRun], None],
        noise: NoiseProcess | None = None,
        first: bool = True,
    ) -> None:
        self._controls, self._stream, self._stages = controls, stream, stages
        self.hold, self._reset, self._rule, self._first = hold, reset, rule, first
        self._seeds, self.batch, self._over = seeds, batch, 0
        self._on_row, self._on_phase, self._noise = on_row, on_phase, noise
        self._rows: Iterator[Presentation] = iter(())
        self._judge = Judge(controls, rule, stages, hold, prequential, late, on_told, on_row)

    def begin(self, env: simpy.Environment) -> None:
        """Lead from the tick that has come on."""
        self.ended = env.event()
        self._judge.begin(env)
        super().begin(env)

    def share(self) -> float | None:
        """Return the share of all rows that are over; None: there is no end."""
        rows = presented(self._stream, self._stages, self.batch)
        return None if rows is None else self._over / max(1, sum(rows))

    def ticks(self) -> int | None:
        """Return how many ticks the stages last, at most where phases may end sooner; None: for ever."""
        return length(self._stream, self._stages, self._rule, self.hold, self.batch, self._judge.late)

    # ---- the way through the rows

    def go_on(self, tick: int) -> None:
        """Do what is to be done at a tick: in the row that is shown, or show the next one."""
        if self._shown is None or self._row_is_over(tick, self._shown):
            self._go_to_next_row(tick)

    def _row_is_over(self, tick: int, shown: Presentation) -> bool:
        hold = shown.stage.hold or self.hold
        if self._rule.nudges:
            if self._end_phase(tick, shown):
                self._begin_phase(tick, shown)
                return False
        elif tick < self._start + hold:
            self.wait(self._start + hold)
            return False
        self._over += 1
        self._shown = None
        return True

    def _go_to_next_row(self, tick: int) -> None:
        """Show the next row, in the stages that are left; when there is none, nothing any more."""
        while self._stage < len(self._stages):
            shown = next(self._rows, None)
            if shown is not None:
                self._show(tick, shown)
                return
            self._stage += 1
            if self._stage < len(self._stages):
                self._begin_stage(tick, self._stages[self._stage])
            elif self._rule.nudges:
                # The mark of the last phase takes effect at a tick of its own.
                self._controls.nudge(0.0)
                self.wait(tick + 1)
                return
            elif self._judge.late:
                self._controls.input(np.zeros(self._stream.n_input))
                self.wait(tick + self._judge.late)
                return
        self._controls.rest()
        self.ended.succeed()

    def _begin_stage(self, tick: int, stage: Stage) -> None:
        if self._noise is not None:
            self._noise.switch(stage.noise, tick)
        self._rows, self._number = self._presentations(stage, 0), 0

    def _show(self, tick: int, shown: Presentation) -> None:
        if self._reset and not self._first:
            self._controls.reset()
        self._shown, self._first = shown, False
        self._start, self._step, self._read = tick, 0, False
        self._number += 1
        self._controls.input(shown.input)
        self._judge.take(tick, shown)
        if self._rule.nudges:
            self._begin_phase(tick, shown)
        else:
            self.wait(tick + (shown.stage.hold or self.hold))

    # ---- rows with phases

    def _begin_phase(self, tick: int, shown: Presentation) -> None:
        """Begin a phase of a row; only the free one where it is not learned from."""
        phase = phases_of(self._rule, shown.stage)[self._step]
        self._controls.nudge(phase.nudge)
        self._start, self._quiet_at = tick, -1
        self.wait(tick + (phase.ticks or shown.stage.hold or self.hold))
        self._waits = phase.settles
        if phase.settles:
            self._controls.when_quiet(self._hear_quiet)

    def _hear_quiet(self, tick: int) -> None:
        self._waits, self._quiet_at = False, tick
        call_at(self._env, tick, 0, self._settle)

    def _settle(self) -> None:
        """The network is quiet: the phase ends at this tick, as it may be to do anyway."""
        if self._at > self._quiet_at:
            self.wait(self._quiet_at)

    def _end_phase(self, tick: int, shown: Presentation) -> bool:
        """End the phase of a row; return whether there is another one."""
        phases = phases_of(self._rule, shown.stage)
        phase, last = phases[self._step], tick - 1
        if self._waits:
            self._waits = False
            self._controls.forget_quiet()
        self._on_phase(PhaseRun(phase, self._start, last, 0 <= self._quiet_at <= tick))
        if phase.readable and not self._read:
            self._on_row(last, shown, True)
            self._read = True
        if shown.stage.learn and phase.weight != 0:
            self._controls.mark(phase)
        self._step += 1
        if self._step < len(phases):
            return True
        if not self._read:
            self._on_row(last, replace(shown, readable=False), False)
        return False

    # ---- what is saved

    def collect(self) -> dict[str, NDArray[Any]]:
        """Return where it stands, and the row that is shown."""
        self.check_resumes()
        shown = self._shown
        fields = ("input", "target", "label", "real")
        return {**super().collect(), **dict(taken({f"shown/{x}": getattr(shown, x, None) for x in fields}))}

    def check_resumes(self) -> None:
        """Refuse, where rows are left that cannot be begun with any of them: ExperimentError."""
        for stage in self._stages[max(0, self._stage) :]:
            if not self._stream.resumes(stage.split):
                raise ExperimentError(
                    "state: rows without an end can be resumed only where a parameter 'start' says with "
                    f"which to begin, got {self._stream}"
                )

    def put_back(self, arrays: Arrays) -> None:
        """Stand where another one stood."""
        super().put_back(arrays)
        if 0 <= self._stage < len(self._stages):
            stage = self._stages[self._stage]
            self._rows = self._presentations(stage, self._number)
            if not is_nothing(arrays["shown/input"]):
                given = arrays.within("shown")
                values = {name: put(None, name, given) for name in given}
                self._shown = Presentation(stage, **values)
        if self._waits:
            self._controls.when_quiet(self._hear_quiet)
        elif self._quiet_at >= self._env.now and self._at > self._quiet_at:
            call_at(self._env, self._quiet_at, 0, self._settle)

    def _presentations(self, stage: Stage, number: int) -> Iterator[Presentation]:
        """Yield what a stage shows, but for the first so many."""
        if len(self._seeds) > 1:
            streams = [stage.presentations(self._stream, seed, number) for seed in self._seeds]
            for rows in zip(*streams, strict=True):
                yield _stacked(stage, rows, len(rows))
            return
        stream = stage.presentations(self._stream, self._seeds[0], number * self.batch)
        while rows := tuple(islice(stream, self.batch)):
            count = len(rows)
            if count < self.batch:
                if stage.learn:
                    return
                rows += (rows[-1],) * (self.batch - count)
            yield _stacked(stage, rows, count)


class Alone(Cursor):
    """Sets phi where no rows are shown: the whole run is one."""

    STATE = ("_step",)

    def __init__(self, controls: Controls, phi: Phi) -> None:
        self._controls, self._points, self._step = controls, changes(phi, 0, math.inf), 0

    def go_on(self, tick: int) -> None:
        """Set phi, and wait for the next tick at which it changes."""
        self._step = follow(self._controls, self._points, self._step, tick)
        if self._step < len(self._points):
            self.wait(self._points[self._step][0])


def _stacked(stage: Stage, rows: Sequence[Row], count: int) -> Presentation:
    """Stack one row a replica; those from ``count`` on are copies."""
    targets = [row.target for row in rows if row.target is not None]
    if targets and len(targets) < len(rows):
        raise StimulusError("target: rows shown together must all have a target or none")
    real = np.arange(len(rows)) < count
    label = np.where(real, [row.label for row in rows], -1)
    inputs = np.array([row.input for row in rows], dtype=np.float64)
    return Presentation(stage, inputs, np.array(targets) if targets else None, label, real)
