"""Stages and rows in time: a SimPy process that acts on the network only through its controls."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import simpy
from numpy.typing import NDArray

from hlsim.controls import Controls
from hlsim.errors import StimulusError
from hlsim.kernel import READ, call_at
from hlsim.phi import Gate, Phi, Schedule
from hlsim.stimulus import Row, Stage, Stream


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
    """

    stage: Stage
    input: NDArray[np.float64]
    target: NDArray[np.float64] | None
    label: NDArray[np.int64]
    real: NDArray[np.bool_]


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
    phi : float, Gate or Schedule
        The rule's, for stages without one of their own.
    seeds : sequence of int
        One for every replica of an ensemble; each shuffles by its own.
    batch : int
        Replicas that are shown consecutive rows of one stream. Rows left over at the end of a stage are left
        out where the stage learns; else copies that do not count fill the batch.
    on_row : callable
        Called with (tick, presentation) at the end of a row's last tick.
    """

    def __init__(
        self,
        controls: Controls,
        stream: Stream,
        stages: Sequence[Stage],
        *,
        hold: int,
        reset: bool,
        phi: Phi,
        seeds: Sequence[int],
        batch: int,
        on_row: Callable[[int, Presentation], None],
    ) -> None:
        self._controls, self._stream, self._stages = controls, stream, stages
        self._hold, self._reset, self._phi = hold, reset, phi
        self._seeds, self._batch, self._on_row = seeds, batch, on_row

    def ticks(self) -> int | None:
        """Return how many ticks the stages last, None: for ever."""
        lengths = presented(self._stream, self._stages, self._batch)
        if lengths is None:
            return None
        return sum(
            rows * (stage.hold or self._hold) for stage, rows in zip(self._stages, lengths, strict=True)
        )

    def run(self, env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        """Be the process."""
        first = True
        for stage in self._stages:
            phi = self._phi if stage.phi is None else stage.phi
            self._controls.learn(stage.learn)
            if isinstance(phi, Schedule):
                env.process(follow(env, self._controls, phi))
            for shown in self._presentations(stage):
                if self._reset and not first:
                    self._controls.reset()
                first = False
                yield from self._row(env, shown, phi)

    def _row(
        self, env: simpy.Environment, shown: Presentation, phi: Phi
    ) -> Generator[simpy.Event, object, None]:
        start = int(env.now)
        self._controls.input(shown.input)
        self._controls.target(shown.target)
        hold = shown.stage.hold or self._hold
        last = start + hold - 1
        call_at(env, last, READ, lambda: self._on_row(last, shown))
        elapsed = 0
        if not isinstance(phi, Schedule):
            changes = phi.changes() if isinstance(phi, Gate) else [(0, phi)]
            for after, value in changes:
                if after >= hold:
                    break
                if after > elapsed:
                    yield env.timeout(after - elapsed)
                    elapsed = after
                self._controls.phi(value)
        yield env.timeout(hold - elapsed)

    def _presentations(self, stage: Stage) -> Iterator[Presentation]:
        if len(self._seeds) > 1:
            streams = [stage.presentations(self._stream, seed) for seed in self._seeds]
            for rows in zip(*streams, strict=True):
                yield _stacked(stage, rows, len(rows))
            return
        stream = stage.presentations(self._stream, self._seeds[0])
        while rows := tuple(islice(stream, self._batch)):
            count = len(rows)
            if count < self._batch:
                if stage.learn:
                    return
                rows += (rows[-1],) * (self._batch - count)
            yield _stacked(stage, rows, count)


def presented(stream: Stream, stages: Sequence[Stage], batch: int) -> list[int] | None:
    """Return how many rows each stage shows one replica; None: one of them has no end."""
    counts = []
    for stage in stages:
        rows = stage.length(stream)
        if rows is None:
            return None
        # Rows that do not fill a batch are not learned from, but they are tested.
        counts.append(rows // batch if stage.learn else -(-rows // batch))
    return counts


def follow(
    env: simpy.Environment, controls: Controls, schedule: Schedule
) -> Generator[simpy.Event, object, None]:
    """Set phi as scheduled, from the tick that has come."""
    past = [value for tick, value in schedule.points if tick <= env.now]
    controls.phi(past[-1] if past else 0.0)
    for tick, value in schedule.points:
        if tick > env.now:
            yield env.timeout(tick - env.now)
            controls.phi(value)


def _stacked(stage: Stage, rows: Sequence[Row], count: int) -> Presentation:
    """Stack one row a replica; those from ``count`` on are copies."""
    targets = [row.target for row in rows if row.target is not None]
    if targets and len(targets) < len(rows):
        raise StimulusError("target: rows shown together must all have a target or none")
    real = np.arange(len(rows)) < count
    label = np.where(real, [row.label for row in rows], -1)
    inputs = np.stack([np.asarray(row.input, dtype=np.float64) for row in rows])
    return Presentation(stage, inputs, np.stack(targets) if targets else None, label, real)
