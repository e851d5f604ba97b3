"""Flat networks: canonical order, arrays, ranks, descriptions; against networkx."""

import json
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim import topology
from hlsim.errors import TopologyError
from hlsim.models.rules import Equilibrium, Hamiltonian, Rule
from hlsim.topology.network import BIAS, NONE, Network, check_stability, describe, flatten
from tests.support.networks import assert_same

Node = tuple[str, dict[str, Any]]
Edge = tuple[str, str, str, dict[str, Any]]

NAMES = ("n1", "n2", "n10", "n02", "a", "b[0]", "Ω")

node_attributes = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(1, 3),
        "tau": st.sampled_from([0.5, 2.0]),
        "bias": st.sampled_from([0.0, -1.5]),
        "group": st.sampled_from(["x", "y"]),
        "role": st.sampled_from(["input", "output"]),
        "refresh": st.integers(1, 9),
    },
)
weight = st.sampled_from([0.25, -2, {"normal": 1.0}, {"uniform": [-1, 1]}])
ticks = st.sampled_from([0, 1, 3, {"uniform": [0, 4]}])
edge_attributes = st.fixed_dictionaries(
    {"weight": weight},
    optional={
        "delay": ticks,
        "feedback_delay": ticks,
        "feedback": st.sampled_from(["symmetric", "random", "none"]),
        "plastic": st.booleans(),
        "beta": st.sampled_from([0.0, 0.5]),
    },
)
random_connect = st.sampled_from([{}, {"connect": "random", "probability": 0.5}])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], list[Edge]]:
    """Leaky neurons, inputs and parallel edges with keys, as lists to be inserted in any order."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    nodes: list[Node] = [(name, draw(node_attributes)) for name in names]
    inputs: list[Node] = [(f"in{i}", {"model": "input"}) for i in range(draw(st.integers(0, 2)))]
    ends = st.tuples(
        st.sampled_from([name for name, _ in nodes + inputs]), st.sampled_from(names), st.sampled_from("0ab")
    )
    triples = draw(st.lists(ends, max_size=12, unique=True))
    return nodes + inputs, [(*triple, draw(edge_attributes) | draw(random_connect)) for triple in triples]


def build(nodes: list[Node], edges: list[Edge]) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(nodes)
    for source, target, key, attributes in edges:
        graph.add_edge(source, target, key=key, **attributes)
    return graph


def has_column(node: Node) -> bool:
    return "role" in node[1] or node[1].get("model") == "input"


@given(graphs(), st.randoms(use_true_random=False))
def test_nothing_depends_on_the_order_of_insertion(lists: tuple[list[Node], list[Edge]], random: Any) -> None:
    """Bit for bit; inputs and outputs keep their relative order, which is that of the stimulus columns."""
    nodes, edges = lists
    shuffled = random.sample(nodes, len(nodes))
    columns = iter([node for node in nodes if has_column(node)])
    shuffled = [next(columns) if has_column(node) else node for node in shuffled]
    again = build(shuffled, random.sample(edges, len(edges)))
    assert_same(flatten(build(nodes, edges), seeds=(3, 4)), flatten(again, seeds=(3, 4)))


@given(graphs())
def test_edges_stand_in_order_of_source_target_and_key(lists: tuple[list[Node], list[Edge]]) -> None:
    network = flatten(build(*lists))
    ends = list(zip(network.source.tolist(), network.target.tolist(), strict=True))
    assert ends == sorted(ends)


def test_columns_of_the_stimulus_follow_the_graph_with_populations_in_place() -> None:
    graph = nx.DiGraph()
    graph.add_node("z", role="output")
    graph.add_node("y", model="input")
    graph.add_node("p", role="input", size=2)
    graph.add_node("a", model="input")
    graph.add_node("q", role="output", size=2)
    network = flatten(graph)
    assert [network.label[i] for i in network.inputs] == ["y", "p[0]", "p[1]", "a"]
    assert [network.label[i] for i in network.outputs] == ["z", "q[0]", "q[1]"]


def test_every_attribute_arrives_in_its_array() -> None:
    graph = nx.DiGraph()
    graph.add_node("in", model="input", send_interval=3)
    clocked: dict[str, Any] = {"update": "clock", "period": 4, "phase": 2}
    graph.add_node("x", activation="relu", group="g", bias=0.5, tau=4, refresh=7, **clocked)
    graph.nodes["x"]["costate_threshold"] = 0.25
    graph.add_edge("in", "x", weight=2, delay=3, feedback_delay=5, plastic=False, beta=0.125)
    graph.add_edge("x", "x", weight=-1, delay=1, feedback="none")
    network = flatten(graph)
    assert (network.n, network.m) == (2, 3)
    assert network.group == ("", "g")
    assert network.model == ("input", "leaky")
    assert network.activation == ("identity", "relu")
    fields = {
        "clock": [False, True],
        "period": [1, 4],
        "phase": [0, 2],
        "send_threshold": [0, 0],
        "costate_threshold": [0, 0.25],
        "send_interval": [3, 1],
        "refresh": [100, 7],
        "rank": [-1, -1],
        "back_rank": [-1, -1],
        "source": [BIAS, 0, 1],
        "target": [1, 1, 1],
        "delay": [0, 3, 1],
        "feedback_delay": [0, 5, 1],
        "plastic": [True, False, True],
        "beta": [np.nan, 0.125, np.nan],
        "feedback": [NONE, NONE, NONE],
        "weight": [[0.5, 2, -1]],
        "feedback_weight": [[np.nan] * 3],
    }
    np.testing.assert_array_equal(network.parameters["tau"], [np.nan, 4])
    for name, expected in fields.items():
        np.testing.assert_array_equal(getattr(network, name), expected, err_msg=name)


DTYPES = {
    "int64": (
        "period phase send_interval refresh inputs outputs rank back_rank source target delay feedback_delay"
    ),
    "float64": "send_threshold costate_threshold beta weight feedback_weight",
    "bool": "clock plastic",
    "int8": "feedback",
}


@pytest.mark.parametrize(
    "graph", [topology.layered([2, 2], bias=1.0), nx.path_graph(1, nx.DiGraph)], ids=["some", "none"]
)
def test_arrays_keep_their_types_even_without_edges(graph: nx.DiGraph) -> None:
    network = flatten(graph)
    assert {n: str(getattr(network, n).dtype) for names in DTYPES.values() for n in names.split()} == {
        n: dtype for dtype, names in DTYPES.items() for n in names.split()
    }


@st.composite
def kinds_of_node(draw: st.DrawFn) -> nx.DiGraph:
    """Nodes of all models, some of them populations, with biases and edges between any of them."""
    models = draw(st.lists(st.sampled_from(["input", "leaky", "instant", "readout"]), max_size=6))
    graph = nx.DiGraph()
    for i, model in enumerate(["leaky", *models]):
        optional = {"size": st.integers(1, 3), **({} if model == "input" else {"bias": st.just(0.5)})}
        written = draw(st.fixed_dictionaries({}, optional=optional))
        role = {"role": "output"} if model == "readout" else {}
        graph.add_node(f"n{i}", model=model, **role, **written)
    hearing = [node for node, model in graph.nodes(data="model") if model != "input"]
    ends = st.tuples(st.sampled_from(list(graph)), st.sampled_from(hearing))
    for u, v in draw(st.lists(ends, max_size=12, unique=True)):
        attributes = {
            "beta": st.sampled_from([0.0, 0.5]),
            "feedback": st.sampled_from(["symmetric", "random", "none"]),
            "plastic": st.booleans(),
        }
        graph.add_edge(u, v, delay=1, **draw(st.fixed_dictionaries({}, optional=attributes)))
    return graph


def population(label: str) -> str:
    return label.partition("[")[0]


@given(kinds_of_node())
def test_flags_of_nodes_are_those_of_their_models(graph: nx.DiGraph) -> None:
    holding = {
        "is_input": {"input"},
        "instant": {"instant", "readout"},
        "stateful": {"leaky"},
        "reads_out": {"readout"},
    }
    network = flatten(graph)
    for name, models in holding.items():
        found = getattr(network, name)
        assert found.dtype == bool
        assert found.tolist() == [graph.nodes[population(x)]["model"] in models for x in network.label], name
        with pytest.raises(ValueError, match="read-only"):
            found[0] = True


def attributes_of_edges(graph: nx.DiGraph, network: Network) -> list[dict[str, Any] | None]:
    """What the graph says of every edge of a network without parallel ones; None: a bias."""
    names = [population(label) for label in network.label]
    ends = zip(network.source.tolist(), network.target.tolist(), strict=True)
    return [None if j == BIAS else graph.edges[names[j], names[i]] for j, i in ends]


RULES = (Hamiltonian(beta=0.3), Equilibrium(beta=0.2))


@given(kinds_of_node(), st.sampled_from(RULES), st.randoms(use_true_random=False))
def test_a_synapse_learns_at_its_own_rate_or_else_at_the_rules(
    graph: nx.DiGraph, rule: Rule, random: Any
) -> None:
    network = flatten(graph)
    expected = [(data or {}).get("beta", rule.beta) for data in attributes_of_edges(graph, network)]
    assert network.weight_rate(rule).tolist() == expected
    some = random.sample(range(network.m), network.m // 2)
    assert network.weight_rate(rule, np.array(some, np.int64)).tolist() == [expected[e] for e in some]


@given(kinds_of_node(), st.sampled_from(RULES), st.randoms(use_true_random=False))
def test_costates_go_back_to_neurons_that_ask_for_them_under_a_rule_that_sends_any(
    graph: nx.DiGraph, rule: Rule, random: Any
) -> None:
    network = flatten(graph)
    expected = []
    for source, data in zip(network.source, attributes_of_edges(graph, network), strict=True):
        silent = data is None or data.get("feedback") == "none" or network.model[source] == "input"
        expected.append(not silent)
    assert network.has_feedback.tolist() == expected
    carries = [rule.name == "hamiltonian" and one for one in expected]
    assert network.carries_costates(rule).tolist() == carries
    some = random.sample(range(network.m), network.m // 2)
    assert network.carries_costates(rule, np.array(some, np.int64)).tolist() == [carries[e] for e in some]


@st.composite
def instant_graphs(draw: st.DrawFn) -> nx.DiGraph:
    """Instant neurons and a few others in any graph, with cycles or without."""
    n = draw(st.integers(1, 9))
    graph = nx.DiGraph()
    for i in range(n):
        graph.add_node(f"n{i}", model=draw(st.sampled_from(["instant", "instant", "instant", "leaky"])))
    ends = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
    acyclic = draw(st.booleans())
    for i, j in draw(st.lists(ends, max_size=20, unique=True)):
        u, v = sorted((i, j)) if acyclic else (i, j)
        delays = {
            "delay": draw(st.sampled_from([0, 0, 1])),
            "feedback_delay": draw(st.sampled_from([0, 0, 1])),
        }
        if u != v or not acyclic:
            graph.add_edge(f"n{u}", f"n{v}", feedback=draw(st.sampled_from(["symmetric", "none"])), **delays)
    return graph


def at_once(graph: nx.DiGraph, delay: str) -> nx.DiGraph:
    """The edges over which something travels from an instant neuron to another in no time."""
    instant = {node for node, model in graph.nodes(data="model") if model == "instant"}
    kept = nx.DiGraph()
    kept.add_nodes_from(instant)
    for u, v, data in graph.edges(data=True):
        silent = delay == "feedback_delay" and data["feedback"] == "none"
        if {u, v} <= instant and data[delay] == 0 and not silent:
            kept.add_edge(u, v)
    return kept


def longest(graph: nx.DiGraph, node: str) -> int:
    return nx.dag_longest_path_length(graph.subgraph(nx.ancestors(graph, node) | {node}))


@given(instant_graphs())
def test_ranks_are_longest_paths_and_a_cycle_is_named_in_full(graph: nx.DiGraph) -> None:
    forward, backward = at_once(graph, "delay"), at_once(graph, "feedback_delay")
    loops = [
        name
        for name, g in (("delay", forward), ("feedback_delay", backward))
        if not nx.is_directed_acyclic_graph(g)
    ]
    if loops:
        with pytest.raises(TopologyError) as caught:
            flatten(graph)
        where, cycle = str(caught.value).split(";")[0].removeprefix("graph: ").split(": ")
        assert where == f"zero-{loops[0]} cycle of instant neurons"
        path = cycle.split(" -> ")
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert all((forward if loops[0] == "delay" else backward).has_edge(u, v) for u, v in pairwise(path))
        return
    network = flatten(graph)
    for i, label in enumerate(network.label):
        instant = network.model[i] == "instant"
        assert network.rank[i] == (longest(forward, label) if instant else -1)
        assert network.back_rank[i] == (longest(backward.reverse(), label) if instant else -1)


def test_a_long_chain_has_as_many_ranks() -> None:
    graph = nx.path_graph(2000, create_using=nx.DiGraph)
    nx.set_node_attributes(graph, "instant", "model")
    network = flatten(graph)
    assert network.rank.tolist() == list(range(2000))
    assert network.back_rank.tolist() == list(range(2000))[::-1]


def test_zero_delay_cycles_through_leaky_neurons_are_legal() -> None:
    graph = nx.DiGraph()
    nx.add_cycle(graph, ["instant", "leaky"])
    graph.nodes["instant"]["model"] = "instant"
    assert flatten(graph).rank.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("period", "tau", "dt", "eta", "stable"),
    [
        (1, 1.0, 1.0, 0.5, True),
        (1, 1.0, 1.0, 1.0, False),
        (3, 1.0, 0.5, 0.4, False),
        (3, 2.0, 0.5, 0.8, True),
    ],
)
def test_clocked_neurons_must_not_diverge(
    period: int, tau: float, dt: float, eta: float, stable: bool
) -> None:
    """The costate of an undriven neuron under Euler shrinks, or does not."""
    graph = nx.DiGraph()
    graph.add_node("x", update="clock", period=period, tau=tau)
    graph.add_node("in", model="input", update="clock")
    graph.add_node("instant", model="instant", update="clock", period=1000)
    graph.add_node("arrival", tau=1e-6)
    z = 1.0
    for _ in range(1000):
        z -= period * dt * (1 / tau + eta) * z
    assert (abs(z) < 1e-3) == stable
    network = flatten(graph, dt=dt)
    if stable:
        check_stability(network, dt, eta)
        return
    with pytest.raises(TopologyError, match=r"^node 'x': period \* dt \* \(rate \+ eta\) must be < 2"):
        check_stability(network, dt, eta)


@given(
    period=st.integers(1, 9),
    dt=st.sampled_from([0.1, 0.5, 1.0]),
    eta=st.floats(0.0, 3.0),
    plastic=st.booleans(),
    update=st.sampled_from(["clock", "arrival"]),
)
def test_weight_costates_of_clocked_instant_neurons_must_not_diverge(
    period: int, dt: float, eta: float, plastic: bool, update: str
) -> None:
    """omega under Euler is multiplied by 1 - period dt eta; no omega without learning, no steps in a hold."""
    graph = nx.DiGraph()
    graph.add_node("in", model="input", update="clock")
    ticks = {"period": period} if update == "clock" else {}
    graph.add_node("x", model="instant", update=update, **ticks)
    graph.add_edge("in", "x", weight=1.0, plastic=plastic)
    network = flatten(graph, dt=dt)
    if period * dt * eta < 2.0 or not plastic or update == "arrival":
        check_stability(network, dt, eta)
        return
    with pytest.raises(TopologyError, match=r"^node 'x': period \* dt \* eta must be < 2 on a clock"):
        check_stability(network, dt, eta)


def test_a_network_keeps_its_graph_as_node_link_json() -> None:
    graph = topology.layered([2, 3, 1], delay=2, bias=0.5)
    again = nx.node_link_graph(json.loads(flatten(graph).graph), edges="edges")
    assert list(again.nodes(data=True)) == list(graph.nodes(data=True))
    assert list(again.edges(data=True)) == list(graph.edges(data=True))


def test_describe_counts_what_is_there() -> None:
    graph = topology.layered([3, 4, 2], model="instant", bias=0.0, delay=2)
    graph.edges["hidden[0]", "output[0]"].update(delay=7, feedback_delay=1, plastic=False)
    graph.edges["hidden[1]", "output[0]"].update(delay=0, feedback="none")
    graph.edges["input[0]", "hidden[0]"].update(feedback_delay=0)
    graph.add_node("alone")
    description = describe(flatten(graph))
    size = description.pop("memory_bytes")
    value, label = description.pop("contraction")
    sums = {
        node: sum(abs(d["weight"]) for u, _, d in graph.in_edges(node, data=True) if u[0] == "h")
        for node in graph
    }
    assert label == max(sums, key=lambda node: sums[node])
    assert value == pytest.approx(sums[label])
    assert description == {
        "padding": (0, 0),
        "lag": None,
        "kept": 0,
        "neurons": {"input": 3, "instant": 6, "leaky": 1},
        "inputs": 3,
        "outputs": 2,
        "synapses": 20,
        "biases": 6,
        "plastic": 25,
        "delay": (0, 7),
        "feedback_delay": (1, 2),
        "groups": {"hidden": 4, "input": 3, "output": 2},
        "ranks": 2,
        "back_ranks": 1,
    }
    assert 10 * 40 < size < describe(flatten(graph), "float64")["memory_bytes"] < 10 * 1000


def test_a_bias_is_no_message_and_has_no_delay() -> None:
    description = describe(flatten(topology.layered([2, 2], bias=0.5, delay=3)))
    assert (description["delay"], description["feedback_delay"]) == ((3, 3), None)


def test_describe_of_a_network_without_edges() -> None:
    graph = nx.DiGraph()
    graph.add_node("x")
    description = describe(flatten(graph))
    assert (description["delay"], description["feedback_delay"]) == (None, None)
    assert (description["ranks"], description["back_ranks"]) == (0, 0)
