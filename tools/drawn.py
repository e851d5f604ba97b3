"""Experiments drawn at random, over all that one can set: graphs, models, rules, stages, faults, numbers.

What must be in every set (rules, kinds of update and of graph) takes turns, all else is drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import tomli_w

from hlsim.topology import save

# Rule and order; those that differ in how ticks are computed more often.
RULES = (
    ("hamiltonian", "explicit"),
    ("equilibrium", ""),
    ("hamiltonian", "sequential"),
    ("holomorphic_equilibrium", ""),
    ("hamiltonian", "explicit"),
    ("continual_equilibrium", ""),
    ("hamiltonian", "explicit"),
    ("oscillating_equilibrium", ""),
)
GRAPHS = ("layered", "random", "recurrent", "ring", "populations")
# "synchronous": every neuron at every tick.
UPDATES = ("arrival", "synchronous", "clock", "mixed")
REPLICAS = ("one", "batch", "ensemble")
ACTIVATIONS = ("tanh", "sigmoid", "relu", "softplus", "identity", "steep_sigmoid")
HOLOMORPHIC = ("tanh", "sigmoid", "identity", "steep_sigmoid")
SIZES = {"layered": (2, 4), "random": (4, 9), "recurrent": (3, 6), "ring": (4, 8), "populations": (2, 3)}


@dataclass(frozen=True)
class Drawn:
    """An experiment in a folder, and what it is about: values by aspect."""

    folder: Path
    about: dict[str, str]


class Draw:
    """Draws one experiment; the same for the same seed and number."""

    def __init__(self, seed: int, number: int) -> None:
        self._g = np.random.default_rng([seed, number])
        self.rule, self.order = RULES[number % len(RULES)]
        self.phases = self.rule != "hamiltonian"
        self.kind = GRAPHS[number % len(GRAPHS)]
        self.update = UPDATES[(number + number // len(RULES)) % len(UPDATES)]
        if self.order == "sequential" and self.update in ("arrival", "mixed"):
            self.update = "clock"
        # Replicas that share their synapses need neurons that all send at every tick.
        shares = (0.5, 0.3, 0.2) if self.update == "synchronous" else (0.7, 0.0, 0.3)
        self.replicas = str(self._g.choice(REPLICAS, p=shares))
        self.noisy = self._one(0.25)
        self.faulty = self.replicas != "batch" and self._one(0.25)
        self.undirected = self.phases and self._one(0.5)
        self.dt = float(self._g.choice((1.0, 0.5)))
        self.eta = float(self._g.choice((0.3, 0.1)))

    def _one(self, probability: float) -> bool:
        return bool(self._g.random() < probability)

    def _int(self, low: int, high: int) -> int:
        return int(self._g.integers(low, high + 1))

    def _pick(self, *values: Any) -> Any:
        return values[self._int(0, len(values) - 1)]

    # ---- the graph

    def graph(self) -> nx.Graph:
        """Return inputs, neurons and outputs; zero delays only where they make no cycle."""
        graph: nx.Graph = nx.Graph() if self.undirected else nx.DiGraph()
        inputs, outputs = self._int(1, 3), self._int(1, 3)
        layers = [
            inputs,
            *(self._int(*SIZES[self.kind]) for _ in range(1 + (self.kind == "layered"))),
            outputs,
        ]
        names = [[f"n{i}_{j}" for j in range(size)] for i, size in enumerate(layers)]
        for i, layer in enumerate(names):
            for name in layer:
                graph.add_node(name, **self._node(i, len(layers) - 1))
        hidden = [name for layer in names[1:-1] for name in layer]
        place = {name: i for i, name in enumerate(graph)}
        for source, target in dict.fromkeys(self._ends(names, hidden)):
            if (source == target and self.phases) or graph.has_edge(source, target):
                continue
            if self.phases and graph.has_edge(target, source):
                continue
            graph.add_edge(
                source, target, **self._edge(graph, source, target, place[source] >= place[target])
            )
        return graph

    def _ends(self, names: list[list[str]], hidden: list[str]) -> Iterator[tuple[str, str]]:
        for before, after in pairwise(names):
            yield from ((u, v) for v in after for u in before)
        n = len(hidden)
        if self.kind == "ring":
            yield from ((hidden[i], hidden[(i + 1) % n]) for i in range(n))
        elif self.kind == "random":
            yield from ((hidden[self._int(0, n - 1)], v) for v in hidden for _ in range(2))
        elif self.kind == "recurrent":
            yield from ((u, v) for v in hidden for u in hidden if self._one(0.6))

    def _node(self, layer: int, last: int) -> dict[str, Any]:
        node: dict[str, Any] = {"group": self._pick("left", "right")}
        if self.kind == "populations":
            node["size"] = self._int(2, 4)
        if layer == 0:
            return node | {"model": "input"}
        node["model"] = self._pick("leaky", "instant")
        if layer == last:
            node["role"] = "output"
            node["model"] = self._pick("leaky", "instant", "readout") if self.phases else node["model"]
        if node["model"] != "readout":
            holomorphic = self.rule.startswith("holo") or self.rule.startswith("osc")
            node["activation"] = self._pick(*(HOLOMORPHIC if holomorphic else ACTIVATIONS))
        if self._one(0.5):
            node["bias"] = float(self._g.normal() * 0.2)
        return node | self._timing(node["model"])

    def _timing(self, model: str) -> dict[str, Any]:
        clocked = self.update in ("synchronous", "clock") or (self.update == "mixed" and self._one(0.5))
        node: dict[str, Any] = {"update": "clock" if clocked else "arrival"}
        period = 1
        if clocked and self.update != "synchronous":
            period = node["period"] = self._int(1, 3)
            node["phase"] = self._int(0, period - 1)
        if not clocked:
            node["refresh"] = self._int(3, 20)
        if model == "leaky":
            node["tau"] = float(self._g.uniform(1.0, 4.0)) * period * self.dt
        if self.update != "synchronous":
            least = 0.0 if clocked and not self.phases else 1e-3
            node["send_threshold"] = self._pick(least, 3e-3)
            node["costate_threshold"] = self._pick(least, 3e-3)
            node["send_interval"] = self._pick(1, 1, 2, 3)
        return node

    def _edge(self, graph: nx.Graph, source: str, target: str, back: bool) -> dict[str, Any]:
        ends = graph.nodes[source], graph.nodes[target]
        fan = max(2, graph.degree(target)) * ends[0].get("size", 1)
        std = float(0.7 / np.sqrt(fan))
        still = self.phases or all(end["model"] == "instant" for end in ends)
        least = 1 if still and (back or self.phases) else 0
        edge: dict[str, Any] = {
            "weight": self._pick(float(self._g.normal() * std), {"normal": std}, {"uniform": [-std, std]}),
            "delay": self._ticks(least),
        }
        if self.phases:
            if not self.undirected and ends[0]["model"] != "input":
                edge["symmetric"] = True
            return edge
        edge["feedback"] = self._pick("symmetric", "symmetric", "random", "none")
        if self._one(0.4):
            edge["feedback_delay"] = self._ticks(least)
        if self._one(0.2):
            edge |= self._pick({"plastic": False}, {"beta": 0.001})
        if self.kind == "populations" and self._one(0.5):
            edge |= {"connect": "random", **self._pick({"in_degree": 1}, {"probability": 0.6})}
        return edge

    def _ticks(self, least: int) -> Any:
        return self._pick(
            self._int(least, 4), self._int(least, 4), {"uniform": [least, self._int(least + 1, 5)]}
        )

    # ---- the tables

    def tables(self, graph: nx.Graph) -> dict[str, Any]:
        """Return the tables of the experiment."""
        tables: dict[str, Any] = {
            "network": {"topology": "graph.json"},
            "simulation": self._simulation(),
            "learning": self._learning(),
            "stimulus": self._stimulus(graph),
            "loss": {"kind": self._loss()},
            "record": {"every": {"default": self._int(1, 3), "w": 4}, "events": ["message", "update"]},
            "stage": self._stages(),
        }
        if self.noisy:
            tables["noise"] = {"std": 0.03, "shared": self._one(0.3), "every": self._int(1, 4)}
        if self.faulty:
            tables["faults"] = self._faults()
        return tables

    def _simulation(self) -> dict[str, Any]:
        table = {"dt": self.dt, "seed": self._int(0, 1000), "dtype": self._pick("float32", "float64")}
        return table if self.replicas == "one" else table | {self.replicas: self._int(2, 3)}

    def _learning(self) -> dict[str, Any]:
        table: dict[str, Any] = {"rule": self.rule, "beta": self._pick(0.005, 0.02), "reset": self._one(0.3)}
        if not self.phases:
            table |= {"eta": self.eta, "order": self.order, "phi": self._phi()}
            if self.update in ("synchronous", "clock") and self._one(0.3):
                table["weight_decay"] = 0.05
            return table
        table["nudge"] = self._pick(0.2, 0.5)
        if self.rule == "oscillating_equilibrium":
            own = {"steps": self._int(3, 6), "discard": self._int(0, 1), "periods": 1, "lag": self._int(0, 2)}
            return table | own
        table["ends"] = (
            "dwell" if self.noisy or self.replicas == "batch" else self._pick("dwell", "quiescence")
        )
        if self._one(0.5):
            table["dwell"] = self._int(2, 8)
        if self.rule == "equilibrium":
            table["symmetric"] = self._one(0.5)
        elif self.rule == "holomorphic_equilibrium":
            table["points"] = self._int(1, 4)
        else:
            table["beta"] /= 10  # synapses that move while the loss pulls run away sooner
        return table

    def _phi(self) -> Any:
        gate = {"gate": self._int(0, 3), "value": self._pick(0.5, 1.0)}
        schedule = {"schedule": [[0, 0.0], [self._int(1, 10), 1.0], [self._int(20, 40), 0.5]]}
        return self._pick(1.0, 0.7, gate, schedule)

    def _loss(self) -> str:
        return self._pick("squared_error", "cross_entropy", *[] if self.phases else ["none"])

    def _stimulus(self, graph: nx.Graph) -> dict[str, Any]:
        nodes = [data for _, data in graph.nodes(data=True)]
        wide = [sum(d.get("size", 1) for d in nodes if mine(d)) for mine in (_is_input, _is_output)]
        rows = 8
        return {
            "source": "arrays",
            "hold": self._int(4, 9) if self.phases else self._int(1, 6),
            "input": self._g.normal(size=(rows, wide[0])).round(3).tolist(),
            "target": self._g.dirichlet(np.ones(wide[1]), rows).round(3).tolist(),
            "label": self._g.integers(wide[1], size=rows).tolist(),
            "splits": {"train": [*range(5)], "test": [5, 6, 7]},
        }

    def _stages(self) -> list[dict[str, Any]]:
        train: dict[str, Any] = {"name": "train", "shuffle": self._one(0.5), "passes": self._int(1, 3)}
        if self._one(0.3):
            train |= {"rows": self._int(4, 9)}
        if not self.phases and self._one(0.3):
            train["phi"] = self._phi()
        frozen: dict[str, Any] = {"name": "frozen", "split": "test", "learn": False, "noise": self._one(0.5)}
        if self._one(0.3):
            frozen["hold"] = self._int(3, 8)
        again = {"name": "again", "rows": 3}
        return [train, frozen, again][: self._int(1, 3)]

    def _faults(self) -> dict[str, Any]:
        table: dict[str, Any] = self._pick(
            {"loss": 0.1},
            {"jitter": 2},
            {"failing": 0.02, "downtime": 5.0},
            {"loss": 0.05, "across_groups": True},
        )
        if self._one(0.5):
            change = self._pick({"down": True}, {"delay": 5}, {"loss": 0.5}, {"jitter": 3})
            table["change"] = [{"tick": self._int(2, 20), **change}]
        if self._one(0.3):
            table["messages"] = ["state"]
        return table


def _is_input(data: dict[str, Any]) -> bool:
    return data.get("model") == "input"


def _is_output(data: dict[str, Any]) -> bool:
    return data.get("role") == "output"


def write(folder: Path, seed: int, number: int) -> Drawn:
    """Draw an experiment and write it into a new folder."""
    draw = Draw(seed, number)
    graph = draw.graph()
    tables = draw.tables(graph)
    folder.mkdir()
    save(graph, folder / "graph.json")
    (folder / "experiment.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    return Drawn(folder, _about(draw, graph, tables))


def _about(draw: Draw, graph: nx.Graph, tables: dict[str, Any]) -> dict[str, str]:
    nodes, edges = ([d for *_, d in x] for x in (graph.nodes(data=True), graph.edges(data=True)))
    phi = tables["learning"].get("phi")
    return {
        "rule": f"{draw.rule} {draw.order}".strip(),
        "graph": f"{draw.kind}{', undirected' * draw.undirected}",
        "update": draw.update,
        "replicas": draw.replicas,
        "dtype": tables["simulation"]["dtype"],
        "loss": tables["loss"]["kind"],
        "phi": next(iter(phi)) if isinstance(phi, dict) else "number" if phi else "-",
        "stages": str(len(tables["stage"])),
        "reset": str(tables["learning"]["reset"]),
        "noise": str(draw.noisy),
        "faults": str(draw.faulty),
        "models": ", ".join(sorted({d["model"] for d in nodes} - {"input"})),
        "random feedback": str(any(d.get("feedback") == "random" for d in edges)),
        "feedback delays": str(any("feedback_delay" in d for d in edges)),
        "send intervals": str(any(d.get("send_interval", 1) > 1 for d in nodes)),
        "ends": tables["learning"].get("ends", "-"),
    }
