"""Streams give the rows they promise, in the order they promise; an error is one line."""

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlsim import errors
from hlsim.errors import HlsimError, StimulusError
from hlsim.stimulus import SOURCES, Arrays, File, PythonStream, Stage, Stream
from tests.support.streams import FINITE, inputs, labels, write


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"input": [[1.0], [1.0, 2.0]]},
            "input must be numbers, in rows of one length, got [[1.0], [1.0, 2.0]]",
        ),
        ({"input": [[10**400]]}, "input must be real numbers, got dtype object"),
        ({"input": "text"}, "input must be real numbers, got dtype <U4"),
        ({"input": {"a": [1]}}, "input must be real numbers, got dtype object"),
        ({"input": [[1.0]], "target": [[[0.5]], [1]]}, "target must be numbers, in rows of one length"),
        (
            {"input": [[1.0]], "label": [2**60]},
            "row 0: label must be >= 0, or -1 for none, got 1152921504606846976",
        ),
        ({"input": [[1.0]], "splits": [0]}, "splits must be a table of names and rows, got [0]"),
        ({"input": [[1.0]], "splits": {"a": [[0], 0]}}, "split 'a' must be numbers, in rows of one length"),
        ({"input": [[1.0]], "splits": {"a": "b"}}, "split 'a' must hold indices of rows, got 'b'"),
    ],
)
def test_values_of_any_other_kind_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StimulusError, match=re.escape(f"stimulus: {message}")):
        Arrays(**given)


def test_an_archive_larger_than_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "s.npz", input=np.zeros((2000, 1000)))
    monkeypatch.setattr(errors, "memory_limit", lambda: 1e6)
    with pytest.raises(
        HlsimError, match=r"s\.npz: needs 1\.6e\+07 bytes of memory, this process may have 1e\+06$"
    ):
        File(tmp_path / "s.npz")
