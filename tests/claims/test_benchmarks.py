"""What the benchmarks compare computes the same numbers, and numbers that move."""

import importlib
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hlsim.models.neurons import ACTIVATIONS, MODELS, Parameters
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import flatten
from tests.support.places import ROOT

Tool = Callable[[str], ModuleType]
MOVED = np.linspace(-1.0, 1.0, 5)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A module of tools/ by name."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module


@pytest.fixture
def agreement(tool: Tool) -> ModuleType:
    return tool("workloads.agreement")


@pytest.mark.parametrize(
    ("mine", "other"),
    [(0 * MOVED, 0 * MOVED), (0 * MOVED + 0.5, 0 * MOVED + 0.5), (MOVED, 0 * MOVED), (0 * MOVED, MOVED)],
    ids=["zeros", "constants", "other stands still", "hlsim stands still"],
)
def test_what_stands_still_is_no_comparison(
    agreement: ModuleType, mine: np.ndarray, other: np.ndarray
) -> None:
    with pytest.raises(SystemExit, match="W: nothing to compare: all 5 numbers"):
        agreement.require_same("W", mine, other)


def test_numbers_are_the_same_up_to_a_share_of_the_largest(agreement: ModuleType) -> None:
    agreement.require_same("W", MOVED + 0.9e-3, MOVED)
    agreement.require_same("W", 1e-6 * (MOVED + 0.9e-3), 1e-6 * MOVED)
    for other in (MOVED + 1.1e-3, np.where(MOVED > 0.9, np.nan, MOVED)):
        with pytest.raises(SystemExit, match="W: not"):
            agreement.require_same("W", other, MOVED)
    with pytest.raises(SystemExit, match="W: not"):
        agreement.require_same("W", 1e-6 * (MOVED + 1.1e-3), 1e-6 * MOVED)
    with pytest.raises(SystemExit, match=r"W: not .* shapes are \(5,\) and \(1, 5\)"):
        agreement.require_same("W", MOVED, MOVED[None])


def test_sides_that_tell_of_different_things_are_not_alike(agreement: ModuleType) -> None:
    with pytest.raises(SystemExit, match="w, z of hlsim, w of the other side"):
        agreement.require_alike({"w": MOVED, "z": MOVED}, {"w": MOVED}, {})


# ---- rivals of hlsim


RIVALS = (
    ("torch_loops", "Loop"),
    ("torch_loops", "Flat"),
    pytest.param(
        "torch_loops",
        "Compiled",
        marks=[
            pytest.mark.verify,  # compiles for a minute
            pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's, about itself
        ],
    ),
    ("jax_loops", "Scan"),
    ("numba_loops", "Naive"),
    ("numba_loops", "Blocks"),
)


def by_name(tool: Tool, name: str) -> ModuleType:
    """A module of rivals; the test is skipped where its library is missing."""
    rivals = tool("workloads.rivals")
    try:
        return rivals.rival(name)  # type: ignore[no-any-return]
    except rivals.AbsentError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(("module", "name"), RIVALS)
def test_sparse_rivals_move_as_hlsim_does(tool: Tool, module: str, name: str) -> None:
    """Every state, every drive and costate that messages made, and every weight."""
    by_name(tool, module)
    sparse, rows = tool("workloads.sparse"), tool("workloads.rows")
    network = sparse.synchronous(60, 10)
    pair = sparse.against(module, name, network, 1, compiled="never")
    rows.check(pair)
    numbers = pair.other.numbers()
    assert {"states", "drives", "costates", "weight costates", "changes of the weights"} == set(numbers)
    for values in numbers.values():
        assert (np.asarray(values) != 0).mean() > 0.9


def test_the_sparse_network_is_the_same_compiled(tool: Tool) -> None:
    sparse, rows = tool("workloads.sparse"), tool("workloads.rows")
    rows.check(sparse.against("torch_loops", "Loop", sparse.synchronous(60, 10), 1, compiled="always"))


