"""Numbers of a Python user: those of NumPy are the numbers that they are, checked, used and quoted."""

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
import xarray as xr

import hlsim
from hlsim import errors
from hlsim.errors import HlsimError
from hlsim.models.rules import RULES, Equilibrium, Gate, Hamiltonian, OscillatingEquilibrium, Schedule
from hlsim.simulation.faults import Change, Faults
from hlsim.simulation.noise import Noise
from hlsim.stimulus import Arrays, Stage
from hlsim.stimulus.datasets import Digits, Iris
from hlsim.topology.network import flatten
from hlsim.trace.layout import rates
from tests.support.networks import assert_same

INTEGERS = (np.int8, np.uint16, np.int64, np.array, torch.tensor)
# As users have them: nobody's annotations say that these are taken, and they are.
INT: Any = np.int64
SINGLE: Any = np.float32
FLOAT: Any = np.float64
YES: Any = np.True_
FLOATS = (np.float32, np.float64, np.longdouble, np.array, torch.tensor)


@pytest.mark.parametrize("kind", [*INTEGERS, xr.DataArray])
def test_a_whole_number_of_a_library_is_a_python_one(kind: Callable[[Any], Any]) -> None:
    for value in (0, 7):
        assert (type(errors.plain(kind(value))), errors.plain(kind(value))) == (int, value)
        errors.check_count("here", kind(value), 0)
        errors.check_number("here", kind(value), 0.0)
    with pytest.raises(HlsimError, match=r"^here: must be a whole number >= 8, got 7$"):
        errors.check_count("here", kind(7), 8)


@pytest.mark.parametrize("kind", [*FLOATS, np.float16, xr.DataArray])
def test_a_float_of_a_library_is_a_python_one(kind: Callable[[Any], Any]) -> None:
    for value in (0.5, -1.25):
        assert (type(errors.plain(kind(value))), errors.plain(kind(value))) == (float, value)
        errors.check_number("here", kind(value), -2.0)
    with pytest.raises(HlsimError, match=r"^here: must be finite and >= 0, got -1.25$"):
        errors.check_number("here", kind(-1.25), 0.0)
    for value in (np.nan, np.inf):
        with pytest.raises(HlsimError, match=rf"^here: must be finite, got {value}$"):
            errors.check_number("here", kind(value))


@pytest.mark.parametrize("value", [True, YES, np.array(True), "1", np.str_("1"), 1j, np.complex64(1), None])
def test_what_is_no_number_is_none_whatever_it_comes_as(value: Any) -> None:
    got = re.escape(repr(errors.plain(value)))
    for check in (errors.check_number, errors.check_count):
        with pytest.raises(HlsimError, match=rf"^here: must be .*, got {got}$"):
            check("here", value)
    assert errors.plain(np.array([1])).shape == (1,)
    with pytest.raises(HlsimError, match=r"^here: must be finite, got 1000"):
        errors.check_number("here", 10**400)


def graph(kind: Callable[[Any], Any], size: Callable[[Any], Any]) -> nx.DiGraph:
    made = nx.DiGraph()
    made.add_node("x", model="input", size=size(3))
    made.add_node(
        "y", size=size(2), tau=kind(2.5), bias=kind(-0.5), refresh=size(7), send_threshold=kind(0.25)
    )
    made.add_edge(
        "x", "y", weight={"normal": kind(0.5)}, delay={"uniform": [size(1), size(9)]}, beta=kind(0.5)
    )
    made.add_edge(
        "y", "y", connect="random", probability=kind(0.5), weight={"uniform": (kind(-1.0), kind(1.0))}
    )
    made.edges["y", "y"].update(delay=size(2), plastic=np.bool_(False), feedback_delay=kind(3.0))
    return made


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("size", INTEGERS)
def test_a_graph_may_carry_any_kind_of_number(kind: Callable[[Any], Any], size: Callable[[Any], Any]) -> None:
    assert_same(
        flatten(graph(kind, size), seeds=(size(3),), dt=kind(0.5)), flatten(graph(float, int), seeds=(3,))
    )
    for make in (hlsim.topology.ring, lambda n, **given: hlsim.topology.random(n, size(2), **given)):
        given: dict[str, Any] = {"std": 0.5, "delay": (1, 5), "inputs": 2, "seed": 4, "bias": 0.25}
        other: dict[str, Any] = {
            "std": kind(0.5),
            "delay": (size(1), size(5)),
            "inputs": size(2),
            "seed": size(4),
            "bias": kind(0.25),
        }
        assert_same(flatten(make(size(6), **other)), flatten(make(6, **given)))
    assert_same(flatten(hlsim.topology.layered([size(2), size(1)])), flatten(hlsim.topology.layered([2, 1])))


