"""What of a simulation is saved, as arrays and in files, and how another one goes on from it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.clock import Clock
from hlsim.engine.interface import Engine
from hlsim.engine.snapshot import Arrays, Whole, as_text, prefixed, put, taken, text
from hlsim.errors import ExperimentError
from hlsim.simulation import checkpoints
from hlsim.simulation.protocol import Protocol
from hlsim.stimulus import Stage
from hlsim.stimulus.stages import as_json, of_json
from hlsim.trace import checkpoint
from hlsim.trace.recorder import Before, Recorder

# What a trace tells of the time before it.
_FED = ("input", "target", "phi", "learn", "noise")


class Saved(Whole):
    """The state of a simulation: of its engine, of its stages, and of all that acts and watches.

    Attributes
    ----------
    env : Clock
        Its time.
    origin : str
        The file of its experiment, kept in checkpoints; empty where there is none.
    """

    FREE = "before/under_way/"

    env: Clock
    origin = ""
    _header: dict[str, Any]
    _engine: Engine
    _told_at_first: dict[str, Any]
    _before: Before
    _recorder: Recorder | None
    # The tick at which a run broke off.
    _broken: int | None = None
    _protocol: Protocol | None
    _show: Callable[..., Protocol] | None
    _stages: tuple[Stage, ...]

    @property
    def tick(self) -> int:
        """The next tick to run."""
        return self.env.last + 1

    @property
    def experiment(self) -> str:
        """TOML text of its experiment, as it stands in traces; empty where there is none."""
        return str(self._header["experiment"])

    def _lead(self, protocol: Protocol, stages: tuple[Stage, ...]) -> None:
        raise NotImplementedError

    @property
    def made_of(self) -> dict[str, NDArray[np.uint8]]:
        """What a state belongs to: what the engine's does, and the arguments of this one."""
        told = {name: text(str(value)) for name, value in self._told_at_first.items()}
        return {**self._engine.made_of, **told}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that changes in a run, as plain arrays by name, between two ticks.

        ``restore`` puts it into a simulation made with the same arguments, which goes on from there as this
        one does, bit for bit.

        Raises
        ------
        ExperimentError
            What is running cannot be saved: processes of your own, rows without an end that can only be
            begun with the first, or a tick in which the last run broke off.
        """
        self.check_state()
        return super().state()

    def check_state(self) -> None:
        """Refuse, where the state cannot be saved as things are: ExperimentError, see ``state``."""
        if (name := self.env.of_users()) is not None:
            raise ExperimentError(f"state: processes and events of your own cannot be saved, got {name!r}")
        if self._broken is not None:
            raise ExperimentError(f"state: the run broke off in the middle of tick {self._broken}")
        if self._protocol is not None:
            self._protocol.check_resumes()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the ``state`` of a simulation made with the same arguments; this one has not run.

        Raises
        ------
        ExperimentError
            This one has run, or the state is of something else: what, in one line.
        """
        if self.tick > 0:
            raise ExperimentError(f"restore: must come before the first tick, got tick {self.tick}")
        super().restore(arrays)

    def save(self, path: str | Path) -> None:
        """Write the ``state`` into an HDF5 file, whole or not at all; one that is there is replaced."""
        checkpoints.save(self, Path(path))

    def load(self, path: str | Path) -> None:
        """Take the state from such a file, or from a checkpoint beside a trace; see ``restore``."""
        checkpoints.take(self, checkpoint.read(Path(path)))

    def collect(self) -> dict[str, NDArray[Any]]:
        """Return the state of the engine, of the stages, and of all that acts and watches."""
        before = {name: getattr(self._before, name) for name in _FED}
        going_on = self._recorder
        under_way = self._before.under_way if going_on is None else going_on.under_way(self.tick)
        before["under_way"] = dict(under_way or {})
        parts = {"clock": self.env, "before": before, "stages": as_json(self._stages)}
        return {**super().collect(), **dict(taken(parts)), **prefixed("engine", self._engine.state())}

    def put_back(self, arrays: Arrays) -> None:
        """Stand where another one stood."""
        # First, since what others have planned is forgotten with that.
        self.env.put_back(arrays.within("clock"))
        self._engine.restore(arrays.within("engine"))
        self._lead_again(of_json(as_text(arrays["stages"])), int(arrays["led"]))
        super().put_back(arrays)
        before = put({name: getattr(self._before, name) for name in _FED}, "before", arrays)
        under_way = dict(arrays.within("before").within("under_way")) or None
        self._before = replace(self._before, **before, under_way=under_way)

    def _lead_again(self, stages: tuple[Stage, ...], led: int) -> None:
        """Have a protocol for the stages from one on, if others followed on those of the beginning."""
        if self._stages != stages[: len(self._stages)]:
            raise ExperimentError("state: must be of the same stages, got others")
        if self._show is not None and led:
            self._stages = stages[:led]
            self._lead(self._show(stages[led:], first=False), stages[led:])
