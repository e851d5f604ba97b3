"""How loops are compiled: those inside others have no address, and do what they say."""

from typing import Any

import networkx as nx
import numpy as np
import pytest
from numba import types

from hlsim import Simulation
from hlsim.engine import loops
from hlsim.engine.compiled.engine import Compiled
from hlsim.models.neurons import Activation, Neuron, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules.fixed import Fixed
from tests.support.agreement import COMPILED
from tests.support.own import registered


@loops.tight
def quotient(x: float, y: float) -> float:
    return x / y


@loops.summing
def total(x: np.ndarray) -> float:
    result = 0.0
    for value in x:
        result += value
    return result


@loops.inner
def each(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for k in range(len(out)):
        out[k] = quotient(x[k], y[k])


@loops.once
def shifted(out: np.ndarray, by: float) -> None:
    out += by


@loops.plain
def called(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    out = np.empty_like(x)
    each(x, y, out)
    shifted(out, 1.0)
    return out, total(x)


def test_loops_inside_loops_do_what_python_does() -> None:
    x, y = np.array([1.0, -3.0, 0.5, 0.0]), np.array([4.0, 0.0, 0.25, 0.0])
    out, added = called(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_array_equal(out, x / y + 1.0)
    assert added == -1.5


ROW = types.float64[::1]


@pytest.mark.parametrize(
    ("inside", "takes"),
    [(quotient, (types.float64, types.float64)), (total, (ROW,)), (each, (ROW, ROW, ROW))],
)
def test_only_the_outermost_has_an_address(inside: Any, takes: tuple[Any, ...]) -> None:
    # By itself: its caller may have been kept on disk, and what is inside it is not looked at then.
    inside.compile(takes)
    library = inside.overloads[takes].library
    assert isinstance(library, loops._Linked)
    with pytest.raises(RuntimeError, match="no compiled object"):
        library._get_compiled_object()
    called(np.ones(2), np.ones(2))
    (outer,) = called.overloads.values()  # type: ignore[attr-defined]
    assert not isinstance(outer.library, loops._Linked)


class Talking(Neuron):
    """What people write who look for a mistake."""

    name = "talking"
    fields = {"v": "potential"}  # noqa: RUF012

    def velocity(self, x: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        print("drive", a)  # noqa: T201
        return sigma.value(a) - x


def test_a_formula_of_a_users_may_print(capfd: pytest.CaptureFixture[str]) -> None:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", model="talking", update="clock")
    graph.add_edge("x", "y", weight=2.0)
    with registered(Talking):
        sim = Simulation(graph, rule=Fixed(), loss=None, dtype="float64", **COMPILED)
        assert type(sim._engine) is Compiled
        sim.controls.input(np.array([1.25]))
        sim.run(until=4)
    assert "drive 2.5" in capfd.readouterr().out
