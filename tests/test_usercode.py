"""What the code of users does: a line that names file, function and line, whatever it raises."""

from pathlib import Path

import pytest

from hlsim import usercode
from hlsim.errors import StimulusError

CODE = """\
def one(x):
    return 1 / x


def some(x):
    yield 1
    raise SystemExit(x)
"""


def test_what_a_function_raises_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(CODE)
    one = usercode.function(path, "one", StimulusError)
    assert one(4) == 0.25
    assert one.__name__ == "one"
    with pytest.raises(StimulusError, match=r"own\.py: one, line 2: ZeroDivisionError: division by zero$"):
        one(0)


def test_what_a_generator_raises_on_its_way_names_its_line(tmp_path: Path) -> None:
    """To leave the program is not for it to decide either."""
    path = tmp_path / "own.py"
    path.write_text(CODE)
    made = usercode.function(path, "some", StimulusError)(7)
    items = usercode.items(path, "some", made, StimulusError)
    assert next(items) == 1
    with pytest.raises(StimulusError, match=r"own\.py: some, line 7: SystemExit: 7$"):
        next(items)
