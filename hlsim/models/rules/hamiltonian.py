"""Hamiltonian Learning: states and costates run forward together, every synapse has a costate of its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from hlsim.errors import ExperimentError, check_number
from hlsim.models import ops
from hlsim.models.ops import Value
from hlsim.models.rules.phi import Gate, Phi, Schedule
from hlsim.models.rules.rule import CostateRule, Fields

ORDERS = ("explicit", "sequential")


@dataclass(frozen=True)
class Hamiltonian(CostateRule):
    r"""Hamiltonian Learning: state and costate run forward together, each synapse has its own costate.

    .. math::
        \dot z &= \phi\, \partial L/\partial h + z\, \partial f/\partial h + \sum r - \eta z \\
        \dot\omega &= q s - \eta\omega, \qquad \dot w = -\beta\omega, \qquad q = z\,\partial f/\partial a

    where s is the state and r = w q the costate that last arrived on a synapse.

    Parameters
    ----------
    beta : float
        Weight rate, for synapses without a ``beta`` of their own.
    eta : float
        Dissipation. Gradient descent with momentum mu and rate lr is ``eta = (1 - mu)/dt``, ``beta = lr/dt``.
    phi, order, weight_decay
        As in ``Rule``.

    Notes
    -----
    Melacci et al., PMLR 277:71-95 (2025), eq. 8; Algorithm 1 is the explicit order. The exact hold is the
    solution of these equations for constant a, s and g; with lam = rate + eta, z_inf = g/lam,
    p1 = (1 - e^{-eta D})/eta and p2 = (D - p1)/eta:

    .. math::
        I_1 &= \int_0^D e^{-\eta(D-u)} z(u)\,du
             = z_\infty p_1 + (z - z_\infty) e^{-\eta D} (1 - e^{-rate\,D})/rate \\
        I_2 &= \int_0^D I_1 = z_\infty p_2 + (z - z_\infty) (p_1 - (1 - e^{-lam D})/lam)/rate
    """

    name: ClassVar[str] = "hamiltonian"
    synapse_fields: ClassVar[Mapping[str, str]] = MappingProxyType({"omega": "weight costate"})
    recorded: ClassVar[tuple[str, ...]] = ("omega",)

    beta: float = 0.01
    eta: float = 0.5
    phi: Phi = 1.0
    order: str = field(default="explicit", metadata={"choices": ORDERS})
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta", "eta", "weight_decay"):
            check_number(f"learning.{name}", getattr(self, name), 0.0)
        if not isinstance(self.phi, Gate | Schedule):
            check_number("learning.phi", self.phi)
        if self.order not in ORDERS:
            raise ExperimentError(f"learning.order: must be one of {', '.join(ORDERS)}, got {self.order!r}")

    def costate_euler(self, z: Value, g: Value, df_dh: Value, duration: Value) -> Value:
        return z + duration * (g + z * df_dh - self.eta * z)

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        omega = fields.omega
        moved = omega + duration * (qs - self.eta * omega)
        used = moved if self.sequential else omega
        return w - duration * beta * used, (moved,)

    def step(
        self,
        w: Tensor,
        fields: Fields,
        add_products: Callable[[Tensor, float, float], None],
        beta: float | Tensor,
        duration: float,
    ) -> bool:
        omega = fields.omega
        if self.order == "explicit":
            _descend(w, omega, beta, duration)
        add_products(omega, 1.0 - duration * self.eta, duration)
        if self.order == "sequential":
            _descend(w, omega, beta, duration)
        return True

    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        lam = rate + self.eta
        goal = g / lam
        away = z - goal
        p1, p2 = self._integrals(duration)
        i1 = goal * p1 + away * ops.exp(-self.eta * duration) * duration * ops.phi1(-rate * duration)
        i2 = goal * p2 + away * (p1 - duration * ops.phi1(-lam * duration)) / rate
        return goal + away * ops.exp(-lam * duration), i1, i2

    def constant_hold(self, q: Value, duration: Value) -> tuple[Value, Value]:
        p1, p2 = self._integrals(duration)
        return q * p1, q * p2

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        omega = fields.omega
        w = w - beta * (omega * self.memory(duration) + s2)
        return w, (ops.exp(-self.eta * duration) * omega + s1,)

    def momentum(self, fields: Fields) -> Value:
        return fields.omega

    def memory(self, duration: Value) -> Value:
        return duration * ops.phi1(-self.eta * duration)

    def _integrals(self, duration: Value) -> tuple[Value, Value]:
        return self.memory(duration), duration * duration * ops.phi2(-self.eta * duration)


def _descend(w: Tensor, omega: Tensor, beta: float | Tensor, duration: float) -> None:
    if isinstance(beta, Tensor):
        w.addcmul_(omega, beta, value=-duration)
    else:
        w.add_(omega, alpha=-duration * beta)


def boundary(late: int, mu: float) -> float:
    r"""Return the largest stable kappa for a gradient that is so many ticks late, with momentum mu.

    One weight with the loss :math:`\lambda w^2/2`: :math:`\kappa = dt^2 \beta \phi \lambda`, and
    :math:`\mu = 1 - \eta\,dt` from 0 to 1; a tick more late in the explicit order. Where a root
    :math:`e^{i\theta}` of

    .. math:: w_{t+1} - w_t = \mu (w_t - w_{t-1}) - \kappa\, w_{t-d}

    comes to the unit circle; derived in the page on the theory.
    """
    if late == 0:
        return 2.0 * (1.0 + mu)
    low, high = 0.0, math.pi
    for _ in range(100):
        theta = 0.5 * (low + high)
        turn = theta * (late - 0.5) + math.atan2(math.sin(theta), math.cos(theta) - mu)
        low, high = (theta, high) if turn < math.pi / 2.0 else (low, theta)
    c = math.cos(low)
    return math.sqrt(2.0 * (1.0 - c) * (1.0 + mu * mu - 2.0 * mu * c))
