r"""Learning rules: what a neuron's costate and its synapses do, from values that reached the neuron.

A rule is frozen and holds no state. It declares the synapse fields it needs; the engines own them. Its
formulas take numbers or tensors (see ``hlsim.ops``), so that both engines use the same ones: ``z``, ``g``,
``q`` ``(replica, node)``; ``w`` and the synapse fields ``(1 or replica, edge)`` or the matrix of a
projection; ``qs`` the product of q and the state s that last arrived on the edge, averaged over a minibatch.

Letters, units: ``duration`` in model time; ``beta`` weight rate, ``eta`` dissipation (both per unit of model
time); ``phi`` loss scale.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from hlsim import ops
from hlsim.errors import ExperimentError
from hlsim.ops import Value

ORDERS = ("explicit", "sequential")

Fields = Mapping[str, Value]


@dataclass(frozen=True)
class Gate:
    """phi that is off for the first ``off`` ticks of every row (and of the run), then ``value``."""

    off: int
    value: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.off, int) and self.off >= 0):
            raise ExperimentError(
                f"learning.phi: gate must be a whole number of ticks >= 0, got {self.off!r}"
            )
        _finite("phi", self.value)

    def changes(self) -> list[tuple[int, float]]:
        """Return (ticks after the start of a row, phi from there on)."""
        return [(0, 0.0), (self.off, self.value)] if self.off else [(0, self.value)]


@dataclass(frozen=True)
class Schedule:
    """phi that takes a new value at given ticks of the run; 0 before the first."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        ticks = [tick for tick, _ in self.points]
        if not ticks or ticks != sorted(set(ticks)) or ticks[0] < 0:
            raise ExperimentError(f"learning.phi: schedule needs rising ticks >= 0, got {ticks}")
        for _, value in self.points:
            _finite("phi", value)


Phi = float | Gate | Schedule


def _finite(name: str, value: float, least: float = -math.inf) -> None:
    number = isinstance(value, int | float) and math.isfinite(value)
    if not number or value < least:
        bound = "finite" if least == -math.inf else f"finite and >= {least:g}"
        raise ExperimentError(f"learning.{name}: must be {bound}, got {value!r}")


@dataclass(frozen=True)
class Rule:
    """What an engine asks of a rule. A new rule overrides these and stands in ``RULES``.

    Attributes
    ----------
    order : str
        "explicit" (all derivatives from the values at the last update) or "sequential" (from the newest).
    phi : float, Gate or Schedule
        Scale of the loss gradient at the outputs.
    weight_decay : float
        Factor of :math:`|w|^2 / 2` inside the loss; needs clocked neurons.
    """

    name: ClassVar[str] = ""
    # Private variables of a synapse beside w; all start at 0.
    synapse_fields: ClassVar[tuple[str, ...]] = ()
    # Whether neurons send costates backward.
    sends_costates: ClassVar[bool] = False

    beta: float = 0.01
    eta: float = 0.5
    phi: Phi = 1.0
    order: str = "explicit"
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _finite("beta", self.beta, 0.0)
        _finite("eta", self.eta, 0.0)
        _finite("weight_decay", self.weight_decay, 0.0)
        if not isinstance(self.phi, Gate | Schedule):
            _finite("phi", self.phi)
        if self.order not in ORDERS:
            raise ExperimentError(f"learning.order: must be one of {', '.join(ORDERS)}, got {self.order!r}")

    def costate_euler(self, z: Value, g: Value, df_dh: Value, duration: Value) -> Value:
        """Return z one Euler step on; g is phi dL/dh plus the costates heard."""
        raise NotImplementedError

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, Fields]:
        """Return (w, fields) one Euler step on; qs already holds the gradient of a weight decay."""
        raise NotImplementedError

    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        """Return z after an exact hold, and its integrals I1, I2 that the synapses take (see Hamiltonian)."""
        raise NotImplementedError

    def constant_hold(self, q: Value, duration: Value) -> tuple[Value, Value]:
        """Return I1, I2 of a q that stands still during the hold (an instant neuron's)."""
        raise NotImplementedError

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, Fields]:
        """Return (w, fields) after an exact hold; s1, s2 are s times the integrals of the q it met."""
        raise NotImplementedError

    def momentum(self, fields: Fields) -> Value:
        """Return the field that moves w while nothing else happens."""
        raise NotImplementedError

    def memory(self, duration: Value) -> Value:
        """Return how far w moves per unit of ``beta * momentum`` in a hold without new gradient."""
        raise NotImplementedError


@dataclass(frozen=True)
class Hamiltonian(Rule):
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
    synapse_fields: ClassVar[tuple[str, ...]] = ("omega",)
    sends_costates: ClassVar[bool] = True

    def costate_euler(self, z: Value, g: Value, df_dh: Value, duration: Value) -> Value:
        return z + duration * (g + z * df_dh - self.eta * z)

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, Fields]:
        omega = fields["omega"]
        moved = omega + duration * (qs - self.eta * omega)
        used = moved if self.order == "sequential" else omega
        return w - duration * beta * used, {"omega": moved}

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
    ) -> tuple[Value, Fields]:
        omega = fields["omega"]
        w = w - beta * (omega * self.memory(duration) + s2)
        return w, {"omega": ops.exp(-self.eta * duration) * omega + s1}

    def momentum(self, fields: Fields) -> Value:
        return fields["omega"]

    def memory(self, duration: Value) -> Value:
        return duration * ops.phi1(-self.eta * duration)

    def _integrals(self, duration: Value) -> tuple[Value, Value]:
        return self.memory(duration), duration * duration * ops.phi2(-self.eta * duration)


RULES: Mapping[str, type[Rule]] = MappingProxyType({rule.name: rule for rule in (Hamiltonian,)})
