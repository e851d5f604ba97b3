"""Streams give the rows they promise, in the order they promise; an error is one line."""

import inspect
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris

from hlsim.errors import StimulusError
from hlsim.stimulus import SOURCES, Arrays, Digits, File, Iris, PythonStream, Stage, Stream

FINITE = np.arange(12.0).reshape(6, 2)


def inputs(stream: Stream, split: str) -> np.ndarray:
    return np.array([row.input for row in stream.rows(split)])


def labels(stream: Stream, split: str) -> np.ndarray:
    return np.array([row.label for row in stream.rows(split)])


def write(path: Path, code: str) -> Path:
    path.write_text(code, encoding="utf-8")
    return path


def example(source: str, folder: Path) -> Stream:
    """One stream of every source; a new source has to be added here."""
    if source == "file":
        np.savez(folder / "s.npz", input=FINITE, target=FINITE[:, :1])
        return File(folder / "s.npz")
    if source == "python":
        code = "def stream():\n    for i in range(6):\n        yield [i, 2 * i], [0]\n"
        return PythonStream(write(folder / "s.py", code))
    return Arrays(FINITE, FINITE[:, :1]) if source == "arrays" else SOURCES[source]()


# ---- every source


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_keeps_what_its_attributes_promise(source: str, tmp_path: Path) -> None:
    stream = example(source, tmp_path)
    for split in stream.splits:
        rows = list(stream.rows(split))
        assert len(rows) == (stream.length(split) or len(rows)) > 0
        assert {row.input.shape for row in rows} == {(stream.n_input,)}
        assert {row.target.shape for row in rows if row.target is not None} == {(stream.n_output,)}


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_starts_anew_each_time(source: str, tmp_path: Path) -> None:
    stream = example(source, tmp_path)
    np.testing.assert_array_equal(inputs(stream, "train"), inputs(stream, "train"))


@pytest.mark.parametrize("source", SOURCES)
def test_an_unknown_split_is_named_with_the_known_ones(source: str, tmp_path: Path) -> None:
    stream = example(source, tmp_path)
    known = ", ".join(sorted(stream.splits))
    for use in (stream.length, stream.rows, lambda split: Stage(split=split).presentations(stream, 0)):
        with pytest.raises(StimulusError, match=f"unknown split 'tain'.*known: {known}$"):
            use("tain")


@pytest.mark.parametrize("source", SOURCES)
def test_parameters_of_a_source_tell_their_types(source: str) -> None:
    """Experiments check the options of a source by its signature."""
    for parameter in inspect.signature(SOURCES[source]).parameters.values():
        assert parameter.annotation is not parameter.empty


# ---- data sets


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


# ---- arrays and files


def test_arrays_come_back_row_by_row_in_any_order() -> None:
    stream = Arrays(FINITE, -FINITE, np.arange(6), {"a": slice(0, 4), "b": [5, 4]})
    assert [row.label for row in stream.rows("a", np.array([3, 0, 0]))] == [3, 0, 0]
    assert [row.label for row in stream.rows("b")] == [5, 4]
    for row in stream.rows("b"):
        assert row.target is not None
        np.testing.assert_array_equal(row.input, FINITE[row.label])
        np.testing.assert_array_equal(row.target, -FINITE[row.label])


def test_rows_are_views_of_the_arrays() -> None:
    data = FINITE.astype(np.float32)
    assert all(np.shares_memory(row.input, data) for row in Arrays(data).rows("train"))


