"""By which rule and loss a run learned, as its trace tells."""

from typing import Any

import numpy as np
import pytest

from hlsim import experiment
from hlsim.analysis.alignment import alignment
from hlsim.analysis.learned import learned_by
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.phi import Gate, Schedule
from hlsim.stimulus import Stage
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
