"""Stages: the order of their rows, and how many there are."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim.errors import StimulusError
from hlsim.stimulus import Arrays, PythonStream, Stage
from tests.support.streams import COUNTER, write


@given(
    steps=st.integers(1, 40),
    passes=st.integers(1, 4),
    rows=st.none() | st.integers(1, 100),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_a_stage_shows_what_it_says(
    steps: int, passes: int, rows: int | None, shuffle: bool, seed: int
) -> None:
    stream = Arrays(np.zeros((steps, 1)), label=np.arange(steps))
    stage = Stage(passes=passes, rows=rows, shuffle=shuffle)
    shown = [row.label for row in stage.presentations(stream, seed)]
    assert len(shown) == stage.length(stream) == min(rows or 10**9, passes * steps)
    for start in range(0, len(shown), steps):
        one = shown[start : start + steps]
        assert set(one) == set(range(steps)) or len(one) < steps
        assert len(set(one)) == len(one)
        assert shuffle or one == list(range(len(one)))


def test_every_pass_stage_and_seed_has_an_order_of_its_own() -> None:
    stream = Arrays(np.zeros((50, 1)), label=np.arange(50))
    shown = [
        [row.label for row in Stage(name, passes=2, shuffle=True).presentations(stream, seed)]
        for name in ("a", "b")
        for seed in (0, 1)
    ]
    orders = {tuple(part) for both in shown for part in (both[:50], both[50:])}
    assert len(orders) == 8
    again = [row.label for row in Stage("a", passes=2, shuffle=True).presentations(stream, 0)]
    assert again == shown[0]


def test_shuffles_are_uniform() -> None:
    """Each of the 6 orders of 3 rows comes up about as often as any other: chi-squared, 5 degrees, 0.1 %."""
    stream = Arrays(np.zeros((3, 1)), label=np.arange(3))
    shown = [row.label for row in Stage(passes=1200, shuffle=True).presentations(stream, 0)]
    _, counts = np.unique(np.reshape(shown, (-1, 3)), axis=0, return_counts=True)
    assert counts.size == 6
    assert ((counts - 200) ** 2 / 200).sum() < 20.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "stage 'train': passes must be a whole number >= 1, got 0"),
        ({"passes": 1.5}, "stage 'train': passes must be a whole number >= 1, got 1.5"),
        ({"rows": 0}, "stage 'train': rows must be a whole number >= 1, got 0"),
        ({"name": "free", "rows": True}, "stage 'free': rows must be a whole number >= 1, got True"),
    ],
)
def test_a_stage_is_checked_when_it_is_made(options, message: str) -> None:
    with pytest.raises(StimulusError, match=re.escape(message)):
        Stage(**options)


@pytest.mark.parametrize(
    ("options", "asked"), [({"shuffle": True}, "shuffle"), ({"passes": 2}, "passes = 2")]
)
def test_an_endless_stream_is_neither_shuffled_nor_repeated(tmp_path: Path, options, asked: str) -> None:
    stream = PythonStream(write(tmp_path / "s.py", COUNTER))
    stage = Stage(**options)
    for use in (stage.length, lambda stream: stage.presentations(stream, 0)):
        with pytest.raises(
            StimulusError, match=f"stage 'train': {asked} needs a split with an end; 'train' has none"
        ):
            use(stream)
    with pytest.raises(StimulusError, match="the order of its rows cannot be chosen"):
        stream.rows("train", np.arange(3))


def test_an_endless_stage_has_no_length_of_its_own(tmp_path: Path) -> None:
    stream = PythonStream(write(tmp_path / "s.py", COUNTER))
    assert Stage().length(stream) is None
    assert Stage(rows=7).length(stream) == 7


def test_a_generator_that_ends_too_early_is_an_error(tmp_path: Path) -> None:
    stream = PythonStream(write(tmp_path / "s.py", "def stream():\n    yield [1], None\n"))
    assert len(list(Stage().presentations(stream, 0))) == 1
    with pytest.raises(StimulusError, match="stage 'train': needs 2 rows, the stream ended after 1"):
        list(Stage(rows=2).presentations(stream, 0))
