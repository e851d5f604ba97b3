"""Figures of a sweep show its numbers: means over the seeds, spreads, a line for every value of a key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from hlsim.errors import ExperimentError
from hlsim.sweep_figures import lines, save

SHAPE = {"delay": 3, "hold": 2, "seed": 4, "stage": 2}


def found(**sizes: int) -> xr.Dataset:
    """A dataset as a sweep returns it, with a run that failed."""
    shape = SHAPE | sizes
    draw = np.random.default_rng(1)
    accuracy, loss = draw.uniform(size=(2, *shape.values()))
    accuracy[0, 0, 1:2] = np.nan  # of several seeds, one failed
    coordinates: dict[str, Any] = {
        "delay": ("delay", [0, 2, 8][: shape["delay"]], {"key": "network.parameters.delay"}),
        "hold": ("hold", [4, 16][: shape["hold"]], {"key": "stimulus.hold"}),
        "seed": ("seed", range(shape["seed"]), {"key": "seed"}),
        "stage": ["train", "test"],
    }
    error = np.full(tuple(shape.values())[:3], "")
    data = {"accuracy": (tuple(shape), accuracy), "loss": (tuple(shape), loss)}
    return xr.Dataset(data | {"error": (tuple(shape)[:3], error)}, coordinates)


def drawn(figure: Figure) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Heights of the points and lengths of the bars of every line, by its name in the legend."""
    (axes,) = figure.axes
    result = {}
    for container in axes.containers:
        points, _, (bars,) = container.lines  # type: ignore[attr-defined]
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        result[str(container.get_label())] = (points.get_ydata(), (ends[:, 1] - ends[:, 0]) / 2)
    return result


@pytest.mark.parametrize("what", ["accuracy", "loss"])
@pytest.mark.parametrize("stage", ["train", "test"])
def test_points_are_means_over_seeds_and_bars_their_standard_deviation(what: str, stage: str) -> None:
    data = found()
    shown = drawn(lines(data, "delay", "hold", what=what, stage=stage))
    assert list(shown) == ["4", "16"]
    for hold, (mean, bar) in shown.items():
        values = data[what].sel(hold=int(hold), stage=stage).values
        np.testing.assert_allclose(mean, np.nanmean(values, 1))
        np.testing.assert_allclose(bar, np.nanstd(values, 1, ddof=1))


def test_the_axes_say_what_they_are() -> None:
    figure = lines(found(), "delay", "hold")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "8"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("delay, ticks", "accuracy, test")
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "hold, ticks"


def test_one_seed_and_one_key_have_neither_bars_nor_a_legend() -> None:
    figure = lines(found(seed=1, hold=1), "delay")
    (axes,) = figure.axes
    assert not axes.containers[0].lines[2]  # type: ignore[attr-defined]
    assert not figure.legends


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": "dleay"}, r"unknown key of the sweep 'dleay' \(did you mean 'delay'\?\); known: delay, hold"),
        ({"x": "delay", "by": "seed"}, "unknown key of the sweep 'seed'"),
        ({"x": "delay"}, r"hold has 2 values: choose one, found\.sel\(hold=\.\.\.\)"),
        ({"x": "delay", "by": "hold", "what": "speed"}, "unknown quantity of a sweep 'speed'"),
        ({"x": "delay", "by": "hold", "stage": "tset"}, r"unknown stage 'tset' \(did you mean 'test'\?\)"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        lines(found(), **arguments)  # type: ignore[arg-type]


def test_a_figure_is_written_as_its_name_says(tmp_path: Path) -> None:
    figure = lines(found(), "delay", "hold")
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ExperimentError, match="cannot write: No such file or directory"):
        save(figure, tmp_path / "none" / "a.png")
