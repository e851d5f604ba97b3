"""Graphs in files: round trips, and errors that name file and function."""

import json
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim import topology
from hlsim.errors import TopologyError
from hlsim.topology.network import flatten
from tests.support.networks import assert_same


def rich_graph(kind: type = nx.DiGraph) -> nx.DiGraph:
    """Every form that an attribute can have."""
    graph = kind()
    graph.add_node("in", model="input", size=2)
    graph.add_node("hidden", size=3, tau=2.5, bias=-0.5, group="core 1", activation="relu")
    graph.add_node("out", update="clock", tau=4.0, period=3, phase=np.int64(1), role="output")
    graph.add_node(7, model="instant", send_threshold=0.25)
    graph.add_edge("in", "hidden", weight=np.arange(6.0).reshape(3, 2) / 7, delay=[[1, 2], [3, 4], [5, 6]])
    graph.add_edge("hidden", "hidden", connect="random", in_degree=2, weight={"normal": 0.1}, plastic=False)
    graph.add_edge("hidden", "out", weight={"uniform": [-1, 1]}, feedback_delay={"uniform": [0, 3]})
    graph.add_edge("hidden", 7, weight=1 / 3, feedback="random", beta=np.float64(0.125))
    return graph


def parallel_graph() -> nx.MultiDiGraph:
    graph = rich_graph(nx.MultiDiGraph)
    graph.add_edge("hidden", "out", key=3, weight={"normal": 1.0}, delay=2)
    graph.add_edge("hidden", "out", key="slow", weight={"normal": 1.0}, delay=9)
    return graph


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
@pytest.mark.parametrize("make", [rich_graph, parallel_graph])
def test_a_saved_graph_is_the_same_network(make: Any, suffix: str, tmp_path: Path) -> None:
    graph = make()
    topology.save(graph, tmp_path / f"graph{suffix}")
    loaded = topology.load(tmp_path / f"graph{suffix}")
    assert type(loaded) is type(graph)
    assert_same(flatten(loaded, seeds=(1, 2)), flatten(graph, seeds=(1, 2)))


def test_networkx_reads_what_is_saved(tmp_path: Path) -> None:
    graph = topology.layered([2, 2, 1], delay=1)
    topology.save(graph, tmp_path / "graph.json")
    topology.save(graph, tmp_path / "graph.graphml")
    data = json.loads((tmp_path / "graph.json").read_text(encoding="utf-8"))
    for other in (nx.node_link_graph(data, edges="edges"), nx.read_graphml(tmp_path / "graph.graphml")):
        assert list(other.nodes(data=True)) == list(graph.nodes(data=True))
        assert list(other.edges(data=True)) == list(graph.edges(data=True))


@pytest.mark.parametrize("edges", ["edges", "links"])
def test_json_may_call_its_edges_links(edges: str, tmp_path: Path) -> None:
    graph = topology.layered([2, 2])
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(nx.node_link_data(graph, edges=edges)), encoding="utf-8")
    assert_same(flatten(topology.load(path)), flatten(graph))


GRAPHML = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="node" attr.name="tau" attr.type="double"><default>2.5</default></key>
  <key id="d1" for="edge" attr.name="delay" attr.type="double"><default>4.0</default></key>
  <graph edgedefault="{direction}">
    <node id="a"/>
    <node id="b"><data key="d0">0.5</data></node>
    <edge id="e0" source="a" target="b"/>
    <edge id="e1" source="b" target="a"><data key="d1">1.0</data></edge>
  </graph>
</graphml>
"""


def test_graphml_of_other_programs_has_defaults_edge_ids_and_no_integers(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    path.write_text(GRAPHML.format(direction="directed"), encoding="utf-8")
    network = flatten(topology.load(path))
    assert network.parameters["tau"].tolist() == [2.5, 0.5]
    assert network.delay.tolist() == [4, 1]


BUILD = """
import networkx as nx
from dataclasses import dataclass

