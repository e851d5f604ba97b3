"""Sweeps of the tiny experiment, and what two folders of traces have in common."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.support.places import ROOT

# Of wall time: when, and how long. Everything else in a trace follows from its experiment.
CLOCKED = {"start", "end", "log"}


def contents(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and bytes of every dataset and attribute of a trace, but for those that hold wall time."""
    with h5py.File(path) as file:
        yield from _attributes("", file)
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            if name.partition("/")[0] in CLOCKED:
                continue
            item = file[name]
            yield from _attributes(name, item)
            if isinstance(item, h5py.Dataset):
                yield name, (item.shape, str(item.dtype), _bits(item[()]))


def _attributes(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    for key, value in item.attrs.items():
        # lists of references lead to where a dataset happens to lie in the file
        if key not in CLOCKED and key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
            yield f"{name}@{key}", _summary(value) if key == "summary" else _bits(value)


def _summary(value: Any) -> Any:
    return {key: number for key, number in json.loads(value).items() if key != "wall_s"}


def _bits(value: Any) -> Any:
    array = np.asarray(value)
    return array.tolist() if array.dtype.hasobject else array.tobytes()


def same(one: Path, other: Path) -> int:
    """Hold that two folders have the same files and contents; return how many values were compared."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    count = 0
    for name in names:
        if ".h5" in name:  # those of failed runs are called *.h5.tmp
            left, right = dict(contents(one / name)), dict(contents(other / name))
            assert left.keys() == right.keys()
            for key, value in left.items():
                assert value == right[key], (name, key)
            count += len(left)
        else:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    return count


def command(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start ``hlsim sweep`` in a folder, in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hlsim", "sweep", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a command; return its exit code and what it said."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
