"""Learning curves: what is in their marks, against the analysis."""

from pathlib import Path

import numpy as np

from hlsim import analysis, experiment
from hlsim.report.charts import Band, Line
from hlsim.trace import Trace
from tests.support import experiments
from tests.support.charts import chart_of, of


def test_lines_of_the_learning_curve_are_the_analysis(run: Trace) -> None:
    chart, curve = chart_of("learning_curve", run), analysis.learning_curve(run)
    for panel, name in zip(chart.panels, ("loss", "accuracy"), strict=True):
        lines = of(Line, panel)
        assert [line.label for line in lines] == ["train", "test"]
        np.testing.assert_array_equal(np.concatenate([line.y for line in lines]), curve[name][:, 0])
        np.testing.assert_array_equal(np.concatenate([line.x for line in lines]), curve.tick)


def test_bands_are_the_spread_of_replicas(tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "tiny")
    with experiment.load(folder, ["simulation.ensemble=3"]).run() as trace:
        chart, curve = chart_of("learning_curve", trace), analysis.learning_curve(trace)
    bands = of(Band, chart.panels[0])
    np.testing.assert_allclose(
        np.concatenate([(band.high - band.low) / 2 for band in bands]), curve.loss.std("replica")
    )
