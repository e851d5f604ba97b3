"""Graphs as other programs write them: GEXF, GML, Pajek, lists of edges. networkx and csv read them.

What these formats cannot tell apart is put right where it is one of our attributes: GML writes true as 1,
lists of edges and Pajek have text alone.
"""

import csv
import re
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import networkx as nx

from hlsim.errors import TopologyError, shown
from hlsim.textdata import read_json
from hlsim.topology.attributes import Attribute, edge_attributes, node_attributes
from hlsim.topology.graphml import refuse_entities
from hlsim.topology.listing import Edge, Listing

_GEXF_1_3 = re.compile(rb"http://(www\.)?gexf\.net/1\.3")


def _gexf(path: Path) -> nx.Graph:
    """Return a graph; what networkx reads is version 1.2, and 1.3 is no other in what it reads of it."""
    refuse_entities(path, "GEXF")
    return nx.read_gexf(BytesIO(_GEXF_1_3.sub(b"http://www.gexf.net/1.2draft", path.read_bytes())))


def _gml(path: Path) -> nx.Graph:
    """Return a graph whose nodes are called by their labels, if they have them, else by their numbers."""
    try:
        return nx.read_gml(path)
    except nx.NetworkXError as error:
        if "label" not in str(error):
            raise
        return nx.read_gml(path, label="id")


def _pajek(path: Path) -> nx.Graph:
    graph = nx.read_pajek(path)
    graph.graph.pop("name", None)
    return graph


def _edge_list(path: Path) -> nx.Graph:
    """Return the graph of lines ``source target``, then nothing, a weight, or a dictionary."""
    edges = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        ends = line.partition("#")[0].split(maxsplit=2)
        if not ends:
            continue
        if len(ends) == 1:
            raise ValueError(f"line {number}: must be a source and a target, got {shown(line)}")
        rest = _dictionary(number, ends[2].strip()) if len(ends) == 3 else {}
        edges.append((ends[0], ends[1], rest))
    return _of_edges(edges)


def _dictionary(number: int, text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {"weight": _read(text)}
    (_, _, data), *_ = nx.parse_edgelist([f"a b {text}"]).edges(data=True)
    if not isinstance(data, dict):
        raise ValueError(f"line {number}: must end with a weight or a dictionary, got {shown(text)}")
    return data


def _table(path: Path) -> nx.Graph:
    """Return the graph of a table of edges with a head: source, target, and attributes."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        names = [name.strip() for name in rows.fieldnames or ()]
        ends = [next((n for n in names if n.lower() == end), None) for end in ("source", "target")]
        if None in ends or len(set(names)) < len(names):
            raise ValueError(
                f"line 1: must name the columns source and target, and each once, got {shown(names)}"
            )
        rows.fieldnames = names
        edges = []
        for row in rows:
            if None in row or None in row.values():
                raise ValueError(f"line {rows.line_num}: must have {len(names)} values")
            given = {name: _read(text) for name, text in row.items() if name not in ends and text != ""}
            edges.append((row[ends[0]], row[ends[1]], given))
    return _of_edges(edges)


def _of_edges(edges: list[tuple[str, str, dict[str, Any]]]) -> nx.Graph:
    parallel = Counter(edge[:2] for edge in edges)
    nodes: dict[Hashable, dict[str, Any]] = {node: {} for edge in edges for node in edge[:2]}
    several = any(count > 1 for count in parallel.values())
    listed: list[Edge] = [(source, target, None, data) for source, target, data in edges]
    return Listing(True, several, list(nodes.items()), listed, {}).graph()


def _read(text: str) -> Any:
    """Return what a text says in JSON, or itself."""
    try:
        return read_json(text.strip())
    except ValueError:
        return text


READERS: Mapping[str, tuple[str, Callable[[Path], nx.Graph]]] = {
    ".gexf": ("GEXF", _gexf),
    ".gml": ("GML", _gml),
    ".net": ("a Pajek network", _pajek),
    ".edgelist": ("a list of edges", _edge_list),
    ".csv": ("a table of edges", _table),
}


def read(path: Path) -> nx.Graph:
    """Return the graph of a file of one of these formats.

    Raises
    ------
    TopologyError
        It cannot be read as one, in one line.
    """
    kind, reader = READERS[path.suffix]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = reader(path)
    except (OSError, TopologyError):
        raise
    except Exception as error:  # noqa: BLE001 (whatever readers come upon)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TopologyError(f"not {kind}: {reason}") from None
    for known, elements in (
        (node_attributes(), graph.nodes(data=True)),
        (edge_attributes(), graph.edges(data=True)),
    ):
        for *_, data in elements:
            data.update({name: _as_ours(known[name], value) for name, value in data.items() if name in known})
    return graph


def _as_ours(attribute: Attribute, value: Any) -> Any:
    """Return a value as one of our attributes has it: the format had no other form for it."""
    others = [_read(value)] if isinstance(value, str) else [str(value)]
    if type(value) is int and value in (0, 1):
        others.insert(0, bool(value))
    for form in (value, *others):
        try:
            attribute.parse(form)
        except (ValueError, LookupError):
            continue
        return form
    return value
