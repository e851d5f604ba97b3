"""Watches one run: samples, rows and progress, all read after the phases of a tick."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Timer

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.clock import RECORD, Call, Clock, call_at
from hlsim.engine.controls import Changes
from hlsim.engine.interface import Engine
from hlsim.engine.snapshot import Array, Arrays, Stateful, as_text, text
from hlsim.simulation.judging import Presentation
from hlsim.topology.network import Network
from hlsim.trace.recorder import Before, Recorder

try:
    import resource
except ImportError:  # not a Unix: how much memory the process takes is not known
    resource = None  # type: ignore[assignment]

# How often progress is told and the log written, in seconds of wall time.
PULSE_S = 0.5
# Times a run looks whether it is time for that where nothing is sampled.
_BEATS = 1000
# Seconds after which loops are not being loaded, but compiled.
_PATIENCE = 2.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands: ticks done, ticks asked for, seconds of wall time, messages sent so far.

    ``compiling``: no tick is run yet, and the time that loops take to be compiled is not the run's.
    """

    tick: int
    until: int
    wall_s: float
    messages: int
    compiling: bool = False


@contextmanager
def told_of_compiling(progress: Callable[[Progress], None] | None, tick: int, end: int) -> Iterator[None]:
    """Tell whoever wants to know of a progress that there is none yet, if that takes its time."""
    if progress is None:
        yield
        return
    timer = Timer(_PATIENCE, progress, [Progress(tick, end, 0.0, 0, compiling=True)])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def fed_after(before: Before, changes: Changes) -> Before:
    """Return what is in force once an engine has taken changes, as it was used."""
    return replace(
        before,
        input=before.input if changes.input is None else changes.input,
        target=changes.target if changes.target is not None or changes.no_target else before.target,
        phi=before.phi if changes.phi is None else changes.phi,
        learn=before.learn if changes.learn is None else changes.learn,
        noise=before.noise if changes.noise is None else bool(changes.noise.any()),
    )


def tell_of_changes(recorder: Recorder, tick: int, changes: Changes, fed: Before) -> None:
    """Record what changed: links, what is fed, and what else the controls were asked for."""
    for change in changes.links:
        recorder.link(tick, change.what, change.kind, change.cells, change.value)
    if changes.input is not None or changes.target is not None or changes.no_target:
        recorder.stimulus(tick, fed.input, fed.target)
    noise = None if changes.noise is None else fed.noise
    recorder.controls(tick, phi=changes.phi, learn=changes.learn, noise=noise, reset=changes.reset)


