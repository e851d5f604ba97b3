"""How old what met at the synapses was, by the messages: as the paths say, by hand, and where ages spread."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hlsim import Simulation, analysis, topology
from hlsim.errors import TraceError
from hlsim.models.rules import Hamiltonian
from hlsim.simulation.faults import Faults
from hlsim.stimulus import Arrays
from hlsim.topology.network import flatten
from hlsim.trace import Trace
from tests.claims.test_delays import DT, thicket
from tests.support.theory import CLOCK, ENGINES, samples


def recorded(graph: nx.Graph, order: str = "explicit", rows: int = 60, **options: Any) -> Trace:
    """Run samples that change at every tick unless they are held; every message is recorded."""
    network = flatten(graph, node_defaults=CLOCK, dt=options.get("dt", 1.0))
    stream = samples(rows, len(network.inputs), len(network.outputs))
    rule = Hamiltonian(beta=1e-3, order=order)
    given = {"dtype": "float64"} | options
    sim = Simulation(network, rule=rule, stimulus=stream, **given)
    return sim.run(every=100, events=["message", "update"])


@settings(deadline=None, phases=[Phase.generate], max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    order=st.sampled_from(["explicit", "sequential"]),
    engine=st.sampled_from(ENGINES),
)
def test_what_is_measured_is_what_the_paths_say(seed: int, order: str, engine: str) -> None:
    """Random delays there and back, leaky and instant neurons, a new row a tick: equal at every update."""
    found = analysis.staleness(recorded(thicket(seed), order, dt=DT, engine=engine), order=order)
    updated = np.flatnonzero(found.updates > 0)
    plastic = (found.source != "bias") & found.predicted.notnull().all(["quantity", "path"])
    np.testing.assert_array_equal(updated, np.flatnonzero(plastic))
    one = found.isel(edge=updated)
    np.testing.assert_array_equal(one.measured, one.predicted)
    np.testing.assert_array_equal(found["count"], found.expected)


def test_a_chain_by_hand() -> None:
    """u -(3)-> y, leaky: the state is 3 old, its error of a tick before that, of a stimulus 4 before that."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("y", role="output")
    graph.add_edge("u", "y", delay=3)
    found = analysis.staleness(recorded(graph, rows=20), order="explicit")
    measured = found.measured.sel(path="oldest").values[:, found.source.values == "u"].ravel()
    assert measured.tolist() == [3.0, 1.0, 5.0, 2.0]
    # Known from tick 5 on, at which the output of the first stimulus comes back as an error.
    assert found.updates.values[found.source.values == "u"] == 15
    assert found["count"].sel(quantity="output", path="newest", age=5) == 15


@pytest.mark.parametrize(
    ("order", "hold", "shares"),
    [
        ("explicit", 4, [0.0, 0.0, 0.25]),
        ("explicit", 8, [0.25, 0.5, 0.625]),
        ("explicit", 1, [0.0, 0.0, 0.0]),
        # In sequential order 4, 2 and 2: a step less forward, and the input is a tick older when it is used.
        ("sequential", 8, [0.5, 0.75, 0.75]),
    ],
)
def test_updates_of_one_row(order: str, hold: int, shares: list[float]) -> None:
    """Three leaky layers meet things 6, 4 and 3 ticks apart: so many updates of a hold mix rows.

    In layer 1 the input of now and an output of six ticks ago, in layer 3 a target of one tick ago and an
    output of four ticks ago.
    """
    graph = topology.layered([3, 4, 4, 2], seed=0)
    found = analysis.staleness(recorded(graph, order, rows=30, hold=hold), order=order)
    group = np.array([name.partition("[")[0] for name in found.target.values])
    for name, share in zip(("hidden1", "hidden2", "output"), shares, strict=True):
        matched = found.matched.values[(group == name) & (found.updates.values > 0)]
        assert matched == pytest.approx(share, abs=0.02)


