"""A small network of layers, and the trace of what it learned."""

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np

from hlsim import Simulation, topology
from hlsim.models.rules import Rule
from hlsim.stimulus import Arrays
from hlsim.trace.reader import Trace
from tests.support.theory import CLOCK


def layers(**attributes: Any) -> nx.DiGraph:
    return topology.layered([4, 6, 5, 3], seed=1, bias=0.1, **attributes)


def learned(
    graph: nx.Graph,
    rule: Rule,
    rows: int = 12,
    hold: int = 1,
    every: int | Mapping[str, int] = 1,
    **options: Any,
) -> Trace:
    generator = np.random.default_rng(2)
    stream = Arrays(generator.normal(size=(rows, 4)), generator.normal(size=(rows, 3)) / 2)
    sim = Simulation(
        graph, rule=rule, stimulus=stream, hold=hold, dtype="float64", node_defaults=CLOCK, **options
    )
    return sim.run(every=every)
