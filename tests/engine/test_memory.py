"""What is foreseen of memory is what the arrays of a run take, whatever carries its messages."""

import types
from collections import deque
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import Simulation
from hlsim.engine.memory import memory
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays

WAYS: dict[str, dict[str, Any]] = {
    "every tick": {"update": "clock"},
    "clock with thresholds": {"update": "clock", "send_threshold": 1e-6, "costate_threshold": 1e-6},
    "arrival": {"update": "arrival", "tau": 10.0, "send_threshold": 1e-4, "costate_threshold": 1e-4},
}
TICKS = 20


def held(*roots: object) -> int:
    """Return the bytes of all tensors and arrays that can be reached, each memory counted once."""
    seen: set[int] = set()
    memories: dict[int, int] = {}
    stack = list(roots)
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, torch.Tensor):
            memories[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        elif isinstance(x, np.ndarray):
            if isinstance(x.base, np.ndarray | torch.Tensor):
                stack.append(x.base)
            else:
                memories[x.ctypes.data] = x.nbytes
        elif isinstance(x, dict):
            stack += x.values()
        elif isinstance(x, list | tuple | set | deque):
            stack += x
        elif isinstance(x, types.MethodType):
            stack.append(x.__self__)
        elif type(x).__module__.startswith("hlsim"):
            stack += vars(x).values() if hasattr(x, "__dict__") else ()
    return sum(memories.values())


def build(way: str, size: int, degree: int | None, delay: int, replicas: int, **options: Any) -> Simulation:
    """Return a network that hears itself, by a matrix (degree None) or at random, with delays up to one."""
    graph = nx.DiGraph()
    graph.add_node("x", model="input", size=4, update="clock")
    graph.add_node("a", size=size, role="output", **WAYS[way])
    graph.add_edge("x", "a", weight={"normal": 0.5})
    pattern: dict[str, Any] = {"delay": delay, "feedback_delay": delay}
    if degree is not None:
        times = {"uniform": [1, delay]}
        pattern = {"connect": "random", "in_degree": degree, "delay": times, "feedback_delay": times}
    graph.add_edge("a", "a", weight={"normal": 0.1}, **pattern)
    stream = Arrays(np.random.default_rng(0).normal(size=(2, 4)), np.zeros((2, size)))
    rule = Hamiltonian(beta=1e-4)
    return Simulation(graph, rule=rule, stimulus=stream, hold=TICKS // 2, ensemble=replicas, **options)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=8)
@given(
    size=st.integers(60, 200),
    degree=st.none() | st.integers(4, 30),
    delay=st.sampled_from([1, 7, 300, 20_000]),
    replicas=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "float64"]),
    compiled=st.sampled_from(["never", "always"]),
)
def test_the_estimate_is_within_a_factor_of_two(
    way: str, size: int, degree: int | None, delay: int, replicas: int, dtype: str, compiled: str
) -> None:
    """State and rings before tick 0; messages under way are bounded, as they all might be sent."""
    sim = build(way, size, degree, delay, replicas, dtype=dtype, compiled=compiled)
    told = memory(sim.network, sim.rule, replicas=replicas, dtype=dtype, ticks=TICKS)
    # Compiled engines lay their arrays out when they first run; with room for messages, where there are any.
    rings = getattr(sim._engine, "_net", None) if way == "every tick" else None
    before = held(sim._engine, rings, sim.network)
    sim.run()
    after = held(sim._engine, sim.network)
    # Matrices keep what is on its way from tick to tick, up to their delay.
    state = told.state + (told.rings if degree is not None else 0)
    assert 0.5 * before < state < 2.0 * before
    assert after < 2.0 * (told.state + told.rings + told.under_way)
    messages = int(sim.counts()["in_flight"][0])
    item = np.dtype(dtype).itemsize
    assert messages * (16 + item) <= told.under_way


def test_delays_are_in_it() -> None:
    """1 000 neurons at every tick, and delays up to 20 000 of them: rings are as long as they may be."""
    short, long = (build("every tick", 1000, 10, delay, 1) for delay in (1, 20_000))
    told = [memory(sim.network, sim.rule, replicas=1, dtype="float32", ticks=TICKS) for sim in (short, long)]
    assert told[0].rings < 1e5
    assert told[1].rings > 0.9e8
    assert told[0].under_way == 0 < told[1].under_way