def test_whole_numbers_become_floats() -> None:
    (row,) = Arrays([[1, 2]], [[True]]).rows("train")
    assert row.target is not None
    assert row.input.dtype == row.target.dtype == np.float64
    assert row.label == -1


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    split = np.array(["train", "test", "train", "train", "extra", "test"])
    np.savez_compressed(tmp_path / "s.npz", input=FINITE, target=FINITE + 1, label=np.arange(6), split=split)
    stream = File(tmp_path / "s.npz")
    assert (stream.splits, stream.n_input, stream.n_output) == (("train", "test", "extra"), 2, 2)
    for name in stream.splits:
        np.testing.assert_array_equal(inputs(stream, name), FINITE[split == name])
        np.testing.assert_array_equal(labels(stream, name), np.flatnonzero(split == name))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"target": FINITE}, "must have an array 'input', got target"),
        (
            {"input": FINITE, "targets": FINITE},
            "unknown array 'targets' (did you mean 'target'?); known: input",
        ),
        ({"input": FINITE[0]}, "input must have shape (steps, columns), got (2,)"),
        ({"input": FINITE[:0]}, "input must have shape (steps, columns), got (0, 2)"),
        ({"input": FINITE, "target": FINITE[:5]}, "target must have 6 rows as input has, got 5"),
        ({"input": FINITE, "label": np.zeros(5, int)}, "label must have shape (6,), got (5,)"),
        ({"input": FINITE, "label": np.zeros(6)}, "label must be whole numbers, got dtype float64"),
        ({"input": FINITE * 1j}, "input must be real numbers, got dtype complex128"),
        (
            {"input": np.where(FINITE == 5, np.nan, FINITE)},
            "row 2: input must be finite, got nan in column 1",
        ),
        (
            {"input": FINITE, "target": np.where(FINITE == 6, np.inf, FINITE)},
            "row 3: target must be finite, got inf in",
        ),
        ({"input": FINITE, "split": np.array(["a"])}, "split must be 6 names, got shape (1,), dtype <U1"),
        ({"input": FINITE, "split": np.arange(6)}, "split must be 6 names, got shape (6,), dtype int64"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path, arrays, message: str) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, **arrays)
    with pytest.raises(StimulusError) as error:
        File(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StimulusError, match=r"no\.npz: cannot read: No such file or directory"):
        File(tmp_path / "no.npz")
    with pytest.raises(StimulusError, match=r"text\.npz: is no NPZ file that can be read"):
        File(write(tmp_path / "text.npz", "input = 1"))
    np.save(tmp_path / "one.npy", FINITE)
    with pytest.raises(
        StimulusError, match=r"one\.npy: must be an NPZ file of named arrays, got a single array"
    ):
        File(tmp_path / "one.npy")
    np.savez(tmp_path / "cut.npz", input=FINITE)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-40])
    with pytest.raises(StimulusError, match=r"cut\.npz: is no NPZ file that can be read"):
        File(tmp_path / "cut.npz")
    np.savez(tmp_path / "object.npz", input=np.array([{}], dtype=object))
    with pytest.raises(StimulusError, match=r"object\.npz: is no NPZ file that can be read"):
        File(tmp_path / "object.npz")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([0, 6], "split 'x' must hold rows 0 to 5, got 6"),
        ([-1], "split 'x' must hold rows 0 to 5, got -1"),
        ([], "split 'x' must hold indices of rows, got []"),
        ([[0]], "split 'x' must hold indices of rows, got [[0]]"),
        ([0.0], "split 'x' must hold indices of rows, got [0.0]"),
        (slice(6, 9), "split 'x' must hold indices of rows, got slice(6, 9, None)"),
    ],
)
def test_a_split_holds_rows_that_exist(split, message: str) -> None:
    with pytest.raises(StimulusError, match=re.escape(message)):
        Arrays(FINITE, splits={"x": split})


# ---- a function of the user

COUNTER = """
def stream(start=0):
    i = start
    while True:
        yield [i, -i], [2 * i]
        i += 1
"""


def test_a_generator_gives_its_rows_with_the_users_parameters(tmp_path: Path) -> None:
    stream = PythonStream(write(tmp_path / "s.py", COUNTER), start=5)
    assert (stream.n_input, stream.n_output, stream.length("train")) == (2, 1, None)
    rows = list(Stage(rows=3).presentations(stream, 0))
    np.testing.assert_array_equal([row.input for row in rows], [[5, -5], [6, -6], [7, -7]])
    assert [row.target.tolist() for row in rows if row.target is not None] == [[10], [12], [14]]


