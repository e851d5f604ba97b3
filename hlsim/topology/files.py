"""Graphs in files: a Python function that builds one, node-link JSON, GraphML."""

import inspect
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx
import numpy as np

from hlsim import usercode
from hlsim.errors import TopologyError, unknown
from hlsim.topology.columns import Edges

FORMATS = (".py", ".json", ".graphml")
# Attributes that may be more than a number; GraphML has only flat values and holds those as JSON text.
STRUCTURED = ("weight", "delay", "feedback_delay")
_UNCHANGING = {bool, int, float, str, type(None)}


def load(path: str | Path, parameters: Mapping[str, Any] | None = None) -> nx.DiGraph:
    """Return the graph of a file.

    Parameters
    ----------
    path : str or Path
        A ``.py`` file with a function ``build(**parameters)`` that returns a networkx graph, or a graph as
        node-link ``.json`` or ``.graphml``. In GraphML, arrays and distributions are JSON text.
    parameters : mapping, optional
        Handed to ``build``; a graph file takes none.

    Raises
    ------
    TopologyError
        Names the file, and the function where there is one.
    """
    path, parameters = Path(path), dict(parameters or {})
    if path.suffix not in FORMATS:
        raise TopologyError(f"{path}: {unknown('kind of graph file', path.suffix, FORMATS)}")
    if not path.is_file():
        raise TopologyError(f"{path}: no such file")
    if path.suffix == ".py":
        return _built(path, parameters)
    if parameters:
        raise TopologyError(
            f"{path}: a graph file takes no parameters, got {', '.join(map(str, parameters))}"
        )
    return _from_json(path) if path.suffix == ".json" else _from_graphml(path)


def save(graph: nx.DiGraph, path: str | Path) -> None:
    """Write a graph as node-link ``.json`` or as ``.graphml``, for ``load``.

    Raises
    ------
    TopologyError
        For another suffix, or a value that GraphML cannot hold.
    """
    path = Path(path)
    if path.suffix == ".json":
        path.write_text(to_json(graph), encoding="utf-8")
    elif path.suffix == ".graphml":
        try:
            nx.write_graphml(_flat(graph), path)
        except (nx.NetworkXError, TypeError) as error:
            raise TopologyError(f"{path}: {error}") from None
    else:
        raise TopologyError(f"{path}: {unknown('kind of graph file', path.suffix, FORMATS[1:])}")


def to_json(graph: nx.DiGraph) -> str:
    """Return a graph as node-link JSON, arrays as nested lists."""
    return json.dumps(nx.node_link_data(graph, edges="edges"), default=_plain)


class NodeLink:
    """A graph as node-link JSON, as it is when this is made.

    The text of a million edges takes longer than all else that a network needs of them, and only traces hold
    it. So it is written when it is asked for, from a copy of what the edges carry.

    Parameters
    ----------
    graph : networkx graph
    edges : Edges
        Of the graph, or of what became of it where its own have no direction.
    """

    def __init__(self, graph: nx.Graph, edges: Edges) -> None:
        self._directed = graph.is_directed()
        self._rest = to_json(nx.create_empty_copy(graph) if self._directed else graph)
        if self._directed:
            self._nodes, self._source, self._target = list(graph), edges.source, edges.target
            self._key, self._count = edges.key, list(map(len, edges.carried.elements))
            self._names, self._values = edges.carried.names, _unchanging(edges.carried.values)

    @classmethod
    def of_text(cls, text: str) -> "NodeLink":
        """Return the graph of a JSON text."""
        made = cls.__new__(cls)
        made._directed, made._rest = False, text
        return made

    @cached_property
    def text(self) -> str:
        """The JSON text."""
        if not self._directed:
            return self._rest
        return self._rest.removesuffix("[]}") + json.dumps(self._edges(), default=_plain) + "}"

    def _edges(self) -> list[dict[str, Any]]:
        carried = zip(cycle(self._names), self._values, strict=False)
        edges = [dict(islice(carried, count)) for count in self._count]
        for edge, source, target in zip(edges, self._source.tolist(), self._target.tolist(), strict=True):
            edge.update(source=self._nodes[source], target=self._nodes[target])
        for edge, key in zip(edges, self._key, strict=False):
            edge["key"] = key
        return edges