def test_an_input_that_keeps_its_value_counts_as_sent_anew() -> None:
    graph = nx.DiGraph()
    graph.add_nodes_from(["u[0]", "u[1]"], model="input")
    graph.add_node("y", role="output")
    graph.add_edges_from([("u[0]", "y"), ("u[1]", "y")])
    rows = np.stack([np.arange(1.0, 21.0), np.ones(20)], 1)
    stream = Arrays(rows, np.zeros((20, 1)))
    sim = Simulation(graph, rule=Hamiltonian(beta=0.0), stimulus=stream, node_defaults=CLOCK)
    found = analysis.staleness(sim.run(events=["message", "update"]), order="explicit")
    assert found.measured.sel(quantity="state", path="oldest").values.tolist() == [0.0, 0.0]


def test_what_is_not_sent_grows_older() -> None:
    """On arrival and with thresholds states and errors are at least as old as their paths."""
    graph = topology.layered([3, 6, 2], seed=0, delay=2)
    neurons = [node for node in graph if not str(node).startswith("in")]
    for name, value in {"update": "arrival", "tau": 3.0, "send_threshold": 0.05}.items():
        nx.set_node_attributes(graph, dict.fromkeys(neurons, value), name)
    found = analysis.staleness(recorded(graph, rows=200, hold=3), order="explicit")
    one = found.isel(edge=np.flatnonzero(found.updates > 0)).sel(quantity=["state", "target", "output"])
    assert (one.measured.sel(path="oldest") >= one.predicted.sel(path="oldest")).all()
    assert float(one.measured.max() - one.predicted.max()) > 1.0


def test_jitter_spreads_ages_as_it_was_drawn() -> None:
    """u -> y, every message 2 to 6 ticks: the age is that of the newest one there, message by message.

    It is more than 2 + k where none of the last k + 1 has come: the product of (4 - i)/5, i = 0 to k.
    """
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("y", role="output")
    graph.add_edge("u", "y", delay=2, feedback="none")
    rows, ticks = 3000, np.arange(3000)
    trace = recorded(graph, rows=rows, faults=Faults(jitter=4))
    found = analysis.staleness(trace, order="explicit")
    edge = int(np.flatnonzero(found.source.values == "u")[0])
    state = trace["events/kind"] == 0
    sent, arrived = trace["events/sent"][state], trace["events/tick"][state]
    there = np.where(arrived[:, None] <= ticks, sent[:, None], -1).max(0)
    counted = ticks[-int(found.updates[edge]) :]
    ages_by_hand = np.bincount((ticks - there)[counted])
    count = found["count"].sel(quantity="state", path="oldest")
    for age in range(2, 7):
        assert count.sel(age=age) == ages_by_hand[age]
        share = np.prod([(4.0 - i) / 5.0 for i in range(age - 2)]) * (1.0 - (6.0 - age) / 5.0)
        # Ages follow one another, so the spread is that of fewer, independent ones.
        assert count.sel(age=age) / len(counted) == pytest.approx(
            share, abs=4.0 * np.sqrt(share / len(counted))
        )
    assert float(count.sum()) == len(counted)
    # The paths know nothing of jitter.
    assert found.predicted.sel(quantity="state", path="oldest")[edge] == 2


@pytest.mark.parametrize("order", ["explicit", "sequential"])
def test_jitter_leaves_nothing_younger_than_its_path(order: str) -> None:
    graph = topology.layered([3, 6, 2], seed=0, delay=1)
    found = analysis.staleness(
        recorded(graph, order, rows=80, faults=Faults(jitter=3, loss=0.1)), order=order
    )
    one = found.isel(edge=np.flatnonzero(found.updates > 0)).sel(quantity=["state", "target", "output"])
    assert (one.measured.sel(path="oldest") > one.predicted.sel(path="oldest")).any()
    assert (one.measured >= one.predicted).all()


def test_what_a_trace_must_hold_is_said() -> None:
    graph = topology.layered([3, 4, 2], seed=0)
    sim = Simulation(graph, stimulus=samples(5, 3, 2), node_defaults=CLOCK)
    with pytest.raises(TraceError, match=r"no messages; record[.]events must hold 'message'"):
        analysis.staleness(sim.run(), order="explicit")
    sim = Simulation(graph, stimulus=samples(5, 3, 2))
    with pytest.raises(TraceError, match=r"no updates; record[.]events must hold 'update'"):
        analysis.staleness(sim.run(events=["message"]), order="explicit")
