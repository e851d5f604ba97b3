"""Two traces side by side: what was set otherwise, what came of it, and where they part."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.analysis.curves import accuracy, learning_curve, summary
from hlsim.analysis.learned import settings_of
from hlsim.trace import Trace

Array = NDArray[Any]
# Samples that differ by less than this share of the largest count as the same: two engines differ so much.
SAME = 1e-9
SAMPLED = ("h", "z", "a", "w", "omega", "gradient", "loss")


def comparison(trace: Trace, other: Trace) -> xr.Dataset:
    """Compare two traces.

    Returns
    -------
    Dataset
        Over number: ``first``, ``second`` and ``ratio``, second over first, of what summaries tell, of the
        accuracy of every stage and of the loss of its last window; NaN where one has it not. Over quantity:
        ``largest`` difference of the samples that both took at the same ticks, and ``from_tick``, the first
        at which they differ; NaN and -1 where they do not, or cannot be compared; ``same_until``, the last of
        these ticks before that, -1: none. Nobody looked between the two. ``weight_cosine`` of the changes of
        all weights from the start to ``weight_tick``, the last at which both were sampled, where the synapses
        are the same; NaN and -1 where there is none. Over setting:
        ``first_value`` and ``second_value``, text, of every key of the experiments that differs.
    """
    sides = [_numbers(x) for x in (trace, other)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    values = np.array([[side.get(name, np.nan) for name in names] for side in sides])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = values[1] / values[0]
    cosine, weight_tick = _weight_cosine(trace, other)
    parts = [_parting(trace, other, f"sampled/{name}") for name in SAMPLED]
    settings = set_otherwise([trace, other])
    return xr.Dataset(
        {
            "first": ("number", values[0]),
            "second": ("number", values[1]),
            "ratio": ("number", ratio, {"units": "1"}),
            "largest": ("quantity", np.array([part[0] for part in parts])),
            "from_tick": ("quantity", np.array([part[1] for part in parts]), {"units": "ticks"}),
            "same_until": ("quantity", np.array([part[2] for part in parts]), {"units": "ticks"}),
            "weight_cosine": ((), cosine, {"units": "1"}),
            "weight_tick": ((), weight_tick, {"units": "ticks"}),
            "first_value": ("setting", np.array([pair[0] for pair in settings.values()], str)),
            "second_value": ("setting", np.array([pair[1] for pair in settings.values()], str)),
        },
        coords={"number": names, "quantity": list(SAMPLED), "setting": np.array(list(settings), str)},
    )


def _numbers(trace: Trace) -> dict[str, float]:
    """Return every single number that a trace tells."""
    found = {str(name): value.item() for name, value in summary(trace).items()}
    shares = accuracy(trace)
    for stage, share in shares.accuracy.mean("replica").to_series().items():
        found[f"accuracy {stage}"] = float(share)
    for stage, share in shares.taught.mean("replica").dropna("stage").to_series().items():
        found[f"accuracy while taught {stage}"] = float(share)
    curve = learning_curve(trace)
    for stage in dict.fromkeys(curve.stage.values.tolist()):
        last = np.flatnonzero(curve.stage.values == stage)[-1]
        found[f"last loss {stage}"] = float(curve.loss.values[last].mean())
    return {name: float(x) for name, x in found.items()}


def _parting(trace: Trace, other: Trace, name: str) -> tuple[float, int, int]:
    """Return the largest difference of two sampled quantities, from which tick on, and the one before."""
    if name not in trace or name not in other or trace[name].shape[1:] != other[name].shape[1:]:
        return np.nan, -1, -1
    at, mine, theirs = np.intersect1d(trace.ticks(name), other.ticks(name), return_indices=True)
    if not at.size:
        return np.nan, -1, -1
    a, b = (_rows(x[name][which]) for x, which in ((trace, mine), (other, theirs)))
    off = np.nanmax(np.abs(a - b), axis=1, initial=0.0)
    known = np.abs(np.concatenate([a, b]))
    apart = np.flatnonzero(off > SAME * np.nanmax(known, initial=0.0))
    largest = float(off.max(initial=0.0))
    if not apart.size:
        return largest, -1, int(at[-1])
    first = apart[0]
    return largest, int(at[first]), int(at[first - 1]) if first else -1


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _weight_cosine(trace: Trace, other: Trace) -> tuple[float, int]:
    """Return the cosine of what two runs did to the weights, and the tick up to which."""
    ends = ("network/source", "network/target")
    if not all("sampled/w" in x for x in (trace, other)):
        return np.nan, -1
    at, *places = np.intersect1d(trace.ticks("sampled/w"), other.ticks("sampled/w"), return_indices=True)
    if not at.size or not all(np.array_equal(trace[name], other[name]) for name in ends):
        return np.nan, -1
    changes = [
        (x["sampled/w"][place[-1]] - x["network/weight0"]).ravel()
        for x, place in zip((trace, other), places, strict=True)
    ]
    if changes[0].shape != changes[1].shape:
        return np.nan, -1
    with np.errstate(invalid="ignore"):
        cosine = float(changes[0] @ changes[1] / np.prod([np.linalg.norm(x) for x in changes]))
    return cosine, int(at[-1])


def set_otherwise(traces: Sequence[Trace]) -> dict[str, list[str]]:
    """Return the keys in which what traces were made with differs, and the value of each; "-" for none."""
    tables = [dict(flat(settings_of(trace))) for trace in traces]
    keys = dict.fromkeys(key for one in tables for key in one)
    told = {key: [str(one.get(key, "-")) for one in tables] for key in keys}
    return {key: values for key, values in told.items() if len(set(values)) > 1}


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of tables within tables, by dotted keys; of a stage by its name."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from flat(inner, f"{key}.{inner.get('name', place)}")
    else:
        yield key, value
