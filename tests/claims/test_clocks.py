"""What a clocked neuron takes note of between its ticks, and when: learning, phi, targets, resets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hlsim.models.rules import Hamiltonian
from tests.support.graphs import Act, Case, run

UNTIL, DT, DECAY, WEIGHT, TAU = 30, 0.5, 0.1, 0.7, 4.0


@dataclass
class Controlled:
    """What the controls have said up to a tick."""

    input: float = 0.0
    target: float = 0.0
    phi: float = 1.0
    learn: bool = True
    reset: bool = False

    def obey(self, acts: Mapping[str, Any]) -> None:
        self.reset = False
        for name, value in acts.items():
            setattr(self, name, value)


@dataclass
class One:
    """One neuron with the identity and one synapse, as the documents have it, in a loop over all ticks."""

    leaky: bool
    sequential: bool
    period: int
    phase: int
    world: Controlled = field(default_factory=Controlled)
    h: float = 0.0
    z: float = 0.0
    q: float = 0.0
    s: float = 0.0
    f: float = 0.0
    g: float = 0.0
    omega: float = 0.0
    noted: bool = False
    updated: int = 0

    def strikes(self, tick: int) -> bool:
        return tick == 0 or (tick >= self.phase and (tick - self.phase) % self.period == 0)

    def learn(self, duration: float) -> None:
        self.omega += duration * (self.q * self.s + self.world.phi * DECAY * WEIGHT)

    def advance(self, duration: float) -> None:
        """Phase 0, before the controls of the tick: what they said before is in force."""
        if not self.sequential and self.noted:
            self.learn(duration)
        if not self.leaky:
            return
        h = self.h + duration * self.f
        if self.sequential:
            self.g = self.world.phi * (h - self.world.target)
        self.z, self.h = self.z + duration * (self.g - self.z / TAU), h
        if self.sequential:
            self.q = self.z / TAU
            if self.noted:
                self.learn(duration)

    def tick(self, tick: int, acts: Mapping[str, Any]) -> None:
        strikes = self.strikes(tick)
        due = strikes or acts.get("reset", False)
        if due:
            self.advance(DT * (tick - self.updated))
        self.world.obey(acts)
        if not due:
            return
        if self.world.reset:
            self.h = self.z = 0.0
        self.s = self.world.input
        a = WEIGHT * self.s
        if self.leaky:
            self.f = (a - self.h) / TAU
        else:
            self.h = a
        self.g = self.world.phi * (self.h - self.world.target)
        if not self.leaky:
            self.z = self.g
        self.q = self.z / TAU if self.leaky else self.z
        if self.sequential and not self.leaky and strikes and self.world.learn:
            self.learn(DT * self.period)
        self.noted, self.updated = self.world.learn, tick


@st.composite
def protocols(draw: st.DrawFn) -> dict[int, dict[str, Any]]:
    """Draw what the controls say at some ticks; a first input and target at tick 0."""
    value = st.integers(-4, 4).map(lambda n: n / 4)
    acts: dict[int, dict[str, Any]] = {0: {"input": draw(value), "target": draw(value)}}
    kinds = {"input": value, "target": value, "phi": value, "learn": st.booleans(), "reset": st.just(True)}
    for _ in range(draw(st.integers(1, 8))):
        name = draw(st.sampled_from(sorted(kinds)))
        acts.setdefault(draw(st.integers(0, UNTIL - 1)), {})[name] = draw(kinds[name])
    return dict(sorted(acts.items()))


def script(protocol: Mapping[int, Mapping[str, Any]]) -> tuple[Act, ...]:
    """Return a protocol in the words of the controls."""
    arguments = {
        "input": lambda x: (np.array([x]),),
        "target": lambda x: (np.array([x]),),
        "phi": lambda x: (x,),
        "learn": lambda x: (x,),
        "reset": lambda _: (),
    }
    return tuple((t, name, arguments[name](x)) for t, acts in protocol.items() for name, x in acts.items())


def expected(one: One, protocol: Mapping[int, Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return h, z and omega at every tick."""
    rows = []
    for tick in range(UNTIL):
        one.tick(tick, protocol.get(tick, {}))
        rows.append((one.h, one.z, one.omega))
    return np.array(rows)


@pytest.mark.parametrize("engine", ["batched", "reference"])
@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("leaky", [True, False])
@settings(max_examples=12)
@given(
    protocol=protocols(),
    clock=st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
)
def test_a_clocked_neuron_takes_note_at_its_ticks(
    engine: str, order: str, leaky: bool, protocol: dict[int, dict[str, Any]], clock: tuple[int, int]
) -> None:
    """Its step is learned, whole or not at all, by the switch of its last update; see docs/design.md."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input", update="clock")
    kind = {"model": "leaky", "tau": TAU} if leaky else {"model": "instant"}
    period, phase = clock
    ticks = {"update": "clock", "period": period, "phase": phase}
    graph.add_node("y", role="output", activation="identity", **ticks, **kind)
    graph.add_edge("x", "y", weight=WEIGHT)
    rule = Hamiltonian(beta=0.0, eta=0.0, order=order, weight_decay=DECAY)
    case = Case(graph, {"rule": rule, "loss": "squared_error", "dt": DT}, script(protocol))
    _, trace = run(case, UNTIL, engine=engine)
    right = expected(One(leaky, order == "sequential", period, phase), protocol)
    of = {"h": trace["sampled/h"][:, 1], "z": trace["sampled/z"][:, 1], "omega": trace["sampled/omega"][:, 0]}
    for column, (name, values) in enumerate(of.items()):
        np.testing.assert_allclose(values, right[:, column], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("engine", ["batched", "reference"])
@pytest.mark.parametrize(("first", "omega"), [(True, [0.0, 2.0, 4.0, 4.0]), (False, [0.0] * 4)])
def test_a_stage_without_learning_leaves_no_trace(engine: str, first: bool, omega: list[float]) -> None:
    """Period 4, q s = 1/2, learning switched at tick 6: the step of 4 to 8 is learned as 4 had it."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input", update="clock")
    clock = {"update": "clock", "period": 4, "activation": "identity"}
    graph.add_node("y", model="instant", role="output", **clock)
    graph.add_edge("x", "y", weight=0.5)
    rule = Hamiltonian(beta=0.01, eta=0.0)
    acts: list[Act] = [(0, "input", (np.ones(1),)), (0, "target", (np.zeros(1),)), (0, "learn", (first,))]
    case = Case(graph, {"rule": rule, "loss": "squared_error"}, (*acts, (6, "learn", (not first,))))
    _, trace = run(case, 12, engine=engine)
    assert trace["sampled/omega"][[0, 4, 8, 11], 0].tolist() == omega
