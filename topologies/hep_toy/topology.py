"""The net of figure 2 of Laborieux & Zenke, arXiv 2209.00530: 6 inputs, 4 and 4 neurons, 4 read-outs."""

import json
from pathlib import Path

import networkx as nx
import numpy as np

WEIGHTS = json.loads((Path(__file__).parent / "weights.json").read_text())


def build(delay: int = 1, longest: int | None = None, seed: int = 0) -> nx.DiGraph:
    """Return the net; with ``longest`` every directed edge draws its delay from ``delay`` to that."""
    generator = np.random.default_rng(seed)
    graph = nx.DiGraph()
    graph.add_nodes_from((f"x[{i}]" for i in range(6)), model="input", group="input")
    options = {"bias": 0.0, "update": "clock", "send_threshold": 1e-12}
    for layer in ("h1", "h2"):
        nodes = (f"{layer}[{i}]" for i in range(4))
        graph.add_nodes_from(nodes, model="instant", activation="steep_sigmoid", group=layer, **options)
    graph.add_nodes_from(
        (f"y[{i}]" for i in range(4)), model="readout", role="output", group="output", **options
    )
    for source, target, name in (("x", "h1", "W1"), ("h1", "h2", "W2"), ("h2", "y", "W3")):
        for (i, j), weight in np.ndenumerate(np.array(WEIGHTS[name])):
            ways = [(f"{source}[{i}]", f"{target}[{j}]")]
            ways += [] if source == "x" else [ways[0][::-1]]
            for u, v in ways:
                ticks = delay if longest is None else int(generator.integers(delay, longest + 1))
                graph.add_edge(u, v, weight=float(weight), delay=ticks)
    return graph