def test_a_sparse_network_that_nothing_drives_is_refused(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse, rows = tool("workloads.sparse"), tool("workloads.rows")
    monkeypatch.setattr(
        sparse, "held", lambda net: tuple(np.zeros(len(x)) for x in (net.inputs, net.outputs))
    )
    pair = sparse.against("torch_loops", "Loop", sparse.synchronous(20, 4), 1)
    with pytest.raises(SystemExit, match="states: nothing to compare"):
        rows.check(pair)


def test_a_rival_that_does_something_else_is_not_timed(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse, rows = tool("workloads.sparse"), tool("workloads.rows")
    pair = sparse.against("torch_loops", "Flat", sparse.synchronous(20, 4), 1)
    pair.other.back[0] += 1  # an index of the buffer of costates
    monkeypatch.setattr(rows, "turns", lambda *_: pytest.fail("timed"))
    with pytest.raises(SystemExit, match="not the same numbers"):
        rows.beside(lambda: pair)(1)


def test_a_minibatch_by_hand_moves_as_hlsim_does(tool: Tool) -> None:
    by_name(tool, "numba_loops")
    minibatch, sparse = tool("workloads.minibatch"), tool("workloads.sparse")
    pair = minibatch.by_hand(sparse.synchronous(40, 10), 3)
    tool("workloads.rows").check(pair)
    states = pair.other.numbers()["states"]
    assert len(np.unique(states, axis=0)) == 3


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["Loop", "InPlace"])
def test_dense_rivals_move_as_hlsim_does(tool: Tool, name: str, batch: int) -> None:
    rival = getattr(tool("workloads.rivals.dense_loops"), name)
    tool("workloads.rows").check(tool("workloads.dense").standing(rival, batch, (8, 6, 5, 4)))


@pytest.mark.parametrize("batch", [1, 4])
def test_images_are_shown_to_both(tool: Tool, batch: int) -> None:
    tool("workloads.rows").check(tool("workloads.dense").held(batch, (20, 6, 4)))


@pytest.mark.parametrize("batch", [1, 4])
def test_gradient_descent_is_that_of_autograd(tool: Tool, batch: int) -> None:
    tool("workloads.rows").check(tool("workloads.dense").descent(batch, (8, 6, 5, 4)))


@pytest.mark.parametrize("entropy", [False, True])
def test_the_numpy_loop_moves_as_hlsim_does(tool: Tool, entropy: bool) -> None:
    tool("workloads.rows").check(tool("workloads.small").layered((5, 4, 3), entropy))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("rule", ["one_sided", "holomorphic"])
def test_layers_relax_as_in_hlsim(tool: Tool, rule: str, batch: int) -> None:
    phases = tool("workloads.phases")
    tool("workloads.rows").check(phases.relaxing(getattr(phases, rule), (6, 5, 4), batch))


def test_events_by_hand_are_those_of_hlsim(tool: Tool) -> None:
    """As many messages, the same states and weights."""
    by_name(tool, "numba_events")
    events = tool("workloads.events")
    pair = events.by_hand(flatten(events.resting(50, 10)), 0.1, dtype="float64", compiled="always")
    tool("workloads.rows").check(pair)
    assert pair.other.numbers()["messages"].tolist() == pair.ours.numbers()["messages"]
    assert min(pair.ours.numbers()["messages"]) > 50


# ---- what is beside itself


def test_the_own_rule_and_model_are_ours(tool: Tool) -> None:
    """Euler steps and exact holds of the rule; velocity, partial derivatives and rest of the model."""
    own, rng = tool("workloads.own"), np.random.default_rng(0)
    mine, ours = own.OwnRule(beta=0.1, eta=0.3), Hamiltonian(beta=0.1, eta=0.3)
    fields = ours.fields([0.4])
    for w, x, y, duration in rng.uniform(0.1, 2.0, (5, 4)).tolist():
        calls: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("costate_euler", (w, x, y, duration)),
            ("synapse_euler", (w, fields, x, y, duration)),
            ("costate_hold", (w, x, y, duration)),
            ("constant_hold", (x, duration)),
            ("synapse_hold", (w, fields, x, y, w, duration)),
        )
        for name, given in calls:
            own_found, our_found = (_flat(getattr(rule, name)(*given)) for rule in (mine, ours))
            assert np.allclose(own_found, our_found, rtol=1e-12)
        sigma, p = ACTIVATIONS["tanh"], Parameters(tau=y)
        for name, arguments in (("velocity", (w, x)), ("partials", (w, x)), ("rest", (x,))):
            given = (*arguments, sigma) if name == "rest" else (*arguments, sigma, p)
            assert getattr(own.OwnLeaky(), name)(*given) == getattr(MODELS["leaky"], name)(*given)


