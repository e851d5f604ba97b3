"""Checkpoints of a run: when they are written, what stands in them, and how a run goes on from one."""

import json
import re
import signal
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.snapshot import prefixed
from hlsim.errors import ExperimentError, HlsimWarning, Stopped, TraceError, is_count, plain, shown
from hlsim.textdata import read_toml
from hlsim.trace import checkpoint, layout, reader
from hlsim.trace.checkpoint import Checkpoint, beside
from hlsim.trace.recorder import Recorder

# Ticks, or a time.
Every = int | str | None
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h|d)")
# Of other versions of these a run may differ in the last digits.
LIBRARIES = ("torch", "numpy")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Kept(Protocol):
    """What has a state that a checkpoint holds: a simulation, of which ``Saved`` tells more."""

    origin: str

    @property
    def experiment(self) -> str: ...

    @property
    def tick(self) -> int: ...

    @property
    def made_of(self) -> Mapping[str, NDArray[np.uint8]]: ...

    def check_state(self) -> None: ...

    def state(self) -> dict[str, NDArray[Any]]: ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None: ...


def period(every: Every) -> tuple[int | None, float | None]:
    """Return the ticks, or the seconds of wall time, between two checkpoints; neither: there are none.

    Raises
    ------
    ExperimentError
        It is neither a whole number of ticks, nor a time such as "10 min".
    """
    every = plain(every)
    if every is None:
        return None, None
    if is_count(every):
        return int(every), None
    found = _TIME.fullmatch(every) if isinstance(every, str) else None
    if found is None or not float(found[1]):
        raise ExperimentError(
            f"checkpoint_every: must be a whole number of ticks >= 1, or a time > 0 in s, min, h or d "
            f'such as "10 min", got {shown(every)}'
        )
    return None, float(found[1]) * UNITS[found[2]]


@dataclass(frozen=True)
class Recording:
    """What a run was told of its end and of its trace; one that is resumed goes on so.

    Attributes
    ----------
    end : int
        The tick at which it ends at the latest.
    whole : bool
        Whether it ends with the stages.
    """

    end: int
    whole: bool
    every: int | Mapping[str, int]
    sampled: Sequence[str]
    events: Sequence[str]
    checkpoint_every: Every = None

    @classmethod
    def of(cls, found: Checkpoint) -> Self:
        """Return that of the run which a checkpoint is of."""
        if "recording" not in found.about:
            raise TraceError(f"{found.path}: is of no trace; Simulation.load takes it")
        return cls(**json.loads(str(found.about["recording"])))


