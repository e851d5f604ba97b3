"""Which keys of an experiment a sweep may go along, and through which values."""

from collections.abc import Mapping


def check_axis(key: str, values: object) -> None:
    """Refuse a key that no sweep may have, and values that are no list of different ones: ValueError."""
    if "." not in key or key.startswith("sweep.") or isinstance(values, Mapping):
        raise ValueError(f'must have quoted keys as --set has them, "stimulus.hold" = [1, 2], got {key!r}')
    if key == "simulation.seed":
        raise ValueError("cannot hold simulation.seed: seeds = n runs n seeds of every combination")
    if not (isinstance(values, list) and values):
        raise ValueError(f"{key}: must be a list of one or more values, got {values!r}")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{key}: values must differ, got {value!r} twice")
