"""What it costs to be otherwise: neurons, links, rules and models beside the base case (K).

The base is 1 000 neurons with 100 synapses each, on a clock; stimuli and targets are drawn anew every 10
ticks, so that states move and everybody has something to say.
"""

import gc
from typing import Any

import networkx as nx

from hlsim.models.neurons import MODELS
from hlsim.simulation.faults import Faults, Links
from hlsim.simulation.noise import Noise
from workloads import own
from workloads.recording import entertained
from workloads.rows import Case, Pair, Running, beside, states, states_and_moves
from workloads.sparse import BETA, ETA, halves

N, DEGREE, TICKS = 1_000, 100, 60
# Ticks after which some have been heard by everybody.
BEGUN = 120


ARRIVAL: dict[str, Any] = {"update": "arrival"}
THRESHOLD = {"send_threshold": 1e-3, "costate_threshold": 1e-4}
INTERVAL = {"send_interval": 2}
# Slow enough that a step of two ticks is stable.
PERIOD = {"period": 2, "tau": 4.0}
LOSSY = Faults(loss=0.01)


def with_some(count: int, **node: Any) -> nx.DiGraph:
    """Return the base with so many neurons more, of which every other one hears a tenth."""
    graph = halves(N, DEGREE, update="clock", tau=1.0)
    graph.add_node("some", size=count, **({"update": "clock", "tau": 1.0} | node))
    synapse = {"connect": "random", "weight": {"normal": 0.05}, "delay": {"uniform": [1, 50]}}
    for name in ("driven", "told"):
        graph.add_edge(name, "some", in_degree=DEGREE // 2, **synapse)
        graph.add_edge("some", name, probability=0.1, **synapse)
    return graph


def running(graph: nx.DiGraph, look: Any = states_and_moves, **options: Any) -> Running:
    """Return a simulation that has begun."""
    side = Running(entertained(graph, 10, 1.0, 0.5, **options), look)
    side.run(BEGUN)
    return side


def pair(ours: Running, base: Running, alike: int = 0) -> Pair:
    """Return the two by time for a synapse; both come to the same, where that many ticks are given."""
    works = (side.sim.network.m for side in (ours, base))
    return Pair(ours, base, TICKS, *works, unit="ns a synapse", scale=1e9, alike=alike)


def some(count: int, node: dict[str, Any], options: dict[str, Any] | None = None) -> Pair:
    """Return a base with a few neurons that are otherwise, and one with as many that are not."""
    return pair(running(with_some(count, **node), **(options or {})), running(with_some(count)))


def everywhere(node: dict[str, Any], options: dict[str, Any] | None = None) -> Pair:
    """Return a base all of which is otherwise, and the base."""
    attributes = {"update": "clock", "tau": 1.0}
    graph = halves(N, DEGREE, **(attributes | node))
    return pair(running(graph, **(options or {})), running(halves(N, DEGREE, **attributes)))


def learning_off() -> Pair:
    """Return a base that has learned and learns no more, beside one that does."""
    graph = halves(N, DEGREE, update="clock", tau=1.0)
    ours = running(graph, states)
    ours.sim.controls.learn(False)
    return pair(ours, running(graph))


def own_rule() -> Pair:
    """Return the base under a rule that a user wrote, beside ours."""
    graph = halves(N, DEGREE, update="clock", tau=1.0)
    return pair(running(graph, rule=own.OwnRule(beta=BETA, eta=ETA)), running(graph), alike=TICKS)


def own_model() -> Pair:
    """Return the base of a model that a user wrote, beside ours."""
    # The line that a model needs in the table, which cannot be written to from outside.
    (table,) = (each for each in gc.get_referents(MODELS) if isinstance(each, dict))
    table.setdefault("own_leaky", own.OwnLeaky())
    ours, base = (halves(N, DEGREE, update="clock", tau=1.0, model=model) for model in ("own_leaky", "leaky"))
    return pair(running(ours), running(base), alike=TICKS)


FAULTY = {"faults": Faults(loss=0.01, links=Links(source=["some"]))}
_ONE, _FEW, _ALL = "one neuron of 1,001", "5 % of neurons", "everywhere"
K = (
    Case(f"{_ONE} on arrival", beside(some, 1, ARRIVAL), 1.2),
    Case(f"{_ONE} with thresholds", beside(some, 1, THRESHOLD), 1.2),
    Case(f"{_ONE} with links that lose", beside(some, 1, {}, FAULTY), 1.2),
    Case(f"{_FEW} on arrival", beside(some, 50, ARRIVAL), 1.5),
    Case(f"{_FEW} with thresholds", beside(some, 50, THRESHOLD), 1.5),
    Case(f"{_FEW} with period 2", beside(some, 50, PERIOD), 1.5),
    Case(f"{_FEW} with links that lose", beside(some, 50, {}, FAULTY), 1.5),
    Case(f"thresholds {_ALL}", beside(everywhere, THRESHOLD), 2.0),
    Case(f"intervals of 2 {_ALL}", beside(everywhere, INTERVAL), 2.0),
    Case(f"period 2 {_ALL}", beside(everywhere, PERIOD), 2.0),
    Case(f"links that lose {_ALL}", beside(everywhere, {}, {"faults": LOSSY}), 2.0),
    Case("learning off, against learning", beside(learning_off), 0.45),
    Case("a rule of one's own, against ours", beside(own_rule), 1.15),
    Case("a neuron model of one's own, against ours", beside(own_model), 1.15),
    Case("noise at every tick", beside(everywhere, {}, {"noise": Noise(std=0.01)}), 1.3),
)
