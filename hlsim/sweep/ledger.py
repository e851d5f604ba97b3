"""What a sweep keeps in its folder beside the traces: which runs it consists of, and which of them failed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from hlsim.draws import SEEDS
from hlsim.errors import ExperimentError, is_count
from hlsim.sweep import grid as grids
from hlsim.sweep.grid import Point, Run
from hlsim.textdata import read_toml

FILE = "sweep.toml"
FORMAT = {"format": "hlsim-sweep", "format_version": 1}


@dataclass
class Ledger:
    """The runs of a sweep.

    Attributes
    ----------
    name : str
        Of the experiment.
    axes : dict
        Values by key, the seed last.
    digests : list of str
        Of the experiment of every run, so that the trace of another one is not taken for it.
    failures : dict
        By the name of a trace that is not there: why, in a line, and the traceback if there is one.
    """

    name: str
    axes: dict[str, list[Any]]
    digests: list[str]
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def points(self) -> list[Point]:
        """Return the places of all runs, in the order of the digests."""
        return grids.points(self.axes)

    def write(self, folder: Path) -> None:
        """Write it aside and give it its name, so that it is always whole."""
        aside = folder / f".{FILE}.tmp"
        try:
            aside.write_text(self._toml(), encoding="utf-8")
            aside.replace(folder / FILE)
        except OSError as error:
            raise ExperimentError(f"{folder / FILE}: cannot write: {error.strerror}") from None

    def _toml(self) -> str:
        runs = []
        for point, digest in zip(self.points, self.digests, strict=True):
            error, trace = self.failures.get(point.file, ("", ""))
            told = {"error": error, "traceback": trace}
            runs.append(
                {"trace": point.file, "digest": digest, **{key: text for key, text in told.items() if text}}
            )
        axes = [{"key": key, "values": values} for key, values in self.axes.items()]
        return tomli_w.dumps(FORMAT | {"name": self.name, "axis": axes, "run": runs})


def ledger(runs: Sequence[Run], axes: Mapping[str, list[Any]]) -> Ledger:
    """Return the ledger of a sweep that begins."""
    return Ledger(runs[0].experiment.name, dict(axes), [run.digest for run in runs])


def read(folder: Path) -> Ledger:
    """Read the ledger of a folder.

    Raises
    ------
    ExperimentError
        There is none, or it cannot be read.
    """
    file = folder / FILE
    try:
        data = read_toml(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT["format"]:
            raise KeyError
    except FileNotFoundError:
        raise ExperimentError(f"{folder}: is no folder of a sweep: there is no {FILE} in it") from None
    except OSError as error:
        raise ExperimentError(f"{file}: cannot read: {error.strerror}") from None
    except (KeyError, ValueError):
        raise ExperimentError(f"{file}: is not what hlsim sweep writes") from None
    if data["format_version"] != FORMAT["format_version"]:
        raise ExperimentError(f"{file}: format_version must be 1, got {data['format_version']!r}")
    if not _is_written_here(data):
        raise ExperimentError(f"{file}: is not what hlsim sweep writes")
    runs = data["run"]
    failures = {run["trace"]: (run["error"], run.get("traceback", "")) for run in runs if run.get("error")}
    axes = {axis["key"]: axis["values"] for axis in data["axis"]}
    return Ledger(data["name"], axes, [run["digest"] for run in runs], failures)


def _is_written_here(data: dict[str, Any]) -> bool:
    """Tell whether a ledger has its form: a name, axes of values that differ, as many runs as places."""
    axes: Any = data.get("axis")
    runs: Any = data.get("run")
    if not (isinstance(data.get("name"), str) and _are_tables(axes) and _are_tables(runs)):
        return False
    lists = all(isinstance(axis.get("key"), str) and isinstance(axis.get("values"), list) for axis in axes)
    keys = [axis["key"] for axis in axes] if lists else []
    told = all(isinstance(run.get(name), str) for run in runs for name in ("trace", "digest"))
    failed = all(isinstance(run.get(name, ""), str) for run in runs for name in ("error", "traceback"))
    return (
        told
        and failed
        and keys[-1:] == ["seed"]
        and len(set(keys)) == len(keys)
        and all(is_count(seed, 0, SEEDS) for seed in axes[-1]["values"])
        and math.prod([len(axis["values"]) for axis in axes]) == len(runs)
    )


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)
