"""A function of the user as a stream: its rows, and what is wrong with it in one line."""

import inspect
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import hlsim
from hlsim import trace
from hlsim.errors import StimulusError
from hlsim.stimulus import PythonStream, Stage
from tests.support.streams import COUNTER, inputs, write


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
        (
            "yield {'input': [1], 'label': 0.5}",
            "row 0: label must be a whole number >= 0, or -1 for none, got 0.5",
        ),
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
    told = "s.py: stream, line 2: ZeroDivisionError: division by zero$"
    with pytest.raises(StimulusError, match=told) as error:
        PythonStream(path)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("['x'], [0.5]", "row 1: input must be real numbers, got dtype <U1"),
        ("[None], [0.5]", "row 1: input must be real numbers, got dtype object"),
        ("[1j], [0.5]", "row 1: input must be real numbers, got dtype complex128"),
        ("[[1], [1, 2]], [0.5]", "row 1: input must be numbers, in rows of one length, got [[1], [1, 2]]"),
        ("[float('nan')], [0.5]", "row 1: input must be finite, got nan"),
        ("[10**400], [0.5]", "row 1: input must be real numbers, got dtype object"),
        ("[1.0], [0.5], 10**30", "row 1: label must be a whole number >= 0, or -1 for none, got 1000000000"),
        ("[1.0], [0.5]; raise ValueError('mine')", ", line 3: ValueError: mine"),
    ],
)
def test_a_later_row_that_is_none_ends_the_run_and_keeps_the_trace(
    row: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "s.py", f"def stream():\n    yield [1.0], [0.5]\n    yield {row}\n")
    sim = hlsim.Simulation(
        hlsim.topology.layered([1, 1]), stimulus=PythonStream(path), stages=[Stage(rows=3)], hold=4
    )
    with pytest.raises(StimulusError, match=re.escape(message)):
        sim.run(record=tmp_path / "t.h5")
    with trace.open(tmp_path / "t.h5") as kept:
        assert kept.status == "interrupted"
        assert kept["rows/tick"][0] == 3
