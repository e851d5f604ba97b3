"""Figures and tables of a sweep, from the Dataset that ``hlsim.sweep.sweep`` returns."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from hlsim.errors import ExperimentError, HlsimError
from hlsim.report.charts import (
    INK,
    Chart,
    Drawn,
    Heat,
    Line,
    Mark,
    Missing,
    Panel,
    Scale,
    Texts,
    Whiskers,
    color,
)
from hlsim.report.words import mean_number, mean_percent, number, percent

PANELS = 12  # combinations of further keys that are drawn
DASHES = ("solid", "dashed", "dotted")
MISSING = "no trace yet"  # the error that a sweep gives a run that is still to come, which has not failed


def drawn(found: xr.Dataset) -> Iterator[tuple[str, Drawn]]:
    """Yield every figure of the table by name."""
    for name, (_, make) in FIGURES.items():
        try:
            yield name, make(found)
        except HlsimError as error:
            yield name, Missing(str(error))


def keys(found: xr.Dataset) -> list[str]:
    """Return the swept keys, the first numeric one in front: it is drawn along x."""
    names = [str(name) for name in found.error.dims if name != "seed"]
    numeric = [name for name in names if _is_numeric(found, name)]
    return [*numeric[:1], *(name for name in names if name not in numeric[:1])]


def _is_numeric(found: xr.Dataset, key: str) -> bool:
    return found[key].dtype.kind in "iuf"


def measures(found: xr.Dataset) -> list[tuple[str, xr.DataArray]]:
    """Return what runs are judged by: of every stage its accuracy, or its loss where rows have no labels.

    Where nothing can be told of rows before their targets count, it is the accuracy while taught.
    """
    several = found.sizes["stage"] > 1
    told = []
    for stage in map(str, found.stage.values):
        part = found.sel(stage=stage)
        of = f", {stage}" if several else ""
        if part.accuracy.notnull().any():
            told.append((f"accuracy{of}", part.accuracy))
        elif part.taught.notnull().any():
            told.append((f"accuracy while taught{of}", part.taught))
        elif part.loss.notnull().any():
            last = bool(part.learn)
            told.append(
                (
                    f"loss of the last tenth{of}" if last else f"loss{of}",
                    part.last_loss if last else part.loss,
                )
            )
    return told


def results(found: xr.Dataset) -> Chart:
    """Draw what came of runs against the first numeric key; bars are standard deviations over seeds."""
    told = measures(found)
    if not told:
        raise ExperimentError("no run came to an end with a loss or an accuracy")
    return _against_keys(found, told[::-1])


def cost(found: xr.Dataset) -> Chart:
    """Draw messages a tick and the time of a run against the first numeric key."""
    per_tick = (found.state_messages + found.costate_messages) / found.ticks
    if per_tick.isnull().all():
        raise ExperimentError("no run came to an end")
    told = [("messages per tick", per_tick), ("wall time in seconds", found.wall_s)]
    return _against_keys(found, told)


def _against_keys(found: xr.Dataset, told: list[tuple[str, xr.DataArray]]) -> Chart:
    names = keys(found)
    if not names:
        raise ExperimentError("the sweep has seeds only: see the table")
    first, second, others = names[0], names[1] if len(names) > 1 else None, names[2:]
    places, x_names = _places(found, first)
    panels = []
    combinations = list(itertools.product(*(range(found.sizes[key]) for key in others)))
    for (title, values), place in itertools.product(told, combinations[:PANELS]):
        chosen = dict(zip(others, place, strict=True))
        fixed = ", ".join(f"{key} {found[key].values[k]}" for key, k in chosen.items())
        part = values.isel(chosen)
        marks = list(_lines(found, part, first, second, places))
        panels.append(
            Panel(
                marks,
                x=str(found[first].attrs.get("key", first)),
                y=title,
                title=fixed,
                x_names=x_names,
                y_range=(-0.02, 1.02) if title.startswith("accuracy") else None,
            )
        )
    seeds = found.sizes["seed"]
    lines = f"; a line for each {found[second].attrs.get('key', second)}" if second else ""
    left = (
        f" {len(combinations) - PANELS} more combinations are in the table."
        if len(combinations) > PANELS
        else ""
    )
    start = f"Means over {seeds} seeds; bars are standard deviations" if seeds > 1 else "One seed"
    return Chart(f"{start}{lines}.{left}", panels, columns=2)


def _places(found: xr.Dataset, key: str) -> tuple[np.ndarray, dict[float, str] | None]:
    """Return where values of a key stand along x, and their names; numbers to scale if that shows them."""
    values = found[key].values
    if _is_numeric(found, key) and values.size > 8:
        return values.astype(float), None
    if _is_numeric(found, key) and _is_spread(values):
        return values.astype(float), {float(v): f"{v:g}" for v in values}
    return np.arange(values.size, dtype=float), {float(k): str(v) for k, v in enumerate(values)}


def _is_spread(values: np.ndarray) -> bool:
    """Tell whether no two values stand closer than a twentieth of the axis."""
    gaps = np.diff(np.sort(values.astype(float)))
    return bool(gaps.size) and bool((gaps >= 0.045 * gaps.sum()).all())


def _lines(
    found: xr.Dataset, values: xr.DataArray, first: str, second: str | None, places: np.ndarray
) -> Iterator[Mark]:
    order = np.argsort(places, kind="stable")
    for k in range(found.sizes[second] if second else 1):
        part = values.isel({second: k}) if second else values
        label = f"{second} {found[second].values[k]}" if second else ""
        known = part.transpose(first, "seed").values[order]
        mean, spread = _moments(known)
        x, shade = places[order], color(k)
        chosen = np.isfinite(spread)
        if chosen.any():
            yield Whiskers(x[chosen], (mean - spread)[chosen], (mean + spread)[chosen], label, shade)
        dash: Any = DASHES[k // 8 % len(DASHES)]
        yield Line(x, mean, label, shade, dash, width=1.8, dots=True)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations over the seeds that came through (rows, seeds)."""
    known = np.isfinite(values)
    count = known.sum(1)
    total = np.where(known, values, 0.0).sum(1)
    mean = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    squares = np.where(known, (values - mean[:, None]) ** 2, 0.0).sum(1)
    spread = np.divide(squares, count - 1, out=np.full(len(values), np.nan), where=count > 1)
    return mean, np.sqrt(spread)


