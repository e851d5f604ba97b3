"""A run in pieces is the run in one: what the traces of several calls hold, laid end to end, is one trace."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim.models.rules import Equilibrium, HolomorphicEquilibrium, Rule
from hlsim.simulation.faults import Faults
from hlsim.simulation.noise import Noise
from hlsim.stimulus import Arrays, Stage
from hlsim.trace import Trace
from hlsim.trace.checking import axis_of
from tests.support.graphs import KINDS, Case, build, cases

UNTIL = 60
FAULTS = Faults(loss=0.1, jitter=4, failing=0.02, downtime=5.0)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "faults": {"faults": FAULTS},
    "noise": {"noise": Noise(0.1)},
}


def grown(trace: Trace) -> dict[str, np.ndarray]:
    """Return every dataset that grows, but for the log of wall time."""
    return {
        name: trace[name]
        for name in trace.names()
        if axis_of(trace.h5[name]) is not None and not name.startswith("log/")
    }


def assert_laid_end_to_end(pieces: list[Trace], whole: Trace) -> None:
    expected, found = grown(whole), [grown(piece) for piece in pieces]
    for name, values in expected.items():
        mine = np.concatenate([piece[name] for piece in found])
        assert mine.shape == values.shape, name
        assert mine.tobytes() == values.tobytes(), name
    assert sum(len(values) for values in expected.values()) > 0
    for name in (name for name in whole.names() if name.startswith("final/")):
        assert pieces[-1][name].tobytes() == whole[name].tobytes(), name
    assert [piece.attrs["first_tick"] for piece in pieces[1:]] == [
        piece.summary["ticks"] for piece in pieces[:-1]
    ]


def in_pieces(sim: hlsim.Simulation, cuts: set[int], until: int | None, **options: Any) -> list[Trace]:
    return [sim.run(until=cut, **options) for cut in (*sorted(cuts), until)]


def shared(case: Case) -> Case:
    """Return a case whose synapses replicas may share: everybody sends everything."""
    graph = case.graph.copy()
    for _, data in graph.nodes(data=True):
        data.update(send_threshold=0.0, costate_threshold=0.0)
        data.pop("send_interval", None)
    return Case(graph, case.options, case.script)


@pytest.mark.parametrize(
    ("engine", "more"),
    [
        *(("batched", more) for more in ("plain", "faults", "noise", "ensemble", "batch")),
        *(("reference", more) for more in ("plain", "faults", "noise", "ensemble")),
    ],
)
def test_pieces_of_a_run_laid_end_to_end_are_the_run(engine: str, more: str) -> None:
    """Messages under way at a cut too; on random networks whose controls are asked for anything."""
    options = OPTIONS.get(more, {more: 2})
    kind = st.sampled_from(["synchronous"] if more == "batch" else KINDS)
    record: dict[str, Any] = {"every": {"default": 3, "w": 7}, "events": ("message", "update")}

    @settings(max_examples=3)
    @given(kind.flatmap(lambda each: cases(each, UNTIL)), st.sets(st.integers(1, UNTIL - 1), max_size=2))
    def check(drawn: Case, cuts: set[int]) -> None:
        case = shared(drawn) if more == "batch" else drawn
        whole = build(case, **options, engine=engine).run(until=UNTIL, **record)
        pieces = in_pieces(build(case, **options, engine=engine), cuts, UNTIL, **record)
        assert_laid_end_to_end(pieces, whole)

    check()


@pytest.mark.filterwarnings("ignore:.*did not settle")
@pytest.mark.parametrize("engine", ["batched", "reference"])
@pytest.mark.parametrize("update", ["clock", "arrival"])
@pytest.mark.parametrize("rule", [Equilibrium(beta=0.1), HolomorphicEquilibrium(beta=0.1)])
def test_rows_and_phases_may_be_cut(rule: Rule, update: str, engine: str) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 3))

    def simulation() -> hlsim.Simulation:
        return hlsim.Simulation(
            hlsim.topology.layered([2, 3, 1], model="leaky", symmetric=True, delay=2, activation="tanh"),
            rule=rule,
            stimulus=Arrays(rows[:, :2], rows[:, 2:]),
            stages=[Stage("one", shuffle=True), Stage("two", learn=False, rows=2)],
            hold=12,
            engine=engine,
            dtype="float64",
            node_defaults={"update": update} | ({"send_threshold": 1e-3} if update == "arrival" else {}),
        )

    record: dict[str, Any] = {"every": 5, "events": ("message",)}
    whole = simulation().run(**record)
    pieces = in_pieces(simulation(), {3, 17, 40}, None, **record)
    assert_laid_end_to_end(pieces, whole)
    assert len(whole["phases/tick"]) > len(whole["rows/tick"]) == 7


def test_a_trace_that_goes_on_says_what_was_in_force_before_it() -> None:
    sim = hlsim.Simulation(hlsim.topology.layered([2, 3, 1]), rule=hlsim.rules.Hamiltonian(phi=0.5))
    sim.controls.input(np.array([1.0, 2.0]))
    first = sim.run(until=3)
    sim.controls.target(np.array([4.0]))
    second = sim.run(until=6)
    sim.controls.learn(False)
    third, fourth = sim.run(until=9), sim.run(until=12)
    assert [trace.attrs["first_tick"] for trace in (first, second, third, fourth)] == [0, 3, 6, 9]
    assert [trace["before/phi"] for trace in (first, second)] == [0.0, 0.5]
    assert [trace["before/learn"] for trace in (third, fourth)] == [1, 0]
    assert second["before/input"].tolist() == [1.0, 2.0]
    assert np.isnan(second["before/target"]).all()
    assert third["before/target"].tolist() == [4.0]
    assert (second["stimulus/tick"].tolist(), third["stimulus/tick"].tolist()) == ([3], [])
