"""Numbers in words: what a reader sees, and what is left out of it."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim.report.words import mean_number, mean_percent, number, percent, seconds, size, spread

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1234567), "1,234,567"),
        (number(0.0123456), "0.01235"),
        (number(1.2e-7), "1.2e-07"),
        (number(None), "-"),
        (number(float("nan")), "-"),
        (size(512), "512 B"),
        (size(1_480_000), "1.48 MB"),
        (seconds(0.528), "0.53 s"),
        (seconds(125.4), "2 min 5 s"),
        (percent(0.936, 0.0141), "93.60 ± 1.41 %"),
        (spread((0, 4)), "0 to 4 ticks"),
        (spread((1, 1)), "1 tick"),
        (spread(None), "-"),
    ],
)
def test_numbers_are_shown_to_be_read(shown: str, expected: str) -> None:
    assert shown == expected


@given(NUMBERS, st.lists(st.sampled_from([math.nan, math.inf]), max_size=3))
def test_a_mean_over_seeds_leaves_out_those_that_failed(values: list[float], failed: list[float]) -> None:
    assert mean_number(np.array(values + failed)) == mean_number(np.array(values))
    assert mean_percent(np.array(values + failed)) == mean_percent(np.array(values))


@given(NUMBERS)
def test_a_mean_over_seeds_is_that_of_the_statisticians(values: list[float]) -> None:
    mean, deviation = map(float, mean_number(np.array(values)).split(" ± "))
    assert mean == pytest.approx(statistics.mean(values), rel=6e-4, abs=1e-6)
    assert deviation == pytest.approx(statistics.stdev(values), rel=6e-2, abs=1e-6)


def test_one_seed_has_no_deviation_and_none_no_mean() -> None:
    assert mean_percent(np.array([0.5, math.nan])) == "50.00 %"
    assert mean_number(np.array([0.5])) == "0.5"
    assert mean_percent(np.array([math.nan])) == mean_number(np.array([math.nan])) == "-"
