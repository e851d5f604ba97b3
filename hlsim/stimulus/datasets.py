"""Small data sets of real measurements, which scikit-learn brings along."""

import numpy as np

from hlsim.draws import Draws
from hlsim.errors import StimulusError, is_count, is_real, plain
from hlsim.stimulus.streams import Arrays


class Digits(Arrays):
    """Handwritten digits, 8 x 8 pixels, 1797 rows in ten classes, of scikit-learn.

    Splits are stratified. Rows for "validation" are taken from "train"; "test" keeps its own. The rows of a
    split stand in a random order, the same for the same seed.

    Parameters
    ----------
    test, validation : int
        Rows of the splits "test" and "validation" (0: there is no such split); the others are "train".
    seed : int
        Of the splits.
    low, high : float
        Target of the wrong classes and of the right one.
    blank, ink : float
        Input of an empty pixel and of a full one.

    Notes
    -----
    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998 (the test part).
    """

    def __init__(
        self,
        test: int = 397,
        validation: int = 0,
        seed: int = 0,
        low: float = 0.0,
        high: float = 1.0,
        blank: float = 0.0,
        ink: float = 1.0,
    ) -> None:
        from sklearn.datasets import load_digits

        pixels, label = load_digits(return_X_y=True)
        splits = _stratified(label, test, validation, Draws(seed), "digits")
        blank, ink = _finite("digits", blank=blank, ink=ink)
        shown = blank + (ink - blank) * pixels / 16
        super().__init__(shown, _one_hot(label, low, high, "digits"), label, splits, where="digits")


class Iris(Arrays):
    """Fisher's irises, 4 lengths, 150 rows in three classes, of scikit-learn.

    The lengths are standardised by the mean and the standard deviation of the split "train". The splits are
    drawn as those of ``Digits`` are.

    Parameters
    ----------
    test, validation : int
        Rows of the splits "test" and "validation" (0: there is no such split); the others are "train".
    seed : int
        Of the splits.
    low, high : float
        Target of the wrong classes and of the right one.
    """

    def __init__(
        self, test: int = 30, validation: int = 0, seed: int = 0, low: float = 0.0, high: float = 1.0
    ) -> None:
        from sklearn.datasets import load_iris

        lengths, label = load_iris(return_X_y=True)
        splits = _stratified(label, test, validation, Draws(seed), "iris")
        train = lengths[splits["train"]]
        scaled = (lengths - train.mean(0)) / train.std(0)
        super().__init__(scaled, _one_hot(label, low, high, "iris"), label, splits, where="iris")


def _one_hot(label: np.ndarray, low: float, high: float, where: str) -> np.ndarray:
    """Return targets (steps, classes)."""
    low, high = _finite(where, low=low, high=high)
    return np.where(label[:, None] == np.arange(label.max() + 1), high, low)


def _finite(where: str, **values: float) -> list[float]:
    for name, value in values.items():
        if not is_real(value):
            raise StimulusError(f"{where}: {name} must be a finite number, got {plain(value)!r}")
    return [float(value) for value in values.values()]


def _stratified(
    label: np.ndarray, test: int, validation: int, draws: Draws, where: str
) -> dict[str, np.ndarray]:
    """Draw splits in which each class has its share, within two rows.

    The rows of a class are shuffled and spread evenly over [0, 1); in the order of these places every stretch
    holds the classes in proportion. The first stretch is "test", the next "validation", the rest "train";
    each is shuffled, since that order is nearly a cycle of the classes.
    """
    for name, rows in (("test", test), ("validation", validation)):
        if not is_count(rows, 0):
            raise StimulusError(f"{where}: {name} must be a whole number of rows >= 0, got {plain(rows)!r}")
    if test + validation >= label.size:
        both = f"{test} + {validation}"
        raise StimulusError(f"{where}: test and validation must be fewer than {label.size} rows, got {both}")
    place = np.empty(label.size)
    for kind in np.unique(label):
        of_kind = np.flatnonzero(label == kind)
        generator = draws.generator("split", where, str(kind))
        place[generator.permutation(of_kind)] = (np.arange(of_kind.size) + generator.random()) / of_kind.size
    parts = np.split(np.argsort(place, kind="stable"), [test, test + validation])
    named = dict(zip(("test", "validation", "train"), parts, strict=True))
    shuffled = {name: draws.generator("order", where, name).permutation(part) for name, part in named.items()}
    return {name: shuffled[name] for name in ("train", "validation", "test") if shuffled[name].size}
