"""TOML and JSON from outside, no deeper and no larger than all that reads it can bear."""

import json
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

from hlsim.errors import shown

DEEPEST = 64  # lists and tables within one another
WIDEST = 2**63  # a whole number has 64 bits wherever it goes
STORABLE = "must be text that a trace can hold, without NUL and lone surrogates"


def read_toml(text: str) -> dict[str, Any]:
    """Return the tables of TOML text.

    Raises
    ------
    ValueError
        It is no TOML, then a TOMLDecodeError if that knows the place; or holds lists in lists without end, a
        whole number of more than 64 bits, text that no trace can hold. Says so in one line.
    """
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python makes no whole number of so many digits
        raise ValueError(
            "must hold whole numbers of at most 64 bits, got one of thousands of digits"
        ) from None
    check_depth(data)
    for place, value in _leaves(data, ""):
        if isinstance(value, int) and not -WIDEST <= value < WIDEST:
            raise ValueError(f"{place}: must be a whole number of at most 64 bits, got {shown(value)}")
        if isinstance(value, str) and not storable(value):
            raise ValueError(f"{place}: {STORABLE}, got {shown(value)}")
    return data


def read_json(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return what JSON text says; ``pairs`` makes an object of its keys and values.

    Raises
    ------
    ValueError
        It is no JSON, or holds lists in lists without end. Says so in one line.
    """
    try:
        data = json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    check_depth(data)
    return data


def check_depth(data: object) -> None:
    """Refuse lists and tables in one another that recursion over them would not survive: ValueError."""
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(DEEPEST):
        inside = (part.values() if isinstance(part, dict) else part for part in level)
        level = [part for parts in inside for part in parts if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"must not have lists or tables within one another more than {DEEPEST} deep"


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield all keys and values, with where they stand."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"a key of {place or 'the file'}", key
            yield from _leaves(part, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, place)
    else:
        yield place, value


def storable(text: str) -> bool:
    """Tell whether HDF5 can hold a text: UTF-8 without the character NUL."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
