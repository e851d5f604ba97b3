"""A rule and a neuron model as users write them: Hamiltonian Learning and leaky neurons under other names."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from hlsim.models import ops
from hlsim.models.neurons import Activation, Neuron, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules.rule import Fields, Rule


@dataclass(frozen=True)
class OwnRule(Rule):
    """Hamiltonian Learning in the explicit order, without what only gradient descent needs."""

    name: ClassVar[str] = "own_rule"
    synapse_fields: ClassVar[Mapping[str, str]] = MappingProxyType({"omega": "weight costate"})
    recorded: ClassVar[tuple[str, ...]] = ("omega",)
    sends_costates: ClassVar[bool] = True

    beta: float = 0.01
    eta: float = 0.5

    def costate_euler(self, z: Value, g: Value, df_dh: Value, duration: Value) -> Value:
        return z + duration * (g + z * df_dh - self.eta * z)

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        omega = fields.omega
        return w - duration * beta * omega, (omega + duration * (qs - self.eta * omega),)

    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        lam = rate + self.eta
        goal = g / lam
        away = z - goal
        p1 = self.memory(duration)
        p2 = duration * duration * ops.phi2(-self.eta * duration)
        i1 = goal * p1 + away * ops.exp(-self.eta * duration) * duration * ops.phi1(-rate * duration)
        i2 = goal * p2 + away * (p1 - duration * ops.phi1(-lam * duration)) / rate
        return goal + away * ops.exp(-lam * duration), i1, i2

    def constant_hold(self, q: Value, duration: Value) -> tuple[Value, Value]:
        return q * self.memory(duration), q * duration * duration * ops.phi2(-self.eta * duration)

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


class OwnLeaky(Neuron):
    """Leaky integrator with a saturating drive: tau dh/dt = -h + sigma(a)."""

    def __init__(self) -> None:
        super().__init__(name="own_leaky", parameters={"tau": 1.0}, relaxes=True)

    def velocity(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return (sigma.value(a) - h) / p.tau

    def partials(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        return -1.0 / p.tau, sigma.slope(a, sigma.value(a)) / p.tau

    def rest(self, a: Value, sigma: Activation) -> Value:
        return sigma.value(a)

    def rate(self, p: Parameters) -> Value:
        return 1.0 / p.tau
