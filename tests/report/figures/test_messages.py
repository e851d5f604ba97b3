"""Rates and traffic: what is in their marks, against the analysis."""

import numpy as np

from hlsim import analysis
from hlsim.report.charts import Boxes, Heat, Line
from hlsim.trace import Trace
from tests.support import experiments
from tests.support.charts import chart_of, of


def test_bars_are_messages_per_tick_and_steps_those_that_arrive(run: Trace) -> None:
    chart = chart_of("rates", run)
    sent, rate = analysis.traffic(run) / experiments.TICKS, analysis.message_rates(run)
    lengths = np.concatenate([bars.right for bars in of(Boxes, chart)])
    np.testing.assert_allclose(lengths, [*sent.state.sum("target"), *sent.costate.sum("target")])
    for line, kind in zip(of(Line, chart), ("state", "costate", "update"), strict=True):
        np.testing.assert_array_equal(line.y[::2], rate.sel(kind=kind))
        np.testing.assert_array_equal(line.y[1::2], rate.sel(kind=kind))


def test_the_matrix_has_its_first_group_on_top(run: Trace) -> None:
    chart, sent = chart_of("traffic", run), analysis.traffic(run)
    for panel, kind in zip(chart.panels, ("state", "costate"), strict=True):
        (image,) = of(Heat, panel)
        np.testing.assert_array_equal(np.nan_to_num(image.values[::-1]), sent[kind])
        assert panel.y_names is not None
        assert [panel.y_names[y] for y in (2.0, 1.0, 0.0)] == ["input", "hidden", "output"]
