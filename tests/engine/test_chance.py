"""Numbers that are hashes: as uniform, normal and independent as those of a generator."""

import numpy as np
import torch
from scipy import stats

from hlsim.engine.chance import joined, keys, mixed, normal, uniform


def test_the_hash_is_that_of_splitmix64() -> None:
    """The first outputs of its authors' C code, for the state 1234567."""
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + k * golden) % 2**64 for k in (1, 2, 3)]
    signed = torch.tensor([x - 2**64 if x >= 2**63 else x for x in states])
    bits = [int(x) % 2**64 for x in mixed(signed)]
    assert bits == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def names(count: int) -> torch.Tensor:
    return keys([("node", f"n[{k}]") for k in range(count)])


def test_a_key_is_of_its_words_in_their_order() -> None:
    a, b = keys([("node", "a")]), keys([("node", "b")])
    assert len({int(a), int(b), int(keys([("node", "a", "b")])), int(keys([("node a",)]))}) == 4
    assert int(joined(a, b)) != int(joined(b, a))


def test_normal_numbers_are_normal_and_know_nothing_of_each_other() -> None:
    """Kolmogorov and Smirnov's test against scipy's normal, and correlations of 5 standard errors."""
    drawn = np.array([normal(names(500), tick).numpy() for tick in range(200)])
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    for next_to in (np.roll(drawn, 1, 0), np.roll(drawn, 1, 1)):
        assert abs((drawn * next_to).mean()) < 5 / np.sqrt(drawn.size)
    np.testing.assert_allclose(normal(names(9), 7), stats.norm.ppf(uniform(names(9), 7)), rtol=1e-12)
