"""Minibatches in lockstep compute what torch does; see ``tests.engine.compiled.test_steady`` for the rest."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hlsim import Simulation
from hlsim.engine.circuit.projections import Dense
from hlsim.engine.general.engine import Batched
from hlsim.engine.lockstep.engine import Lockstep
from hlsim.models.neurons import Activation, Leaky, Parameters
from hlsim.models.ops import Value
from tests.engine.compiled.test_steady import GRAPHS, bits, engine, learner
from tests.support.agreement import TOLERANCE


def pulls(sim: Simulation) -> list[Any]:
    return engine(sim).circuit.plan.pulls


def batches(name: str, order: str = "explicit", **options: Any) -> list[Simulation]:
    """Return a minibatch of three in lockstep, and one in torch."""
    made = [learner(GRAPHS[name], order, 3, batch=3, compiled=m, **options) for m in ("always", "never")]
    assert [type(engine(sim)) for sim in made] == [Lockstep, Batched]
    return made


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("name", ["leaky", "instant", "relu"])
def test_matrices_in_lockstep_have_the_bits_and_counts_of_torch(name: str, order: str) -> None:
    compiled, plain = batches(name, order)
    for sim in (compiled, plain):
        sim.run(until=36, sampled=())
    assert {type(pull) for pull in pulls(compiled)} == {Dense}
    assert bits(compiled) == bits(plain)


@pytest.mark.parametrize("order", ["explicit", "sequential"])
@pytest.mark.parametrize("name", ["leaky", "instant", "sparse"])
def test_minibatches_in_lockstep_are_those_of_torch(name: str, order: str) -> None:
    both = batches(name, order, dtype="float64")
    for sim in both:
        sim.run(until=36, sampled=())
    for field in ("h", "z", "a", "w", "omega"):
        np.testing.assert_allclose(both[0].read(field), both[1].read(field), rtol=TOLERANCE, atol=TOLERANCE)


def test_not_one_bit_depends_on_who_looks() -> None:
    """Ticks whose messages somebody observes are the general engine's; the others are run in lockstep."""
    alone, watched = (batches("leaky")[0] for _ in range(2))
    alone.run(until=36, sampled=())
    watched.run(until=17, every=5, events=("message", "update"))
    watched.run(until=36, sampled=())
    assert bits(alone) == bits(watched)


class Bent(Leaky):
    """A model of one's own: it relaxes faster the larger its state is."""

    def velocity(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return (sigma.value(a) - h - 0.1 * h * abs(h)) / p.tau

    def partials(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        return (-1.0 - 0.2 * abs(h)) / p.tau, sigma.slope(a, sigma.value(a)) / p.tau


def test_a_model_of_ones_own_is_evaluated_by_its_formulas_in_lockstep() -> None:
    """Even one that inherits from a model which has a loop."""
    sims, (plain, _) = batches("leaky", dtype="float64"), batches("leaky", dtype="float64")
    for sim in sims:
        blocks = engine(sim).circuit.sync_blocks
        blocks[:] = [replace(block, model=Bent()) for block in blocks]
    for group, block in zip(engine(sims[0])._groups, engine(sims[0]).circuit.sync_blocks, strict=True):
        group.block = block
    for sim in (*sims, plain):
        sim.run(until=36, sampled=())
    for field in ("h", "z", "a", "w", "omega"):
        np.testing.assert_allclose(sims[0].read(field), sims[1].read(field), rtol=TOLERANCE, atol=TOLERANCE)
    assert np.abs(sims[0].read("h") - plain.read("h")).max() > 1e-3
