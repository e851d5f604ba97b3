r"""Neuron models and activation functions: frozen, without state, each one class and one line in a table.

Formulas take numbers or tensors (see ``hlsim.models.ops``): ``h`` state, ``a`` drive, ``duration`` in model
time. Shapes, where they are tensors: ``(replica, node)``.
"""

from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hlsim.models import ops
from hlsim.models.catalogue import Catalogue
from hlsim.models.ops import Value

# Parameters of neurons by name: ``p.tau``.
Parameters = SimpleNamespace
# Attributes of every node, whatever its model: no parameter is called so.
RESERVED = (
    *("model", "size", "activation", "bias", "role", "group", "update", "period", "phase"),
    *("send_threshold", "costate_threshold", "send_interval", "lag", "refresh"),
)

# What is sampled of every network, besides fields of synapses.
TAKEN = ("h", "z", "a", "w", "y", "loss", "default")


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


ACTIVATIONS: Catalogue[Activation] = Catalogue(
    "activation", (Tanh(), Sigmoid(), SteepSigmoid(), Relu(), Softplus(), Identity())
)


class Neuron:
    r"""A neuron model :math:`\dot x = f(x, a)`.

    A new model is a class that declares what follows and defines ``velocity``; that is enough for clocked
    neurons (the partial derivatives come from ``torch.func.vjp``). ``partials`` in closed form is ten times
    faster, and a model that has ``rate`` and ``rest`` as well may update on arrival.

    With one field formulas take and return the number h itself; with several a named tuple x, ``x.v``, of
    which they return a new one as a plain tuple, in the order in which they are declared. The first one is
    the state h: what a neuron sends as it changes, what the loss sees, what is read as h.

    A model that defines ``fires`` sends no state: it emits impulses of size 1. Where they arrive, they add up
    to j = sum w, which moves the neuron at once, by ``impulse``, and is forgotten.

    Attributes
    ----------
    name : str
        What a node's attribute ``model`` says.
    parameters : mapping of str to float
        Node attributes of the model and their defaults.
    fields : mapping of str to str
        State variables of a neuron, all real and 0 at the start, and what each one is.
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
        if self.emits:
            foreseen = type(self).crossing is not Neuron.crossing
            return True if self.exact and foreseen else None
        return True if self.relaxes or self.instant or self.is_input else None

    @property
    def emits(self) -> bool:
        """Whether it sends impulses instead of its state."""
        return type(self).fires is not Neuron.fires

    @property
    def rich(self) -> bool:
        """Whether there is more to it than one variable that is sent as it changes."""
        return self.emits or len(self.fields) > 1

    @property
    def told(self) -> tuple[str, ...]:
        """Names by which fields after the first are read: their own, unless it means something else."""
        names = list(self.fields)[1:]
        return tuple(f"{self.name}_{name}" if name in TAKEN else name for name in names)

    @property
    def exact(self) -> bool:
        """Whether its state flows by ``held`` on a clock too, and not by Euler steps."""
        return type(self).held is not Neuron.held and not self.relaxes

    def state(self, values: Sequence[Value]) -> Any:
        """Return the state as formulas take it: the number itself, or several by name."""
        return values[0] if len(self.fields) == 1 else _named(tuple(self.fields))._make(values)

    def values(self, x: Any) -> tuple[Value, ...]:
        """Return the numbers of a state, in the order of the fields."""
        return (x,) if len(self.fields) == 1 else tuple(x)

    # ---- formulas

    def velocity(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> Any:
        """Return dx/dt, per unit of model time."""
        raise NotImplementedError

    def partials(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> tuple[Any, Any]:
        """Return (df/dx, df/da); of several fields a tuple of rows df_i/dx_j, and a tuple.

        The default asks ``torch.func``.
        """
        values, numbers = self.values(x), not isinstance(a, torch.Tensor)
        given = [torch.as_tensor(v, dtype=torch.float64) if numbers else v for v in (*values, a)]

        def velocities(*each: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = self.values(self.velocity(self.state(each[:-1]), each[-1], sigma, p))
            return tuple(f + 0.0 * each[-1] for f in found)

        found, pull = torch.func.vjp(velocities, *given)[:2]
        rows = []
        for i in range(len(found)):
            row = pull(tuple(torch.full_like(f, float(i == j)) for j, f in enumerate(found)))
            rows.append(tuple(v.item() if numbers else v for v in row))
        if len(values) == 1:
            return rows[0]
        return tuple(row[:-1] for row in rows), tuple(row[-1] for row in rows)

    def rest(self, a: Value, sigma: Activation) -> Value:
        """Return the state to which a relaxing model tends while the drive is held."""
        raise NotImplementedError

    def rate(self, p: Parameters) -> Value:
        """Return the rate of relaxation, per unit of model time (minus df/dh, a constant)."""
        raise NotImplementedError

    def held(self, x: Any, a: Value, duration: Value, sigma: Activation, p: Parameters) -> Any:
        """Return x after ``duration`` of model time with the drive held: exact, hence a semigroup in time."""
        goal = self.rest(a, sigma)
        return goal + (x - goal) * ops.exp(-duration * self.rate(p))

    def impulse(self, x: Any, j: Value, p: Parameters) -> Any:
        """Return x after impulses that arrived together, j = sum w; by default they are added to h."""
        if len(self.fields) == 1:
            return x + j
        return (x[0] + j, *x[1:])

    def fires(self, x: Any, p: Parameters) -> Value:
        """Tell whether the neuron emits an impulse; seen at updates, after impulses have moved it."""
        raise NotImplementedError

    def after(self, x: Any, p: Parameters) -> Any:
        """Return x after an emission."""
        return x

    def crossing(self, x: Any, a: Value, sigma: Activation, p: Parameters) -> Value:
        """Return after how much model time ``fires`` becomes true while the drive is held; inf: never."""
        raise NotImplementedError


@cache
def _named(names: tuple[str, ...]) -> Any:
    return namedtuple("State", names)  # type: ignore[misc]


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


MODELS: Catalogue[Neuron] = Catalogue("neuron model", (Input(), Instant(), Leaky(), Readout()))


def node_fields() -> dict[str, str]:
    """Return every field of every model but for the first of each, which is h, and what it is."""
    return fields_of(MODELS.values())


def fields_of(models: Iterable[Neuron]) -> dict[str, str]:
    """Return the fields of models but for the first of each, by the names by which they are read."""
    return {
        name: about
        for model in models
        for name, about in zip(model.told, list(model.fields.values())[1:], strict=True)
    }


def flags(models: Iterable[str], name: str) -> NDArray[np.bool_]:
    """Return what the models of these names have under a flag, as ``is_input``; nobody can write to it."""
    known = {model.name: getattr(model, name) for model in MODELS.values()}
    found = np.array([known[model] for model in models], bool)
    found.flags.writeable = False
    return found
