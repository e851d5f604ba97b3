"""Draws: keyed by what is drawn, and of the distribution that they claim."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, Philox

from hlsim.draws import Draws, Normal, Uniform, UniformTicks, bernoulli, subsets
from hlsim.errors import ExperimentError


def generator(key: int = 5) -> Generator:
    return Generator(Philox(key=key))


def test_a_generator_is_given_by_seed_purpose_and_label_alone() -> None:
    draws = Draws(3)
    first = draws.generator("weight", "a", "b").normal(size=5)
    draws.generator("weight", "c", "d").normal(size=9)
    assert np.array_equal(draws.generator("weight", "a", "b").normal(size=5), first)
    assert np.array_equal(Draws(3).generator("weight", "a", "b").normal(size=5), first)
    same: Any = np.int64(3)
    assert np.array_equal(Draws(same).generator("weight", "a", "b").normal(size=5), first)


@pytest.mark.parametrize(
    "other",
    [
        (4, "weight", "a", "b"),
        (3, "delay", "a", "b"),
        (3, "weight", "b", "a"),
        (3, "weight", "a,b"),
        (3, "weight", "ab"),
    ],
)
def test_generators_of_another_seed_purpose_or_label_differ(other: tuple) -> None:
    first = Draws(3).generator("weight", "a", "b").normal(size=5)
    seed, purpose, *label = other
    assert not np.isclose(Draws(seed).generator(purpose, *label).normal(size=5), first).any()


def test_draws_of_different_labels_are_uncorrelated() -> None:
    """20 000 pairs of neighbouring labels: the correlation of independent draws is 0 +- 1/sqrt(20 000)."""
    draws = Draws(0)
    sample = np.array([draws.generator("weight", str(i)).normal() for i in range(20_001)])
    assert abs(np.corrcoef(sample[1:], sample[:-1])[0, 1]) < 4 / np.sqrt(20_000)
    assert abs(sample.mean()) < 4 / np.sqrt(20_000)
    assert sample.std() == pytest.approx(1.0, abs=4 / np.sqrt(40_000))


@pytest.mark.parametrize("seed", [-1, True, 1.0, "0", None])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    with pytest.raises(ExperimentError, match=r"^seed: must be a whole number >= 0, got "):
        Draws(seed)  # type: ignore[arg-type]


def test_the_normal_distribution_has_its_moments() -> None:
    x = Normal(0.3).sample(generator(), 100_000) / 0.3
    assert abs(x.mean()) < 4 / np.sqrt(100_000)
    assert x.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / 100_000))
    assert (x**4).mean() == pytest.approx(3.0, abs=4 * np.sqrt(96 / 100_000))


def test_the_uniform_distribution_has_its_moments_and_ends() -> None:
    x = Uniform(-1.0, 3.0).sample(generator(), 100_000)
    assert x.mean() == pytest.approx(1.0, abs=4 * np.sqrt(16 / 12 / 100_000))
    assert x.var() == pytest.approx(16 / 12, rel=0.02)
    assert (x.min(), x.max()) == (pytest.approx(-1.0, abs=1e-3), pytest.approx(3.0, abs=1e-3))


def test_uniform_ticks_include_both_ends_equally_often() -> None:
    ticks = UniformTicks(2, 6).sample(generator(), 50_000)
    counts = np.bincount(ticks, minlength=8)
    assert counts[[0, 1, 7]].sum() == 0
    chi_square = ((counts[2:7] - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 18.5  # 4 degrees of freedom, probability 0.001


@pytest.mark.parametrize("distribution", [Normal(2.0), Uniform(1.0, 2.0), UniformTicks(0, 9)], ids=type)
def test_a_single_draw_is_a_number(distribution: Normal | Uniform | UniformTicks) -> None:
    assert np.ndim(distribution.sample(generator(), None)) == 0


@pytest.mark.parametrize(("n", "k"), [(5, 2), (5, 3), (6, 1), (5, 4)])
def test_all_subsets_are_equally_likely(n: int, k: int) -> None:
    rows = 20_000
    drawn = subsets(generator(), rows, n, k)
    index = {subset: i for i, subset in enumerate(combinations(range(n), k))}
    counts = np.bincount([index[tuple(row)] for row in drawn.tolist()], minlength=len(index))
    expected = rows / len(index)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 27.9  # 9 degrees of freedom or fewer, probability 0.001


@pytest.mark.parametrize(("n", "k"), [(50, 0), (50, 1), (50, 25), (50, 26), (50, 50), (1, 1), (0, 0)])
def test_subsets_have_no_repeats_and_the_right_size(n: int, k: int) -> None:
    drawn = subsets(generator(), 40, n, k)
    assert drawn.shape == (40, k)
    assert all(len(set(row)) == k and row == sorted(row) for row in drawn.tolist())
    assert drawn.size == 0 or (drawn.min() >= 0 and drawn.max() < n)


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.99])
def test_bernoulli_keeps_each_with_its_probability_and_independently(probability: float) -> None:
    n = 200_000
    kept = np.zeros(n, bool)
    drawn = bernoulli(generator(), n, probability)
    assert (np.diff(drawn) > 0).all()
    kept[drawn] = True
    bound = 4 * np.sqrt(probability * (1 - probability) / n)
    assert kept.mean() == pytest.approx(probability, abs=bound)
    assert kept[: n // 10].mean() == pytest.approx(probability, abs=bound * np.sqrt(10))
    assert kept[-n // 10 :].mean() == pytest.approx(probability, abs=bound * np.sqrt(10))
    assert abs(np.corrcoef(kept[1:], kept[:-1])[0, 1]) < 4 / np.sqrt(n)


def test_bernoulli_at_its_ends() -> None:
    assert bernoulli(generator(), 7, 1.0).tolist() == list(range(7))
    assert bernoulli(generator(), 0, 0.5).tolist() == []
    assert bernoulli(generator(), 1000, 1e-18).tolist() == []
