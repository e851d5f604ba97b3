"""Python files that the user wrote: run as modules, with whatever they raise told in one line."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hlsim.errors import HlsimError, unknown


def module(path: Path, error: type[HlsimError]) -> ModuleType:
    """Run a file as a module, without leaving compiled files beside it.

    Raises
    ------
    error
        There is no such file, or it fails; names the line.
    """
    if not path.is_file():
        raise error(f"{path}: no such file")
    made = ModuleType(path.stem)
    made.__file__ = str(path)
    # Some classes, dataclasses among them, look their module up by name.
    made.__name__ = f"user code {path.resolve()}"
    sys.modules[made.__name__] = made
    code = guarded(path, "import", lambda: compile(path.read_bytes(), str(path), "exec"), error)
    guarded(path, "import", lambda: exec(code, made.__dict__), error)
    return made


def function(path: Path, name: str, error: type[HlsimError]) -> Callable[..., Any]:
    """Run a file and return one of its functions; what it raises becomes an error too.

    Raises
    ------
    error
        The file cannot be run, or has no function of this name: lists those it has.
    """
    names = vars(module(path, error))
    functions = [key for key, value in names.items() if inspect.isfunction(value)]
    if name not in functions:
        raise error(f"{path}: {unknown('function', name, functions)}")
    found: Callable[..., Any] = names[name]

    @functools.wraps(found)
    def told(*arguments: Any, **named: Any) -> Any:
        return guarded(path, name, lambda: found(*arguments, **named), error)

    return told


def items(path: Path, name: str, made: Iterable[Any], error: type[HlsimError]) -> Iterator[Any]:
    """Yield what the user's generator yields; what it raises on the way becomes one line."""
    end = object()
    source = guarded(path, name, lambda: iter(made), error)
    while (item := guarded(path, name, lambda: next(source, end), error)) is not end:
        yield item


def guarded(path: Path, name: str, run: Callable[[], Any], error: type[HlsimError]) -> Any:
    """Run the user's code; whatever it raises becomes one line that names file, function and line."""
    try:
        return run()
    except (Exception, SystemExit) as raised:
        lines = [f.lineno for f in traceback.extract_tb(raised.__traceback__) if f.filename == str(path)]
        line = lines[-1] if lines else getattr(raised, "lineno", None)
        place = f"{name}, line {line}" if line else name
        what = raised if isinstance(raised, error) else f"{type(raised).__name__}: {raised}"
        raise error(f"{path}: {place}: {' '.join(str(what).split())}") from raised
