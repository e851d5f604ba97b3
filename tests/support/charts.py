"""What tests of figures share: charts of a trace by name, and the marks in them."""

from typing import Any, TypeVar

import networkx as nx

from hlsim import Simulation
from hlsim.report import figures
from hlsim.report.charts import Chart, Missing, Panel
from hlsim.report.figures import Asked
from hlsim.trace import Trace

Mark = TypeVar("Mark")


def of(kind: type[Mark], chart: Chart | Panel) -> list[Mark]:
    panels = chart.panels if isinstance(chart, Chart) else [chart]
    return [mark for panel in panels for mark in panel.marks if isinstance(mark, kind)]


def chart_of(name: str, trace: Trace, **asked: Any) -> Chart:
    found = dict(figures.drawn(trace, Asked(**asked)))[name]
    assert isinstance(found, Chart), found
    return found


def reason(name: str, trace: Trace) -> str:
    found = dict(figures.drawn(trace))[name]
    assert isinstance(found, Missing)
    return found.reason


def simulated(graph: nx.DiGraph, **options: Any) -> Trace:
    return Simulation(graph, node_defaults={"update": "clock"}).run(until=4, every=1, **options)