def _unchanging(values: list[Any]) -> list[Any]:
    """Return values of which none changes with those given, and which have the same JSON text."""
    if set(map(type, values)) <= _UNCHANGING:
        return values
    values = [value.copy() if type(value) is np.ndarray else value for value in values]
    unusual = [i for i, value in enumerate(values) if type(value) not in {*_UNCHANGING, np.ndarray}]
    copies = json.loads(json.dumps([values[i] for i in unusual], default=_plain))
    for i, value in zip(unusual, copies, strict=True):
        values[i] = value
    return values


def _plain(value: Any) -> Any:
    """Return arrays and numpy's numbers as JSON has them; anything else, which is no attribute, as text."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _flat(graph: nx.DiGraph) -> nx.DiGraph:
    def flat(value: Any) -> Any:
        if isinstance(value, Mapping | list | tuple | np.ndarray):
            return json.dumps(value, default=_plain)
        return _plain(value) if isinstance(value, np.generic) else value

    copy = type(graph)()
    copy.add_nodes_from(
        (node, {k: flat(v) for k, v in data.items()}) for node, data in graph.nodes(data=True)
    )
    for *ends, data in graph.edges(data=True, **({"keys": True} if graph.is_multigraph() else {})):
        copy.add_edge(*ends, **{k: flat(v) for k, v in data.items()})
    return copy


def _from_json(path: Path) -> nx.DiGraph:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TopologyError(f"{path}: not JSON: {error}") from None
    edges = "edges" if isinstance(data, dict) and "edges" in data else "links"
    if not isinstance(data, dict) or not all(isinstance(data.get(k), list) for k in ("nodes", edges)):
        raise TopologyError(f"{path}: node-link JSON needs the lists 'nodes' and 'edges' (or 'links')")
    try:
        nodes = nx.node_link_graph(data | {edges: []}, edges=edges)
        graph = nx.node_link_graph(data, edges=edges)
    except (KeyError, TypeError, AttributeError, nx.NetworkXError) as error:
        raise TopologyError(f"{path}: not a node-link graph: {error!r}") from None
    if len(nodes) < len(data["nodes"]):
        raise TopologyError(f"{path}: 'nodes' must be distinct, got {len(data['nodes']) - len(nodes)} twice")
    if strangers := [node for node in graph if node not in nodes]:
        raise TopologyError(f"{path}: an edge ends at node {strangers[0]!r}, which 'nodes' does not hold")
    return graph


def _from_graphml(path: Path) -> nx.DiGraph:
    try:
        graph = nx.read_graphml(path, force_multigraph=True)
    except (ParseError, nx.NetworkXError, KeyError, ValueError) as error:
        raise TopologyError(f"{path}: not GraphML: {error}") from None
    for kind, elements in (("node_default", graph.nodes), ("edge_default", graph.edges)):
        for data in elements.values():
            for name, value in graph.graph.get(kind, {}).items():
                data.setdefault(name, value)
    for data in graph.edges.values():
        data.update({name: _from_text(data[name]) for name in STRUCTURED if name in data})
    simple = all(key == 0 for *_, key in graph.edges(keys=True))
    plain = nx.DiGraph if graph.is_directed() else nx.Graph
    return plain(graph) if simple else graph


def _from_text(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _built(path: Path, parameters: dict[str, Any]) -> nx.DiGraph:
    build = getattr(usercode.module(path, TopologyError), "build", None)
    if not inspect.isfunction(build):
        raise TopologyError(f"{path}: needs a function build(**parameters) that returns a networkx graph")
    _check_parameters(path, build, parameters)
    graph = usercode.guarded(path, "build", lambda: build(**parameters), TopologyError)
    if not isinstance(graph, nx.Graph):
        raise TopologyError(f"{path}: build must return a networkx graph, got {type(graph).__name__}")
    return graph


def _check_parameters(path: Path, build: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
    known = inspect.signature(build).parameters.values()
    names = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in parameters:
        if name not in names and not any(p.kind is p.VAR_KEYWORD for p in known):
            raise TopologyError(f"{path}: build: {unknown('parameter', name, names)}")
    for p in known:
        if p.name in names and p.default is p.empty and p.name not in parameters:
            raise TopologyError(f"{path}: build: parameter {p.name!r} has no default and must be given")
