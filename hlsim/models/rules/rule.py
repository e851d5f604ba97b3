r"""What an engine asks of a learning rule: what a neuron's costate and its synapses do.

A rule is frozen and holds no state. It declares the synapse fields it needs; the engines own them. Its
formulas take numbers or tensors (see ``hlsim.models.ops``), so that both engines use the same ones: ``z``,
``g``, ``q`` ``(replica, node)``; ``w`` and the synapse fields ``(1 or replica, edge)`` or the matrix of a
projection. A product of values of a neuron and of its synapse is averaged over a minibatch.

Letters, units: ``duration`` in model time; ``beta`` weight rate.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from hlsim.errors import plain_fields
from hlsim.models.ops import Value
from hlsim.models.rules.phi import Phi

# The variables of a synapse beside w: formulas read them by name, ``fields.omega``, and return new ones as a
# plain tuple, in the order in which the rule declares them.
Fields = Any


@cache
def _named(names: tuple[str, ...]) -> Any:
    return namedtuple("Fields", names)  # type: ignore[misc]


@dataclass(frozen=True)
class Phase:
    r"""A part of a row in which the loss pulls at the outputs with one strength.

    Attributes
    ----------
    nudge : complex
        An output's drive is moved by :math:`-\mathrm{nudge}\, \partial L/\partial h`.
    weight : complex
        What the synapses' products at the phase's end count for in an estimate of the gradient.
    ticks : int or None
        How long it lasts at most; None: as long as a row is held.
    settles : bool
        Whether it may end sooner, when the network is quiet.
    first, last : bool
        Whether an estimate begins at its end, and whether it is whole there.
    """

    nudge: complex = 0.0
    weight: complex = 0.0
    ticks: int | None = None
    settles: bool = False
    first: bool = False
    last: bool = False

    @property
    def readable(self) -> bool:
        """Whether the loss leaves the network alone, so that its outputs can be read."""
        return self.nudge == 0


class Pre(NamedTuple):
    """What a synapse has heard: ``s``, the state that arrived last, or the impulses just taken in."""

    s: Value


class Post(NamedTuple):
    """What the neuron of a synapse is, as of its last update.

    Attributes
    ----------
    h, a : number
        State (the first field of its model) and drive.
    z, g, q : number
        Costate, what pulls at it (phi dL/dh plus the costates heard), and z df/da; 0 without costates.
    fired : number
        1 where it emitted an impulse, 0 where not.
    """

    h: Value
    a: Value
    z: Value
    g: Value
    q: Value
    fired: Value


class Rule:
    """The base of every rule: says what engines ask of one, and does nothing.

    A rule learns in one of three ways. With costates (``CostateRule``) errors travel backward, and synapses
    move all the time. With phases (``PhaseRule``) it compares what a synapse meets while the loss pulls at
    the outputs. Else it is local: synapses move by what they hear and what their neuron is, ``synapse``.

    Attributes
    ----------
    beta : float
        Weight rate of synapses without one of their own.
    order : str
        "explicit" (all derivatives from the values at the last update) or "sequential" (from the newest).
    eta : float
        Dissipation of costates, per unit of model time.
    phi : float, Gate or Schedule
        Scale of the loss gradient at the outputs.
    weight_decay : float
        Factor of :math:`|w|^2 / 2` inside the loss; needs clocked neurons.
    """

    name: ClassVar[str] = ""
    # Private variables of a synapse beside w, all real and 0 at the start, and what each one is.
    synapse_fields: ClassVar[Mapping[str, str]] = MappingProxyType({})
    # Those of them that are sampled unless a user says otherwise.
    recorded: ClassVar[tuple[str, ...]] = ()
    # Whether neurons send costates backward.
    sends_costates: ClassVar[bool] = False
    # Whether synapses move whenever their neuron is updated while the loss pulls, besides at ends of phases.
    correlates: ClassVar[bool] = False

    beta: float = 0.01
    order: str = "explicit"
    eta: float = 0.0
    phi: Phi = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Make the rule's parameters plain; a rule that checks its own calls this first."""
        plain_fields(self)

    @property
    def sequential(self) -> bool:
        """Whether derivatives are taken from the newest values."""
        return self.order == "sequential"

    @property
    def complex_states(self) -> bool:
        """Whether neurons have complex states; a message then carries two numbers."""
        return False

    @property
    def nudges(self) -> bool:
        """Whether the loss pulls at the outputs' drive, in phases."""
        return bool(self.phases())

    @property
    def apart(self) -> bool:
        """Whether synapses see both sides apart, and not only the product of what they meet."""
        return type(self).synapse is not Rule.synapse

    @property
    def takes_steps(self) -> bool:
        """Whether synapses move by Euler steps while time passes."""
        return self.apart or type(self).synapse_euler is not Rule.synapse_euler

    def fields(self, values: Iterable[Value]) -> Fields:
        """Return synapse fields by name; ``values`` come in the order in which they are declared."""
        return _named(tuple(self.synapse_fields))._make(values)

    @property
    def sampled(self) -> tuple[str, ...]:
        """Names of what is sampled unless a user says otherwise."""
        return ("h", *(["z"] if self.sends_costates else []), "a", "loss", "w", *self.recorded)

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of a row that is learned from; none: the rule learns all the time."""
        return ()

    @property
    def free(self) -> Phase:
        """The phase in which outputs are read; all there is of a row that is not learned from."""
        return Phase()

    def synapse(
        self, w: Value, fields: Fields, pre: Pre, post: Post, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        """Return (w, fields) one Euler step on, from what was heard and what the neuron is.

        For rules that need more than the product q s: traces of what was heard, a third factor. A rule gives
        this or ``synapse_euler``. Such a step is taken by clocked neurons, and not by minibatches, in which
        synapses know nothing but the mean of their products.
        """
        return self.synapse_euler(w, fields, post.q * pre.s, beta, duration)

    def synapse_euler(
        self, w: Value, fields: Fields, qs: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        """Return (w, fields) one Euler step on.

        ``qs`` is the product of q and the state s that last arrived; it holds the gradient of a weight decay.
        """
        raise NotImplementedError


class CostateRule(Rule):
    """A rule in which costates run forward beside the states, and synapses descend by what they meet."""

    sends_costates: ClassVar[bool] = True

    def costate_euler(self, z: Value, g: Value, df_dh: Value, duration: Value) -> Value:
        """Return z one Euler step on; g is phi dL/dh plus the costates heard."""
        raise NotImplementedError

    def step(
        self,
        w: Tensor,
        fields: Fields,
        add_products: Callable[[Tensor, float, float], None],
        beta: float | Tensor,
        duration: float,
    ) -> bool:
        """Move synapses as ``synapse_euler`` does, but in place; optional, for speed.

        ``add_products(field, keep, scale)`` multiplies a field by ``keep`` and adds ``scale`` times the
        products q s. False says that the rule has no such form, and nothing was done.
        """
        return False

    def costate_hold(self, z: Value, g: Value, rate: Value, duration: Value) -> tuple[Value, Value, Value]:
        """Return z after an exact hold, and its integrals I1, I2 that the synapses take (see Hamiltonian)."""
        raise NotImplementedError

    def constant_hold(self, q: Value, duration: Value) -> tuple[Value, Value]:
        """Return I1, I2 of a q that stands still during the hold (an instant neuron's)."""
        raise NotImplementedError

    def synapse_hold(
        self, w: Value, fields: Fields, s1: Value, s2: Value, beta: Value, duration: Value
    ) -> tuple[Value, tuple[Value, ...]]:
        """Return (w, fields) after an exact hold; s1, s2 are s times the integrals of the q it met."""
        raise NotImplementedError

    def momentum(self, fields: Fields) -> Value:
        """Return the field that moves w while nothing else happens."""
        raise NotImplementedError

    def memory(self, duration: Value) -> Value:
        """Return how far w moves per unit of ``beta * momentum`` in a hold without new gradient."""
        raise NotImplementedError


class PhaseRule(Rule):
    """A rule that compares what synapses meet in phases, in which the loss pulls with different strengths."""

    def mark(
        self, w: Value, fields: Fields, product: Value, beta: Value, phase: Phase
    ) -> tuple[Value, tuple[Value, ...]]:
        """Return (w, fields) at the end of a phase.

        ``product`` is that of what the neuron sent last and of what it heard last on the synapse.
        """
        raise NotImplementedError

    def correlate(
        self, w: Value, fields: Fields, product: Value, beta: Value, nudge: complex
    ) -> tuple[Value, tuple[Value, ...]]:
        """Return (w, fields) at an update of the neuron while the loss pulls; where ``correlates``."""
        raise NotImplementedError


# A rule of which an engine asks the formulas of its kind; which kind it is, it has seen by the flags.
AnyRule = Any
# Those whose formulas do nothing yet.
ABSTRACT = (Rule, CostateRule, PhaseRule)
# Of each pair the second is another form of the first: a rule that gives the first gives the second as well.
_FORMS = (
    ("synapse_euler", "synapse_hold"),
    ("synapse", "synapse_hold"),
    ("costate_euler", "costate_hold"),
)


def missing_hold(rule: Rule) -> str | None:
    """Return what neurons on arrival would need of a rule and take from elsewhere: name, and why; else None.

    A formula of its own does not inherit the exact form of the one it replaces.
    """
    for euler, hold in _FORMS:
        if _depth(type(rule), euler) < _depth(type(rule), hold):
            return f"it defines {euler}, and {hold} is what such a neuron would go by"
    return None


def in_place(rule: Rule) -> bool:
    """Tell whether a rule's ``step`` is that of its ``synapse_euler``."""
    own = _depth(type(rule), "step") <= _depth(type(rule), "synapse_euler")
    return isinstance(rule, CostateRule) and own


def given(cls: type, name: str) -> bool:
    """Tell whether a class gives a formula, and no other of its own stands in the place of that."""
    replaced = name in ("synapse_euler", "synapse_hold", "momentum") and issubclass(cls, Rule)
    depth = _depth(cls, name)
    return depth < len(cls.__mro__) and not (replaced and _depth(cls, "synapse") < depth)


def _depth(cls: type, name: str) -> int:
    """Return how many classes up a formula is defined; as far as can be where it is not."""
    found = [k for k, base in enumerate(cls.__mro__) if name in vars(base) and base not in ABSTRACT]
    return found[0] if found else len(cls.__mro__)
