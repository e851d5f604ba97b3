"""GraphML: read as networkx reads it where that is what the file says, else refused."""

from pathlib import Path

import networkx as nx
import pytest

from hlsim.errors import TopologyError
from hlsim.topology import graphml

KEYS = """
<key id="t" for="node" attr.name="tau" attr.type="double"><default>2.5</default></key>
<key id="b" for="node" attr.name="update"/>
<key id="d" for="edge" attr.name="delay" attr.type="int"><default>4</default></key>
<key id="p" for="edge" attr.name="plastic" attr.type="boolean"/>
<key id="g" for="all" attr.name="note" attr.type="string"/>
<key id="y" for="node" yfiles.type="nodegraphics"/>"""
TWO = '<node id="a"/><node id="b"/>'


def written(path: Path, graph: str, keys: str = KEYS, edgedefault: str = 'edgedefault="directed"') -> Path:
    head = (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">'
    )
    file = path / "graph.graphml"
    file.write_text(f"{head}{keys}<graph {edgedefault}>{graph}</graph></graphml>", encoding="utf-8")
    return file


GOOD = """
<desc>two neurons</desc>
<node id="a"><data key="t">0.5</data><data key="b">clock</data></node>
<node id="b"><desc>another</desc></node>
<edge source="a" target="b"><data key="d">7</data><data key="p">True</data></edge>
<edge source="b" target="a"/>
<data key="g">mine</data>"""


@pytest.mark.parametrize("directed", [True, False])
def test_it_says_what_networkx_reads(directed: bool, tmp_path: Path) -> None:
    default = f'edgedefault="{"" if directed else "un"}directed"'
    file = written(
        tmp_path, GOOD if directed else GOOD.replace('<edge source="b" target="a"/>', ""), edgedefault=default
    )
    found = graphml.read(file).graph()
    with pytest.warns(UserWarning, match="No key type"):
        expected = nx.read_graphml(file)
    assert type(found) is type(expected)
    assert found.graph == {"note": "mine"}
    for defaults, elements in (
        (expected.graph["node_default"], expected.nodes),
        (expected.graph["edge_default"], expected.edges),
    ):
        for data in elements.values():
            data |= {name: value for name, value in defaults.items() if name not in data}
    assert dict(found.nodes(data=True)) == dict(expected.nodes(data=True))
    assert {edge[:2]: edge[2] for edge in found.edges(data=True)} == {
        edge[:2]: edge[2] for edge in expected.edges(data=True)
    }


def test_the_types_of_values_are_those_of_their_keys(tmp_path: Path) -> None:
    types = {"int": "7", "long": "7", "float": "7", "double": "7e0", "string": "7", "boolean": "1"}
    keys = "".join(f'<key id="{t}" for="node" attr.name="{t}" attr.type="{t}"/>' for t in types)
    data = "".join(f'<data key="{name}">{text}</data>' for name, text in types.items())
    ((_, found),) = graphml.read(written(tmp_path, f'<node id="a">{data}</node>', keys)).nodes
    expected = {"int": 7, "long": 7, "float": 7.0, "double": 7.0, "string": "7", "boolean": True}
    assert {name: (type(x), x) for name, x in found.items()} == {
        name: (type(x), x) for name, x in expected.items()
    }


def test_a_default_for_all_is_one_for_every_kind_of_element(tmp_path: Path) -> None:
    for scope in ('for="all" ', ""):
        keys = f'<key id="n" {scope}attr.name="note" attr.type="string"><default>x</default></key>'
        listing = graphml.read(written(tmp_path, f'{TWO}<edge source="a" target="b"/>', keys))
        assert [data for *_, data in (*listing.nodes, *listing.edges)] == [{"note": "x"}] * 3


def test_what_yed_draws_is_no_attribute(tmp_path: Path) -> None:
    shape = '<data key="y"><y:ShapeNode><y:NodeLabel>eye</y:NodeLabel></y:ShapeNode></data>'
    ((name, data),) = graphml.read(written(tmp_path, f'<node id="n0">{shape}</node>')).nodes
    assert (name, data) == ("n0", {"tau": 2.5})


@pytest.mark.parametrize("ids", [("", ""), ('id="e0"', 'id="e1"'), ('id="0"', "")])
def test_two_edges_are_parallel_whatever_their_ids(ids: tuple[str, str], tmp_path: Path) -> None:
    one = f'{TWO}<edge {ids[0]} source="a" target="b"/>'
    assert type(graphml.read(written(tmp_path, one)).graph()) is nx.DiGraph
    for back, edgedefault, kind in (
        ('source="a" target="b"', "directed", nx.MultiDiGraph),
        ('source="b" target="a"', "directed", nx.DiGraph),
        ('source="b" target="a"', "undirected", nx.MultiGraph),
    ):
        file = written(tmp_path, f"{one}<edge {ids[1]} {back}/>", edgedefault=f'edgedefault="{edgedefault}"')
        graph = graphml.read(file).graph()
        assert type(graph) is kind
        assert graph.number_of_edges() == 2