class Watch:
    """Feeds a recorder from one run of an engine, from the tick that has come up to ``end``.

    Parameters
    ----------
    messages : callable
        Returns how many messages were sent so far.
    share : callable
        Returns the share of the stages that is over, None where ``end`` is not theirs or nobody knows.
    progress : callable, optional
        Called with a ``Progress`` about twice a second.
    """

    def __init__(
        self,
        env: Clock,
        engine: Engine,
        network: Network,
        recorder: Recorder,
        end: int,
        messages: Callable[[], int],
        share: Callable[[], float | None],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._env, self._engine, self._network, self._recorder = env, engine, network, recorder
        self._end, self._messages, self._share, self._progress = end, messages, share, progress
        self._started, self._pulsed = time.perf_counter(), 0.0
        # What is planned, by what it does.
        self._calls: dict[str, Call] = {}

    def start(self) -> None:
        """Have the recorder hear the engine, and plan the first sample."""
        now, recorder = self._env.last + 1, self._recorder
        self._engine.observer = recorder if recorder.events else None
        self._plan(now if recorder.due(now) else recorder.next(now))
        if self._progress is not None:
            self._beat(now, max(1, (self._end - now) // _BEATS))

    def stop(self, end: int | None) -> None:
        """Have it hear no more; ``end`` says up to which tick all is over, where the run did not fail."""
        self._engine.observer = None
        # A run may end before ``end``: what was planned beyond is not part of its trace.
        for call in self._calls.values():
            call.call_off()
        if end is not None:
            self._end = end
            self._recorder.now(end - 1)
            if self._progress is not None:
                self._progress(Progress(end, end, self._wall(), self._messages()))

    # ---- samples and progress

    def _plan(self, tick: int) -> None:
        if tick < self._end:
            self._calls["sample"] = call_at(self._env, tick, RECORD, lambda: self._sample(tick))

    def _sample(self, tick: int) -> None:
        names = self._recorder.due(tick)
        self._recorder.sample(tick, self._engine.read(names, tick))
        self._pulse(tick)
        self._plan(self._recorder.next(tick))

    def _beat(self, tick: int, step: int) -> None:
        if tick < self._end:
            self._calls["beat"] = call_at(self._env, tick, RECORD, lambda: self._beaten(tick, step))

    def _beaten(self, tick: int, step: int) -> None:
        self._pulse(tick)
        self._beat(tick + step, step)

    def _pulse(self, tick: int) -> None:
        wall = self._wall()
        if wall - self._pulsed < PULSE_S:
            return
        self._pulsed = wall
        self._recorder.log(wall, tick, int(self._engine.counts()["in_flight"][0]), memory_bytes())
        if self._progress is not None:
            self._progress(Progress(tick, self._expected_end(tick), wall, self._messages()))

    def _expected_end(self, tick: int) -> int:
        """Phases may end before their time: what is left takes as long as what is over."""
        share = self._share()
        return self._end if not share else min(self._end, max(tick, round(tick / share)))

    def _wall(self) -> float:
        return time.perf_counter() - self._started

    # ---- rows of the stream

    def row(
        self,
        tick: int,
        shown: Presentation,
        told: NDArray[np.int64],
        prediction: NDArray[np.int64],
        loss: NDArray[np.float64],
    ) -> None:
        """Record how a row ended."""
        self._recorder.row(tick, shown.stage.name, shown.label, prediction, loss, told)


def memory_bytes() -> int:
    """Return the most memory that the process has taken so far, 0 where the system does not tell."""
    if resource is None:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, others KiB


class Scores(Stateful):
    """How the rows of every stage ended: mean loss, and accuracy where there are classes."""

    STATE = ("_told", "_loss", "_right", "_taught")

    def __init__(self) -> None:
        self._right: dict[str, list[int]] = {}
        self._taught: dict[str, list[int]] = {}
        self._loss: dict[str, list[float]] = {}
        self._told: NDArray[np.int64] | None = None

    def tell(self, shown: Presentation, y: NDArray[np.float64]) -> None:
        """Take outputs (replica, output) of a row that its own target has not touched."""
        self._told = _predicted(shown, y)

    def add(
        self, shown: Presentation, y: NDArray[np.float64], loss: NDArray[np.float64], untouched: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take outputs (replica, output) and loss (replica,) at a row's last tick; return two predictions.

        What was told before the target of the row counted, and what is told now. A prediction is the largest
        output, -1 where the row has no label, or nothing was told.
        """
        prediction = _predicted(shown, y)
        told = np.full(len(y), -1) if self._told is None else self._told
        self._told = None
        total = self._loss.setdefault(shown.stage.name, [0.0, 0])
        total[0] += float(loss[shown.real].sum())
        total[1] += int(shown.real.sum())
        _count(self._right, shown, told)
        if not untouched:
            _count(self._taught, shown, prediction)
        return told, prediction

    def collect(self) -> dict[str, Array]:
        """Return what came of the rows, and the names of their stages."""
        names, none = list(self._loss), [0, 0]
        taught = [self._taught.get(name, none) for name in names]
        told = np.zeros((0, 0), np.int64) if self._told is None else self._told[None]
        return {
            "stages": text(json.dumps(names)),
            "loss": np.array(list(self._loss.values()), np.float64).reshape(-1, 2),
            "right": np.array([self._right[name] for name in names], np.int64).reshape(-1, 2),
            "taught": np.array(taught, np.int64).reshape(-1, 2),
            "told": told,
        }

    def put_back(self, arrays: Arrays) -> None:
        """Take what another one saved."""
        names = json.loads(as_text(arrays["stages"]))
        self._right, self._taught = (
            dict(zip(names, arrays[each].tolist(), strict=True)) for each in ("right", "taught")
        )
        losses = zip(names, arrays["loss"].tolist(), strict=True)
        self._loss = {name: [total, int(rows)] for name, (total, rows) in losses}
        self._told = arrays["told"][0].copy() if len(arrays["told"]) else None

    def accuracy(self) -> dict[str, float]:
        """Return the share of rows predicted right before their own target counted, by stage."""
        return _shares(self._right)

    def accuracy_taught(self) -> dict[str, float]:
        """Return the share of rows predicted right at their last tick, where their target counted before."""
        return _shares(self._taught)

    def last_loss(self) -> float | None:
        """Return the mean loss over the rows of the last stage, None where there was none."""
        if not self._loss:
            return None
        total, rows = list(self._loss.values())[-1]
        return total / rows if rows else None


def _predicted(shown: Presentation, y: NDArray[np.float64]) -> NDArray[np.int64]:
    classes = y.shape[1] > 1
    known = (shown.label >= 0) & classes
    return np.where(known, y.argmax(1) if classes else -1, -1)


def _count(counts: dict[str, list[int]], shown: Presentation, prediction: NDArray[np.int64]) -> None:
    right, known = counts.setdefault(shown.stage.name, [0, 0]), prediction >= 0
    right[0] += int((prediction == shown.label)[known].sum())
    right[1] += int(known.sum())


def _shares(counts: dict[str, list[int]]) -> dict[str, float]:
    return {name: right / rows for name, (right, rows) in counts.items() if rows}
