"""By which rule and loss a run learned, as its trace tells."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim import experiment
from hlsim.analysis.alignment import alignment
from hlsim.analysis.learned import learned_by
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.phi import Gate, Phi, Schedule
from hlsim.stimulus import Arrays, Stage
from tests.support.learned import layers, learned
from tests.support.places import TOPOLOGIES

DIGITS = TOPOLOGIES / "digits"


def test_rule_and_loss_are_those_of_the_experiment() -> None:
    settings = ["stage.train.rows=6", "stage.train.passes=1", "stage.test.rows=1", "record.every=1"]
    trace = experiment.load(DIGITS, settings).run()
    plan = experiment.load(DIGITS, settings)
    rule = plan.rule()
    assert isinstance(rule, Hamiltonian)
    mine = alignment(trace)
    other = alignment(trace, rule=rule, loss=plan.settings.loss.kind)
    np.testing.assert_array_equal(mine.cosine, other.cosine)
    assert np.isfinite(mine.cosine.values[-1]).all()


@pytest.mark.parametrize("phi", [0.5, Gate(1, 2.0), Schedule(((3, 2.0), (9, 0.5)))])
def test_a_run_without_an_experiment_tells_what_it_learned_by(phi: Any) -> None:
    """Rule, loss, and the stages with their phi: as if they were given."""
    stages = [Stage("train"), Stage("more", phi=phi), Stage("still", learn=False)]
    rule = Hamiltonian(beta=0.02, eta=0.3, phi=phi, order="sequential")
    trace = learned(layers(model="instant"), rule, rows=4, hold=3, stages=stages, loss="cross_entropy")
    found = learned_by(trace)
    assert (found.rule, found.loss.name) == (rule, "cross_entropy")
    assert found.learns.tolist() == [True] * 24 + [False] * 12
    # Instant neurons in sequential order have their ideal, with that phi.
    compared = alignment(trace).isel(tick=slice(12, None)).sel(group="all")
    np.testing.assert_allclose(compared.cosine, 1.0, rtol=1e-9)
    np.testing.assert_allclose(compared.norm_ratio, 1.0, rtol=1e-9)


VALUES = st.sampled_from((0.0, 0.5, 1.0, 2.0))
SCHEDULES = st.dictionaries(st.integers(0, 40), VALUES, min_size=1, max_size=4)
PHIS = st.one_of(
    VALUES,
    st.builds(Gate, st.integers(0, 7), VALUES),
    SCHEDULES.map(lambda points: Schedule(tuple(sorted(points.items())))),
)


def in_force(phi: Phi, tick: int, start: int) -> float:
    """phi at a tick of a row that began at ``start``, as the page on experiments defines it."""
    if isinstance(phi, Gate):
        return phi.value if tick - start >= phi.off else 0.0
    if isinstance(phi, Schedule):
        return dict([(0, 0.0), *phi.points])[max(t for t in (0, *dict(phi.points)) if t <= tick)]
    return phi


@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_a_stage_has_its_own_phi_at_every_tick_in_the_run_and_in_the_analysis(engine: str) -> None:
    """A held error e of a fixed output adds phi e to omega at every tick: with e = 1, omega counts phi."""
    graph = hlsim.topology.layered([1, 1], output_activation="identity", draw=False)
    for *_, edge in graph.edges(data=True):
        edge["weight"] = 0.0
    for _, node in graph.nodes(data=True):
        node.update(
            {"update": "clock"} if node.get("model") == "input" else {"update": "clock", "model": "instant"}
        )

    @settings(max_examples=10)
    @given(
        PHIS,
        st.lists(st.tuples(st.none() | PHIS, st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=4),
    )
    def check(phi: Phi, drawn: list[tuple[Phi | None, int, int]]) -> None:
        stages = [Stage(f"s{k}", phi=own, passes=n, hold=hold) for k, (own, n, hold) in enumerate(drawn)]
        sim = hlsim.Simulation(
            graph,
            rule=Hamiltonian(beta=0.0, eta=0.0, phi=phi),
            stimulus=Arrays([[1.0]], [[-1.0]]),
            stages=stages,
            engine=engine,
            dtype="float64",
        )
        trace = sim.run(every=1, sampled=["omega"])
        expected, start = [], 0
        for own, n, hold in drawn:
            for _ in range(n):
                now = phi if own is None else own
                expected += [in_force(now, tick, start) for tick in range(start, start + hold)]
                start += hold
        np.testing.assert_array_equal(np.diff(trace["sampled/omega"][:, 0]), expected[:-1])
        np.testing.assert_array_equal(learned_by(trace).phi, expected)

    check()
