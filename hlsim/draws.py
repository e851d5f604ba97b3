"""Random draws that depend on what is drawn, not on when: a generator per (seed, purpose, element label)."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, Philox

from hlsim.errors import check_count

SEEDS = 2**63  # a trace holds a seed in 64 bits


@dataclass(frozen=True)
class Normal:
    """Normal distribution around 0 with standard deviation ``std``."""

    std: float

    def sample(self, generator: Generator, count: int | None) -> np.ndarray:
        """Return ``count`` independent draws, for None a single number (in a quarter of the time)."""
        return generator.normal(0.0, self.std, count)


@dataclass(frozen=True)
class Uniform:
    """Uniform distribution over the real numbers of [low, high)."""

    low: float
    high: float

    def sample(self, generator: Generator, count: int | None) -> np.ndarray:
        """Return ``count`` independent draws, for None a single number (in a quarter of the time)."""
        return generator.uniform(self.low, self.high, count)


@dataclass(frozen=True)
class UniformTicks:
    """Uniform distribution over the whole numbers low, ..., high: both ends included."""

    low: int
    high: int

    def sample(self, generator: Generator, count: int | None) -> np.ndarray:
        """Return ``count`` independent draws, for None a single number (in a quarter of the time)."""
        return generator.integers(self.low, self.high, count, endpoint=True)


Distribution = Normal | Uniform | UniformTicks


class Draws:
    """The random generators of one seed, a whole number >= 0 (else ExperimentError).

    Setting the key of one Philox generator costs a quarter of making a new one, which counts where every edge
    of a large graph draws its own weight.
    """

    def __init__(self, seed: int) -> None:
        check_count("seed", seed, 0, below=SEEDS)
        self.seed = int(seed)
        self._bits = Philox(key=0)
        self._generator = Generator(self._bits)
        self._state = self._bits.state

    def generator(self, purpose: str, *label: str) -> Generator:
        """Return the generator of (seed, purpose, label) from its start, in force until the next call."""
        words = repr((self.seed, purpose, *label)).encode()
        digest = hashlib.blake2b(words, digest_size=16).digest()
        self._state["state"]["key"] = np.frombuffer(digest, "<u8")
        self._bits.state = self._state
        return self._generator


def subsets(generator: Generator, rows: int, n: int, k: int) -> np.ndarray:
    """Draw a subset of {0, ..., n - 1} with k elements for every row, all subsets being equally likely.

    Repeats are drawn again until there are none, as if each row went on drawing and skipped what it has. That
    treats all elements alike, so it is uniform; it is quick while a draw seldom repeats, so that of more than
    half of the elements the ones left out are drawn.

    Returns
    -------
    ndarray (rows, k), int64, every row ascending
    """
    if 2 * k > n:
        kept = np.ones((rows, n), bool)
        np.put_along_axis(kept, subsets(generator, rows, n, n - k), False, axis=1)
        return np.nonzero(kept)[1].reshape(rows, k)
    chosen = np.sort(generator.integers(n, size=(rows, k)), axis=1)
    todo = np.arange(rows)
    while todo.size:
        part = chosen[todo]
        repeat = np.zeros(part.shape, bool)
        repeat[:, 1:] = part[:, 1:] == part[:, :-1]
        part[repeat] = generator.integers(n, size=int(repeat.sum()))
        chosen[todo] = np.sort(part, axis=1)
        todo = todo[repeat.any(axis=1)]
    return chosen


def bernoulli(generator: Generator, n: int, probability: float) -> np.ndarray:
    """Keep each of 0, ..., n - 1 with a probability, independently, at the cost of those that are kept.

    The gaps between successes of independent trials are geometric; they are summed until they pass n.

    Returns
    -------
    ndarray, int64, ascending
    """
    last = np.int64(-1)
    parts = [np.zeros(0, np.int64)]
    while last < n - 1:
        # A gap beyond n ends the row whatever its size; cut there, a sum of them cannot overflow.
        count = int((n - last) * probability) + 16
        gaps = np.minimum(generator.geometric(probability, count), n + 1)
        parts.append(last + np.cumsum(gaps))
        last = parts[-1][-1]
    kept = np.concatenate(parts)
    return kept[kept < n]
