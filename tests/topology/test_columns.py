"""Graphs of many edges, which are read column by column: against the same edges one by one."""

import json
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim.errors import TopologyError
from hlsim.topology.columns import ABSENT, Carried
from hlsim.topology.network import flatten
from tests.support.networks import assert_same

NODES = ("in", "a", "b", "p[0]", "p[1]", "p[10]")

plain = st.fixed_dictionaries(
    {},
    optional={
        "weight": st.sampled_from([0.5, -0.0, 0.0, 2, 1e-300, -3.25]),
        "delay": st.sampled_from([1, 2, 3.0, 7]),
        "feedback_delay": st.sampled_from([1, 2, 50]),
        "feedback": st.sampled_from(["symmetric", "random", "none"]),
        "plastic": st.booleans(),
        "beta": st.sampled_from([0.0, 0.5, 1]),
    },
)
# One that every edge carries, so that edges are alike.
alike = st.fixed_dictionaries(
    {
        "weight": st.floats(-2, 2),
        "delay": st.integers(1, 9),
        "plastic": st.booleans(),
        "feedback": st.just("none"),
    }
)
INTO_INPUT = {"delay": 1}
Attributes = dict[str, Any]
REFUSED: list[Attributes] = [
    {"weight": float("nan")},
    {"weight": float("inf")},
    {"weight": True},
    {"weight": "1"},
    {"delay": -1},
    {"delay": 2**53},
    {"delay": 1.5},
    {"delay": True},
    {"plastic": 1},
    {"feedback": "nothing"},
    {"beta": -0.5},
    {"beta": float("nan")},
    {"wieght": 1.0},
]
OF_MORE: list[Attributes] = [
    {"connect": "random"},
    {"connect": "random", "in_degree": 3},
    {"in_degree": 1},
    {"connect": "one_to_one", "probability": 0.5},
    {"weight": np.ones((2, 2))},
    {"delay": np.ones((3, 1))},
    INTO_INPUT,
]


@st.composite
def graphs(draw: st.DrawFn, faults: st.SearchStrategy[Attributes] | None = None) -> nx.DiGraph:
    """Single neurons and edges, some of which have a fault."""
    graph = draw(st.sampled_from([nx.DiGraph, nx.MultiDiGraph]))()
    graph.add_nodes_from(draw(st.permutations(NODES)))
    graph.nodes["in"]["model"] = "input"
    carried = draw(st.sampled_from([plain, alike]))
    ends = st.tuples(st.sampled_from(NODES), st.sampled_from(NODES[1:]))
    for pair in draw(st.lists(ends, min_size=1, max_size=12)):
        fault = draw(faults) if faults is not None and draw(st.booleans()) else {}
        graph.add_edge(*(("a", "in") if fault is INTO_INPUT else pair), **draw(carried) | fault)
    return graph


def unusual(value: Any) -> Any:
    """Return an equal value of a type that is not looked at in columns."""
    kinds = {float: np.float64, int: np.int64, str: np.str_, bool: np.bool_}
    return kinds[type(value)](value)


@given(graphs(), st.data())
def test_values_of_unusual_types_make_the_same_network(graph: nx.DiGraph, data: st.DataObject) -> None:
    other = graph.copy()
    for *_, carried in other.edges(data=True):
        if data.draw(st.booleans()):
            carried.update({name: unusual(value) for name, value in carried.items()})
    assert_same(flatten(graph), flatten(other))


@given(graphs())
def test_every_synapse_has_what_its_edge_carries(graph: nx.DiGraph) -> None:
    network = flatten(graph)
    order = {label: i for i, label in enumerate(network.label)}
    keyed = (
        (u, v, str(key or 0), at) for u, v, key, at in nx.MultiDiGraph(graph).edges(keys=True, data=True)
    )
    rows = sorted(keyed, key=lambda row: (order[row[0]], order[row[1]], row[2]))
    assert network.m == len(rows)
    for e, (source, target, _, at) in enumerate(rows):
        assert (network.source[e], network.target[e]) == (order[source], order[target])
        weight, delay = at.get("weight", 1.0), at.get("delay", 0)
        assert network.weight[0, e].tobytes() == np.float64(weight).tobytes()
        assert (network.delay[e], network.feedback_delay[e]) == (delay, at.get("feedback_delay", delay))
        assert (network.plastic[e], network.twin[e]) == (at.get("plastic", True), -1)
        np.testing.assert_equal(network.beta[e], at.get("beta", np.nan))
        code = ("none", "symmetric", "random").index(at.get("feedback", "symmetric"))
        assert network.feedback[e] == (0 if source == "in" else code)


