"""A graph as a file lists it: every node once, every edge between nodes that are listed."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import networkx as nx

from hlsim.errors import TopologyError, shown

Node = tuple[Hashable, dict[str, Any]]
# Source, target, key and attributes; the key is None where an edge has none.
Edge = tuple[Hashable, Hashable, Hashable, dict[str, Any]]
_KINDS = {
    (False, False): nx.Graph,
    (True, False): nx.DiGraph,
    (False, True): nx.MultiGraph,
    (True, True): nx.MultiDiGraph,
}


@dataclass(frozen=True)
class Listing:
    """Nodes and edges in the order of a file.

    Attributes
    ----------
    directed, multigraph : bool
        What kind of graph it is; one that is no multigraph has no parallel edges.
    nodes, edges : lists
    about : dict
        Attributes of the graph.
    """

    directed: bool
    multigraph: bool
    nodes: list[Node]
    edges: list[Edge]
    about: dict[str, Any]

    def graph(self) -> nx.Graph:
        """Return the networkx graph.

        Raises
        ------
        TopologyError
            A node is listed twice, or an edge, or two with one key; or an edge ends at a node that is not
            listed. networkx would have the last one count, and make up the node.
        """
        made = _KINDS[self.directed, self.multigraph]()
        made.graph.update(self.about)
        for i, (node, data) in enumerate(self.nodes):
            if node is None:
                raise TopologyError(f"node {i}: must have a name, got none")
            if node in made:
                raise TopologyError(f"node {str(node)!r}: must be listed once, got it twice")
            made.add_nodes_from([(node, data)])
        # First those with keys: a number that networkx gives to one without could be the key of a later one.
        for source, target, key, data in sorted(self.edges, key=lambda edge: edge[2] is None):
            if source not in made or target not in made:
                end = target if source in made else source
                raise _refusal(source, target, f"must join nodes that are listed, got {str(end)!r}")
            if not self.multigraph and made.has_edge(source, target):
                rule = "must be listed once in a graph that is no multigraph"
                raise _refusal(source, target, f"{rule}, got it twice")
            if self.multigraph and key is not None and made.has_edge(source, target, key):
                rule = "keys of parallel edges must differ"
                raise _refusal(source, target, f"{rule}, got {shown(key)} twice")
            made.add_edges_from([(source, target, key, data) if self.multigraph else (source, target, data)])
        return made


def _refusal(source: Hashable, target: Hashable, what: str) -> TopologyError:
    return TopologyError(f"edge {str(source)!r} -> {str(target)!r}: {what}")
