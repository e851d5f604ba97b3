"""Traces to read out: one written by hand, and one of the tiny experiment."""

from collections.abc import Iterator

import pytest

from hlsim import experiment
from hlsim.trace import Trace
from tests.support import experiments
from tests.support.chain import TRAFFIC, recorder

# Kind and tick of arrival of messages and updates.
ARRIVED = [(0, 0), (0, 1), (0, 1), (0, 2), (0, 15), (1, 3), (1, 3), (1, 14), (2, 3)]


@pytest.fixture
def by_hand() -> Iterator[Trace]:
    """Two stages of five and three rows; a row lasts two ticks. The first stage has a row without a label."""
    rec = recorder()
    label, told = [0, 1, 0, 1, -1, 0, 1, 0], [0, 1, 1, 1, -1, 0, 0, 0]
    for row, (truth, guess) in enumerate(zip(label, told, strict=True)):
        rec.row(2 * row + 1, "train" if row < 5 else "test", [truth], [guess], [float(row)])
    for kind, tick in ARRIVED:
        if kind == 2:
            rec.update(tick, [1])
        else:
            rec.message(kind, tick, [2], [1.0], tick)
    rec.traffic(TRAFFIC, 10 * TRAFFIC)
    rec.now(15)
    told_at_end = {"ticks": 16, "state_messages": 5, "costate_messages": 3, "loss": 0.5, "wall_s": 2.0}
    rec.finish("complete", told_at_end)
    with rec.trace() as trace:
        yield trace


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    folder = experiments.write(tmp_path_factory.mktemp("runs") / "tiny")
    with experiment.load(folder).run() as trace:
        yield trace
