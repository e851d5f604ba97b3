"""A leaky neuron and one of its synapses over a hold: as the engines compute it, and with many digits."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import torch

from hlsim.models.neurons import ACTIVATIONS, MODELS, Parameters
from hlsim.models.rules import Hamiltonian
from tests.support.theory import Vector

DIGITS = 60


@dataclass(frozen=True)
class Held:
    """What a leaky neuron and one of its synapses start a hold with; ``g`` and ``s`` stand still."""

    tau: float = 1.7
    eta: float = 0.6
    beta: float = 0.3
    a: float = 0.4
    g: float = -0.8
    s: float = 0.9
    h: float = 0.2
    z: float = 0.5
    omega: float = -0.3
    w: float = 0.7

    @property
    def goal(self) -> float:
        return math.tanh(self.a)

    @property
    def c(self) -> float:
        return (1.0 - math.tanh(self.a) ** 2) / self.tau

    @property
    def lam(self) -> float:
        return 1.0 / self.tau + self.eta


def closed_form(x: Held, duration: float, tensors: bool = False) -> Vector:
    """Return h, z, omega, w after a hold, as the engines compute them."""
    number: Callable[[float], Any] = (lambda v: torch.tensor(v, dtype=torch.float64)) if tensors else float
    leaky, sigma, rule = MODELS["leaky"], ACTIVATIONS["tanh"], Hamiltonian(x.beta, x.eta)
    p, D = Parameters(tau=number(x.tau)), number(duration)
    h = leaky.held(number(x.h), number(x.a), D, sigma, p)
    _, c = leaky.partials(number(x.h), number(x.a), sigma, p)
    z, i1, i2 = rule.costate_hold(number(x.z), number(x.g), leaky.rate(p), D)
    fields = rule.fields([number(x.omega)])
    w, (omega,) = rule.synapse_hold(number(x.w), fields, x.s * c * i1, x.s * c * i2, x.beta, D)
    return np.array([float(v) for v in (h, z, omega, w)])


def flow(x: Held) -> Vector:
    """Return the matrix of the four equations, d/dt (h, z, omega, w, 1)."""
    matrix = np.zeros((5, 5))
    matrix[0, [0, 4]] = -1.0 / x.tau, x.goal / x.tau
    matrix[1, [1, 4]] = -x.lam, x.g
    matrix[2, [1, 2]] = x.s * x.c, -x.eta
    matrix[3, 2] = -x.beta
    return matrix


def exponential(matrix: Vector, duration: float, start: Vector) -> Vector:
    """Return e^(matrix duration) start, by scaling and squaring with many digits."""
    with localcontext() as context:
        context.prec = DIGITS
        halvings = max(0, math.ceil(math.log2(max(np.abs(matrix).sum() * duration, 1e-9))) + 4)
        exact = np.vectorize(Decimal, otypes=[object])
        step = exact(matrix) * Decimal(duration) / 2**halvings
        term = power = exact(np.eye(len(start)))
        for k in range(1, 36):
            term = term @ step / k
            power = power + term
        for _ in range(halvings):
            power = power @ power
        return (power @ exact(start)).astype(float)


def start(x: Held) -> Vector:
    return np.array([x.h, x.z, x.omega, x.w, 1.0])
