"""Figures and tables of sweeps, against the Dataset that a sweep returns, and one made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from hlsim.report.charts import Chart, Heat, Line, Missing, Texts, Whiskers
from hlsim.report.figures import sweep as sweep_charts
from hlsim.sweep import sweep
from tests.support import experiments
from tests.support.charts import of

STAGES = ["train", "test"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    folder = experiments.write(tmp_path_factory.mktemp("sweeps") / "tiny")
    grid: dict[str, list[Any]] = {
        "learning.order": ["explicit", "sequential"],
        "learning.beta": [0.01, 0.05, 0.1],
    }
    return sweep(folder, grid, seeds=2)


def dataset(failed: tuple[int, ...] = ()) -> xr.Dataset:
    """Three delays, two seeds; accuracies are chosen."""
    share = np.array([[0.9, 0.7], [0.8, 0.8], [0.5, 0.1]])
    share[list(failed)] = np.nan
    over = ("delay", "seed")
    stages = np.stack([share, share / 2], axis=-1)
    data: dict[str, Any] = {
        "accuracy": ((*over, "stage"), stages),
        "taught": ((*over, "stage"), np.full_like(stages, np.nan)),
        "loss": ((*over, "stage"), 1 - stages),
        "last_loss": ((*over, "stage"), 0.5 - stages / 2),
        "error": (over, np.where(np.isnan(share), "<b>node</b> 'h[0]': not finite", "")),
    }
    for name in ("ticks", "state_messages", "costate_messages", "node_updates", "wall_s"):
        data[name] = (over, np.where(np.isnan(share), np.nan, 10.0))
    coordinates: dict[str, Any] = {
        "delay": ("delay", [0, 1, 2], {"key": "network.parameters.delay"}),
        "seed": [0, 1],
        "stage": STAGES,
        "learn": ("stage", [True, False]),
    }
    return xr.Dataset(data, coords=coordinates)


def chart_of(name: str, found: xr.Dataset) -> Chart:
    chart = dict(sweep_charts.drawn(found))[name]
    assert isinstance(chart, Chart), chart
    return chart


def test_results_stand_over_the_first_numeric_key_with_a_line_for_the_second(swept: xr.Dataset) -> None:
    chart = chart_of("results", swept)
    test, train = chart.panels
    assert (test.y, train.y) == ("accuracy, test", "accuracy, train")
    assert test.x == "learning.beta"
    for panel, stage in ((test, "test"), (train, "train")):
        mean = swept.accuracy.sel(stage=stage).mean("seed")
        for line, order in zip(of(Line, panel), ("explicit", "sequential"), strict=True):
            assert line.label == f"order {order}"
            np.testing.assert_allclose(line.x, [0.01, 0.05, 0.1])
            np.testing.assert_allclose(line.y, mean.sel(order=order))


def test_bars_are_standard_deviations_over_seeds() -> None:
    (bars,) = of(Whiskers, chart_of("results", dataset()).panels[1])
    spread = np.array([0.2, 0.0, 0.4]) / np.sqrt(2)
    np.testing.assert_allclose((bars.high - bars.low) / 2, spread, atol=1e-12)
    np.testing.assert_allclose((bars.high + bars.low) / 2, [0.8, 0.8, 0.3])


def test_seeds_that_failed_are_left_out() -> None:
    found = dataset(failed=(1,))
    found.accuracy[0, 0] = np.nan
    (line,) = of(Line, chart_of("results", found).panels[1])
    np.testing.assert_allclose(line.y, [0.7, np.nan, 0.3])
    (bars,) = of(Whiskers, chart_of("results", found).panels[1])
    assert bars.x.tolist() == [2.0]


def test_a_map_has_a_field_for_every_pair_of_values(swept: xr.Dataset) -> None:
    chart = chart_of("heat_map", swept)
    (image,) = of(Heat, chart.panels[0])
    mean = swept.accuracy.sel(stage="test").mean("seed").transpose("order", "beta")
    np.testing.assert_allclose(image.values, mean)
    (texts,) = of(Texts, chart.panels[0])
    assert len(texts.text) == 6
    missing = dict(sweep_charts.drawn(dataset()))["heat_map"]
    assert isinstance(missing, Missing)


def test_the_cost_is_messages_a_tick_and_time() -> None:
    messages, wall = (of(Line, panel)[0] for panel in chart_of("cost", dataset()).panels)
    assert messages.y.tolist() == [2.0, 2.0, 2.0]
    assert wall.y.tolist() == [10.0, 10.0, 10.0]


def test_the_table_of_runs_holds_those_that_failed() -> None:
    header, rows = sweep_charts.runs(dataset(failed=(1,)))
    assert header == [
        "delay", "seed", "accuracy, train", "accuracy, test", "ticks", "messages", "wall s", "error"
    ]  # fmt: skip
    assert rows[0] == ["0", "0", "90.00 %", "45.00 %", "10", "20", "10", "-"]
    assert rows[2] == ["1", "0", "-", "-", "-", "-", "-", "<b>node</b> 'h[0]': not finite"]
    assert len(rows) == 6


def test_a_third_key_has_a_panel_for_each_of_its_values() -> None:
    found = xr.concat([dataset(), dataset()], "hidden").assign_coords(hidden=[8, 16])
    found = xr.concat([found, found], "hold").assign_coords(hold=[1, 4])
    found = found.assign_coords(learn=("stage", [True, False]))
    chart = chart_of("results", found)
    assert sweep_charts.keys(found)[:1] == ["hold"]
    assert [panel.title for panel in chart.panels] == ["delay 0", "delay 1", "delay 2"] * 2


def test_values_that_would_stand_too_close_are_set_side_by_side() -> None:
    found = dataset().assign_coords(delay=("delay", [0.0001, 0.001, 1.0]))
    panel = chart_of("results", found).panels[0]
    assert of(Line, panel)[0].x.tolist() == [0.0, 1.0, 2.0]
    assert panel.x_names == {0.0: "0.0001", 1.0: "0.001", 2.0: "1.0"}


def test_where_every_run_failed_it_is_said() -> None:
    found = dict(sweep_charts.drawn(dataset(failed=(0, 1, 2))))
    assert {type(chart) for chart in found.values()} == {Missing}


def test_a_sweep_over_seeds_alone_has_its_table(tmp_path: Path) -> None:
    found = dataset().isel(delay=0, drop=True)
    assert isinstance(dict(sweep_charts.drawn(found))["results"], Missing)
    assert len(sweep_charts.runs(found)[1]) == 2
