"""The reference engine is what "equal" means: the batched one retraces it on networks drawn at random."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, reject, seed, settings
from hypothesis import strategies as st

from hlsim import Simulation, topology
from hlsim.engine.circuit import plan
from hlsim.errors import LocalityError, NumericalError
from hlsim.models import ops
from hlsim.models.ops import Value
from hlsim.models.rules import Fields, Hamiltonian
from tests.support.agreement import BATCHED, COMPILED, ENGINES, REFERENCE, TOLERANCE, assert_agree
from tests.support.graphs import KINDS, Case, cases, run

VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
EXAMPLES = 100 if VERIFY else 12
TICKS = 150 if VERIFY else 60  # of every delay, period and refresh there are many in them


def compare(kind: str, shard: int, until: int, examples: int, share: float = 0.75) -> None:
    """Compare on graphs of a kind; ``share`` of the ticks must be comparable.

    A network whose learning diverges is drawn again: both engines then only tell their own round-off.
    """
    compared, drawn = [], []

    @seed(shard)
    @settings(max_examples=examples)
    @given(cases(kind, until))
    def agree(case: Case) -> None:
        try:
            ticks = assert_agree(case, until)
        except NumericalError:
            with pytest.raises(NumericalError):
                run(case, until, engine="reference")
            reject()
        drawn.append(until)
        compared.append(ticks)

    agree()
    assert len(drawn) >= examples
    assert sum(compared) >= share * sum(drawn)


@pytest.mark.parametrize("shard", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_the_engines_agree_on_random_networks(kind: str, shard: int) -> None:
    compare(kind, shard, until=TICKS, examples=EXAMPLES)


@pytest.mark.parametrize("kind", ["synchronous", "sequential"])
def test_the_engines_agree_where_every_projection_that_can_is_a_matrix(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_DENSE_LEAST", 1)
    compare(kind, 2, until=TICKS, examples=EXAMPLES)


@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_the_engines_agree_on_layers_of_many_neurons(update: str) -> None:
    graph = topology.layered([12, 9, 8, 4], seed=3, bias=0.1, delay=(0, 3))
    for _, data in graph.nodes(data=True):
        data.update({} if data.get("model") else {"update": update})
    generator = np.random.default_rng(5)
    script = tuple(
        (tick, name, (generator.normal(size=size),))
        for tick in range(0, 40, 10)
        for name, size in (("input", 12), ("target", 4))
    )
    options = {"rule": Hamiltonian(beta=0.05, eta=0.3), "loss": "cross_entropy"}
    assert assert_agree(Case(graph, options, script), 40) == 40


@pytest.mark.parametrize("engine", [BATCHED, COMPILED, REFERENCE], ids=["batched", "compiled", "reference"])
@given(case=st.sampled_from(("arrival", "mixed")).flatmap(lambda kind: cases(kind, until=12)))
def test_fields_read_together_are_those_read_one_by_one(engine: Mapping[str, Any], case: Case) -> None:
    """Bit for bit, of what the last sample of a run holds."""
    try:
        sim, trace = run(case, 12, **engine)
    except NumericalError:
        reject()
    for name in case.options["rule"].sampled:
        assert np.squeeze(sim.read(name)).tobytes() == trace[f"sampled/{name}"][-1].tobytes(), name


@pytest.mark.verify
@pytest.mark.parametrize("shard", range(10, 12))
@pytest.mark.parametrize("kind", KINDS)
def test_the_engines_agree_over_a_thousand_ticks(kind: str, shard: int) -> None:
    # The longer a run, the likelier a last bit decides somewhere, and what comes after is not compared.
    compare(kind, shard, until=1000, examples=20, share=0.5)


# ---- locality: a rule that reads a neighbour


class Rolls(Hamiltonian):
    """Every synapse learns from its neighbour's error."""

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        return super().synapse_euler(w, fields, qs.roll(1), beta, duration)


class RollsAsFunction(Hamiltonian):
    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        return super().synapse_hold(w, fields, torch.roll(s1, 1), s2, beta, duration)


class Centres(Hamiltonian):
    """A costate is measured from the mean of all."""

    def costate_euler(self, z: Value, g: Value, df_dh: Value, duration: Value) -> Value:
        return super().costate_euler(z - z.mean(), g, df_dh, duration)


class CentresInAHold(Hamiltonian):
    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        return super().costate_hold(z, g - g.mean(), rate, duration)


class TakesTheFirst(Hamiltonian):
    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        return super().costate_hold(z + z.view(-1)[0], g, rate, duration)


def learning_chain(update: str, rule: Hamiltonian, engine: str) -> Simulation:
    graph = topology.layered([2, 3, 2], seed=1)
    for _, data in graph.nodes(data=True):
        data.update({} if data.get("model") else {"update": update, "tau": 3.0})
    sim = Simulation(graph, rule=rule, engine=engine, dtype="float64")
    sim.controls.input(np.array([1.0, -0.5]))
    sim.controls.target(np.array([0.5, 0.5]))
    return sim


