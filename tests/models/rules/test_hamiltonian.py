"""The closed form of one neuron and one synapse, for which the drive, the states heard and g stand still."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim.models.rules import Hamiltonian
from tests.support.holds import Held, closed_form, exponential, flow, start
from tests.support.theory import Vector


def most_memory(x: Held, duration: float) -> float:
    """Return a bound of p1 = (1 - exp(-eta D)) / eta."""
    return min(duration, 1.0 / x.eta if x.eta else math.inf)


def size(x: Held, duration: float) -> Vector:
    """Return how large the terms of h, z, omega and w may be, to which their round-off is proportional."""
    p1 = most_memory(x, duration)
    p2 = p1 * duration
    z = abs(x.z) + abs(x.g) / x.lam
    sc = abs(x.s * x.c)
    omega = abs(x.omega) + sc * z * (p1 + x.tau)
    w = abs(x.w) + x.beta * (abs(x.omega) * p1 + sc * z * (p2 + x.tau * p1))
    return np.array([abs(x.h) + abs(x.goal), z, omega, w])


@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "tensors"])
@pytest.mark.parametrize("duration", [1e-6, 1e-3, 0.5, 1.0, 7.0, 300.0])
@pytest.mark.parametrize("tau", [0.05, 1.7, 400.0])
@pytest.mark.parametrize("eta", [0.0, 1e-12, 1e-6, 0.6, 30.0])
def test_closed_form_is_the_exponential_of_the_four_equations(
    eta: float, tau: float, duration: float, tensors: bool
) -> None:
    """From eta D = 0 to 9000, with 60 digits on the other side."""
    x = Held(tau=tau, eta=eta)
    expected = exponential(flow(x), duration, start(x))[:4]
    error = np.abs(closed_form(x, duration, tensors) - expected) / size(x, duration)
    assert error.max() <= 1e-15, error


NUMBERS = st.floats(-2.0, 2.0)
HELD = st.builds(
    Held,
    tau=st.floats(0.01, 1000.0),
    eta=st.one_of(st.just(0.0), st.floats(1e-12, 1e-3), st.floats(1e-3, 20.0)),
    beta=st.floats(0.0, 1.0),
    **dict.fromkeys(("a", "g", "s", "h", "z", "omega", "w"), NUMBERS),
)


@given(x=HELD, duration=st.floats(1e-3, 1000.0), part=st.floats(0.0, 1.0))
def test_two_holds_are_one(x: Held, duration: float, part: float) -> None:
    """The semigroup property, wherever the time is split."""
    h, z, omega, w = closed_form(x, part * duration)
    twice = closed_form(replace(x, h=h, z=z, omega=omega, w=w), duration - part * duration)
    error = np.abs(twice - closed_form(x, duration))
    assert (error <= 2e-15 * size(x, duration)).all(), error


@given(x=HELD, duration=st.floats(1e-3, 100.0))
def test_dissipation_may_go_to_zero(x: Held, duration: float) -> None:
    """What it does to first order in eta is all that it does: there is no jump at 0."""
    without = closed_form(replace(x, eta=0.0), duration)
    for eta in (1e-16, 1e-13, 1e-10):
        change = np.abs(closed_form(replace(x, eta=eta), duration) - without)
        assert (
            change <= (4.0 * eta * (duration + x.tau) + 2e-15) * size(replace(x, eta=0.0), duration)
        ).all()


def test_without_dissipation_integrals_are_those_of_a_straight_line() -> None:
    i1, i2 = Hamiltonian(eta=0.0).constant_hold(3.0, 4.0)
    assert (i1, i2) == (3.0 * 4.0, 3.0 * 4.0**2 / 2)
    assert Hamiltonian(eta=0.0).memory(4.0) == 4.0


@given(q=NUMBERS, x=HELD, duration=st.floats(1e-3, 100.0))
def test_a_constant_q_is_held_exactly(q: float, x: Held, duration: float) -> None:
    """An instant neuron's: the same equations with z standing still and c = 1."""
    rule = Hamiltonian(x.beta, x.eta)
    i1, i2 = rule.constant_hold(q, duration)
    w, (omega,) = rule.synapse_hold(x.w, rule.fields([x.omega]), x.s * i1, x.s * i2, x.beta, duration)
    matrix = np.array([[-x.eta, 0.0, x.s * q], [-x.beta, 0.0, 0.0], [0.0, 0.0, 0.0]])
    expected = exponential(matrix, duration, np.array([x.omega, x.w, 1.0]))[:2]
    terms = (abs(x.omega) + abs(x.s * q) * most_memory(x, duration)) * np.array([1.0, x.beta * duration]) + [
        0.0,
        abs(x.w),
    ]
    error = np.abs(np.array([omega, w]) - expected)
    assert (error <= 2e-15 * terms).all()


@given(held=st.lists(HELD, min_size=1, max_size=5), duration=st.floats(1e-3, 100.0))
def test_a_neuron_knows_how_far_it_moves_its_own_drive(held: list[Held], duration: float) -> None:
    """The sum of s times what w moves by is -(A p1 + B c I2), A = sum beta omega s, B = sum beta s^2."""
    neuron = held[0]
    held = [replace(neuron, beta=x.beta, s=x.s, omega=x.omega, w=x.w) for x in held]
    moved = sum(x.s * (closed_form(x, duration)[3] - x.w) for x in held)
    rule = Hamiltonian(eta=neuron.eta)
    _, _, i2 = rule.costate_hold(neuron.z, neuron.g, 1.0 / neuron.tau, duration)
    A, B = sum(x.beta * x.omega * x.s for x in held), sum(x.beta * x.s**2 for x in held)
    scale = sum(abs(x.s) * size(x, duration)[3] for x in held)
    # Subnormal numbers have no digits to lose.
    least = np.finfo(np.float64).tiny
    assert abs(moved + A * rule.memory(duration) + B * neuron.c * i2) <= 4e-15 * scale + least


def test_euler_comes_near_in_proportion_to_its_step() -> None:
    """Order 1 in h, z, omega and w: the slope of the logarithms, over five step sizes."""
    x, duration = Held(), 4.0
    steps = np.array([256, 512, 1024, 2048, 4096])
    expected = closed_form(x, duration)
    errors = []
    for n in steps:
        state, matrix = start(x), flow(x)
        for _ in range(n):
            state = state + duration / n * (matrix @ state)
        errors.append(np.abs(state[:4] - expected))
    slopes = np.polyfit(np.log(duration / steps), np.log(errors), 1)[0]
    assert np.abs(slopes - 1.0).max() < 0.01, slopes
