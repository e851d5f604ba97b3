"""Functions in Python files that the user wrote."""

import inspect
import runpy
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hlsim.errors import ExperimentError, unknown


def function(path: Path, name: str) -> Callable[..., Any]:
    """Run a Python file and return one of its functions.

    Raises
    ------
    ExperimentError
        The file cannot be run, or has no function of this name. Names the line where it failed.
    """
    if not path.is_file():
        raise ExperimentError(f"{path}: no such file")
    try:
        names = runpy.run_path(str(path))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        place = f"{path}: line {line}" if line else str(path)
        raise ExperimentError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    functions = [key for key, value in names.items() if inspect.isfunction(value)]
    if name not in functions:
        raise ExperimentError(f"{path}: {unknown('function', name, functions)}")
    return names[name]
