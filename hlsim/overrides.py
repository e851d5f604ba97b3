"""Values of an experiment that are set from outside: ``table.key=value``, as ``--set`` has them."""

import re
import tomllib
from typing import Any

from hlsim.errors import ExperimentError, unknown
from hlsim.parsing import Path


def override(data: dict[str, Any], text: str) -> Path:
    """Set one value in the tables of an experiment and return its path.

    Parameters
    ----------
    data : dict
        Tables as they were read from TOML; changed in place. Tables on the way are made where there are none.
    text : str
        ``table.key=value``, a dotted TOML key and a TOML value; a bare word is a string. A stage is addressed
        by its name or its index.

    Raises
    ------
    ExperimentError
        The text is no override, or leads through something that is no table.
    """
    key, equals, value = text.partition("=")
    names = _names(key)
    if not (equals and names):
        raise ExperimentError(f"--set {text}: must be table.key=value")
    path: Path = ()
    table: Any = data
    for name in names[:-1]:
        path += (_key(text, table, name),)
        table = table.setdefault(name, {}) if isinstance(table, dict) else table[path[-1]]
        if not isinstance(table, dict | list):
            raise ExperimentError(f"--set {text}: {'.'.join(map(str, path))} must be a table, got {table!r}")
    path += (_key(text, table, names[-1]),)
    table[path[-1]] = _value(text, value.strip())
    return path


def _names(text: str) -> list[str]:
    """Return the names in a dotted TOML key; empty where it is none."""
    try:
        table: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return []
    names = []
    while isinstance(table, dict) and len(table) == 1:
        ((name, table),) = table.items()
        names.append(name)
    return names if table == 0 else []


def _key(text: str, table: dict[str, Any] | list[Any], name: str) -> str | int:
    """Return the key, or the index of the stage that has this name or index."""
    if isinstance(table, dict):
        return name
    stages = [entry.get("name", i) if isinstance(entry, dict) else i for i, entry in enumerate(table)]
    if name in stages:
        return stages.index(name)
    if name.isdecimal() and int(name) < len(table):
        return int(name)
    raise ExperimentError(f"--set {text}: {unknown('stage', name, stages)}")


def _value(text: str, value: str) -> Any:
    """Return a TOML value; what is none and does not begin like one is a string."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        if re.match(r"""[\[{"']|$""", value):
            raise ExperimentError(
                f"--set {text}: value must be as in TOML, or a bare word, got {value!r}"
            ) from None
        return value
