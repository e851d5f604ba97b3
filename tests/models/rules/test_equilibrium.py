"""Phases of a row: a list of them is made for every row, so that there is an end to them."""

import pytest

from hlsim.errors import ExperimentError
from hlsim.models.rules import HolomorphicEquilibrium, OscillatingEquilibrium
from hlsim.models.rules.equilibrium import MOST_PHASES


def test_a_row_has_at_most_so_many_phases() -> None:
    rule = rf"must have|at most {MOST_PHASES} phases"
    for make, count in (
        (lambda: HolomorphicEquilibrium(points=10**9), 10**9),
        (lambda: OscillatingEquilibrium(steps=10**5, periods=2, discard=1), 3 * 10**5),
    ):
        with pytest.raises(ExperimentError, match=rule) as error:
            make()
        assert str(error.value).endswith(f"phases, got {count}")
    assert len(HolomorphicEquilibrium(points=5).phases()) == 6
    assert len(OscillatingEquilibrium(steps=4, periods=2, discard=1).phases()) == 12
