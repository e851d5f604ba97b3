r"""Equilibrium propagation: synapses compare what they meet while the loss pulls with what they met free."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from hlsim.errors import ExperimentError, check_count, check_number, check_positive
from hlsim.models import ops
from hlsim.models.ops import Value
from hlsim.models.rules.rule import Fields, Phase, PhaseRule

ENDS = ("quiescence", "dwell")


# Phases of a row at most: a list of them is made for every row.
MOST_PHASES = 100_000


@dataclass(frozen=True)
class Equilibrium(PhaseRule):
    r"""Equilibrium propagation, one-sided or symmetric.

    In the free phase the network settles at states :math:`h^0`; in a nudged one the loss pulls at the drive
    of the outputs, :math:`a = \sum w s - \beta\, \partial L/\partial h`, and it settles at :math:`h^\beta`.
    With the product p of what a synapse's neuron sent and what it heard there,

    .. math::
        \hat g = -\frac{p^\beta - p^0}{\beta} \quad\text{or}\quad
        \hat g = -\frac{p^\beta - p^{-\beta}}{2 \beta} \quad\text{(symmetric)}

    estimates the gradient of the loss at the free fixed point, with an error of order beta or beta squared,
    if couplings between neurons are symmetric. The synapses then move by :math:`-\mathrm{rate}\,\hat g`.

    Parameters
    ----------
    beta : float
        Rate of the weights (the letter of the literature's beta is ``nudge`` here).
    nudge : float
        Strength :math:`\beta` of the pull.
    symmetric : bool
        Whether a phase that pulls the other way stands in for the free one in the estimate.
    ends : str
        "quiescence": a phase ends when nothing is in flight and no neuron has anything to send, or when it
        has lasted as long as it may; "dwell": only then.
    dwell : int or None
        Ticks that a nudged phase lasts at most; None: like the free one, as long as a row is held.

    Notes
    -----
    Scellier & Bengio, Front. Comput. Neurosci. 11:24 (2017); symmetric: Laborieux et al., Front. Neurosci.
    15:633674 (2021). Every phase-based rule here is a list of phases (beta_k, c_k) with the estimate
    :math:`-\mathrm{Re} \sum_k c_k\, p^{\beta_k}`.
    """

    name: ClassVar[str] = "equilibrium"
    synapse_fields: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"gradient": "estimate of the gradient, of the last row", "tally": "its part from the phases so far"}
    )

    recorded: ClassVar[tuple[str, ...]] = ("gradient",)

    beta: float = 0.01
    nudge: float = 0.1
    symmetric: bool = False
    ends: str = field(default="quiescence", metadata={"choices": ENDS})
    dwell: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("learning.beta", self.beta, 0.0)
        check_positive("learning.nudge", self.nudge)
        if self.ends not in ENDS:
            raise ExperimentError(f"learning.ends: must be one of {', '.join(ENDS)}, got {self.ends!r}")
        if self.dwell is not None:
            check_count("learning.dwell", self.dwell)

    @property
    def free(self) -> Phase:
        return Phase(settles=self.ends == "quiescence")

    def check_phases(self, what: str, count: int) -> None:
        """Refuse a row of more phases than can be gone through: ExperimentError."""
        if count > MOST_PHASES:
            raise ExperimentError(
                f"learning.{what}: a row must have at most {MOST_PHASES} phases, got {count}"
            )

    def phases(self) -> tuple[Phase, ...]:
        b = self.nudge
        if self.symmetric:
            return (self.free, self.nudged(b, 0.5 / b, first=True), self.nudged(-b, -0.5 / b, last=True))
        free = Phase(weight=-1.0 / b, settles=self.free.settles, first=True)
        return (free, self.nudged(b, 1.0 / b, last=True))

    def nudged(self, nudge: complex, weight: complex, *, first: bool = False, last: bool = False) -> Phase:
        """Return a phase in which the loss pulls."""
        return Phase(nudge, weight, self.dwell, self.ends == "quiescence", first, last)

    def mark(
        self, w: Value, fields: Fields, product: Value, beta: Value, phase: Phase
    ) -> tuple[Value, tuple[Value, ...]]:
        part = -ops.real(phase.weight * product)
        tally = part if phase.first else fields.tally + part
        if not phase.last:
            return w, (fields.gradient, tally)
        return w - beta * tally, (tally, tally)
