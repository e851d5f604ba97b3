"""How old what met at the synapses was: by hand, by the paths, by the sending times of messages."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hlsim import Simulation, analysis, topology
from hlsim.analysis.ages import ages, exact_from
from hlsim.errors import TraceError
from hlsim.models.rules import Hamiltonian
from hlsim.simulation.faults import Faults
from hlsim.stimulus import Arrays
from hlsim.topology.network import flatten
from hlsim.trace import Trace
from tests.claims.test_delays import DT, predicted, thicket
from tests.support.theory import CLOCK, ENGINES, samples


def recorded(graph: nx.Graph, order: str = "explicit", rows: int = 60, **options: Any) -> Trace:
    """Run samples that change at every tick unless they are held; every message is recorded."""
    network = flatten(graph, node_defaults=CLOCK, dt=options.get("dt", 1.0))
    stream = samples(rows, len(network.inputs), len(network.outputs))
    rule = Hamiltonian(beta=1e-3, order=order)
    given = {"dtype": "float64"} | options
    sim = Simulation(network, rule=rule, stimulus=stream, **given)
    return sim.run(every=100, events=["message", "update"])


# ---- by the paths


@pytest.mark.parametrize("nu", [1, 2, 3, 5])
@pytest.mark.parametrize("delay", [0, 1, 4])
def test_a_layer_pairs_an_activation_with_an_older_error(nu: int, delay: int) -> None:
    """2 (nu - l) + 2 steps without delays, two more a hop and tick of delay; the target is off by nu.

    With delay d the error of layer l goes d (nu - l) back, after the state has gone (nu - l) (d + 1) + 1 on.
    """
    network = flatten(topology.layered([2] * (nu + 1), delay=delay, seed=0), node_defaults=CLOCK)
    found = ages(network)
    layer = {f"hidden{k + 1}": k + 1 for k in range(nu - 1)} | {"hidden": 1, "output": nu}
    for edge in np.flatnonzero(network.source >= 0):
        l = layer[network.label[network.target[edge]].partition("[")[0]]  # noqa: E741 - the layer, as in the theory
        one = found.isel(edge=edge)
        assert (one.staleness == (2 * (nu - l) + 2) * 1 + 2 * (nu - l) * delay).all()
        assert (one.output - one.target == nu * (delay + 1)).all()
        assert (one.state == (l - 1) * (delay + 1) + delay).all()
        assert exact_from(network)[edge] == (2 * nu - l) * (delay + 1) + 2


@settings(deadline=None, phases=[Phase.generate], max_examples=40)
@given(seed=st.integers(0, 10**6), order=st.sampled_from(["explicit", "sequential"]))
def test_a_gradient_is_exact_when_the_oldest_of_it_is_of_the_hold(seed: int, order: str) -> None:
    """Against the longest paths node by node, on random graphs of leaky and instant neurons."""
    network = flatten(thicket(seed), node_defaults=CLOCK, dt=DT)
    expected = np.array(predicted(network, order, linear_loss=False), float)
    known = exact_from(network, order)
    # A bias, or what no input reaches, has no path; what is exact then, is so from the loss on.
    has = np.isfinite(known)
    np.testing.assert_array_equal(known[has], expected[has])
    assert has[network.source >= 0].all()


def test_a_cycle_makes_the_oldest_path_endless_and_leaves_the_newest() -> None:
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    graph.add_node("v")
    graph.add_node("y", role="output")
    graph.add_edge("u", "v", delay=2)
    graph.add_edge("v", "v", delay=1)
    graph.add_edge("v", "y", delay=3)
    network = flatten(graph, node_defaults=CLOCK)
    found = ages(network).state.values
    ends = zip(network.source, network.target, strict=True)
    edge = {(network.label[s], network.label[t]): k for k, (s, t) in enumerate(ends)}
    newest, oldest = found
    assert [newest[edge[x]] for x in (("u", "v"), ("v", "v"), ("v", "y"))] == [2, 4, 6]
    assert oldest[edge["u", "v"]] == 2
    assert np.isnan([oldest[edge["v", "v"]], oldest[edge["v", "y"]]]).all()


def reached(graph: nx.DiGraph, starts: set[str]) -> set[str]:
    return starts.union(*(nx.descendants(graph, node) for node in starts))


def endless(graph: nx.DiGraph) -> set[str]:
    """The nodes to which cycles lead."""
    components = [c for c in nx.strongly_connected_components(graph) if nx.number_of_edges(graph.subgraph(c))]
    return reached(graph, set().union(*components))


@settings(deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 10**6))
def test_a_path_has_an_age_where_an_end_is_reached_and_an_oldest_one_where_no_cycle_is_on_the_way(
    seed: int,
) -> None:
    """For states from the inputs on, for targets from the outputs back; against networkx."""
    random = np.random.default_rng(seed)
    neurons = [f"n{k}" for k in range(random.integers(2, 8))]
    inputs, outputs = {"u0", "u1"}, set(random.choice(neurons, 2).tolist())
    graph = nx.DiGraph()
    graph.add_nodes_from(neurons)
    graph.add_nodes_from(inputs, model="input")
    nx.set_node_attributes(graph, dict.fromkeys(outputs, "output"), "role")
    for _ in range(random.integers(1, 2 * len(neurons))):
        graph.add_edge(random.choice([*neurons, "u0", "u1"]), random.choice(neurons))
    network = flatten(graph, node_defaults=CLOCK)
    found = ages(network)
    back = graph.subgraph(neurons).reverse()
    for quantity, way, starts, end in (
        ("state", graph, inputs, network.source),
        ("target", back, outputs, network.target),
    ):
        known = reached(way, starts)
        settled = known - endless(way.subgraph(known))
        for path, nodes in (("newest", known), ("oldest", settled)):
            expected = [network.label[i] in nodes for i in end]
            assert np.isfinite(found[quantity].sel(path=path).values).tolist() == expected


# ---- by the messages


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