def test_an_endless_stream_is_gone_through_without_keeping_it(tmp_path: Path) -> None:
    stream = PythonStream(write(tmp_path / "s.py", COUNTER))
    rows = Stage(rows=60_000).presentations(stream, 0)
    next(rows)
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows) == 59_999
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_generator_may_yield_dicts_and_rows_and_leave_out_targets(tmp_path: Path) -> None:
    code = """
        from hlsim.stimulus import Row
        import numpy as np

        def mixed():
            yield {"input": [1.0], "target": [1.0], "label": 3}
            yield {"input": [2.0]}
            yield Row(np.array([3.0]), None, 4)
            yield [4.0], None
        """
    rows = list(PythonStream(write(tmp_path / "s.py", inspect.cleandoc(code)), "mixed").rows("train"))
    assert [row.input.tolist() for row in rows] == [[1.0], [2.0], [3.0], [4.0]]
    assert [row.label for row in rows] == [3, -1, 4, -1]
    assert [row.target is None for row in rows] == [False, True, True, True]


def test_a_function_may_have_splits_of_its_own(tmp_path: Path) -> None:
    code = (
        "def stream(split, n):\n    for i in range(n):\n        yield [i + 100 * (split == 'test')], None\n"
    )
    stream = PythonStream(write(tmp_path / "s.py", code), splits=["train", "test"], n=2)
    assert inputs(stream, "train").tolist() == [[0], [1]]
    assert inputs(stream, "test").tolist() == [[100], [101]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield [1, 2], [0]\n    yield [1], [0]", "row 1: input must have shape (2,), got (1,)"),
        ("yield [1], [0]\n    yield [1], [0, 1]", "row 1: target must have shape (1,), got (2,)"),
        ("yield [1], None\n    yield [1], [0]", "row 1: target must have shape (0,), got (1,)"),
        ("yield [[1]], [0]", "row 0: input must have shape (columns,), got (1, 1)"),
        ("yield [1], [0]\n    yield [float('inf')], [0]", "row 1: input must be finite, got inf"),
        ("yield 'ab'", "row 0: must be (input, target) or a dict of ('input', 'target', 'label'), got a str"),
        ("yield {'inputs': [1]}", "row 0: must be (input, target) or a dict of"),
        ("yield {'input': [1], 'label': 0.5}", "row 0: label must be a whole number, got 0.5"),
        ("yield from ()", "must yield at least one row, got none"),
        ("return 5", "must yield rows, got a int"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, body: str, message: str) -> None:
    path = write(tmp_path / "s.py", f"def stream():\n    {body}\n")
    with pytest.raises(StimulusError) as error:
        list(PythonStream(path).rows("train"))
    assert str(error.value).startswith(f"{path}: stream: {message}")
    assert "\n" not in str(error.value)


def test_a_function_that_cannot_be_called_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "s.py", COUNTER)
    with pytest.raises(StimulusError, match=r"no\.py: no such file"):
        PythonStream(tmp_path / "no.py")
    with pytest.raises(StimulusError, match=r"s\.py: unknown function 'strem' \(did you mean 'stream'\?\)"):
        PythonStream(path, "strem")
    with pytest.raises(StimulusError, match=r"s\.py: stream: got an unexpected keyword argument 'stop'"):
        PythonStream(path, stop=3)
    with pytest.raises(
        StimulusError, match="stream: splits must be one name unless it has a parameter 'split'"
    ):
        PythonStream(path, splits=["train", "test"])


def test_an_error_inside_the_users_function_keeps_its_traceback(tmp_path: Path) -> None:
    path = write(tmp_path / "s.py", "def stream():\n    yield 1 / 0, None\n")
    with pytest.raises(ZeroDivisionError):
        PythonStream(path)


# ---- stages


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
