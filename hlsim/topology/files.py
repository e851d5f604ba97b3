"""Graphs in files: a Python function that builds one, node-link JSON, GraphML, what other programs write."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from hlsim import usercode
from hlsim.errors import TopologyError, plain, shown, unknown
from hlsim.textdata import read_json
from hlsim.topology import formats, graphml
from hlsim.topology.attributes import edge_attributes, node_attributes
from hlsim.topology.columns import Edges
from hlsim.topology.listing import Listing

FORMATS = (".py", ".json", ".graphml", *formats.READERS)
WRITTEN = (".json", ".graphml", ".gexf", ".gml")
# Attributes that may be more than a number; GraphML has only flat values and holds those as JSON text.
STRUCTURED = ("weight", "delay", "feedback_delay")
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNCHANGING = {bool, int, float, str, type(None)}


def load(path: str | Path, parameters: Mapping[str, Any] | None = None) -> nx.DiGraph:
    """Return the graph of a file.

    Parameters
    ----------
    path : str or Path
        A ``.py`` file with a function ``build(**parameters)`` that returns a networkx graph, or a graph as
        node-link ``.json``, ``.graphml``, ``.gexf``, ``.gml``, Pajek ``.net``, or its edges as ``.edgelist``
        or ``.csv``. In GraphML, arrays and distributions are JSON text.
        What could be read in two ways is refused, see ``hlsim.topology.listing``.
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
    if not _is_file(path):
        raise TopologyError(f"{path}: no such file")
    if path.suffix == ".py":
        return _built(path, parameters)
    if parameters:
        raise TopologyError(
            f"{path}: a graph file takes no parameters, got {', '.join(map(str, parameters))}"
        )
    try:
        return _readers()[path.suffix](path)
    except OSError as error:
        raise TopologyError(f"{path}: cannot read: {error.strerror or error}") from None
    except TopologyError as error:
        raise TopologyError(f"{path}: {error}") from None


def _readers() -> Mapping[str, Callable[[Path], nx.Graph]]:
    others = dict.fromkeys(formats.READERS, lambda path: _of_text(formats.read(path)))
    return {".json": _from_json, ".graphml": _from_graphml, **others}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file can have such a name
        return False


def save(graph: nx.DiGraph, path: str | Path) -> None:
    """Write a graph as node-link ``.json``, ``.graphml``, ``.gexf`` or ``.gml``, for ``load``.

    Raises
    ------
    TopologyError
        For another suffix, or a value that the format cannot hold.
    """
    path = Path(path)
    if path.suffix == ".json":
        path.write_text(to_json(graph), encoding="utf-8")
    elif path.suffix in WRITTEN:
        write = {".graphml": nx.write_graphml, ".gexf": nx.write_gexf, ".gml": nx.write_gml}[path.suffix]
        try:
            write(_of_one_type(_flat(graph)), path)
        except (nx.NetworkXError, TypeError, ValueError) as error:
            raise TopologyError(f"{path}: {error}") from None
    else:
        raise TopologyError(f"{path}: {unknown('kind of graph file', path.suffix, WRITTEN)}")


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
    """Return arrays and their numbers as JSON has them; anything else, which is no attribute, as text."""
    number = plain(value)
    if number is not value:
        return number
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _flat(graph: nx.DiGraph) -> nx.DiGraph:
    def flat(value: Any) -> Any:
        if isinstance(value, Mapping | list | tuple | np.ndarray):
            return json.dumps(plain(value), default=_plain)
        return plain(value)

    copy = type(graph)()
    copy.add_nodes_from(
        (node, {k: flat(v) for k, v in data.items()}) for node, data in graph.nodes(data=True)
    )
    keys = {"keys": True} if graph.is_multigraph() else {}
    copy.add_edges_from(
        (*ends, {k: flat(v) for k, v in data.items()}) for *ends, data in graph.edges(data=True, **keys)
    )
    for *names, data in (*copy.nodes(data=True), *copy.edges(data=True, **keys)):
        _check_characters(*names, *data.values())
    return copy


def _of_one_type(graph: nx.DiGraph) -> nx.DiGraph:
    """Make numbers of an attribute that is whole here and not there all real: a type is told once."""
    for elements in (graph.nodes(data=True), graph.edges(data=True)):
        real = {name for *_, data in elements for name, value in data.items() if type(value) is float}
        for *_, data in elements:
            data.update({name: float(data[name]) for name in real & data.keys() if type(data[name]) is int})
    return graph


