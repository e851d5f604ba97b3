"""One graph is one network: however it was built, and through whatever file."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlsim import topology
from hlsim.topology.network import flatten
from tests.support.networks import assert_same

Node = tuple[Any, dict[str, Any]]
# Source, target, key (None: networkx gives one) and attributes.
Edge = tuple[Any, Any, Any, dict[str, Any]]
Lists = tuple[list[Node], list[Edge]]

KINDS = (nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
NAMES = (2, 10, "n2", "n10", "n02", "B", "a", "é & <")
INPUTS = ("x", "z")
ticks = st.sampled_from([0, 3, {"uniform": [0, 40]}])
# Numbers are no names of edges; 7 and "07" are both numbers.
keys = st.sampled_from([None, None, 0, 7, "07", "slow", "fast"])
node_attributes = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(1, 3),
        "tau": st.sampled_from([0.7, 2.0]),
        "bias": st.sampled_from([0.0, -1 / 3]),
        "group": st.sampled_from(["x", "y z"]),
        "update": st.sampled_from(["clock", "arrival"]),
    },
)
edge_attributes = st.fixed_dictionaries(
    {"weight": st.sampled_from([0.1, {"normal": 1.0}, {"uniform": [-1, 1]}, "array"])},
    optional={
        "delay": ticks,
        "feedback_delay": ticks,
        "plastic": st.booleans(),
        "feedback": st.sampled_from(["random", "none"]),
        "how": st.sampled_from([{"probability": 0.5}, {"in_degree": 1}]),
    },
)


@st.composite
def lists(draw: st.DrawFn, kind: type[nx.Graph]) -> Lists:
    """Draw nodes and edges, to be inserted in any order."""
    neurons = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
    nodes = [(name, draw(node_attributes)) for name in neurons]
    nodes += [(name, {"model": "input", "size": 2}) for name in INPUTS]
    ends = st.tuples(st.sampled_from((*neurons, *INPUTS)), st.sampled_from(neurons)).filter(
        lambda pair: pair[0] != pair[1]
    )
    pairs = draw(st.lists(ends, max_size=9))
    directed, parallel = (getattr(kind(), f"is_{what}")() for what in ("directed", "multigraph"))
    edges: dict[Any, Edge] = {}
    for source, target in pairs:
        key = draw(keys) if parallel else None
        pair: Any = (source, target) if directed else frozenset((source, target))
        same = len(edges) if parallel and key is None else None if key is None else str(key)
        edges[pair, same] = (source, target, key, _bundle(draw(edge_attributes), dict(nodes), source, target))
    return nodes, list(edges.values())


def _bundle(edge: dict[str, Any], nodes: dict[Any, Any], source: Any, target: Any) -> dict[str, Any]:
    """Return attributes in which an array has a shape that suits both directions."""
    edge = edge | ({"connect": "random"} | edge["how"] if "how" in edge else {})
    edge.pop("how", None)
    sizes = {nodes[end].get("size") or 1 for end in (source, target)}
    if edge["weight"] == "array":
        size = sizes.pop()
        edge["weight"] = np.arange(1.0, size * size + 1).reshape(size, size) / 7 if not sizes else 0.7
    return edge


def build(kind: type[nx.Graph], given_lists: Lists) -> nx.Graph:
    graph = kind()
    nodes, edges = given_lists
    graph.add_nodes_from(nodes)
    for source, target, key, data in sorted(edges, key=lambda edge: edge[2] is None):
        if graph.is_multigraph():
            made = graph.add_edge(source, target, key)
            graph.edges[source, target, made].update(data)
        else:
            graph.add_edge(source, target, **data)
    return graph


def shuffled(kind: type[nx.Graph], random: Any, given_lists: Lists) -> Lists:
    """Another order of nodes (but for columns of the stimulus) and edges, and of ends without a direction."""
    nodes, edges = given_lists
    columns = iter([node for node in nodes if "model" in node[1]])
    others = [next(columns) if "model" in node[1] else node for node in random.sample(nodes, len(nodes))]
    turned = [edge for edge in edges if not kind().is_directed() and random.random() < 0.5]
    ends = {id(edge): (edge[1], edge[0]) for edge in turned}
    return others, [(*ends.get(id(edge), edge[:2]), *edge[2:]) for edge in random.sample(edges, len(edges))]


def as_json(graph: nx.Graph, path: Path) -> nx.Graph:
    topology.save(graph, path / "graph.json")
    return topology.load(path / "graph.json")


def as_graphml(graph: nx.Graph, path: Path) -> nx.Graph:
    topology.save(graph, path / "graph.graphml")
    return topology.load(path / "graph.graphml")


def as_graphml_with_ids(graph: nx.Graph, path: Path) -> nx.Graph:
    """With an id at every edge, as Gephi and yEd write them; those of parallel edges stay as they are."""
    topology.save(graph, path / "graph.graphml")
    tree = ElementTree.parse(path / "graph.graphml")
    edges = tree.getroot().findall(".//{*}edge")
    pairs = [sorted((edge.attrib["source"], edge.attrib["target"])) for edge in edges]
    if graph.is_directed():
        pairs = [[edge.attrib["source"], edge.attrib["target"]] for edge in edges]
    for number, (edge, pair) in enumerate(zip(edges, pairs, strict=True)):
        if pairs.count(pair) == 1:
            edge.set("id", f"e{number}")
    tree.write(path / "graph.graphml", encoding="utf-8")
    return topology.load(path / "graph.graphml")


def as_python(graph: nx.Graph, path: Path) -> nx.Graph:
    data = nx.node_link_data(graph, edges="edges")
    text = json.dumps(data, default=lambda array: array.tolist())
    source = f"import json, networkx\ndef build():\n    data = json.loads({text!r})\n"
    source += "    return networkx.node_link_graph(data, edges='edges')\n"
    (path / "graph.py").write_text(source, encoding="utf-8")
    return topology.load(path / "graph.py")


@kinds
def test_a_network_does_not_depend_on_the_order_in_which_its_graph_was_built(kind: type[nx.Graph]) -> None:
    """Parallel edges without keys of their own, which networkx numbers in turn, among them."""
    seen: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(lists(kind), st.randoms(use_true_random=False))
    def check(listed: Lists, random: Any) -> None:
        one = flatten(build(kind, listed), seeds=(3, 4))
        assert_same(one, flatten(build(kind, shuffled(kind, random, listed)), seeds=(3, 4)))
        ends = Counter(zip(one.source.tolist(), one.target.tolist(), strict=True))
        seen.update(parallel=int(max(ends.values(), default=0) > 1), coupled=int((one.twin >= 0).any()))

    check()
    assert bool(seen["parallel"]) == kind().is_multigraph()
    assert bool(seen["coupled"]) != kind().is_directed()


@kinds
@pytest.mark.parametrize("through", [as_json, as_graphml, as_graphml_with_ids, as_python])
def test_a_network_does_not_depend_on_the_file_its_graph_went_through(
    kind: type[nx.Graph], through: Callable[[nx.Graph, Path], nx.Graph], tmp_path: Path
) -> None:
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(lists(kind), st.randoms(use_true_random=False))
    def check(listed: Lists, random: Any) -> None:
        other = build(kind, shuffled(kind, random, listed))
        assert_same(flatten(build(kind, listed)), flatten(through(other, tmp_path)))

    check()


def test_the_id_of_an_edge_counts_between_parallel_edges_alone() -> None:
    """And a third synapse between two neurons leaves those with names as they were."""

    def weights(*keys: Any) -> dict[Any, float]:
        graph = nx.MultiDiGraph()
        for key in keys:
            graph.add_edge("a", "b", key=key, weight={"normal": 1.0}, delay=len(str(key)))
        network = flatten(graph)
        return dict(zip(network.delay.tolist(), network.weight[0].tolist(), strict=True))

    assert set(weights("e17").values()) == set(weights(0).values()) == set(weights(5).values())
    assert weights("slow", "fastest") == {4: weights("slow", "x")[4], 7: weights("fastest", "x")[7]}
    assert len(set(weights("slow", "fastest", 0).values())) == 3


def test_couplings_lead_from_the_label_that_comes_first() -> None:
    """A matrix is (target size, source size) as in a directed graph; degrees are those of its targets."""
    for order in (("p9", "p10"), ("p10", "p9")):
        graph, directed = nx.Graph(), nx.DiGraph()
        for name in order:
            for each in (graph, directed):
                each.add_node(name, size={"p9": 5, "p10": 3}[name])
        for edge in (
            {"weight": np.arange(15.0).reshape(3, 5)},
            {"weight": {"normal": 1.0}, "connect": "random", "in_degree": 4},
        ):
            graph.add_edge(*order, **edge)
            directed.add_edge("p9", "p10", symmetric=True, **edge)
            assert_same(flatten(graph), flatten(directed))
            graph.remove_edge(*order)
            directed.remove_edge("p9", "p10")