def heat_map(found: xr.Dataset) -> Chart:
    """Draw what came of runs over two keys, means over seeds."""
    names = keys(found)
    if len(names) != 2:
        raise ExperimentError("a map needs two keys")
    told = measures(found)
    if not told:
        raise ExperimentError("no run came to an end with a loss or an accuracy")
    across, down = names
    panels = [_map(found, title, values, across, down) for title, values in told[::-1]]
    return Chart("Means over seeds; a scale a panel, the darker, the more.", panels, columns=2)


def _map(found: xr.Dataset, title: str, values: xr.DataArray, across: str, down: str) -> Panel:
    known = values.transpose(down, across, "seed").values
    rows, columns = known.shape[:2]
    mean = _moments(known.reshape(rows * columns, -1))[0].reshape(rows, columns)
    finite = mean[np.isfinite(mean)]
    scale = Scale("amount", float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf)), title)
    row, column = np.indices(mean.shape)
    share = (mean - scale.low) / ((scale.high - scale.low) or 1.0)
    marks: list[Mark] = [Heat(mean, -0.5, columns - 0.5, -0.5, rows - 0.5, scale)]
    if mean.size <= 100:
        text = [_shown(title, value) for value in mean.ravel()]
        shades = np.where(share > 0.45, "#ffffff", INK).ravel().tolist()
        marks.append(Texts(column.ravel().astype(float), row.ravel().astype(float), text, shades))
    return Panel(
        marks,
        x=str(found[across].attrs.get("key", across)),
        y=str(found[down].attrs.get("key", down)),
        title=title.capitalize(),
        x_names={float(k): str(v) for k, v in enumerate(found[across].values)},
        y_names={float(k): str(v) for k, v in enumerate(found[down].values)},
        x_range=(-0.5, columns - 0.5),
        y_range=(-0.5, rows - 0.5),
        height=110 + 44 * max(3, min(rows, 12)),
    )


