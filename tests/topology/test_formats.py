"""Graphs as other programs write them, read back with what they carry; what is none of them in one line."""

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim import topology
from hlsim.cli.app import GRAPHS
from hlsim.errors import TopologyError
from hlsim.topology.files import FORMATS, WRITTEN
from hlsim.topology.formats import READERS
from hlsim.topology.network import flatten
from tests.support.networks import assert_same

nodes = st.fixed_dictionaries(
    {},
    optional={
        "tau": st.sampled_from([1, 2.5]),
        "activation": st.sampled_from(["relu", "tanh"]),
        "bias": st.floats(-2, 2),
        "group": st.sampled_from(["a", "core 1", "3"]),
        "club": st.sampled_from(["Mr. Hi", "Officer"]),
    },
)
edges = st.fixed_dictionaries(
    {},
    optional={
        "weight": st.floats(-2, 2),
        "delay": st.integers(1, 9),
        "plastic": st.booleans(),
        "feedback": st.sampled_from(["symmetric", "random", "none"]),
        "length": st.floats(0, 9),
    },
)


@st.composite
def graphs(draw: st.DrawFn) -> nx.DiGraph:
    graph = nx.DiGraph()
    names = ["in", "a b", "c", "d"]
    graph.add_node("in", model="input")
    for name in names[1:]:
        graph.add_node(name, **draw(nodes))
    pairs = [(a, b) for a in names for b in names[1:]]
    for a, b in draw(st.lists(st.sampled_from(pairs), unique=True)):
        graph.add_edge(a, b, **draw(edges))
    return graph


@pytest.mark.parametrize("suffix", WRITTEN)
@given(graph=graphs())
def test_a_graph_comes_back_from_every_format_that_is_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, graph: nx.DiGraph
) -> None:
    path = tmp_path_factory.mktemp("graph") / f"graph{suffix}"
    topology.save(graph, path)
    back = topology.load(path)
    assert_same(flatten(back, seeds=[3]), flatten(graph, seeds=[3]))
    for node, data in graph.nodes(data=True):
        assert {name: back.nodes[node][name] for name in data} == data
    for source, target, data in graph.edges(data=True):
        assert {name: back.edges[source, target][name] for name in data} == data


def test_what_networkx_writes_is_read(tmp_path: Path) -> None:
    """By its own writers, with attributes that have no meaning here."""
    karate = nx.karate_club_graph()
    karate = nx.relabel_nodes(karate, {node: f"n{node}" for node in karate})
    writers = {
        ".gexf": nx.write_gexf,
        ".gml": nx.write_gml,
        ".net": nx.write_pajek,
        ".graphml": nx.write_graphml,
    }
    for suffix, write in writers.items():
        write(karate, tmp_path / f"karate{suffix}")
        back = topology.load(tmp_path / f"karate{suffix}")
        assert not back.is_directed(), suffix
        assert_same(flatten(back), flatten(karate))
        assert back.nodes["n0"]["club"] == "Mr. Hi"


def test_a_list_of_edges_is_read_as_networkx_writes_it(tmp_path: Path) -> None:
    graph = nx.DiGraph([("a", "b", {"weight": 0.5, "plastic": False, "delay": 3}), ("b", "c", {})])
    for name, write in {
        "data": lambda path: nx.write_edgelist(graph, path),
        "weight": lambda path: nx.write_edgelist(graph, path, data=["weight"]),
        "bare": lambda path: nx.write_edgelist(graph, path, data=False),
    }.items():
        write(tmp_path / f"{name}.edgelist")
        back = topology.load(tmp_path / f"{name}.edgelist")
        assert list(back.edges) == list(graph.edges)
        given_ = {"data": dict(graph.edges["a", "b"]), "weight": {"weight": 0.5}, "bare": {}}[name]
        assert back.edges["a", "b"] == given_