@dataclass
class Size:
    n: "int"

def build(size, *, delay=0):
    graph = nx.DiGraph()
    nx.add_path(graph, range(Size(size).n), delay=delay)
    return graph
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_python_file_builds_its_graph_from_parameters(tmp_path: Path) -> None:
    path = write(tmp_path / "topology.py", BUILD)
    graph = topology.load(path, {"size": 3, "delay": 2})
    assert list(graph.edges(data="delay")) == [(0, 1, 2), (1, 2, 2)]
    assert [file.name for file in tmp_path.iterdir()] == ["topology.py"]


def test_a_python_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "topology.py"
    for n in (1, 2):
        write(path, f"import networkx as nx\ndef build():\n    return nx.path_graph({n}, nx.DiGraph)\n")
        assert len(topology.load(path)) == n
    assert "topology" not in sys.modules


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("x = 1\n", {}, "needs a function build(**parameters) that returns a networkx graph"),
        ("build = 3\n", {}, "needs a function build(**parameters) that returns a networkx graph"),
        (BUILD, {}, "build: parameter 'size' has no default and must be given"),
        (
            BUILD,
            {"size": 3, "dely": 1},
            "build: unknown parameter 'dely' (did you mean 'delay'?); known: delay, size",
        ),
        ("def build():\n    return 3\n", {}, "build must return a networkx graph, got int"),
        ("def build():\n    return 1 / 0\n", {}, "build, line 2: ZeroDivisionError: division by zero"),
        ("def build():\n\n    raise ValueError('a\\nb')\n", {}, "build, line 3: ValueError: a b"),
        (
            "from hlsim import topology\ndef build():\n    return topology.ring(1)\n",
            {},
            "build, line 3: ring: n must be a whole number >= 2, got 1",
        ),
        (
            "\nimport no_such_module\n",
            {},
            "import, line 2: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def build(:\n", {}, "import, line 1: SyntaxError: invalid syntax (topology.py, line 1)"),
    ],
)
def test_an_error_in_a_python_file_names_file_function_and_line(
    text: str, parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "topology.py", text)
    with pytest.raises(TopologyError) as caught:
        topology.load(path, parameters)
    assert str(caught.value) == f"{path}: {message}"


def test_a_build_that_takes_any_parameter_gets_all(tmp_path: Path) -> None:
    path = write(
        tmp_path / "topology.py",
        "import networkx as nx\ndef build(**parameters):\n    return nx.DiGraph(graph=parameters)\n",
    )
    assert topology.load(path, {"a": 1, "b": 2}).graph == {"graph": {"a": 1, "b": 2}}


EMPTY = '{"nodes": [], "edges": []}'


def node_link(**other: str) -> str:
    """A graph of two nodes in JSON, with other values under some keys."""
    given = {"directed": "true", "multigraph": "false", "nodes": '[{"id": "a"}, {"id": "b"}]', "edges": "[]"}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in (given | other).items()) + "}"