def fault_of(graph: nx.DiGraph) -> str | None:
    """Return what is said about a graph, None where it is good."""
    try:
        flatten(graph)
    except TopologyError as error:
        return str(error)
    return None


def first_fault(graph: nx.DiGraph) -> str | None:
    """Return what is said about the graph with as few of its first edges as have a fault."""
    grown = nx.create_empty_copy(graph)
    keys = {"keys": True} if graph.is_multigraph() else {}
    for *ends, carried in graph.edges(data=True, **keys):
        grown.add_edge(*ends, **carried)
        if said := fault_of(grown):
            return said
    return None


@pytest.mark.parametrize("fault", [*REFUSED, *OF_MORE], ids=repr)
def test_one_fault_among_good_edges_is_found(fault: Attributes) -> None:
    graph = nx.DiGraph(
        [("a", "b"), ("b", "c"), ("c", "in")] if fault is INTO_INPUT else [("a", "b"), ("b", "c")]
    )
    graph.add_node("in", model="input")
    nx.set_edge_attributes(graph, {edge: {"weight": 0.5, "delay": 2, "beta": 0.5} for edge in graph.edges})
    assert fault is INTO_INPUT or fault_of(graph) is None
    graph.edges["b", "c"].update(fault)
    assert fault_of(graph) is not None


@given(graphs(st.sampled_from(REFUSED)))
def test_of_refused_values_the_first_is_named(graph: nx.DiGraph) -> None:
    assert fault_of(graph) == first_fault(graph)


@given(graphs(st.sampled_from(OF_MORE)))
def test_of_edges_that_break_a_rule_of_more_than_a_value_the_first_is_named(graph: nx.DiGraph) -> None:
    assert fault_of(graph) == first_fault(graph)


@given(graphs(), st.booleans())
def test_a_network_keeps_the_text_of_the_graph_as_it_was(graph: nx.DiGraph, unusual: bool) -> None:
    if unusual:
        graph.add_node("q", size=2)
        graph.add_edge("a", "b", weight={"normal": 0.1}, delay=np.int64(2), plastic=np.True_)
        graph.add_edge("q", "q", weight=np.array([[0.1, 2.0], [3, 4]]), delay=((1, 2), (3, 4)))
        graph.add_edge("q", "b", weight=[[1, 2.5]], delay={"uniform": (1, 2)})
    before = json.dumps(nx.node_link_data(graph, edges="edges"), default=lambda value: value.tolist())
    network = flatten(graph)
    for *_, carried in graph.edges(data=True):
        for value in carried.values():
            if isinstance(value, dict):
                value.clear()
            elif isinstance(value, list):
                value[0][0] = 7
            elif isinstance(value, np.ndarray):
                value[:] = 7
        carried.clear()
    graph.remove_node("b")
    assert network.graph == before
    assert network.graph == before  # also when it is asked for again


@pytest.mark.parametrize("odd", [None, 0, 1, 1023, 1024, 2047, 2500])
def test_what_elements_carry_is_told_wherever_one_carries_something_else(odd: int | None) -> None:
    elements: list[Mapping[str, Any]] = [{"a": i, "b": -i} for i in range(3000)]
    if odd is not None:
        elements[odd] = {"b": 5}
    carried = Carried.by(elements)
    assert carried.alike == (odd is None)
    for name in ("a", "b"):
        assert carried.column(name) == [element.get(name, ABSENT) for element in elements]
    assert carried.values == [value for element in elements for value in element.values()]
    assert carried.names == (
        ["a", "b"] if odd is None else [name for element in elements for name in element]
    )
