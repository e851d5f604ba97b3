"""Which engine a run gets."""

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, topology
from hlsim.engine.build import wanted
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.general.engine import Batched
from hlsim.errors import ExperimentError
from hlsim.models.rules import Equilibrium
from hlsim.simulation.options import expected_ticks
from hlsim.stimulus import Arrays, PythonStream, Stage
from tests.support.agreement import REFERENCE


@pytest.mark.parametrize(
    ("synapses", "ticks", "synchronous", "loops"),
    [
        (12, 0, True, False),
        (12, 9_999, True, False),
        (12, 10_000, True, True),
        (12, math.inf, True, True),
        (1_999, 0, True, False),
        (2_000, 0, True, True),
        (12, 1_999, False, False),
        (12, 2_000, False, True),
        (199, 0, False, False),
        (200, 0, False, True),
    ],
)
def test_what_takes_long_in_torch_is_compiled(
    synapses: int, ticks: float, synchronous: bool, loops: bool
) -> None:
    """A large network, or a run that its stages make long."""
    assert wanted("auto", synapses, synchronous=synchronous, ticks=ticks) is loops
    assert wanted("always", synapses, synchronous=synchronous, ticks=ticks)
    assert not wanted("never", synapses, synchronous=synchronous, ticks=ticks)
    assert not wanted("auto", synapses, "cuda", synchronous=synchronous, ticks=ticks)
    with pytest.raises(ExperimentError, match="always needs device = 'cpu'"):
        wanted("always", synapses, "cuda", synchronous=synchronous, ticks=ticks)


def rows(count: int) -> Arrays:
    return Arrays(np.ones((count, 1)), np.ones((count, 1)))


@pytest.mark.parametrize(
    ("stages", "batch", "ticks"),
    [
        (None, 1, 10 * 3),
        ([Stage(passes=7)], 1, 7 * 10 * 3),
        ([Stage(passes=7, hold=5), Stage("test", learn=False, rows=4)], 1, 7 * 10 * 5 + 4 * 3),
        ([Stage(passes=2)], 4, 5 * 3),
    ],
)
def test_the_length_of_a_run_is_that_of_its_stages(
    stages: list[Stage] | None, batch: int, ticks: int
) -> None:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", role="output", update="clock")
    graph.add_edge("x", "y", weight=1.0)
    sim = Simulation(graph, stimulus=rows(10), stages=stages, hold=3, batch=batch)
    assert expected_ticks(rows(10), stages, sim.rule, 3, batch) == ticks
    sim.run()
    assert sim.tick == ticks


def test_what_has_no_end_is_long_and_what_has_no_stages_unknown(tmp_path: Path) -> None:
    file = tmp_path / "endless.py"
    file.write_text("def stream():\n    while True:\n        yield [1.0], [0.5]\n")
    endless = PythonStream(file)
    assert expected_ticks(endless, None, Equilibrium(), 3, 1) == math.inf
    assert expected_ticks(None, None, Equilibrium(), 3, 1) == 0


def test_a_small_network_with_a_long_way_to_go_is_compiled() -> None:
    graph = topology.layered([1, 2, 1], delay=1)
    for passes, kind in ((10, Batched), (1_000, Compiled)):
        sim = Simulation(graph, stimulus=rows(5), stages=[Stage(passes=passes)])
        assert type(sim._engine) is kind
    sim = Simulation(graph, stimulus=rows(5), stages=[Stage(passes=1_000)], **REFERENCE)
    assert type(sim._engine) not in (Batched, Compiled)
