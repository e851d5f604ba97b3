"""GraphML as networkx, Gephi and yEd write it.

What the format has and a network has not is refused: hyperedges, ports, graphs within nodes, locators.
networkx passes over most of that, so it is not read by networkx.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError
from xml.parsers import expat

from hlsim.errors import TopologyError, shown, unknown
from hlsim.topology.listing import Edge, Listing, Node

_NAMESPACE = "{http://graphml.graphdrawing.org/xmlns}"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_DIRECTED = {"directed": True, "undirected": False}
_WHOLE = re.compile("0|[1-9][0-9]{0,17}")
# Elements that may stand in an element.
_WITHIN = {
    "graphml": {"desc", "key", "data", "graph"},
    "graph": {"desc", "data", "node", "edge"},
    "node": {"desc", "data"},
    "edge": {"desc", "data"},
}


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ValueError
    return _TRUTH[text.lower()]


_TYPES: Mapping[str, Callable[[str], Any]] = {
    "boolean": _truth,
    **dict.fromkeys(("int", "integer", "long"), int),
    **dict.fromkeys(("float", "double"), float),
    "string": str,
}


@dataclass(frozen=True)
class _Key:
    """A declared attribute: its name, type, the kinds of element a default is for, and the default, if any.

    The name is None for what yEd draws, which is no attribute.
    """

    name: str | None
    type: str
    scope: str
    default: Element | None

    def value(self, where: str, data: Element) -> Any:
        """Return what a data element, or a default, says."""
        text = data.text or ""
        if len(data):
            raise TopologyError(f"{where}: {self.name} must be text, got element {_tag(data[0])!r}")
        try:
            return _TYPES[self.type](text)
        except ValueError:
            rule = f"must be of type {self.type}, as its key says"
            raise TopologyError(f"{where}: {self.name} {rule}, got {shown(text)}") from None


def read(path: Path) -> Listing:
    """Return the graph of a file; edges have keys, their ids, where they are parallel.

    Raises
    ------
    TopologyError
        It is no GraphML, or says what a network cannot be.
    """
    refuse_entities(path, "GraphML")
    try:
        root = ElementTree.parse(path).getroot()
    except (ParseError, LookupError, ValueError) as error:
        raise TopologyError(f"not GraphML: {error}") from None
    if _tag(root) != "graphml":
        raise TopologyError(f"not GraphML: needs an element 'graphml', got {_tag(root)!r}")
    parts = _children(root, "graphml")
    if len(parts["graph"]) != 1:
        raise TopologyError(f"not GraphML: needs one graph, got {len(parts['graph'])}")
    keys = _keys(parts["key"])
    graph = parts["graph"][0]
    directed = _DIRECTED.get(graph.get("edgedefault", ""))
    if directed is None:
        known = " or ".join(map(repr, _DIRECTED))
        raise TopologyError(f"graph: edgedefault must be {known}, got {graph.get('edgedefault')!r}")
    within = _children(graph, "graph")
    nodes = [_node(element, keys) for element in within["node"]]
    edges = [_edge(i, element, keys, directed) for i, element in enumerate(within["edge"], 1)]
    parallel = Counter(_ends(edge, directed) for edge in edges)
    multigraph = any(count > 1 for count in parallel.values())
    return Listing(directed, multigraph, nodes, edges, _data("graph", graph, "graph", keys))


class _PrologOverError(Exception):
    """The first element: entities are defined before it."""


def refuse_entities(path: Path, kind: str) -> None:
    """Refuse names for text in XML: one may stand for others without end, or for a file."""

    def begins(*_: object) -> None:
        raise _PrologOverError

    defined: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = begins
    parser.EntityDeclHandler = lambda name, *_: defined.append(name)
    with path.open("rb") as file, suppress(_PrologOverError, expat.ExpatError, LookupError, ValueError):
        parser.ParseFile(file)
    if defined:
        raise TopologyError(f"not {kind}: must define no entities, got {shown(defined[0])}")


def _ends(edge: Edge, directed: bool) -> object:
    return edge[:2] if directed else frozenset(edge[:2])


def _tag(element: Element) -> str:
    return element.tag.removeprefix(_NAMESPACE)


def _children(element: Element, where: str) -> dict[str, list[Element]]:
    """Return the children by tag; refuse those without a meaning."""
    known = _WITHIN[_tag(element)]
    found: dict[str, list[Element]] = {tag: [] for tag in known}
    for child in element:
        if _tag(child) not in known:
            raise TopologyError(f"{where}: {unknown('element', _tag(child), known)}")
        found[_tag(child)].append(child)
    return found


def _keys(elements: list[Element]) -> dict[str, _Key]:
    keys: dict[str, _Key] = {}
    for element in elements:
        name, drawn = element.get("id"), element.get("yfiles.type")
        if name is None or name in keys:
            raise TopologyError(f"key {name!r}: must have an id of its own")
        kind = element.get("attr.type", "string")
        if drawn is None and kind not in _TYPES:
            raise TopologyError(f"key {name!r}: {unknown('type', kind, _TYPES)}")
        if drawn is None and element.get("attr.name") is None:
            raise TopologyError(f"key {name!r}: must have an attr.name")
        default = next((child for child in element if _tag(child) == "default"), None)
        attribute = element.get("attr.name") if drawn is None else None
        keys[name] = _Key(attribute, kind, element.get("for", "all"), default)
    return keys


def _data(where: str, element: Element, scope: str, keys: Mapping[str, _Key]) -> dict[str, Any]:
    """Return the attributes of an element, those by default too."""
    found: dict[str, Any] = {}
    for key, data in _given(where, element, keys):
        if key.name in found:
            raise TopologyError(f"{where}: {key.name} must be given once, got it twice")
        found[str(key.name)] = key.value(where, data)
    for key in keys.values():
        if key.name is not None and key.default is not None and key.scope in (scope, "all"):
            found.setdefault(key.name, key.value(f"default of {where}", key.default))
    return found


def _given(where: str, element: Element, keys: Mapping[str, _Key]) -> Iterator[tuple[_Key, Element]]:
    for data in _children(element, where)["data"]:
        name = data.get("key")
        key = keys.get(name or "")
        if key is None:
            raise TopologyError(f"{where}: {unknown('key', name, keys)}")
        if key.name is not None:
            yield key, data


def _node(element: Element, keys: Mapping[str, _Key]) -> Node:
    name = element.get("id")
    where = f"node {name!r}"
    return name, _data(where, element, "node", keys)


def _edge(number: int, element: Element, keys: Mapping[str, _Key], directed: bool) -> Edge:
    ends = element.get("source"), element.get("target")
    where = f"edge {number}, {ends[0]!r} -> {ends[1]!r}"
    if None in ends:
        raise TopologyError(f"{where}: must have a source and a target")
    for port in ("sourceport", "targetport"):
        if port in element.attrib:
            raise TopologyError(f"{where}: a network has no ports, got {port} = {element.get(port)!r}")
    own = element.get("directed")
    if own is not None and _TRUTH.get(own) is not directed:
        rule = f"must be {str(directed).lower()} as the edgedefault says"
        raise TopologyError(f"{where}: directed {rule}, got {own!r}")
    return *ends, _id(element.get("id")), _data(where, element, "edge", keys)


def _id(text: str | None) -> str | int | None:
    """Return the key that an id stands for: networkx writes numbers as any other."""
    return int(text) if text is not None and _WHOLE.fullmatch(text) else text
