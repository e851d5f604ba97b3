"""Stages and rows in time: a SimPy process that acts on the network only through its controls."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.engine.clock import READ, call_at
from hlsim.engine.controls import Controls
from hlsim.errors import StimulusError
from hlsim.models.rules.phi import Phi, changes
from hlsim.models.rules.rule import Phase, Rule
from hlsim.simulation.noise import NoiseProcess
from hlsim.simulation.prequential import Prequential
from hlsim.stimulus import Row, Stage, Stream
from hlsim.stimulus.stages import length, phases_of, presented


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


@dataclass(frozen=True)
class PhaseRun:
    """How a phase went: its first and its last tick, and whether the network was quiet in the end."""

    phase: Phase
    start: int
    end: int
    quiet: bool


class Protocol:
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
    """

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
        on_told: Callable[[int, Presentation], None],
        on_row: Callable[[int, Presentation, bool], None],
        on_phase: Callable[[PhaseRun], None],
        noise: NoiseProcess | None = None,
        first: bool = True,
    ) -> None:
        self._controls, self._stream, self._stages = controls, stream, stages
        self.hold, self._reset, self._rule, self._first = hold, reset, rule, first
        self._seeds, self.batch, self._over = seeds, batch, 0
        self._prequential, self._on_told = prequential, on_told
        self._on_row, self._on_phase, self._noise = on_row, on_phase, noise

    def share(self) -> float | None:
        """Return the share of all rows that are over; None: there is no end."""
        rows = presented(self._stream, self._stages, self.batch)
        return None if rows is None else self._over / max(1, sum(rows))

    def ticks(self) -> int | None:
        """Return how many ticks the stages last, at most where phases may end sooner; None: for ever."""
        return length(self._stream, self._stages, self._rule, self.hold, self.batch)

    def run(self, env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        """Be the process."""
        first = self._first
        for stage in self._stages:
            phi = self._rule.phi if stage.phi is None else stage.phi
            self._controls.learn(stage.learn)
            if self._noise is not None:
                self._noise.switch(stage.noise, int(env.now))
            for shown in self._presentations(stage):
                if self._reset and not first:
                    self._controls.reset()
                first = False
                yield from (self._phases(env, shown) if self._rule.nudges else self._row(env, shown, phi))
                self._over += 1
        if self._rule.nudges:
            # The mark of the last phase takes effect at a tick of its own.
            self._controls.nudge(0.0)
            yield env.timeout(1)
        self._controls.rest()

    def _phases(self, env: simpy.Environment, shown: Presentation) -> Generator[simpy.Event, object, None]:
        """Lead through the phases of a row; only the free one where it is not learned from."""
        phases = phases_of(self._rule, shown.stage)
        self._controls.input(shown.input)
        self._controls.target(shown.target)
        read = False
        for phase in phases:
            self._controls.nudge(phase.nudge)
            start = int(env.now)
            quiet = yield from self._settle(env, phase, shown.stage.hold or self.hold)
            last = int(env.now) - 1
            self._on_phase(PhaseRun(phase, start, last, quiet))
            if phase.readable and not read:
                self._on_row(last, shown, True)
                read = True
            if shown.stage.learn and phase.weight != 0:
                self._controls.mark(phase)
        if not read:
            self._on_row(int(env.now) - 1, replace(shown, readable=False), False)

    def _settle(
        self, env: simpy.Environment, phase: Phase, hold: int
    ) -> Generator[simpy.Event, object, bool]:
        """Wait until a phase is over; return whether the network is quiet."""
        over = env.timeout(phase.ticks or hold)
        if not phase.settles:
            yield over
            return False
        quiet = self._controls.quiet(env)
        yield quiet | over
        self._controls.forget_quiet()
        return bool(quiet.triggered)

    def _row(
        self, env: simpy.Environment, shown: Presentation, phi: Phi
    ) -> Generator[simpy.Event, object, None]:
        start = int(env.now)
        self._controls.input(shown.input)
        self._controls.target(shown.target)
        hold = shown.stage.hold or self.hold
        last = start + hold - 1
        points = changes(phi, start, hold)
        taught = shown.stage.learn and shown.target is not None
        told = self._prequential.tick(start, hold, points, taught)
        if told is not None and told < last:
            call_at(env, told, READ, lambda: self._on_told(told, shown))
        call_at(env, last, READ, lambda: self._on_row(last, shown, told == last))
        yield from follow(env, self._controls, points)
        yield env.timeout(start + hold - env.now)

    def _presentations(self, stage: Stage) -> Iterator[Presentation]:
        if len(self._seeds) > 1:
            streams = [stage.presentations(self._stream, seed) for seed in self._seeds]
            for rows in zip(*streams, strict=True):
                yield _stacked(stage, rows, len(rows))
            return
        stream = stage.presentations(self._stream, self._seeds[0])
        while rows := tuple(islice(stream, self.batch)):
            count = len(rows)
            if count < self.batch:
                if stage.learn:
                    return
                rows += (rows[-1],) * (self.batch - count)
            yield _stacked(stage, rows, count)


def follow(
    env: simpy.Environment, controls: Controls, points: Sequence[tuple[int, float]]
) -> Generator[simpy.Event, object, None]:
    """Set phi to the value of each point at its tick."""
    for tick, value in points:
        if tick > env.now:
            yield env.timeout(tick - env.now)
        controls.phi(value)


def alone(env: simpy.Environment, controls: Controls, phi: Phi) -> Generator[simpy.Event, object, None]:
    """Set phi from tick 0 on where no rows are shown: the whole run is one."""
    yield from follow(env, controls, changes(phi, 0, math.inf))


def _stacked(stage: Stage, rows: Sequence[Row], count: int) -> Presentation:
    """Stack one row a replica; those from ``count`` on are copies."""
    targets = [row.target for row in rows if row.target is not None]
    if targets and len(targets) < len(rows):
        raise StimulusError("target: rows shown together must all have a target or none")
    real = np.arange(len(rows)) < count
    label = np.where(real, [row.label for row in rows], -1)
    inputs = np.array([row.input for row in rows], dtype=np.float64)
    return Presentation(stage, inputs, np.array(targets) if targets else None, label, real)
