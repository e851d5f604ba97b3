"""The reference engine is what "equal" means: the batched one retraces it on networks drawn at random."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, reject, seed, settings
from numpy.typing import NDArray

from hlsim import Simulation, plan, topology
from hlsim.errors import LocalityError, NumericalError
from hlsim.ops import Value
from hlsim.reading import Trace
from hlsim.rules import Fields, Hamiltonian
from tests.graphs import KINDS, SAMPLED, Case, cases, run

ENGINES = ("batched", "reference")
TOLERANCE = 1e-12
VERIFY = os.environ.get("HLSIM_VERIFY") == "1"
EXAMPLES = 100 if VERIFY else 25


@dataclass(frozen=True)
class Run:
    """What one engine made of a case.

    counts : state sends, costate sends and updates of every neuron (tick, 3, node), as of the end of a tick
    message : (kind, edge, sent) -> (tick of arrival, value); update : (tick, node)
    """

    trace: Trace
    counts: NDArray[np.int64]
    overtaken: int
    in_flight: int
    message: dict[tuple[int, int, int], tuple[int, float]]
    update: set[tuple[int, int]]


def observed(case: Case, until: int, engine: str) -> Run:
    counts: list[NDArray[np.int64]] = []

    def count(sim: Simulation) -> None:
        now = sim.counts()
        counts.append(np.stack([now[name][0] for name in ("state", "costate", "updates")]))

    sim, trace = run(case, until, count, engine=engine)
    now = sim.counts()
    columns = (trace[f"events/{name}"].tolist() for name in ("kind", "edge", "sent", "tick", "node", "value"))
    events = list(zip(*columns, strict=True))
    return Run(
        trace,
        np.array(counts),
        int(now["overtaken"][0]),
        int(now["in_flight"][0]),
        {event[:3]: (event[3], event[5]) for event in events if event[0] < 2},
        {event[3:5] for event in events if event[0] == 2},
    )


def assert_agree(case: Case, until: int) -> int:
    """Compare both engines on a case; return how many ticks could be compared.

    Two correct engines may part where the last bit of a number decides: at threshold 0 a value that stands
    still may differ from what was last sent in one of them. What is then sent is what is known, but it may
    keep the next message waiting (send_interval), or update a neuron that would have been updated later.
    """
    batched, reference = (observed(case, until, engine) for engine in ENGINES)
    parted = np.flatnonzero((batched.counts != reference.counts).any((1, 2)))
    ticks = int(parted[0]) if len(parted) else until
    if len(parted):
        _assert_a_matter_of_the_last_bit(case, batched, reference, ticks)
    else:
        assert batched.overtaken == reference.overtaken
    _assert_same_events(batched, reference, ticks)
    ticks = until if _robust(case) else ticks
    for name in SAMPLED:
        mine, oracle = (each.trace[f"sampled/{name}"][:ticks] for each in (batched, reference))
        np.testing.assert_allclose(mine, oracle, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
    return ticks


def _assert_a_matter_of_the_last_bit(case: Case, batched: Run, reference: Run, tick: int) -> None:
    network = case.network
    silent = np.minimum(network.send_threshold, network.costate_threshold)
    kinds, nodes = np.nonzero(batched.counts[tick] != reference.counts[tick])
    for kind, node in zip(kinds.tolist(), nodes.tolist(), strict=True):
        if kind < 2:
            assert (network.send_threshold, network.costate_threshold)[kind][node] == 0
        else:
            assert case.arrival[node]
            assert (silent == 0).any()
    for mine, other in ((batched, reference), (reference, batched)):
        for key in [key for key in mine.message if key[2] == tick and key not in other.message]:
            assert abs(mine.message[key][1] - _before(mine, *key)) < TOLERANCE


def _robust(case: Case) -> bool:
    """Tell whether a message that says what is known changes nothing else."""
    clocked = case.network.clock
    return bool((clocked | (np.array(case.network.model) == "input")).all()) and bool(
        (case.network.send_interval[clocked] == 1).all()
    )


def _before(mine: Run, kind: int, edge: int, sent: int) -> float:
    """Return what was last sent on an edge before a tick; 0 where nothing was."""
    earlier = [key for key in mine.message if key[:2] == (kind, edge) and key[2] < sent]
    return mine.message[max(earlier)][1] if earlier else 0.0


def _assert_same_events(batched: Run, reference: Run, ticks: int) -> None:
    mine, oracle = (
        {key: value for key, value in each.message.items() if key[2] < ticks} for each in (batched, reference)
    )
    assert mine.keys() == oracle.keys()
    for key, (arrival, value) in mine.items():
        assert arrival == oracle[key][0]
        assert value == pytest.approx(oracle[key][1], rel=TOLERANCE, abs=TOLERANCE)
    assert {u for u in batched.update if u[0] < ticks} == {u for u in reference.update if u[0] < ticks}


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
    compare(kind, shard, until=150, examples=EXAMPLES)


@pytest.mark.parametrize("kind", ["synchronous", "sequential"])
def test_the_engines_agree_where_every_projection_that_can_is_a_matrix(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_DENSE_LEAST", 1)
    compare(kind, 2, until=100, examples=EXAMPLES)


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
    ) -> tuple[Value, Fields]:
        return super().synapse_euler(w, fields, qs.roll(1), beta, duration)


class RollsAsFunction(Hamiltonian):
    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, Fields]:
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
    ) -> tuple[Value, Fields]:
        return super().synapse_euler(w, fields, qs + fields["velocity"], beta, duration)


def test_a_synapse_field_that_was_not_declared_is_caught() -> None:
    with pytest.raises(LocalityError, match="synapse field 'velocity': not declared; known: omega"):
        learning_chain("clock", AsksForMore(), "reference").run(until=10)
    with pytest.raises(KeyError, match="velocity"):
        learning_chain("clock", AsksForMore(), "batched").run(until=10)


class DeclaresMore(AsksForMore):
    synapse_fields: ClassVar[Mapping[str, str]] = {"omega": "weight costate", "velocity": "of a weight"}

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, Fields]:
        velocity = 0.5 * fields["velocity"] + 0.1 * qs
        w, moved = Hamiltonian.synapse_euler(self, w, fields, qs + velocity, beta, duration)
        return w, {**moved, "velocity": velocity}


def test_a_synapse_field_that_was_declared_is_the_synapses_own_in_both_engines() -> None:
    sims = [learning_chain("clock", DeclaresMore(), engine) for engine in ENGINES]
    for sim in sims:
        sim.run(until=20)
    for name in ("w", "omega", "velocity"):
        assert np.abs(sims[1].read(name)).max() > 1e-3
        np.testing.assert_allclose(sims[0].read(name), sims[1].read(name), rtol=TOLERANCE, atol=TOLERANCE)