CHEATS = (
    ("clock", Rolls),
    ("clock", Centres),
    ("arrival", RollsAsFunction),
    ("arrival", CentresInAHold),
    ("arrival", TakesTheFirst),
)


@pytest.mark.parametrize(("update", "cheat"), CHEATS)
def test_a_rule_that_reads_its_neighbours_runs_on_tensors(update: str, cheat: type[Hamiltonian]) -> None:
    """Nothing in the batched engine is local to the eye; that is why the reference engine is needed."""
    sim = learning_chain(update, cheat(), "batched")
    sim.run(until=10)
    honest = learning_chain(update, Hamiltonian(), "batched")
    honest.run(until=10)
    assert not np.allclose(sim.read("omega"), honest.read("omega"), rtol=1e-3)


@pytest.mark.parametrize(("update", "cheat"), CHEATS)
def test_a_rule_that_reads_its_neighbours_is_caught_by_the_reference_engine(
    update: str, cheat: type[Hamiltonian]
) -> None:
    formula = next(name for name in vars(cheat) if not name.startswith("_"))
    with pytest.raises(LocalityError, match=f"{formula} reads more than one neuron's own numbers"):
        learning_chain(update, cheat(), "reference").run(until=10)


class AsksForMore(Hamiltonian):
    """Reads a synapse field that it does not declare."""

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        return super().synapse_euler(w, fields, qs + fields.velocity, beta, duration)


def test_a_synapse_field_that_was_not_declared_is_caught() -> None:
    with pytest.raises(LocalityError, match=r"own numbers: .* no attribute 'velocity'"):
        learning_chain("clock", AsksForMore(), "reference").run(until=10)
    with pytest.raises(AttributeError, match="velocity"):
        learning_chain("clock", AsksForMore(), "batched").run(until=10)


class DeclaresMore(AsksForMore):
    synapse_fields: ClassVar[Mapping[str, str]] = {"omega": "weight costate", "velocity": "of a weight"}

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        velocity = 0.5 * fields.velocity + 0.1 * qs
        w, moved = Hamiltonian.synapse_euler(self, w, fields, qs + velocity, beta, duration)
        return w, (*moved, velocity)


def test_a_synapse_field_that_was_declared_is_the_synapses_own_in_both_engines() -> None:
    sims = [learning_chain("clock", DeclaresMore(), engine) for engine in ENGINES]
    for sim in sims:
        sim.run(until=20)
    for name in ("w", "omega", "velocity"):
        assert np.abs(sims[1].read(name)).max() > 1e-3
        np.testing.assert_allclose(sims[0].read(name), sims[1].read(name), rtol=TOLERANCE, atol=TOLERANCE)


class Clipped(Hamiltonian):
    """Whose step is not 0 where the gradient and the rate are: it moves large weights by itself."""

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        w, moved = super().synapse_euler(w, fields, qs, beta, duration)
        return w - ops.relu(w - 0.6), moved

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        w, moved = super().synapse_hold(w, fields, s1, s2, beta, duration)
        return w - ops.relu(w - 0.6), moved


@pytest.mark.parametrize("engine", [BATCHED, COMPILED, REFERENCE], ids=["batched", "compiled", "reference"])
@pytest.mark.parametrize(
    ("update", "periods"), [("clock", (1, 1)), ("clock", (1, 2)), ("arrival", (1, 1))], ids=repr
)
def test_a_synapse_that_is_not_plastic_never_moves_whatever_the_rule(
    update: str, periods: tuple[int, int], engine: Mapping[str, Any]
) -> None:
    graph = nx.DiGraph()
    graph.add_nodes_from(["u", "v"], model="input")
    for name, period in zip("xy", periods, strict=True):
        graph.add_node(name, update=update, tau=3.0, **({"period": period} if update == "clock" else {}))
    graph.nodes["y"]["role"] = "output"
    for source in "uv":
        graph.add_edge(source, "x", weight=2.0, plastic=source == "u", delay=1)
        graph.add_edge(source, "y", weight=2.0, plastic=source == "v", delay=1)
    graph.add_edge("x", "y", weight=1.0, plastic=False)
    sim = Simulation(graph, rule=Clipped(beta=0.01), dtype="float64", **engine)
    sim.controls.input(np.ones(2))
    sim.controls.target(np.zeros(1))
    sim.run(until=20)
    w, fixed = sim.read("w")[0], ~sim.network.plastic
    np.testing.assert_array_equal(w[fixed], sim.network.weight[0][fixed])
    assert (w[~fixed] <= 0.6).all()
