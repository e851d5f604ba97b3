r"""Neuron models and activation functions: frozen, without state, each one class and one line in a table.

Formulas take numbers or tensors (see ``hlsim.models.ops``): ``h`` state, ``a`` drive, ``duration`` in model
time. Shapes, where they are tensors: ``(replica, node)``.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hlsim.models import ops
from hlsim.models.ops import Value
from hlsim.models.table import Table

# Parameters of neurons by name: ``p.tau``.
Parameters = SimpleNamespace
# Attributes of every node, whatever its model: no parameter is called so.
RESERVED = (
    *("model", "size", "activation", "bias", "role", "group", "update", "period", "phase"),
    *("send_threshold", "costate_threshold", "send_interval", "refresh"),
)


class Activation:
    r"""A function :math:`\sigma(a)` with its derivative in closed form."""

    name: str
    # Complex differentiable: rules which send complex states refuse the others.
    holomorphic: bool = True
    # The largest slope at real drives: what a network needs to settle is bounded with it.
    steepest: float = 1.0

    def value(self, a: Value) -> Value:
        raise NotImplementedError

    def slope(self, a: Value, y: Value) -> Value:
        r"""Return :math:`\sigma'(a)`, given y = :math:`\sigma(a)` where that is cheaper."""
        raise NotImplementedError


class Tanh(Activation):
    name = "tanh"

    def value(self, a: Value) -> Value:
        return ops.tanh(a)

    def slope(self, a: Value, y: Value) -> Value:
        return 1.0 - y * y


class Sigmoid(Activation):
    name = "sigmoid"
    steepest = 0.25

    def value(self, a: Value) -> Value:
        return ops.sigmoid(a)

    def slope(self, a: Value, y: Value) -> Value:
        return y * (1.0 - y)


class SteepSigmoid(Activation):
    r""":math:`1/(1 + e^{2 - 4a})`, of slope 1 in the middle at a = 1/2.

    The activation of Laborieux & Zenke, arXiv 2209.00530 (2022), for holomorphic equilibrium propagation.
    """

    name = "steep_sigmoid"

    def value(self, a: Value) -> Value:
        return ops.sigmoid(4.0 * a - 2.0)

    def slope(self, a: Value, y: Value) -> Value:
        return 4.0 * y * (1.0 - y)


class Relu(Activation):
    name = "relu"
    holomorphic = False

    def value(self, a: Value) -> Value:
        return ops.relu(a)

    def slope(self, a: Value, y: Value) -> Value:
        return ops.step(a)


class Softplus(Activation):
    name = "softplus"

    def value(self, a: Value) -> Value:
        return ops.softplus(a)

    def slope(self, a: Value, y: Value) -> Value:
        return ops.sigmoid(a)


class Identity(Activation):
    name = "identity"

    def value(self, a: Value) -> Value:
        return a

    def slope(self, a: Value, y: Value) -> Value:
        return 0.0 * a + 1.0


ACTIVATIONS: Table[Activation] = Table(
    "activation", (Tanh(), Sigmoid(), SteepSigmoid(), Relu(), Softplus(), Identity())
)


class Neuron:
    r"""A neuron model :math:`\dot h = f(h, a)`.

    A new model is a class that declares what follows and defines ``velocity``; that is enough for clocked
    neurons (the partial derivatives come from ``torch.func.vjp``). ``partials`` in closed form is ten times
    faster, and a model that has ``rate`` and ``rest`` as well may update on arrival.

    Attributes
    ----------
    name : str
        What a node's attribute ``model`` says.
    parameters : mapping of str to float
        Node attributes of the model and their defaults.
    fields : mapping of str to str
        State variables of a neuron and their kind. The engines know one, ``{"h": "real"}``, which becomes
        complex under a rule with complex states; a model that declares others is refused.
    """

    name: str = ""
    parameters: Mapping[str, float] = MappingProxyType({})
    fields: Mapping[str, str] = MappingProxyType({"h": "real"})
    # Held open by its source: a node that only emits what the stimulus gives it.
    is_input: bool = False
    # h is a function of the drive at the same tick; such a neuron is evaluated in order of rank.
    instant: bool = False
    # Sends the pull of the loss instead of its state, which only the loss sees.
    reads_out: bool = False
    # Relaxes exponentially to ``rest`` at a constant ``rate`` while the drive is held: between updates it has
    # an exact solution.
    relaxes: bool = False

    def __init__(self, **declared: Any) -> None:
        """Declare what the class does not, by name."""
        for name in declared:
            if name not in Neuron.__annotations__:
                raise TypeError(f"a neuron model declares {', '.join(Neuron.__annotations__)}, got {name!r}")
        vars(self).update(declared)

    @property
    def stateful(self) -> bool:
        """Whether h carries over from one tick to the next."""
        return not (self.is_input or self.instant)

    @property
    def hold(self) -> bool | None:
        """True where the model can be integrated exactly while its drive is held; None where it cannot."""
        return True if self.relaxes or self.instant or self.is_input else None

    def velocity(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        """Return dh/dt, per unit of model time."""
        raise NotImplementedError

    def partials(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        """Return (df/dh, df/da). The default asks ``torch.func.vjp``."""
        numbers = not isinstance(h, torch.Tensor)
        h_, a_ = (torch.as_tensor(x, dtype=torch.float64) if numbers else x for x in (h, a))
        value, pull = torch.func.vjp(lambda x, y: self.velocity(x, y, sigma, p), h_, a_)[:2]
        df_dh, df_da = pull(torch.ones_like(value))
        return (df_dh.item(), df_da.item()) if numbers else (df_dh, df_da)

    def rest(self, a: Value, sigma: Activation) -> Value:
        """Return the state to which a relaxing model tends while the drive is held."""
        raise NotImplementedError

    def rate(self, p: Parameters) -> Value:
        """Return the rate of relaxation, per unit of model time (minus df/dh, a constant)."""
        raise NotImplementedError

    def held(self, h: Value, a: Value, duration: Value, sigma: Activation, p: Parameters) -> Value:
        """Return h after ``duration`` of model time with the drive held: exact, hence a semigroup in time."""
        goal = self.rest(a, sigma)
        return goal + (h - goal) * ops.exp(-duration * self.rate(p))


class Input(Neuron):
    """Emits the column of the stimulus that is its own; has no drive, no costate and no synapses."""

    name = "input"
    is_input = True


class Instant(Neuron):
    r"""Memoryless neuron, :math:`h = \sigma(a)`: the limit :math:`\tau \to 0` of the leaky one."""

    name = "instant"
    instant = True

    def rest(self, a: Value, sigma: Activation) -> Value:
        return sigma.value(a)


class Readout(Neuron):
    r"""Linear read-out of a hub that knows the loss: it sends :math:`-\mathrm{nudge}\,\partial L/\partial h`.

    Its state :math:`h = a` is seen by the loss alone. With a symmetric coupling of weight w to a neuron j it
    pulls at that neuron's drive by :math:`-\mathrm{nudge}\, w\, \partial L/\partial h`, the gradient of the
    loss with respect to the state of j. For rules that nudge.
    """

    name = "readout"
    instant = True
    reads_out = True

    def rest(self, a: Value, sigma: Activation) -> Value:
        return a


class Leaky(Neuron):
    r"""Leaky integrator with a saturating drive.

    .. math:: \tau \dot h = -h + \sigma(a)

    Parameters
    ----------
    tau : float
        Time constant, in model time; larger is slower. Under Euler stable for ``dt < 2 tau``.

    Notes
    -----
    With ``tau = dt`` and Euler steps of one tick, h at the next tick is exactly sigma(a): the layer-per-step
    network of eq. 9 in Melacci et al., PMLR 277 (2025).
    """

    name = "leaky"
    parameters = MappingProxyType({"tau": 1.0})
    relaxes = True

    def velocity(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return (sigma.value(a) - h) / p.tau

    def partials(self, h: Value, a: Value, sigma: Activation, p: Parameters) -> tuple[Value, Value]:
        return -1.0 / p.tau, sigma.slope(a, sigma.value(a)) / p.tau

    def rest(self, a: Value, sigma: Activation) -> Value:
        return sigma.value(a)

    def rate(self, p: Parameters) -> Value:
        return 1.0 / p.tau


MODELS: Table[Neuron] = Table("neuron model", (Input(), Instant(), Leaky(), Readout()))


def flags(models: Iterable[str], name: str) -> NDArray[np.bool_]:
    """Return what the models of these names have under a flag, as ``is_input``; nobody can write to it."""
    known = {model.name: getattr(model, name) for model in MODELS.values()}
    found = np.array([known[model] for model in models], bool)
    found.flags.writeable = False
    return found
