"""What tests of traces share: a small network, a recorder, and ticks whose numbers can be told again."""

import math
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from hlsim.topology.network import Network, flatten
from hlsim.trace import Recorder, Trace

NEURONAL, SYNAPTIC = ("h", "z", "a"), ("w", "omega")
SAMPLED = (*NEURONAL, "loss", *SYNAPTIC)


def network(n: int = 4, m: int = 6, seeds: int = 1) -> Network:
    """Node 0 is an input, the last one an output; m edges between random nodes, some with random feedback."""
    rng = np.random.default_rng(n + 100 * m)
    graph = nx.MultiDiGraph()
    graph.add_node("n[0]", model="input", role="input", group="in")
    for i in range(1, n):
        graph.add_node(f"n[{i}]", group="ab"[i % 2], tau=float(i))
    graph.nodes[f"n[{n - 1}]"]["role"] = "output"
    for k in range(m):
        source, target = rng.integers(n), rng.integers(1, n)
        feedback = "random" if source and k % 2 else "symmetric"
        graph.add_edge(f"n[{source}]", f"n[{target}]", delay=1, feedback=feedback)
    return flatten(graph, seeds=range(seeds))


NETWORK = network()


def recorder(path: Path | None, net: Network = NETWORK, **options: Any) -> Recorder:
    return Recorder(path, header={"dtype": "float64", **options.pop("header", {})}, network=net, **options)


def values(rec: Recorder, tick: int, net: Network = NETWORK, replicas: int = 1) -> dict[str, np.ndarray]:
    """What is due at a tick, with numbers that tell tick and place."""
    due = {name: shape(name, net, replicas) for name in rec.due(tick)}
    return {name: tick + np.arange(math.prod(size)).reshape(size) / 1024 for name, size in due.items()}


def shape(name: str, net: Network, replicas: int) -> tuple[int, ...]:
    """The shape in which a quantity is sampled."""
    if name in NEURONAL:
        return (replicas, net.n)
    return net.weight.shape if name in SYNAPTIC else (replicas,)


def record(rec: Recorder, start: int, stop: int) -> None:
    """Record ticks of everything there is, with numbers that tell the tick."""
    for tick in range(start, stop):
        rec.stimulus(tick, [[tick]], [[-tick]])
        rec.message(0, tick + 1, [0, 1], [tick, tick], tick)
        rec.update(tick, [1])
        if rec.due(tick):
            rec.sample(tick, values(rec, tick))
        rec.row(tick, "train", [1], [2], [tick])
        rec.log(tick / 10, tick, 2, 100)
        rec.now(tick)


def check_recorded(read: Trace, least: int) -> None:
    """Check that everything up to a tick is there, and that what is there is as ``record`` wrote it."""
    for name in SAMPLED:
        ticks, found = read.ticks(f"sampled/{name}"), read[f"sampled/{name}"]
        every = 3 if name in SYNAPTIC else 1
        np.testing.assert_array_equal(ticks, np.arange(0, every * len(ticks), every))
        assert len(ticks) * every >= least
        np.testing.assert_array_equal(found if name == "loss" else found[:, 0], ticks)
    for name in ("stimulus/input", "rows/loss", "log/in_flight"):
        assert len(read[name]) >= least
    np.testing.assert_array_equal(read["stimulus/target"][:, 0], -read["stimulus/tick"])
    np.testing.assert_array_equal(read["rows/loss"], read["rows/tick"])
    tick, kind, value = (read[f"events/{name}"] for name in ("tick", "kind", "value"))
    np.testing.assert_array_equal(tick[kind == 2], np.arange((kind == 2).sum()))
    np.testing.assert_array_equal(tick[kind == 0], 1 + np.arange((kind == 0).sum()) // 2)
    np.testing.assert_array_equal(value[kind == 0], tick[kind == 0] - 1)
    assert tick.size >= 3 * least - 2