@pytest.mark.parametrize(
    ("name", "text", "parameters", "message"),
    [
        ("graph.json", "{", {}, "not JSON: Expecting property name enclosed in double quotes"),
        ("graph.json", "[]", {}, "node-link JSON needs the lists 'nodes' and 'edges' (or 'links')"),
        (
            "graph.json",
            '{"nodes": []}',
            {},
            "node-link JSON needs the lists 'nodes' and 'edges' (or 'links')",
        ),
        ("graph.json", '{"nodes": [3], "edges": []}', {}, "not a node-link graph: "),
        (
            "graph.json",
            '{"nodes": [], "edges": [{"source": "a"}]}',
            {},
            "not a node-link graph: edge 0 needs 'target', got {'source': 'a'}",
        ),
        (
            "graph.json",
            '{"nodes": [{"id": "a"}], "edges": [{"source": "a", "target": "b"}]}',
            {},
            "edge 'a' -> 'b': must join nodes that are listed, got 'b'",
        ),
        (
            "graph.json",
            '{"nodes": [{"id": "a"}, {"id": "a"}], "edges": []}',
            {},
            "node 'a': must be listed once, got it twice",
        ),
        ("graph.json", node_link(nodes='[{"id": null}]'), {}, "node 0: must have a name, got none"),
        (
            "graph.json",
            node_link(nodes="[{}]"),
            {},
            "not a node-link graph: node 0 needs 'id', got {}",
        ),
        (
            "graph.json",
            node_link(nodes='[{"id": [1, {}]}]'),
            {},
            "not a node-link graph: node 0: 'id' must be a string or a number, got {}",
        ),
        (
            "graph.json",
            node_link(nodes='[{"id": "a", "tau": 1, "tau": 2}]'),
            {},
            "key 'tau': must stand once in an object, got it twice in {'id': 'a', 'tau': 2}",
        ),
        (
            "graph.json",
            node_link(edges='[{"source": "a", "target": "b"}, {"source": "a", "target": "b"}]'),
            {},
            "edge 'a' -> 'b': must be listed once in a graph that is no multigraph, got it twice",
        ),
        (
            "graph.json",
            node_link(
                edges='[{"source": "a", "target": "b"}, {"source": "b", "target": "a"}]', directed="false"
            ),
            {},
            "edge 'b' -> 'a': must be listed once in a graph that is no multigraph, got it twice",
        ),
        (
            "graph.json",
            node_link(
                edges='[{"source": "a", "target": "b", "key": 1}, {"source": "a", "target": "b", "key": 1}]',
                multigraph="true",
            ),
            {},
            "edge 'a' -> 'b': keys of parallel edges must differ, got 1 twice",
        ),
        (
            "graph.json",
            node_link(directed='"no"'),
            {},
            "not a node-link graph: 'directed' must be true or false, got 'no'",
        ),
        ("graph.json", node_link(graph="2"), {}, "not a node-link graph: 'graph' must be an object, got 2"),
        (
            "graph.json",
            node_link(direced="true"),
            {},
            "not a node-link graph: unknown key 'direced' (did you mean 'directed'?); known: ",
        ),
        ("graph.json", node_link(links="[]"), {}, "not a node-link graph: unknown key 'links'"),
        (
            "graph.json",
            node_link(nodes="[" * 100_000 + "]" * 100_000),
            {},
            "not a node-link graph: must not have lists or tables within one another more than 64 deep",
        ),
        ("g" * 300 + ".json", None, {}, "no such file"),
        ("graph.json", EMPTY, {"delay": 1}, "a graph file takes no parameters, got delay"),
        ("graph.graphml", "<graphml>", {}, "not GraphML: no element found: line 1, column 9"),
        ("graph.graphml", "<graphml/>", {}, "not GraphML: "),
        (
            "graph.graphmll",
            "",
            {},
            "unknown kind of graph file '.graphmll' (did you mean '.graphml'?); known: ",
        ),
    ],
)
def test_a_bad_graph_file_is_named_with_what_is_wrong(
    name: str, text: str | None, parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name if text is None else write(tmp_path / name, text)
    with pytest.raises(TopologyError) as caught:
        topology.load(path, parameters)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_keys_that_are_missing_are_other_ones_than_those_given(tmp_path: Path) -> None:
    """The key that networkx would give the first edge is that of the second."""
    ends = '"source": "a", "target": "b"'
    edges = f'[{{{ends}, "delay": 1}}, {{{ends}, "key": 0, "delay": 2}}]'
    path = write(tmp_path / "graph.json", node_link(edges=edges, multigraph="true"))
    assert sorted(flatten(topology.load(path)).delay.tolist()) == [1, 2]


def test_names_can_be_tuples(tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_edge((0, (1, "a")), "b", key=("x", 2), weight={"normal": 1.0})
    topology.save(graph, tmp_path / "graph.json")
    assert list(topology.load(tmp_path / "graph.json").edges(keys=True)) == list(graph.edges(keys=True))


@pytest.mark.parametrize("name", ["a\0b", "a\rb", "\x1b", "\ud800", "\uffff"])
def test_graphml_is_not_written_with_what_xml_cannot_hold(name: str, tmp_path: Path) -> None:
    for graph in (nx.path_graph([name, "b"], nx.DiGraph), nx.DiGraph([("a", "b", {"weight": name})])):
        with pytest.raises(TopologyError, match=r"graph\.graphml: XML cannot hold the characters of"):
            topology.save(graph, tmp_path / "graph.graphml")
    fine = nx.path_graph(["a\tb\nc", " <&>\"' "], nx.DiGraph)
    topology.save(fine, tmp_path / "graph.graphml")
    assert list(topology.load(tmp_path / "graph.graphml")) == list(fine)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        topology.load(tmp_path / "graph.json")
    assert str(caught.value) == f"{tmp_path / 'graph.json'}: no such file"


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    graph = nx.DiGraph()
    graph.add_node("a", thing=object())
    with pytest.raises(TopologyError, match=r"graph\.graphml: .*object"):
        topology.save(graph, tmp_path / "graph.graphml")
    with pytest.raises(
        TopologyError, match=r"unknown kind of graph file '\.py'; known: \.gexf, \.gml, \.graphml, \.json$"
    ):
        topology.save(graph, tmp_path / "topology.py")


foreign = st.dictionaries(
    st.sampled_from(["pos", "club", "viz", "shape", "x", "label", "geometry"]),
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab[{ ", max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2)
        ),
        max_leaves=6,
    ),
    max_size=3,
)


@given(st.data())
def test_attributes_of_others_change_nothing_and_come_back(data: st.DataObject) -> None:
    graph, bare = parallel_graph(), parallel_graph()
    for *_, carried in (*graph.nodes(data=True), *graph.edges(data=True)):
        carried.update(data.draw(foreign))
    network = flatten(graph)
    assert_same(network, flatten(bare))
    back = nx.node_link_graph(json.loads(network.node_link.text), edges="edges")
    for found, given_ in (
        (back.nodes(data=True), graph.nodes(data=True)),
        (back.edges(data=True, keys=True), graph.edges(data=True, keys=True)),
    ):
        pairs = list(zip(found, given_, strict=True))
        assert all(one[-1].keys() == other[-1].keys() for one, other in pairs)
        names = {"pos", "club", "viz", "shape", "x", "label", "geometry"}
        assert all(
            one[-1][name] == other[-1][name] for one, other in pairs for name in names & other[-1].keys()
        )


@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_attributes_of_others_come_back_from_files(tmp_path: Path, suffix: str) -> None:
    graph = nx.random_geometric_graph(6, 0.9, seed=1).to_directed()
    nx.set_node_attributes(graph, {0: {"club": "Mr. Hi", "viz": {"color": [1, 2, 3]}, "text": "[open"}})
    nx.set_edge_attributes(graph, 2.5, "length")
    topology.save(graph, tmp_path / f"graph{suffix}")
    back = topology.load(tmp_path / f"graph{suffix}")
    one, other = ([data for _, data in g.nodes(data=True)] for g in (back, graph))
    assert [sorted(data) for data in one] == [sorted(data) for data in other]
    assert one[0]["viz"] == {"color": [1, 2, 3]}
    assert (one[0]["club"], one[0]["text"]) == ("Mr. Hi", "[open")
    assert [data["pos"] for data in one] == [list(data["pos"]) for data in other]
    assert {data["length"] for *_, data in back.edges(data=True)} == {2.5}
    assert_same(flatten(back), flatten(nx.relabel_nodes(graph, str) if suffix == ".graphml" else graph))
