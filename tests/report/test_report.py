"""A report is made of whatever a run can leave, however odd the network and however short the run."""

import contextlib
import logging
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation, report
from hlsim import trace as traces
from hlsim.analysis.findings import findings
from hlsim.errors import HlsimError
from hlsim.models.rules import RULES
from hlsim.report import figures
from hlsim.report.charts import Chart
from hlsim.simulation.faults import Faults
from hlsim.stimulus import Arrays, Stage, Stream

GRAPHS = ("driven", "lone", "biased", "silent", "looped", "chain", "crowd")


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """Whatever bokeh would warn of, in a browser's console, fails here."""

    class Raise(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise AssertionError(record.getMessage())

    handler = Raise()
    logging.getLogger("bokeh").addHandler(handler)
    yield
    logging.getLogger("bokeh").removeHandler(handler)


def graph_of(name: str) -> nx.DiGraph:
    """Return a network without synapses, with one, or with more than can be drawn one by one."""
    graph = nx.DiGraph()
    if name == "driven":
        graph.add_nodes_from(["a", "b"], role="input")
    elif name == "lone":
        graph.add_node("a")
    elif name == "crowd":
        graph.add_nodes_from([(f"n[{i}]", {"group": f"g{i % 50}"}) for i in range(160)])
    else:
        graph.add_node("x", model="input")
        graph.add_node("y", role="output", **({"bias": 1.0} if name == "biased" else {}))
        if name == "silent":
            graph.add_edge("x", "y", weight=0.0)
        if name == "looped":
            graph.add_edge("y", "y", weight=0.5)
        if name == "chain":
            graph.add_node("</script>", group="a<b>")
            graph.add_edge("x", "</script>", weight=0.5, delay=2)
            graph.add_edge("</script>", "y", weight=0.5, plastic=False, feedback="none")
    return graph


def stream_of(graph: nx.DiGraph, kind: str) -> Stream | None:
    nodes = [data for _, data in graph.nodes(data=True)]
    inputs = sum(data.get("model") == "input" or data.get("role") == "input" for data in nodes)
    outputs = sum(data.get("role") == "output" for data in nodes)
    if kind == "none" or not inputs:
        return None
    x = np.linspace(-1.0, 1.0, 4 * inputs).reshape(4, inputs)
    target = None if kind == "inputs" or not outputs else np.ones((4, outputs))
    return Arrays(x, target, np.zeros(4, np.int64) if kind == "labels" else None)


def left_by(path: Path, graph: str, stimulus: str, rule: str, cut: str, faulty: bool, **options: Any) -> None:
    """Run something into a trace; HlsimError where it cannot be run at all."""
    network = graph_of(graph)
    stream = stream_of(network, stimulus)
    record = {name: options.pop(name) for name in ("every", "sampled", "events")}
    sim = Simulation(
        network,
        rule=RULES[rule](),
        stimulus=stream,
        stages=[Stage(learn=False)] if stream is not None and options.pop("still") else None,
        node_defaults={"update": options.pop("update")},
        hold=2,
        dtype="float64",
        faults=Faults(loss=0.5) if faulty else None,
        **{name: value for name, value in options.items() if name != "still"},
    )

    def interrupt(env: simpy.Environment) -> Generator[simpy.Event]:
        yield env.timeout(2)
        raise KeyboardInterrupt

    if cut == "interrupted":
        sim.env.process(interrupt(sim.env))
    with contextlib.suppress(KeyboardInterrupt):
        sim.run(1 if cut == "at once" else 6, path, **record).close()


@pytest.mark.filterwarnings("ignore:.*did not settle")
@settings(max_examples=12)
@given(
    told=st.fixed_dictionaries(
        {
            "graph": st.sampled_from(GRAPHS),
            "stimulus": st.sampled_from(["none", "inputs", "targets", "labels"]),
            "rule": st.sampled_from(["hamiltonian", *RULES]),
            "loss": st.sampled_from(["none", "squared_error", "cross_entropy"]),
            "cut": st.sampled_from(["no", "at once", "interrupted"]),
            "faulty": st.booleans(),
            "still": st.booleans(),
            "update": st.sampled_from(["clock", "arrival"]),
            "ensemble": st.sampled_from([1, 2]),
            "every": st.sampled_from([1, 1000]),
            "sampled": st.sampled_from([None, (), ("h",), ("w",), ("loss",)]),
            "events": st.sampled_from([(), ("message",), ("update",), ("message", "update")]),
        }
    ),
    oracle=st.sampled_from([None, "backpropagation", "implicit"]),
)
def test_every_figure_of_whatever_a_run_leaves_has_marks_or_a_reason(
    told: dict[str, Any], oracle: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("odd") / "odd.h5"
    try:
        left_by(path, **told)
    except HlsimError:
        return
    with traces.open(path) as trace:
        for chart in dict(figures.drawn(trace, figures.Asked(oracle))).values():
            if isinstance(chart, Chart):
                assert all(panel.marks for panel in chart.panels)
        findings(trace, oracle=oracle or "recurrent", controls=True)


def test_a_page_is_made_of_a_network_without_synapses(tmp_path: Path) -> None:
    options: dict[str, Any] = {"every": 1, "sampled": None, "events": ("message", "update")}
    options |= {"loss": "none", "update": "arrival", "still": False}
    left_by(tmp_path / "odd.h5", "driven", "inputs", "hamiltonian", "no", False, **options)
    page = report.of_traces([tmp_path / "odd.h5"]).html()
    assert "no message was sent" in page
    assert "staleness: the trace has no messages" in page
    assert "analysis: the run had no loss" in page
