"""Compiled loops do what the reference engine does where the loss nudges: complex, coupled, marked."""

import pytest
from hypothesis import given, reject, seed, settings
from hypothesis import strategies as st

from hlsim.engine.compiled.engine import Compiled
from hlsim.errors import NumericalError, TopologyError
from hlsim.models.rules import (
    ContinualEquilibrium,
    Equilibrium,
    HolomorphicEquilibrium,
    OscillatingEquilibrium,
    Rule,
)
from tests.claims.test_equilibrium_engines import EXAMPLES, KINDS, TICKS, nudged
from tests.engine.compiled.test_engine import arrange_in_many_ways
from tests.support.agreement import COMPILED, REFERENCE, assert_agree
from tests.support.graphs import Case, cases, in_step, run


@pytest.mark.parametrize(
    "rule",
    [
        ContinualEquilibrium(beta=0.01),
        HolomorphicEquilibrium(beta=0.05),
        # Each is compiled for itself, half a minute.
        pytest.param(Equilibrium(beta=0.05), marks=pytest.mark.verify),
        pytest.param(OscillatingEquilibrium(beta=0.05), marks=pytest.mark.verify),
    ],
    ids=lambda rule: rule.name,
)
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_loops_agree_where_the_loss_nudges(
    kind: str, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    @seed(3)
    @settings(max_examples=EXAMPLES)
    @given(cases(kind, TICKS), st.integers(0, 2**31))
    def agree(case: Case, number: int) -> None:
        # Half of them with many synchronous neurons.
        case = in_step(case, 0.7, number) if number & 8 else case
        arrange_in_many_ways(monkeypatch, number)
        try:
            other = nudged(case, rule, TICKS)
            sim, _ = run(other, 1, **COMPILED)
            assert type(sim._engine) is Compiled
            compared.append(assert_agree(other, TICKS, COMPILED, REFERENCE))
        except (NumericalError, TopologyError):
            reject()

    agree()
    assert len(compared) >= EXAMPLES
    assert sum(compared) >= 0.75 * TICKS * len(compared)
