"""Runs that are cut off, and what they are compared with when they have gone on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hlsim import Simulation, trace
from hlsim.analysis import differences
from hlsim.engine.clock import TICK, call_at


def _stop() -> None:
    raise KeyboardInterrupt


# What hlsim plans itself may be saved, and is not when a run goes on.
_stop.__module__ = "hlsim.of_tests"


def cut(sim: Simulation, tick: int, path: Path, **given: Any) -> bool:
    """Run into a trace and cut it off in the middle of a tick, as Ctrl-C does; tell whether it came there."""
    call_at(sim.env, tick, TICK + 1, _stop)
    try:
        sim.run(record=path, **given).close()
    except KeyboardInterrupt:
        return True
    return False


def assert_identical(one: Path, two: Path) -> None:
    with trace.open(one) as mine, trace.open(two) as other:
        assert (mine.status, other.status) == ("complete", "complete")
        found = differences.diff(mine, other)
        assert found.identical, str(found.first)
        assert found.values > 0


def assert_survives(
    make: Callable[[], Simulation], folder: Path, every: Any, tick: int, **given: Any
) -> None:
    """Compare the trace of a run that was cut off and has gone on with that of one that was not."""
    whole, other = folder / "whole.h5", folder / "cut.h5"
    given = {"every": 3, "events": ("message", "update"), "overwrite": True, **given}
    make().run(record=whole, **given).close()
    if cut(make(), tick, other, checkpoint_every=every, **given):
        make().resume(other).close()
    assert_identical(whole, other)