class Checkpoints:
    """Has a run stop between two ticks now and then, and when a signal asks for its end: a context manager.

    Parameters
    ----------
    every : int, str or None
        See ``period``.
    write : callable, optional
        Writes a checkpoint; None: there are none.
    halt : callable
        Ends a run as soon as it stands between two ticks; called by a signal, or by a thread.
    interruptible : bool
        Whether SIGINT and SIGTERM end the run there, after a last checkpoint. Asked for again they end it at
        once. Only the main thread hears them.
    """

    def __init__(
        self,
        every: Every,
        write: Callable[[], None] | None,
        halt: Callable[[], None],
        *,
        interruptible: bool = False,
    ) -> None:
        self._ticks, self._seconds = period(every)
        self._regular = write if every is not None else None
        self._write, self._halt, self._interruptible = write, halt, interruptible
        self._signal: int | None = None
        self._late = False
        self._timer: threading.Timer | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._interruptible and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def next(self, tick: int, end: int) -> int:
        """Return the tick at which a run is to stop next."""
        return end if self._ticks is None else min(end, (tick // self._ticks + 1) * self._ticks)

    def look(self, tick: int, over: bool) -> None:
        """Do what is to be done where a run stands between two ticks; ``over``: nothing comes any more.

        Raises
        ------
        Stopped
            A signal has asked for the end.
        """
        if over:
            if self._regular is not None:
                self._regular()
        elif self._signal is not None:
            raise Stopped(self._signal, tick, self._told())
        elif self._regular is not None and (self._late or (self._ticks and tick % self._ticks == 0)):
            self._regular()
            self._wait()

    def _told(self) -> str:
        """Write the last checkpoint; return why there is none."""
        if self._write is None:
            return ""
        try:
            self._write()
        except (ExperimentError, TraceError) as error:
            return str(error)
        return ""

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            raise Stopped(number, None, "")
        self._signal = number
        self._halt()

    def _wait(self) -> None:
        """Have the run stop when its time has come."""
        self._late = False
        if self._seconds is not None and self._seconds < threading.TIMEOUT_MAX:
            self._timer = threading.Timer(self._seconds, self._come)
            self._timer.daemon = True
            self._timer.start()

    def _come(self) -> None:
        self._late = True
        self._halt()


def place(
    sim: Kept, record: str | Path | None, every: Every, interruptible: bool, overwrite: bool
) -> Path | None:
    """Return where checkpoints of a run go; None: it has no trace in a file.

    Raises
    ------
    HlsimError
        Checkpoints are asked for, and there can be none: why, in one line.
    """
    period(every)
    if record is None:
        if every is not None:
            raise ExperimentError("checkpoint_every: needs a trace in a file beside which to write, got none")
        return None
    path = beside(Path(record))
    if every is not None:
        sim.check_state()
    if every is not None or interruptible:
        checkpoint.check_free(path, overwrite)
    return path


# ---- what stands in one


def save(sim: Kept, path: Path, recorder: Recorder | None = None, recording: Recording | None = None) -> None:
    """Write the state of a simulation, and how many rows of its trace belong to it."""
    about = _about(sim)
    rows: dict[str, Any] = {}
    if recorder is not None and recording is not None:
        recorder.now(sim.tick - 1)
        rows = {name: np.array(count) for name, count in recorder.sync().items()}
        about |= {"start": recorder.start, "recording": layout.to_json(asdict(recording))}
    checkpoint.write(path, about, {**prefixed("state", sim.state()), **prefixed("rows", rows)})


def _about(sim: Kept) -> dict[str, Any]:
    made_of = sim.made_of
    return {
        "tick": sim.tick,
        "written": layout.now(),
        **{f"{name}_version": metadata.version(name) for name in ("hlsim", *LIBRARIES)},
        "network_hash": made_of["network"].tobytes().hex(),
        "experiment_hash": hash_of(sim.experiment),
        "origin": sim.origin,
    }


def hash_of(experiment: str) -> str:
    """Return what tells experiments apart, but for how long they run and when they write checkpoints."""
    try:
        told = read_toml(experiment)
        for key in ("until", "checkpoint_every"):
            told.get("simulation", {}).pop(key, None)
        experiment = json.dumps(told, sort_keys=True, default=str)
    except (ValueError, AttributeError):
        pass  # a text of another kind
    return blake2b(experiment.encode(), digest_size=16).hexdigest()


def read(trace: Path) -> Checkpoint:
    """Return the checkpoint beside a trace.

    Raises
    ------
    TraceError
        There is none, or it is of another run.
    """
    attributes = reader.attributes(trace)
    found = checkpoint.read(beside(trace))
    Recording.of(found)
    for what, mine, other in (
        ("experiment", hash_of(attributes["experiment"]), found.about["experiment_hash"]),
        ("start of the run", attributes["start"], found.about["start"]),
    ):
        if mine != other:
            told = f"{found.path}: is of another run than {trace}: must have the same {what}"
            raise TraceError(f"{told}, got {other} for {mine}")
    return found


def check_unfinished(trace: Path, until: int | None) -> None:
    """Refuse to go on with a trace that has come to its end, unless ``until`` says how far."""
    attributes = reader.attributes(trace)
    if until is None and attributes["status"] == "complete":
        raise TraceError(f"{trace}: is complete; until says how far to go on")


def take(sim: Kept, found: Checkpoint) -> None:
    """Put the state of a checkpoint into a simulation that was made alike.

    Raises
    ------
    ExperimentError
        It is of something else: what, in one line.
    """
    try:
        sim.restore(found.within("state"))
    except ExperimentError as error:
        raise ExperimentError(f"{found.path}: {error}") from None
    for name in LIBRARIES:
        mine, other = metadata.version(name), found.about.get(f"{name}_version")
        if mine != other:
            warnings.warn(
                f"{found.path}: was written with {name} {other}, this is {mine}: what follows may differ "
                f"in the last digits from a run without a break",
                HlsimWarning,
                stacklevel=4,
            )


def rows(found: Checkpoint) -> dict[str, int]:
    """Return how many rows of each table of the trace belong to a checkpoint."""
    return {name: int(count) for name, count in found.within("rows").items()}
