"""Whom changes make due: against what has changed, looked at one neuron after the other."""

from typing import Any

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hlsim.engine.circuit.concern import Concern
from hlsim.engine.controls import Changes
from hlsim.models.rules.rule import Phase
from hlsim.topology.network import Network, flatten

REPLICAS = 2


def network() -> Network:
    graph = nx.DiGraph()
    graph.add_node("given", model="input", size=2)
    graph.add_node("waits", role="input", update="arrival")
    graph.add_node("ticks", role="input", update="clock", period=2, tau=5.0)
    graph.add_node("told", role="output", update="arrival", size=2)
    graph.add_node("told clocked", role="output", update="clock")
    for name in ("waits", "ticks", "told", "told clocked"):
        graph.add_edge("given", name, weight=0.1)
    return flatten(graph)


NETWORK = network()
INPUTS, OUTPUTS = len(NETWORK.inputs), len(NETWORK.outputs)
# Few values, so that what is asked for often is what there was.
VALUES = st.sampled_from((0.0, 0.5, 0.5 + 1e-12))


def rows(columns: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(VALUES, min_size=REPLICAS * columns, max_size=REPLICAS * columns).map(
        lambda values: np.array(values).reshape(REPLICAS, columns)
    )


def maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


CHANGES = st.builds(
    Changes,
    reset=st.booleans(),
    input=maybe(rows(INPUTS)),
    target=maybe(rows(OUTPUTS)),
    no_target=st.booleans(),
    phi=maybe(st.sampled_from((0.0, 1.0))),
    learn=maybe(st.booleans()),
    nudge=maybe(st.sampled_from((0.0, 0.1j))),
    mark=maybe(st.just(Phase())),
    noise=maybe(rows(NETWORK.n)),
)


@given(st.lists(CHANGES, min_size=1, max_size=6), st.sampled_from((np.float32, np.float64)))
def test_whoever_something_happens_to_is_due(asked: list[Changes], real: Any) -> None:
    nobody = np.zeros(NETWORK.n, bool)
    concern = Concern(NETWORK, REPLICAS, nobody, real)
    now: dict[str, Any] = {"input": np.zeros((REPLICAS, INPUTS), real), "target": None}
    now |= {"phi": 0.0, "nudge": 0.0, "learn": True}
    arrival = ~NETWORK.clock & ~NETWORK.is_input
    for tick, changes in enumerate(asked):
        due = set()
        for replica in range(REPLICAS):
            for node in range(NETWORK.n):
                hit = tick == 0 or changes.reset or changes.mark is not None
                hit |= arrival[node] and changes.noise is not None
                hit |= arrival[node] and changes.learn not in (None, now["learn"])
                for column in np.flatnonzero(NETWORK.inputs == node):
                    waits = arrival[node] or NETWORK.is_input[node]
                    new = changes.input is not None and real(changes.input[replica, column])
                    hit |= waits and changes.input is not None and new != now["input"][replica, column]
                for column in np.flatnonzero(NETWORK.outputs == node):
                    other = changes.phi not in (None, now["phi"]) or changes.nudge not in (None, now["nudge"])
                    other |= changes.no_target and now["target"] is not None
                    if changes.target is not None:
                        before = now["target"]
                        new = real(changes.target[replica, column])
                        other |= before is None or new != before[replica, column]
                    hit |= arrival[node] and other
                due |= {replica * NETWORK.n + node} if hit else set()
        assert concern.due(changes, tick).tolist() == sorted(due)
        for name in ("phi", "nudge", "learn"):
            value = getattr(changes, name)
            now[name] = now[name] if value is None else value
        now["input"] = now["input"] if changes.input is None else changes.input.astype(real)
        now["target"] = now["target"] if changes.target is None else changes.target.astype(real)
        now["target"] = None if changes.no_target else now["target"]


def test_who_is_due_anyway_is_not_told() -> None:
    concern = Concern(NETWORK, 1, np.asarray(NETWORK.clock & ~NETWORK.is_input), np.float64)
    due = concern.due(Changes(reset=True), 3)
    assert set(due.tolist()) == set(np.flatnonzero(~NETWORK.clock | NETWORK.is_input).tolist())
