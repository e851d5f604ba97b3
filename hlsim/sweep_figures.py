"""Figures of a sweep: a quantity against a swept key, a line for every value of another, bars over seeds."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hlsim.errors import ExperimentError, unknown
from hlsim.outcomes import OF_STAGE
from hlsim.report import STYLE

NAMES = {"accuracy": "accuracy", "loss": "mean loss", "last_loss": "mean loss, last tenth"}


def lines(
    found: xr.Dataset, x: str, by: str | None = None, *, what: str = "accuracy", stage: str = ""
) -> Figure:
    """Draw mean and standard deviation over the seeds of what a sweep found.

    Parameters
    ----------
    found : Dataset
        As ``hlsim.sweep.sweep`` and ``load`` return it. Other keys than ``x`` and ``by`` must have one value.
    x, by : str
        Swept keys, as the dataset calls them: along the axis, and of which every value has a line of its own.
    what : str
        accuracy, loss or last_loss.
    stage : str
        The last one, unless given.

    Raises
    ------
    ExperimentError
        A name is unknown, or a third key has several values.
    """
    keys = [str(key) for key in found.error.dims if key != "seed"]
    _check(found, keys, x, by, what, stage)
    values = found[what].sel(stage=stage or found.stage.values[-1])
    values = values.squeeze([key for key in keys if key not in (x, by)], drop=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        places = np.arange(found.sizes[x])
        members = [values] if by is None else [values.isel({by: i}) for i in range(found.sizes[by])]
        # lines apart by a little, so that bars do not hide each other
        shifts = np.linspace(-0.1, 0.1, len(members)) if len(members) > 1 else [0.0]
        for part, shift in zip(members, shifts, strict=True):
            mean, spread = part.mean("seed").values, _spread(part)
            name = None if by is None else str(part[by].item())
            axes.errorbar(places + shift, mean, spread, label=name, marker="o", markersize=4, capsize=2)
        axes.set_xticks(places, [str(value) for value in found[x].values])
        if what == "accuracy":
            axes.set_ylim(0, 1.02)
        axes.set_xlabel(_label(found, x))
        axes.set_ylabel(f"{NAMES[what]}, {values.stage.item()}")
        if by is not None:
            figure.legend(title=_label(found, by), loc="outside right upper")
    return figure


def save(figure: Figure, file: str | Path) -> None:
    """Write a figure; the suffix says in which form, ``.png`` or ``.svg``."""
    try:
        figure.savefig(file)
    except OSError as error:
        raise ExperimentError(f"{file}: cannot write: {error.strerror}") from None


def _check(found: xr.Dataset, keys: list[str], x: str, by: str | None, what: str, stage: str) -> None:
    for key in (x, by) if by is not None else (x,):
        if key not in keys:
            raise ExperimentError(unknown("key of the sweep", key, keys))
    if what not in OF_STAGE:
        raise ExperimentError(unknown("quantity of a sweep", what, OF_STAGE))
    stages = [str(name) for name in found.stage.values]
    if not stages or (stage and stage not in stages):
        raise ExperimentError(unknown("stage", stage, stages))
    for key in keys:
        if key not in (x, by) and found.sizes[key] > 1:
            raise ExperimentError(f"{key} has {found.sizes[key]} values: choose one, found.sel({key}=...)")


def _spread(part: xr.DataArray) -> np.ndarray | None:
    """Return the standard deviation over the seeds that came through; None where there is one seed."""
    if part.sizes["seed"] < 2:
        return None
    return np.nan_to_num(part.std("seed", ddof=1).values)


def _label(found: xr.Dataset, key: str) -> str:
    units = {"delay": "delay, ticks", "hold": "hold, ticks"}
    return units.get(key, str(found[key].attrs.get("key", key)))