AB = 'source="a" target="b"'
REFUSED: list[tuple[str, ...]] = [
    ("graph: unknown element 'hyperedge' .*known: data", f'{TWO}<hyperedge><endpoint node="a"/></hyperedge>'),
    ("node 'a': unknown element 'port'", '<node id="a"><port name="left"/></node>'),
    (
        "edge 1, 'a' -> 'b': a network has no ports, got sourceport = 'left'",
        f'{TWO}<edge {AB} sourceport="left"/>',
    ),
    (
        "node 'a': unknown element 'graph'",
        '<node id="a"><graph edgedefault="directed"><node id="b"/></graph></node>',
    ),
    (
        "node 'g': unknown element 'graph'",
        '<node id="g" yfiles.foldertype="group"><graph edgedefault="directed"/></node>',
    ),
    ("graph: unknown element 'locator'", '<locator href="x"/>'),
    ("node 0: must have a name, got none", "<node/>"),
    ("node 'a': must be listed once, got it twice", '<node id="a"/><node id="a"/>'),
    ("edge 1, 'a' -> None: must have a source and a target", f'{TWO}<edge source="a"/>'),
    ("edge 'a' -> 'None': must join nodes that are listed", f'{TWO}<edge source="a" target="None"/>'),
    ("edge 'a' -> 'b': keys .* must differ, got 'e' twice", f'{TWO}<edge id="e" {AB}/><edge id="e" {AB}/>'),
    ("directed must be true as the edgedefault says, got 'false'", f'{TWO}<edge {AB} directed="false"/>'),
    ("directed must be true as the edgedefault says, got '0'", f'{TWO}<edge {AB} directed="0"/>'),
    (
        "node 'a': tau must be given once, got it twice",
        '<node id="a"><data key="t">1</data><data key="t">2</data></node>',
    ),
    ("node 'a': unknown key 'q'; known: b, d,", '<node id="a"><data key="q">1</data></node>'),
    ("node 'a': unknown key 'None'", '<node id="a"><data>1</data></node>'),
    (
        "node 'a': tau must be of type double, as its key says, got 'two'",
        '<node id="a"><data key="t">two</data></node>',
    ),
    ("node 'a': tau must be of type double, .*, got ''", '<node id="a"><data key="t"/></node>'),
    ("node 'a': tau must be text, got element", '<node id="a"><data key="t"><y:x/></data></node>'),
    ("plastic must be of type boolean, .*, got 'yes'", f'{TWO}<edge {AB}><data key="p">yes</data></edge>'),
    ("graph: edgedefault must be 'directed' or 'undirected', got None", TWO, KEYS, ""),
    ("key 't': must have an id of its own", TWO, KEYS + KEYS),
    ("key 'k': must have an attr.name", TWO, '<key id="k" for="node"/>'),
    ("key 'k': unknown type 'dbl'", TWO, '<key id="k" attr.name="tau" attr.type="dbl"/>'),
    (
        "default of node 'a': tau must be of type int, .*, got ''",
        TWO,
        '<key id="k" attr.name="tau" attr.type="int"><default/></key>',
    ),
    ("not GraphML: needs one graph, got 2", f"{TWO}</graph><graph>"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_what_a_network_cannot_be_is_refused_by_name(case: tuple[str, ...], tmp_path: Path) -> None:
    message, *parts = case
    with pytest.raises(TopologyError, match=message):
        graphml.read(written(tmp_path, *parts)).graph()


@pytest.mark.parametrize("entity", ['"text"', 'SYSTEM "file:///etc/hostname"'])
def test_entities_are_refused_before_they_stand_for_anything(entity: str, tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    text = file.read_text(encoding="utf-8").replace('id="a"', 'id="&e;"')
    for encoding in ("utf-8", "utf-16"):
        head = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE graphml [<!ENTITY e {entity}>]>'
        file.write_text(head + text, encoding=encoding)
        with pytest.raises(TopologyError, match=r"^not GraphML: must define no entities, got 'e'$"):
            graphml.read(file)
    file.write_text('<!DOCTYPE graphml SYSTEM "graphml.dtd">' + text.replace("&e;", "a"), encoding="utf-8")
    assert len(graphml.read(file).nodes) == 2