def _flat(found: Any) -> list[float]:
    return [x for part in found for x in _flat(part)] if isinstance(found, tuple) else [found]


def test_matrices_are_matrices_and_their_sparse_form_is_none(tool: Tool) -> None:
    """Of 256 pairs of groups of 32: matrices of 32 x 32, and three quarters of as many synapses."""
    blocks, scale = importlib.import_module("hlsim.engine.compiled.blocks"), tool("workloads.scale")
    widths = {}
    for sparse in (False, True):
        network = flatten(scale.tiles(32, sparse=sparse))
        widths[sparse] = blocks.arrange(network, Hamiltonian(), np.arange(network.m)).rows["width"]
    assert widths[False].tolist() == [32] * 256
    assert not widths[True].any()


# ---- rows


def test_rows_have_names_of_their_own(tool: Tool) -> None:
    for cases in tool("bench").WORKLOADS.values():
        names = [case.what for case in cases]
        assert len(set(names)) == len(names)


def test_rows_are_chosen_by_letter_and_text(tool: Tool) -> None:
    bench = tool("bench")
    chosen = list(bench.wanted(["A", "C"], ["numba", "batch 1,"], quick=True))
    assert {letter for letter, _ in chosen} == {"A", "C"}
    assert all("numba" in case.what or "batch 1," in case.what for _, case in chosen)
    assert len(list(bench.wanted(["A"], [], quick=False))) > len(list(bench.wanted(["A"], [], quick=True)))


def test_a_ratio_is_that_of_times_for_as_much_work(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tool("workloads.rows")
    monkeypatch.setattr(rows, "check", lambda _: None)
    monkeypatch.setattr(rows, "turns", lambda *_: [[2.0, 4.0, 60.0], [1.0, 1.0, 30.0]])
    sides: dict[str, Any] = {"ours": None, "other": None, "ticks": 10}
    pair = rows.Pair(**sides, work=4.0, other_work=1.0, scale=1.0)
    assert rows.beside(lambda: pair)(3) == (0.1, 0.1, "ms a tick", 0.5)
    fast = rows.Pair(**sides, work=4.0, other_work=1.0, scale=1.0, speed=True)
    assert rows.beside(lambda: fast)(3) == (10.0, 10.0, "ms a tick", 2.0)


def test_check_names_what_falls_short_and_absent_rivals_are_named(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Any
) -> None:
    bench, rows, rivals = tool("bench"), tool("workloads.rows"), tool("workloads.rivals")

    def missing(_: int) -> None:
        rivals.rival("nothing_loops")

    monkeypatch.setitem(rivals.LIBRARIES, "nothing_loops", "no_such_library")
    figures = rows.Figures(3.0, 1.0, "s", 3.0)
    cases = (
        rows.Case("slow", lambda _: figures, 2.0),
        rows.Case("fast", lambda _: figures, 2.0, True),
        rows.Case("known", lambda _: figures),
        rows.Case("without", missing, 1.0),
    )
    monkeypatch.setattr(bench, "WORKLOADS", {"W": cases})
    monkeypatch.setattr(sys, "argv", ["bench", "--check", "--json", str(tmp_path / "rows.json")])
    with pytest.raises(SystemExit, match=r"^short of the target: W slow$"):
        bench.main()
    out = capsys.readouterr().out
    assert "without" in out
    assert "absent: no_such_library is not installed" in out
    written = json.loads((tmp_path / "rows.json").read_text())
    assert [row["met"] for row in written["rows"]] == [False, True, True]
    assert list(written["absent"]) == ["W without"]