def test_a_table_of_edges_has_a_head(tmp_path: Path) -> None:
    text = '\ufeffTarget, source ,weight,delay,plastic,kind,feedback_delay\nb,"a, x",0.5,3,true,fast,\n'
    text += 'c,b,"{""normal"": 0.2}",1,FALSE,"2","{""uniform"": [1, 4]}"\n'
    path = tmp_path / "edges.csv"
    path.write_text(text.replace("FALSE", "false"), encoding="utf-8")
    graph = topology.load(path)
    assert dict(graph.edges["a, x", "b"]) == {"weight": 0.5, "delay": 3, "plastic": True, "kind": "fast"}
    assert graph.edges["b", "c"]["weight"] == {"normal": 0.2}
    assert graph.edges["b", "c"]["feedback_delay"] == {"uniform": [1, 4]}
    assert flatten(graph).m == 2
    path.write_text("source,target,weight\na,b,1\na,b,2\n")
    assert sorted(weight for *_, weight in topology.load(path).edges(data="weight")) == [1, 2]


# By hand, as Gephi writes it.
GEPHI = """<?xml version="1.0" encoding="UTF-8"?>
<gexf xmlns="http://gexf.net/1.3" version="1.3" xmlns:viz="http://gexf.net/1.3/viz">
  <meta lastmodifieddate="2024-01-01"><creator>Gephi 0.10</creator></meta>
  <graph defaultedgetype="directed" mode="static">
    <attributes class="node" mode="static">
      <attribute id="tau" title="tau" type="double"/>
      <attribute id="m" title="Modularity Class" type="integer"/>
    </attributes>
    <nodes>
      <node id="0" label="Valjean">
        <attvalues><attvalue for="tau" value="2.5"/><attvalue for="m" value="1"/></attvalues>
        <viz:size value="12.0"/><viz:position x="1.5" y="-2.0"/><viz:color r="10" g="20" b="30"/></node>
      <node id="1" label="Javert"/>
    </nodes>
    <edges><edge id="0" source="0" target="1" weight="0.25"/></edges>
  </graph>
</gexf>
"""


def test_what_gephi_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gephi.gexf"
    path.write_text(GEPHI)
    graph = topology.load(path)
    assert graph.nodes["0"]["viz"]["size"] == 12.0
    assert (graph.nodes["0"]["label"], graph.nodes["0"]["Modularity Class"]) == ("Valjean", 1)
    network = flatten(graph)
    assert network.weight[0].tolist() == [0.25]
    assert network.parameters["tau"].tolist() == [2.5, 1.0]
    assert json.loads(network.node_link.text)["nodes"][0]["viz"]["color"]["g"] == 20


BAD: dict[str, tuple[str, str]] = {
    "no xml": (".gexf", "nothing"),
    "entities": (".gexf", '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "b">]><gexf>&a;</gexf>'),
    "no graph": (".gexf", "<gexf/>"),
    "no gml": (".gml", "graph [ node ["),
    "edge to nobody": (".gml", 'graph [ node [ id 0 label "a" ] edge [ source 0 target 3 ] ]'),
    "listed twice": (".gml", 'graph [ node [ id 0 label "a" ] node [ id 0 label "b" ] ]'),
    "no vertices": (".net", "*arcs\n1 2 3 4 5 x\n"),
    "no target": (".edgelist", "a b\nc\n"),
    "no dictionary": (".edgelist", "a b {1: \n"),
    "code": (".edgelist", "a b {'weight': __import__('os')}\n"),
    "no head": (".csv", "a,b\n1,2\n"),
    "a column twice": (".csv", "source,target,weight,weight\n"),
    "ragged": (".csv", "source,target,weight\na,b\n"),
    "an open quote": (".csv", 'source,target\n"a,b\n'),
    "empty": (".csv", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_of_them_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    suffix, text = BAD[name]
    path = tmp_path / f"bad{suffix}"
    path.write_text(text)
    with pytest.raises(TopologyError) as caught:
        topology.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert READERS[suffix][0].split()[-1] in message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for suffix in READERS:
        path = tmp_path / f"bytes{suffix}"
        path.write_bytes(b"\xff\xfe\x00source,target\n\x80")
        with pytest.raises(TopologyError) as caught:
            topology.load(path)
        assert "\n" not in str(caught.value)


def test_commands_know_every_format() -> None:
    assert GRAPHS == FORMATS


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    graph: Any = nx.DiGraph([("a", "b", {"weight": {"normal": 0.5}})])
    with pytest.raises(TopologyError, match=r"unknown kind of graph file '\.net'"):
        topology.save(graph, tmp_path / "graph.net")
    graph.nodes["a"]["nothing"] = None
    with pytest.raises(TopologyError, match=r"graph\.graphml: "):
        topology.save(graph, tmp_path / "graph.graphml")