def _check_characters(*values: Any) -> None:
    """Refuse text that XML cannot hold, or of which it makes another (a carriage return)."""
    for text in filter(_NOT_IN_XML.search, map(str, values)):
        raise TypeError(f"XML cannot hold the characters of {shown(text)}")


def _from_json(path: Path) -> nx.Graph:
    try:
        data = read_json(path.read_text(encoding="utf-8"), _once)
    except TopologyError:
        raise
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TopologyError(f"not JSON: {error}") from None
    except ValueError as error:
        raise TopologyError(f"not a node-link graph: {error}") from None
    return _listed(data).graph()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; JSON itself has the last of two equal keys count."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise TopologyError(f"key {twice!r}: must stand once in an object, got it twice in {shown(made)}")
    return made


def _listed(data: Any) -> Listing:
    """Return what node-link JSON lists; networkx takes a word for true, and a missing id for a number."""
    edges = "edges" if isinstance(data, dict) and "edges" in data else "links"
    if not isinstance(data, dict) or not all(isinstance(data.get(k), list) for k in ("nodes", edges)):
        raise TopologyError("node-link JSON needs the lists 'nodes' and 'edges' (or 'links')")
    given: dict[str, Any] = {"directed": False, "multigraph": True, "graph": {}} | data
    kinds = {"directed": bool, "multigraph": bool, "graph": dict, "nodes": list, edges: list}
    for name, value in given.items():
        if name not in kinds:
            raise TopologyError(f"not a node-link graph: {unknown('key', name, kinds)}")
        if not isinstance(value, kinds[name]):
            rule = "an object" if kinds[name] is dict else "true or false"
            raise TopologyError(f"not a node-link graph: {name!r} must be {rule}, got {shown(value)}")
    nodes = [(node, rest) for node, *_, rest in _parts("node", given["nodes"], ("id",))]
    ends = ("source", "target", "key") if given["multigraph"] else ("source", "target")
    listed = [
        (source, target, key[0] if key else None, rest)
        for source, target, *key, rest in _parts("edge", given[edges], ends)
    ]
    return Listing(given["directed"], given["multigraph"], nodes, listed, given["graph"])


def _parts(what: str, elements: list[Any], names: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield what stands under some names, of which only a key may be missing, and the rest, by element."""
    for i, element in enumerate(elements):
        if not isinstance(element, dict):
            raise TopologyError(f"not a node-link graph: {what} {i} must be an object, got {shown(element)}")
        for name in names:
            if name not in element and name != "key":
                raise TopologyError(f"not a node-link graph: {what} {i} needs {name!r}, got {shown(element)}")
        rest = {name: value for name, value in element.items() if name not in names}
        values = [element.get(name) for name in names]
        if not {list, dict}.isdisjoint(map(type, values)):
            values = [_name(f"{what} {i}: {name!r}", element.get(name)) for name in names]
        yield *values, rest


def _name(where: str, value: Any) -> Any:
    """Return the name of a node or edge; a list stands for a tuple, which JSON has not."""
    if isinstance(value, dict):
        raise TopologyError(
            f"not a node-link graph: {where} must be a string or a number, got {shown(value)}"
        )
    return tuple(_name(where, part) for part in value) if isinstance(value, list) else value


def _from_graphml(path: Path) -> nx.Graph:
    return _of_text(graphml.read(path).graph())


def _of_text(graph: nx.Graph) -> nx.Graph:
    """Return a graph with what is JSON text in its attributes as it was."""
    for known, elements in (
        (node_attributes(), graph.nodes(data=True)),
        (edge_attributes(), graph.edges(data=True)),
    ):
        for *_, data in elements:
            structured = [name for name, value in data.items() if _is_structured(name, value, known)]
            data.update({name: _from_text(data[name]) for name in structured})
    return graph


def _is_structured(name: str, value: Any, known: Mapping[str, Any]) -> bool:
    """Tell whether a value may be JSON text: of ours by name, of others by its looks."""
    if name in known:
        return name in STRUCTURED
    return isinstance(value, str) and value.startswith(("[", "{"))


def _from_text(value: Any) -> Any:
    try:
        return read_json(value, _once) if isinstance(value, str) else value
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
