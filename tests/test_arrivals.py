"""Compiled loops over ticks run what they run as the engine in torch and the reference do."""

import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, reject, seed, settings

from hlsim.errors import NumericalError
from tests.agreement import BATCHED, COMPILED, REFERENCE, assert_agree
from tests.graphs import Case, cases, run

EXAMPLES = 100 if os.environ.get("HLSIM_VERIFY") == "1" else 25
TICKS = 150


@pytest.mark.parametrize("shard", range(2))
@pytest.mark.parametrize("oracle", [BATCHED, REFERENCE], ids=["torch", "reference"])
def test_compiled_loops_agree_on_random_networks(oracle: Mapping[str, Any], shard: int) -> None:
    compared, drawn = [], []

    @seed(shard)
    @settings(max_examples=EXAMPLES)
    @given(cases("arrival", TICKS))
    def agree(case: Case) -> None:
        try:
            ticks = assert_agree(case, TICKS, COMPILED, oracle)
        except NumericalError:
            with pytest.raises(NumericalError):
                run(case, TICKS, **oracle)
            reject()
        drawn.append(TICKS)
        compared.append(ticks)

    agree()
    assert len(drawn) >= EXAMPLES
    assert sum(compared) >= 0.75 * sum(drawn)
