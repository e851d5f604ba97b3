"""The table of figures: each has data or says why not."""

import math

import networkx as nx
import pytest

from hlsim.errors import ExperimentError
from hlsim.report import figures
from hlsim.report.charts import Chart, Missing, Reference
from hlsim.report.figures import FIGURES, Asked
from hlsim.topology.network import flatten
from hlsim.trace import Recorder, Trace
from tests.support.charts import chart_of, of


def test_every_figure_has_data_and_named_axes_or_says_why_not(run: Trace) -> None:
    found = dict(figures.drawn(run))
    assert list(found) == list(FIGURES)
    absent = {name for name, chart in found.items() if isinstance(chart, Missing)}
    assert absent == {"alignment", "phases"}
    for chart in found.values():
        if isinstance(chart, Chart):
            assert chart.caption.endswith(".")
            assert all(panel.bare or panel.x for panel in chart.panels)


def test_what_comes_next_is_told(run: Trace) -> None:
    told: list[str] = []
    list(figures.drawn(run, tell=told.append))
    assert told == [title for title, _ in FIGURES.values()]


def test_a_trace_without_anything_says_why_of_every_figure_but_the_network() -> None:
    graph = nx.DiGraph()
    graph.add_node("a", model="input", role="input")
    graph.add_node("b")
    rec = Recorder(None, header={"seed": 0}, network=flatten(graph))
    rec.finish()
    with rec.trace() as trace:
        found = dict(figures.drawn(trace))
    assert [name for name, chart in found.items() if isinstance(chart, Chart)] == ["network"]


def test_lines_of_ones_own_are_laid_over_a_figure(run: Trace) -> None:
    law = Reference(math.cos(2 * math.atan(0.3)), "cos(2 arctan wT)")
    chart = chart_of("learning_curve", run, references={"learning_curve": [law]})
    assert of(Reference, chart.panels[0]) == [law]
    assert of(Reference, chart.panels[1]) == []
    assert chart.legend[-1].label == law.label
    with pytest.raises(ExperimentError, match="references: unknown figure 'learning'"):
        Asked(references={"learning": [law]})
