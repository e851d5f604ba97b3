"""What is compiled is the formula that stands in ``hlsim.models``, of anybody's class."""

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from hlsim.engine import formulas
from hlsim.models import ops
from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Leaky, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules import RULES, Equilibrium, Fields, Hamiltonian, HolomorphicEquilibrium

REAL = st.floats(-4, 4)
COMPLEX = st.complex_numbers(max_magnitude=2.0)
FUNCTIONS = ("exp", "tanh", "expm1", "sigmoid", "softplus", "relu", "real", "imaginary")


def close(mine: Any, oracle: Any) -> None:
    np.testing.assert_allclose(np.array(mine), np.array(oracle), rtol=1e-13, atol=1e-15)


def compiled(name: str) -> Callable[[Any], Any]:
    space: dict[str, Any] = {"ops": ops}
    exec(f"def of(x):\n    return ops.{name}(x)\n", space)
    return njit(error_model="numpy")(space["of"])  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [*FUNCTIONS, "step", "phi1", "phi2"])
def test_elementary_functions_are_those_of_numbers(name: str) -> None:
    function = compiled(name)

    @given(st.one_of(REAL, st.sampled_from((0.0, 1e-9, -1e-9, 0.5, -0.5))))
    def check(x: float) -> None:
        close(function(x), getattr(ops, name)(x))

    check()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_are_those_of_complex_numbers(name: str) -> None:
    function = compiled(name)

    @given(COMPLEX)
    def check(x: complex) -> None:
        close(function(x), getattr(ops, name)(x))

    check()


@njit(error_model="numpy")
def _activated(sigma: Any, a: Any) -> Any:
    y = sigma.value(a)
    return y, sigma.slope(a, y)