def _shown(title: str, value: float) -> str:
    if not np.isfinite(value):
        return "failed"
    return f"{value:.3f}".lstrip("0") if title.startswith("accuracy") and value < 1 else f"{value:.3g}"


def table(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of what ``sweep`` found: a row for every combination, over its seeds."""
    keys = [str(name) for name in found.error.dims if name != "seed"]
    columns = _columns(found)
    rows = []
    for place in itertools.product(*(range(found.sizes[key]) for key in keys)):
        part = found.isel(dict(zip(keys, place, strict=True)))
        values = [str(part[key].item()) for key in keys]
        rows.append([*values, *(show(part) for show in columns.values())])
    return [*keys, *columns], rows


def _columns(found: xr.Dataset) -> dict[str, Callable[[xr.Dataset], str]]:
    columns: dict[str, Callable[[xr.Dataset], str]] = {}
    for stage in map(str, found.stage.values):
        if found.accuracy.sel(stage=stage).notnull().any():
            columns[f"accuracy {stage}"] = _cell("accuracy", stage, mean_percent)
        elif found.taught.sel(stage=stage).notnull().any():
            columns[f"accuracy while taught {stage}"] = _cell("taught", stage, mean_percent)
        else:
            columns[f"loss {stage}"] = _cell("loss", stage, mean_number)
            if found.learn.sel(stage=stage):
                columns["its last tenth"] = _cell("last_loss", stage, mean_number)
    for name, which in (("failed", _failed), ("missing", _missing)):
        if which(found).any():
            columns[name] = _count(which)
    return columns | {"messages/tick": lambda part: mean_number((_messages(part) / part.ticks).values)}


def _count(which: Callable[[xr.Dataset], xr.DataArray]) -> Callable[[xr.Dataset], str]:
    return lambda part: str(int(which(part).sum()))


def _failed(found: xr.Dataset) -> xr.DataArray:
    return (found.error != "") & ~_missing(found)


def _missing(found: xr.Dataset) -> xr.DataArray:
    return found.error == MISSING


def _cell(name: str, stage: str, show: Callable[[np.ndarray], str]) -> Callable[[xr.Dataset], str]:
    return lambda part: show(part[name].sel(stage=stage).values)


def _messages(found: xr.Dataset) -> xr.DataArray:
    return found.state_messages + found.costate_messages


def runs(found: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of all runs, those that failed too: keys, seed, results, cost, error."""
    names = [str(name) for name in found.error.dims]
    told = measures(found)
    counts = {
        "ticks": found.ticks,
        "messages": found.state_messages + found.costate_messages,
        "wall s": found.wall_s,
    }
    failed = bool((found.error != "").any())
    rows = []
    for place in itertools.product(*(range(found.sizes[name]) for name in names)):
        at: dict[Any, int] = dict(zip(names, place, strict=True))
        cells = [str(found[name].values[at[name]]) for name in names]
        for title, values in told:
            value = float(values.isel(at))
            cells.append(percent(value) if title.startswith("accuracy") else number(value))
        cells += [number(float(count.isel(at))) for count in counts.values()]
        rows.append(cells + ([str(found.error.isel(at).item()) or "-"] if failed else []))
    header = [*names, *(title for title, _ in told), *counts, *(["error"] if failed else [])]
    return header, rows


# Name of the figure and of its files: title, and the function that makes it.
FIGURES: Mapping[str, tuple[str, Callable[[xr.Dataset], Chart]]] = MappingProxyType(
    {
        "results": ("Results", results),
        "heat_map": ("Map of the results", heat_map),
        "cost": ("Cost", cost),
    }
)
