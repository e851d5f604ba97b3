"""A run without an end holds as much after many rows as after few: nothing piles up."""

from pathlib import Path
from typing import Any

import pytest

from hlsim import Simulation, topology
from hlsim.models.rules import Hamiltonian
from hlsim.simulation import checkpoints
from hlsim.simulation.noise import Noise
from hlsim.trace.recorder import Recorder
from tests.claims.test_state import ENGINES, FAULTS, Counting

EVERY, UNTIL = 300, 2400


def sizes(sim: Simulation, recorder: Recorder) -> dict[str, int]:
    """Bytes of all that is state and of all buffers, and how many events are planned."""
    waiting = {"messages": recorder._pending, "losses": recorder._faults}
    pending = {name: each._arrays["tick"].nbytes for name, each in waiting.items()}
    buffers = {table.path: sum(x.nbytes for x in table._buffers.values()) for table in recorder._tables}
    state = {name: x.nbytes for name, x in sim.state().items()}
    return {**state, **buffers, **pending, "queue": len(sim.env._queue)}


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_nothing_piles_up(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, buffers and plans at the checkpoints of the second half are within those of the first."""
    seen: list[dict[str, int]] = []

    def look(sim: Simulation, _: Path, recorder: Recorder, __: object) -> None:
        recorder.sync()
        seen.append(sizes(sim, recorder))

    monkeypatch.setattr(checkpoints, "save", look)
    sim = Simulation(
        topology.layered([1, 4, 1], delay=2, seed=0),
        rule=Hamiltonian(beta=0.01, eta=0.1),
        stimulus=Counting(),
        hold=3,
        noise=Noise(0.05, every=2),
        faults=FAULTS,
        dtype="float64",
        **ENGINES[engine],
    )
    given: dict[str, Any] = {"every": 2, "events": ("message", "update"), "checkpoint_every": EVERY}
    sim.run(until=UNTIL, record=tmp_path / "t.h5", **given).close()
    half = len(seen) // 2
    assert half >= 4
    most = {name: max(one[name] for one in seen[:half]) for name in seen[0]}
    # What is in flight at one moment or another differs by a few messages.
    grown = {name for one in seen[half:] for name, size in one.items() if size > 1.25 * most[name] + 64}
    assert grown == set()