@pytest.mark.parametrize("sigma", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_an_activation_is_its_own_formula(sigma: Activation) -> None:
    @given(REAL)
    def check(a: float) -> None:
        y = sigma.value(a)
        close(_activated(sigma, a), (y, sigma.slope(a, y)))

    check()


partials = formulas.one_of("partials", "h, a, sigma", "(a, a)")
velocity = formulas.one_of("velocity", "h, a, sigma", "a")
rest = formulas.one_of("rest", "a, sigma", "a")


@njit(error_model="numpy")
def _evaluated(models: Any, sigmas: Any, k: int, j: int, table: Any, i: int, h: float, a: float) -> Any:
    sigma = formulas.chosen(sigmas, j)
    moved = velocity(models, k, table, i, h, a, sigma), partials(models, k, table, i, h, a, sigma)
    return (*moved, rest(models, k, table, i, a, sigma))


@given(st.integers(0, 5), st.integers(0, 2), REAL, REAL)
def test_a_model_is_chosen_by_number_and_given_its_parameters(j: int, i: int, h: float, a: float) -> None:
    models, sigmas = tuple(MODELS.values()), tuple(ACTIVATIONS.values())
    table = np.array([[0.5, 2.0, 7.0]])
    k = [model.name for model in models].index("leaky")
    leaky, sigma, p = models[k], sigmas[j], Parameters(tau=float(table[0, i]))
    mine = _evaluated(models, sigmas, k, j, table, i, h, a)
    close(mine[0], leaky.velocity(h, a, sigma, p))
    close(mine[1], leaky.partials(h, a, sigma, p))
    close(mine[2], leaky.rest(a, sigma))
    instant = _evaluated(models, sigmas, [m.name for m in models].index("instant"), j, table, i, h, a)
    close(instant[2], sigma.value(a))


@dataclass(frozen=True)
class Bounded(Hamiltonian):
    """By ``super()``, by the name of its parent, by a method and a number of its own."""

    limit: float = 0.5
    both: bool = True

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        w, moved = super().synapse_euler(w, fields, qs, beta, duration)
        return self.clipped(w), moved

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        w, moved = Hamiltonian.synapse_hold(self, w, fields, s1, s2, beta, duration)
        return self.clipped(w), moved

    def clipped(self, w: Value) -> Value:
        w = w - ops.relu(w - self.limit)
        return w + ops.relu(-self.limit - w) if self.both else w


class Twice(Bounded):
    """A child of a child."""

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        return super().synapse_hold(w, fields, 2.0 * s1, 2.0 * s2, beta, duration)


@njit(error_model="numpy")
def _stepped(rule: Any, w: float, fields: Any, x: float, y: float, beta: float, duration: float) -> Any:
    return rule.synapse_euler(w, fields, x, beta, duration), rule.synapse_hold(
        w, fields, x, y, beta, duration
    )


@pytest.mark.parametrize(
    "rule",
    [
        Hamiltonian(eta=0.3),
        Hamiltonian(eta=0.0, order="sequential"),
        Bounded(eta=0.2),
        Bounded(eta=0.2, both=False),
        Twice(eta=0.1),
    ],
    ids=repr,
)
def test_a_step_is_that_of_the_rule_with_its_numbers_and_its_parents(rule: Hamiltonian) -> None:
    @given(st.lists(REAL, min_size=4, max_size=4), st.floats(0.01, 3.0))
    def check(numbers: list[float], duration: float) -> None:
        w, omega, x, y = numbers
        fields = rule.fields([omega])
        mine = _stepped(rule, w, fields, x, y, 0.7, duration)
        for one, other in zip(
            mine,
            (
                rule.synapse_euler(w, fields, x, 0.7, duration),
                rule.synapse_hold(w, fields, x, y, 0.7, duration),
            ),
            strict=True,
        ):
            close((one[0], *one[1]), (other[0], *other[1]))

    check()


class OfTensors(Hamiltonian):
    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        return super().synapse_hold(w, fields, torch.roll(s1, 1), s2, beta, duration)


class Undeclared(Hamiltonian):
    def momentum(self, fields: Fields) -> Value:
        return fields.velocity


class Bent(Leaky):
    """A model whose velocity is no formula of numbers."""

    def velocity(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return torch.tanh(a) - h


class Kink(Activation):
    """Of real numbers only: complex ones cannot be compared."""

    name = "kink"

    def value(self, a: Value) -> Value:
        return a if a > 0 else 0.5 * a

    def slope(self, a: Value, y: Value) -> Value:
        return 1.0 if a > 0 else 0.5


def test_it_is_known_whether_formulas_can_be_compiled() -> None:
    for rule in RULES.values():
        made = rule()
        assert formulas.compiles(made, made.complex_states), rule
    for thing in (*MODELS.values(), *ACTIVATIONS.values(), Bounded(), Twice(), Kink()):
        assert formulas.compiles(thing), thing
    assert not formulas.compiles(Kink(), complex_states=True)
    for cheat in (OfTensors(), Undeclared(), Bent()):
        assert not formulas.compiles(cheat), cheat
    space: dict[str, Any] = {"Hamiltonian": Hamiltonian}
    exec("class Typed(Hamiltonian):\n    def memory(self, duration):\n        return duration\n", space)
    assert not formulas.compiles(space["Typed"]())  # its text is nowhere to be read


mark = formulas.optional("mark", "w, fields, product, beta, phase", "w, fields")


@njit(error_model="numpy")
def _marked(rule: Any, w: float, fields: Any, product: Any, weight: complex) -> Any:
    return mark(rule, w, fields, product, 0.5, formulas.Mark(weight, True, True))


def test_a_formula_that_a_class_does_not_have_leaves_everything_as_it_is() -> None:
    without = Hamiltonian()
    assert _marked(without, 0.3, without.fields([0.4]), 0.5, 1.0 + 0.0j) == (0.3, (0.4,))
    for rule in (Equilibrium(), HolomorphicEquilibrium()):
        product = 0.5 if type(rule) is Equilibrium else cmath.exp(0.3j)
        fields, phase = rule.fields([0.1, 0.2]), formulas.Mark(2.0 - 1.0j, True, True)
        mine, oracle = (
            _marked(rule, 0.3, fields, product, phase.weight),
            rule.mark(0.3, fields, product, 0.5, phase),  # type: ignore[arg-type]
        )
        close((mine[0], *mine[1]), (oracle[0], *oracle[1]))
        assert math.isfinite(mine[0])


class Reading(NamedTuple):
    value: float
    slope: int


def test_named_tuples_of_users_are_left_alone() -> None:
    """Their fields may be called as formulas of activations are."""

    @njit
    def both(reading: Reading) -> float:
        return reading.value + 2.0 * reading.slope

    assert both(Reading(1.0, 3)) == 7.0
