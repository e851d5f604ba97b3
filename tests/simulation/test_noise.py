"""Noise is drawn by the seed, a neuron's label and the tick: nobody else changes it."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hlsim
from hlsim.simulation.noise import Noise
from hlsim.stimulus import Arrays

LABELS = [f"n{k}" for k in range(6)]


def noise_of(labels: list[str], noise: Noise, ticks: int = 12, **options: Any) -> dict[str, np.ndarray]:
    """Return the drive of lone neurons (tick,), which is nothing but noise, by label."""
    graph = nx.DiGraph()
    for label in labels:
        graph.add_node(label, model="instant", activation="identity", update="clock")
    sim = hlsim.Simulation(graph, loss=None, noise=noise, dtype="float64", **options)
    drive = sim.run(until=ticks, every=1, sampled=["a"])["sampled/a"]
    return {label: drive[..., sim.network.label.index(label)] for label in labels}


@pytest.mark.parametrize("engine", ["batched", "reference"])
def test_a_neuron_has_its_noise_whoever_else_there_is(engine: str) -> None:
    everybody = noise_of(LABELS, Noise(1.0), seed=4)

    @settings(max_examples=5)
    @given(st.lists(st.sampled_from(LABELS), min_size=1, unique=True))
    def check(some: list[str]) -> None:
        for label, drawn in noise_of(some, Noise(1.0), seed=4, engine=engine).items():
            np.testing.assert_array_equal(drawn, everybody[label])

    check()
    assert len({float(x) for drawn in everybody.values() for x in drawn}) == 6 * 12


def test_seeds_and_members_have_noise_of_their_own_and_a_member_that_of_its_seed() -> None:
    together = noise_of(LABELS, Noise(2.0), seed=3, ensemble=3)
    for member in range(3):
        alone = noise_of(LABELS, Noise(2.0), seed=3 + member)
        for label in LABELS:
            np.testing.assert_array_equal(together[label][:, member], alone[label])
            assert (alone[label] != together[label][:, (member + 1) % 3]).all()


def test_shared_noise_is_one_number_for_all_and_lasts_as_long_as_it_is_told_to() -> None:
    drawn = noise_of(LABELS, Noise(0.5, shared=True, every=4))
    np.testing.assert_array_equal(np.ptp(list(drawn.values()), axis=0), 0)
    assert len(set(drawn["n0"].tolist())) == 3
    np.testing.assert_array_equal(drawn["n0"], np.repeat(drawn["n0"][::4], 4))
    np.testing.assert_array_equal(noise_of(["x"], Noise(0.5, shared=True, every=4))["x"], drawn["n0"])


def test_replicas_of_a_minibatch_have_noise_of_their_own() -> None:
    graph = hlsim.topology.layered([1, 4, 1], bias=None)
    rows = Arrays(np.zeros((6, 1)), np.zeros((6, 1)))
    options: dict[str, Any] = {"noise": Noise(1.0), "stimulus": rows, "dtype": "float64"}
    sim = hlsim.Simulation(graph, batch=3, node_defaults={"update": "clock"}, **options)
    drive = sim.run(until=1, every=1, sampled=["a"])["sampled/a"][0]
    hidden = drive[:, [sim.network.label.index(f"hidden[{k}]") for k in range(4)]]
    assert len(set(hidden.ravel().tolist())) == 12
