"""What one would write by hand instead of running hlsim, or pick from a library: each does the same work.

Libraries that hlsim does not need come with its extra ``bench``; where one is missing, so is its rival.
"""

import importlib
import shutil
from types import ModuleType

LIBRARIES = {"jax_loops": "jax", "numba_loops": "numba", "numba_events": "numba"}


class AbsentError(Exception):
    """A rival cannot run here; says what is missing."""


def rival(name: str) -> ModuleType:
    """Return a module of rivals by name.

    Raises
    ------
    AbsentError
        The library that it is written in is not installed.
    """
    library = LIBRARIES.get(name)
    try:
        if library is not None:
            importlib.import_module(library)
    except ImportError:
        raise AbsentError(f"{library} is not installed (pip install -e '.[bench]')") from None
    return importlib.import_module(f"workloads.rivals.{name}")


def require_compiler() -> None:
    """Raise AbsentError unless there is what torch compiles with."""
    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise AbsentError("torch.compile needs a compiler of C++, and there is none")
