"""Controls are the one door: what comes in is checked, and takes effect in phase 1 of a tick."""

from collections.abc import Generator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import simpy
import torch

from hlsim import Simulation
from hlsim.engine.controls import Changes, Controls
from hlsim.errors import StimulusError
from hlsim.models.losses import Custom
from hlsim.models.rules import Hamiltonian
from hlsim.trace.reader import Trace
from tests.support.graphs import Act, Case, build, run

engines = pytest.mark.parametrize("engine", ["batched", "reference"])
updates = pytest.mark.parametrize("update", ["clock", "arrival"])

# ---- what comes in


def controls() -> Controls:
    """Return those of 3 replicas with 2 inputs and 1 output."""
    return Controls(3, 2, 1)


def test_values_may_be_for_all_replicas_or_one_row_each() -> None:
    door = controls()
    door.input(np.array([1, 2]))
    door.target(np.array([[1.0], [2.0], [3.0]]))
    taken = door.take()
    assert taken.input is not None
    assert taken.target is not None
    assert taken.input.tolist() == [[1.0, 2.0]] * 3
    assert taken.target.tolist() == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize("shape", [(3,), (1,), (), (2, 2), (3, 1), (1, 3, 2)])
def test_values_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    line = rf"^input: must have shape \(2,\) or \(3, 2\), got \({', '.join(map(str, shape))},?\)$"
    with pytest.raises(StimulusError, match=line):
        controls().input(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(StimulusError, match=f"^target: must be finite, got {value}$"):
        controls().target(np.array([value]))
    with pytest.raises(StimulusError, match=f"^phi: must be finite, got {value}$"):
        controls().phi(value)


def test_what_was_refused_leaves_what_was_asked_for_before() -> None:
    door = controls()
    door.input(np.ones(2))
    with pytest.raises(StimulusError):
        door.input(np.zeros(5))
    taken = door.take()
    assert taken.input is not None
    assert (taken.input == 1.0).all()


def test_values_are_taken_as_they_were_when_they_were_given() -> None:
    values = np.ones(2)
    door = controls()
    door.input(values)
    values[:] = 5.0
    taken = door.take()
    assert taken.input is not None
    assert (taken.input == 1.0).all()


def test_of_two_wishes_for_a_tick_the_last_counts_and_none_is_left_for_the_next() -> None:
    door = controls()
    door.target(np.array([1.0]))
    door.target(None)
    door.phi(1.0)
    door.phi(0.5)
    taken = door.take()
    assert (taken.target, taken.no_target, taken.phi) == (None, True, 0.5)
    assert door.take() == Changes()
    door.target(None)
    door.target(np.array([1.0]))
    assert not door.take().no_target


# ---- when it takes effect


def network(**node: Any) -> nx.DiGraph:
    """Return u -> v -> y, instant, of slope 1 and weights 0.5, without delays; u -> v learns."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input")
    for name in "vy":
        graph.add_node(name, model="instant", activation="identity", **node)
    graph.nodes["y"]["role"] = "output"
    graph.add_edge("u", "v", weight=0.5, delay=0)
    graph.add_edge("v", "y", weight=0.5, delay=0, plastic=False)
    return graph


def acted(script: tuple[Act, ...], until: int, engine: str, update: str, **options: Any) -> Trace:
    thresholds = {"send_threshold": 0.0, "costate_threshold": 0.0}
    case = Case(network(update=update, **thresholds), {"rule": Hamiltonian(beta=0.0), **options}, script)
    return run(case, until, engine=engine)[1]


def u(value: float) -> tuple[np.ndarray]:
    return (np.array([value]),)


@engines
@updates
def test_input_target_and_phi_act_at_the_tick_at_which_they_are_asked_for(engine: str, update: str) -> None:
    """y = u / 4 and z of y = phi (y - target), at the very tick."""
    script = (
        (2, "input", u(4.0)),
        (4, "target", u(3.0)),
        (6, "phi", (0.5,)),
        (8, "input", u(8.0)),
        (10, "target", (None,)),
        (12, "phi", (-1.0,)),
        (12, "target", u(1.0)),
    )
    trace = acted(script, 14, engine, update)
    y = np.repeat([0.0, 1.0, 2.0], [2, 6, 6])
    z = np.repeat([0.0, -2.0, -1.0, -0.5, 0.0, -1.0], [4, 2, 2, 2, 2, 2])
    np.testing.assert_array_equal(trace["sampled/h"][:, 2], y)
    np.testing.assert_array_equal(trace["sampled/z"][:, 2], z)
    loss = np.array([np.nan] * 4 + [2.0] * 4 + [0.5] * 2 + [np.nan] * 2 + [0.5] * 2)
    np.testing.assert_array_equal(trace["sampled/loss"], loss)


@engines
@updates
def test_the_learning_switch_holds_the_tick_before_and_after_itself_apart(engine: str, update: str) -> None:
    """Off at 5, on at 9: omega is integrated up to tick 5 and from tick 9 on, and stands still between."""
    script = ((0, "input", u(4.0)), (0, "target", u(0.0)), (5, "learn", (False,)), (9, "learn", (True,)))
    trace = acted(script, 15, engine, update, rule=Hamiltonian(beta=0.001, eta=0.0))
    omega, w = (trace[f"sampled/{name}"][:, 0] for name in ("omega", "w"))
    steps, moves = np.diff(omega) > 0, np.diff(w) != 0
    assert steps.tolist() == [True] * 5 + [False] * 4 + [True] * 5
    # Explicit Euler: w follows the omega of the tick before.
    first = [True] if update == "arrival" else [False]
    assert moves.tolist() == first + [True] * 4 + [False] * 4 + [True] * 5


@engines
@pytest.mark.parametrize("model", ["leaky", "instant"])
@updates
def test_a_reset_forgets_state_costate_and_messages_and_keeps_what_was_learned(
    engine: str, model: str, update: str
) -> None:
    """Nothing that was sent before tick 5 arrives after it; w and omega go on from where they were."""
    graph = network(update=update, send_threshold=0.0, costate_threshold=0.0)
    for name in "vy":
        graph.nodes[name]["model"] = model
    for *_, edge in graph.edges(data=True):
        edge["delay"] = edge["feedback_delay"] = 3
    acts = ((0, "input", u(1.0)), (0, "target", u(2.0)), (2, "input", u(3.0)), (12, "input", u(0.0)))
    rule = Hamiltonian(beta=0.05, eta=0.1)
    trace = run(Case(graph, {"rule": rule}, (*acts, (13, "reset", ()))), 30, engine=engine)[1]
    a, z, w, omega = (trace[f"sampled/{name}"] for name in ("a", "z", "w", "omega"))
    assert a[12, 1:].all()
    # The input is 0 at the reset: with nothing on its way, nothing ever arrives again.
    assert not a[13:, 1:].any()
    assert not z[13:, 0].any()
    # The error at the output is all there is: y = 0, and the target is still 2; it is 3 ticks back to v.
    assert not z[13:16, 1].any()
    assert z[18, 1] != 0
    assert (omega[12, 0], w[12, 0]) != (0.0, 0.5)
    continued = omega[12, 0] * np.array([1 - 0.1, np.exp(-0.1)])
    assert np.isclose(omega[13, 0], continued, atol=abs(0.3 * omega[12, 0])).any()
    assert np.abs(np.diff(w[12:15, 0])).max() > 0


@engines
@updates
def test_what_is_asked_for_in_the_middle_of_a_tick_acts_at_the_next(engine: str, update: str) -> None:
    """The gradient of a loss is asked for in phase 4: too late for phase 1 of its tick."""
    asked: list[int] = []

    def nosy(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if sim.env.now == 6 and not asked:
            asked.append(int(sim.env.now))
            sim.controls.input(np.array([8.0]))
        return 0.5 * ((y - target) ** 2).sum(-1)

    script = ((0, "input", u(4.0)), (0, "target", u(0.0)), (6, "target", u(0.5)))
    thresholds = {"send_threshold": 0.0, "costate_threshold": 0.0}
    sim = build(Case(network(update=update, **thresholds), {"loss": Custom(nosy)}, script), engine=engine)
    # The value of a loss is asked for when it is sampled, its gradient in phase 4.
    trace = sim.run(until=10, every=1, sampled=["h"])
    assert asked == [6]
    assert trace["sampled/h"][:, 0].tolist() == [4.0] * 7 + [8.0] * 3


@engines
@updates
@pytest.mark.parametrize("quiet", [True, False])
def test_a_wish_between_two_ticks_waits_for_the_next(engine: str, update: str, quiet: bool) -> None:
    """SimPy's clock may stand between ticks; the network's cannot, and never goes back."""
    case = Case(network(update=update), {"rule": Hamiltonian(beta=0.0)}, ())
    sim = build(case, engine=engine)
    seen: list[float] = []

    def visitor(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        if not quiet:
            sim.controls.input(np.array([1.0]))
        yield env.timeout(3.4)
        sim.controls.input(np.array([4.0]))
        for _ in range(4):
            yield env.timeout(0.05)
            seen.append(env.now)
        yield env.timeout(2.5)
        sim.controls.input(np.array([8.0]))

    sim.env.process(visitor(sim.env))
    trace = sim.run(until=10, every=1)
    before = 0.0 if quiet else 1.0
    assert trace["sampled/h"][:, 0].tolist() == [before] * 4 + [4.0] * 3 + [8.0] * 3
    assert trace["stimulus/tick"].tolist() == ([4, 7] if quiet else [0, 4, 7])
    assert seen == sorted(seen)
    assert sim.tick == 10


# ---- a user's process at work


@engines
@updates
def test_a_process_of_a_user_may_answer_what_the_network_does(engine: str, update: str) -> None:
    """A closed loop: the input is the output of the tick before, times -2, and 1 more: u <- 1 - u / 2."""
    case = Case(network(update=update, send_threshold=0.0), {"rule": Hamiltonian(beta=0.0)}, ())
    sim = build(case, engine=engine)

    def answer(env: simpy.Environment) -> Generator[simpy.Event, object, None]:
        sim.controls.input(np.array([1.0]))
        while True:
            yield env.timeout(1)
            sim.controls.input(1.0 - 2.0 * sim.read("h")[0, sim.network.outputs])

    sim.env.process(answer(sim.env))
    h = sim.run(until=40, every=1)["sampled/h"]
    expected = [1.0]
    for _ in range(39):
        expected.append(1.0 - 0.5 * expected[-1])
    np.testing.assert_allclose(h[:, 0], expected, rtol=1e-15)
    assert h[-1, 2] == pytest.approx(1 / 6, abs=1e-11)


def test_replicas_may_be_fed_one_by_one() -> None:
    """Each its own row of input and target; their states are those of three separate runs."""
    rows, targets = np.array([[1.0], [-2.0], [3.0]]), np.array([[0.5], [0.0], [-1.0]])
    script = ((0, "input", (rows,)), (0, "target", (targets,)))
    together = run(Case(network(update="clock"), {"batch": 3}, script), 5)[1]
    for k in range(3):
        alone = acted(((0, "input", (rows[k],)), (0, "target", (targets[k],))), 1, "batched", "clock")
        np.testing.assert_array_equal(together["sampled/h"][0, k], alone["sampled/h"][0])
        np.testing.assert_array_equal(together["sampled/z"][0, k], alone["sampled/z"][0])


def test_a_simulation_without_a_target_has_no_loss_and_no_costates() -> None:
    sim = Simulation(network(update="clock"), dtype="float64")
    sim.controls.input(np.array([1.0]))
    sim.run(until=5)
    assert np.isnan(sim.read("loss")).all()
    assert not sim.read("z").any()
    assert sim.summary["costate_messages"] == 0
    assert sim.summary["loss"] is None