def test_whole_floats_count_neurons_in_generators_too() -> None:
    assert_same(flatten(hlsim.topology.ring(3.0)), flatten(hlsim.topology.ring(3)))  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_computes_with_plain_numbers(rule: str) -> None:
    """A float32 among its parameters would make the reference engine compute in single precision."""
    made_of: Any = RULES[rule]
    given: dict[str, Any] = {
        name: x for name, x in vars(made_of()).items() if isinstance(x, int | float) and x is not True
    }
    init = {field.name for field in fields(made_of) if field.init}
    given = {name: np.asarray(x)[()] for name, x in given.items() if name in init and x is not False}
    assert given or not init
    made = made_of(**given)
    assert made == made_of()
    assert all(not isinstance(x, np.generic) for x in vars(made).values())


def test_every_record_keeps_plain_numbers() -> None:
    i, f, yes = INT, SINGLE, YES
    for one, other in (
        (Gate(i(3), f(0.5)), Gate(3, 0.5)),
        (Schedule(((i(0), f(0.5)), (INT(3), 1.0))), Schedule(((0, 0.5), (3, 1.0)))),
        (Noise(f(0.5), yes, i(3)), Noise(0.5, True, 3)),
        (Faults(f(0.5), i(2), f(0.25), i(3)), Faults(0.5, 2, 0.25, 3)),
        (Change(i(3), down=yes, delay=i(2)), Change(3, down=True, delay=2)),
        (Stage(passes=i(2), rows=i(3), phi=f(0.5), hold=i(4)), Stage(passes=2, rows=3, phi=0.5, hold=4)),
        (OscillatingEquilibrium(steps=i(7)), OscillatingEquilibrium(steps=7)),
    ):
        assert one == other
        assert repr(one) == repr(other)


def test_a_simulation_takes_any_kind_of_number_and_computes_the_same() -> None:
    """In the reference engine as well, whose numbers are Python's."""
    i, f = INT, SINGLE

    def run(i: Any, f: Any, engine: str) -> list[np.ndarray]:
        sim = hlsim.Simulation(
            hlsim.topology.layered([2, 3, 1]),
            rule=Hamiltonian(beta=f(0.125), eta=f(0.5), phi=f(0.5)),
            stimulus=Arrays(np.eye(2), np.ones((2, 1))),
            stages=[Stage(passes=i(5))],
            noise=Noise(f(0.25)),
            faults=Faults(loss=f(0.25)),
            hold=i(7),
            dt=f(0.5),
            seed=i(3),
            threads=i(1),
            batch=i(1),
            ensemble=i(2) if engine == "batched" else 1,
            dtype="float64",
            engine=engine,
        )
        sim.run(until=i(9), every=i(3))
        sim.controls.phi(f(0.25))
        sim.controls.links(loss=f(0.5), jitter=i(2), down=None, replica=i(0))
        sim.run(until=i(40), every={"w": i(4)})
        return [sim.read(name) for name in ("h", "z", "w", "omega")]

    for engine in ("batched", "reference"):
        for one, other in zip(run(i, f, engine), run(int, float, engine), strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: hlsim.Simulation(hlsim.topology.ring(3), loss=None).run(until=INT(0)),
        lambda: hlsim.Simulation(hlsim.topology.ring(3), dt=FLOAT(-1)),
        lambda: hlsim.Simulation(hlsim.topology.ring(3), seed=INT(-1)),
        lambda: hlsim.Simulation(hlsim.topology.ring(3), hold=FLOAT(3)),
        lambda: hlsim.topology.ring(INT(1)),
        lambda: hlsim.topology.layered([INT(1), INT(0)]),
        lambda: hlsim.topology.random(3, INT(3)),
        lambda: flatten(nx.DiGraph([("a", "b", {"weight": {"normal": FLOAT(-1)}})])),
        lambda: flatten(nx.DiGraph([("a", "b", {"delay": {"uniform": (INT(3), INT(1))}})])),
        lambda: flatten(nx.DiGraph([("a", "b", {"weight": FLOAT(np.nan)})])),
        lambda: flatten(nx.DiGraph([("a", "b", {"plastic": INT(1)})])),
        lambda: Stage(passes=INT(0)),
        lambda: Gate(INT(-1)),
        lambda: Schedule(((INT(-1), 0.0),)),
        lambda: Noise(FLOAT(-1.0)),
        lambda: Faults(loss=FLOAT(2.0)),
        lambda: Faults(jitter=FLOAT(2.0)),
        lambda: Change(INT(-1), down=True),
        lambda: Digits(test=INT(-1)),
        lambda: Iris(low=FLOAT(np.nan)),
        lambda: rates(INT(0), ("w",)),
        lambda: Equilibrium(nudge=FLOAT(0.0)),
    ],
)
def test_a_number_of_numpy_is_quoted_as_the_number_that_it_is(ask: Callable[[], Any]) -> None:
    with pytest.raises(HlsimError) as caught:
        ask()
    assert "got" in str(caught.value)
    assert "np." not in str(caught.value)


def test_data_sets_take_any_kind_of_number() -> None:
    one, other = Iris(test=INT(20), high=SINGLE(0.5)), Iris(test=20, high=0.5)
    for a, b in zip(one.rows("train"), other.rows("train"), strict=True):
        assert (a.input.tobytes(), a.target.tobytes()) == (b.input.tobytes(), b.target.tobytes())  # type: ignore[union-attr]
