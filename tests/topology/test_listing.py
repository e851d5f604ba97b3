"""Graphs as files list them: what networkx would pass over in silence is refused."""

from itertools import permutations
from typing import Any

import networkx as nx
import pytest

from hlsim.errors import TopologyError
from hlsim.topology.listing import Listing

NODES: list[Any] = [("a", {"tau": 2.0}), ("b", {})]


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_a_listing_is_the_graph_that_networkx_builds_of_it(kind: type[nx.Graph]) -> None:
    expected = kind(name="g")
    expected.add_nodes_from(NODES)
    expected.add_edges_from([("a", "b", {"delay": 1}), ("b", "b", {})])
    edges: list[Any] = [("a", "b", None, {"delay": 1}), ("b", "b", None, {})]
    found = Listing(expected.is_directed(), expected.is_multigraph(), NODES, edges, {"name": "g"}).graph()
    assert type(found) is kind
    assert nx.utils.graphs_equal(found, expected)


def test_edges_without_keys_keep_out_of_the_way_of_those_with_keys() -> None:
    edges: list[Any] = [("a", "b", key, {"delay": i}) for i, key in enumerate((None, 0, 1, None))]
    for order in permutations(edges):
        found = Listing(True, True, NODES, list(order), {}).graph()
        assert {data["delay"] for *_, data in found.edges(data=True)} == {0, 1, 2, 3}
        assert (found.edges["a", "b", 0]["delay"], found.edges["a", "b", 1]["delay"]) == (1, 2)


@pytest.mark.parametrize(
    ("directed", "multigraph", "nodes", "edges", "message"),
    [
        (True, True, [*NODES, ("a", {})], [], "node 'a': must be listed once, got it twice"),
        (True, True, [*NODES, (None, {})], [], "node 2: must have a name, got none"),
        (True, True, NODES, [("a", "c")], "edge 'a' -> 'c': must join nodes that are listed, got 'c'"),
        (False, False, NODES, [("c", "a")], "edge 'c' -> 'a': must join nodes that are listed, got 'c'"),
        (True, False, NODES, [("a", "b")] * 2, "edge 'a' -> 'b': must be listed once"),
        (False, False, NODES, [("a", "b"), ("b", "a")], "edge 'b' -> 'a': must be listed once"),
        (False, True, NODES, [("a", "b", "k"), ("b", "a", "k")], "edge 'b' -> 'a': keys .* got 'k' twice"),
    ],
)
def test_what_stands_twice_or_nowhere_is_refused_by_its_name(
    directed: bool, multigraph: bool, nodes: list[Any], edges: list[Any], message: str
) -> None:
    listed: list[Any] = [(edge[0], edge[1], edge[2] if len(edge) > 2 else None, {}) for edge in edges]
    with pytest.raises(TopologyError, match=message):
        Listing(directed, multigraph, nodes, listed, {}).graph()
