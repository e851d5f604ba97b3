"""Data sets: their splits, sizes and numbers, against those of scikit-learn."""

import re

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from hlsim.errors import StimulusError
from hlsim.stimulus import Digits, Iris
from tests.support.streams import inputs, labels


@pytest.mark.parametrize(("stream", "load"), [(Digits, load_digits), (Iris, load_iris)])
@pytest.mark.parametrize("validation", [0, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_disjoint_exhaustive_and_stratified(stream, load, validation: int, seed: int) -> None:
    made = stream(validation=validation, seed=seed)
    _, label = load(return_X_y=True)
    parts = {split: labels(made, split) for split in made.splits}
    together = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(together), np.sort(label))
    rows = np.concatenate([inputs(made, split) for split in made.splits])
    assert len(np.unique(rows, axis=0)) == len(np.unique(load(return_X_y=True)[0], axis=0))
    for part in parts.values():
        share = np.bincount(label) * part.size / label.size
        assert (abs(np.bincount(part, minlength=share.size) - share) <= 2).all()


def test_digits_have_the_agreed_sizes() -> None:
    plain, held_out = Digits(), Digits(validation=200)
    assert {split: plain.length(split) for split in plain.splits} == {"train": 1400, "test": 397}
    assert {split: held_out.length(split) for split in held_out.splits} == {
        "train": 1200,
        "validation": 200,
        "test": 397,
    }


def test_validation_is_taken_from_train_and_leaves_test_alone() -> None:
    plain, held_out = Digits(), Digits(validation=200)
    np.testing.assert_array_equal(inputs(plain, "test"), inputs(held_out, "test"))
    taken = {row.tobytes() for row in inputs(held_out, "validation")}
    assert taken <= {row.tobytes() for row in inputs(plain, "train")}


def test_digits_are_those_of_sklearn_with_pixels_from_0_to_1() -> None:
    pixels, label = load_digits(return_X_y=True)
    known = {row.tobytes(): digit for row, digit in zip(pixels, label, strict=True)}
    stream = Digits(low=-0.5, high=0.5)
    for split in stream.splits:
        for row in stream.rows(split):
            assert known[(row.input * 16).tobytes()] == row.label
            assert row.target is not None
            assert list(row.target) == [0.5 if digit == row.label else -0.5 for digit in range(10)]


def test_iris_is_standardised_by_its_training_rows_alone() -> None:
    stream = Iris(validation=15)
    train = inputs(stream, "train")
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-12)
    lengths, _ = load_iris(return_X_y=True)
    everything = np.concatenate([inputs(stream, split) for split in stream.splits])
    # an affine map of each column: standardised as a whole, both have the same rows
    z = [np.round((x - x.mean(0)) / x.std(0), 9) for x in (everything, lengths)]
    np.testing.assert_array_equal(*(x[np.lexsort(x.T)] for x in z))
    for row in stream.rows("test"):
        assert row.target is not None
        assert row.target.argmax() == row.label


def test_splits_follow_the_seed_and_nothing_else() -> None:
    np.testing.assert_array_equal(inputs(Digits(seed=3), "test"), inputs(Digits(seed=3), "test"))
    assert not np.array_equal(inputs(Digits(seed=3), "test"), inputs(Digits(seed=4), "test"))


def test_rows_of_a_split_mix_the_classes() -> None:
    """Iris comes sorted by class, digits nearly in a cycle: both mislead a network that learns row by row."""
    for stream in (Iris(), Digits()):
        label = labels(stream, "train")
        classes = label.max() + 1
        followers = np.zeros((classes, classes))
        np.add.at(followers, (label[:-1], label[1:]), 1)
        expected = len(label) / classes**2
        assert followers.max() < 3 * expected
        assert followers.min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 1797}, "digits: test and validation must be fewer than 1797 rows, got 1797 + 0"),
        ({"test": -1}, "digits: test must be a whole number of rows >= 0, got -1"),
        ({"validation": 1.5}, "digits: validation must be a whole number of rows >= 0, got 1.5"),
        ({"low": float("nan")}, "digits: low must be a finite number, got nan"),
    ],
)
def test_options_of_data_sets_are_checked(options, message: str) -> None:
    with pytest.raises(StimulusError, match=re.escape(message)):
        Digits(**options)
