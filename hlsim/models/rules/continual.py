r"""Continual equilibrium propagation: synapses move while the network relaxes, without a memory of phases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from hlsim.models import ops
from hlsim.models.ops import Value
from hlsim.models.rules.equilibrium import ENDS, Equilibrium
from hlsim.models.rules.rule import Fields, Phase


@dataclass(frozen=True)
class ContinualEquilibrium(Equilibrium):
    r"""Equilibrium propagation in which every update of a neuron moves its synapses.

    From the end of the free phase on a synapse keeps the product p of what its neuron sent and what it heard
    last; while the loss pulls, every update of the neuron with a new product p' moves it by

    .. math:: \Delta w = \frac{\mathrm{rate}}{\beta}\, (p' - p)

    The sum telescopes: whatever the delays, it is what ``Equilibrium`` would do at the end, but for what the
    weights' own motion does to the states. With a loop gain g of that, it is 1/(1 - g rate/beta) times as
    much, and it runs away where g rate/beta >= 1.

    Parameters
    ----------
    beta, nudge, ends, dwell
        As in ``Equilibrium``, one-sided.

    Notes
    -----
    Ernoult et al., arXiv 2005.04168 (2020).
    """

    name: ClassVar[str] = "continual_equilibrium"
    synapse_fields: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"gradient": "estimate of the gradient, as far as the phase has come", "product": "product met last"}
    )
    correlates: ClassVar[bool] = True

    symmetric: bool = field(default=False, init=False)
    ends: str = field(default="quiescence", metadata={"choices": ENDS})

    def mark(
        self, w: Value, fields: Fields, product: Value, beta: Value, phase: Phase
    ) -> tuple[Value, tuple[Value, ...]]:
        if phase.first:
            return w, (0.0 * product, product)
        return w, (fields.gradient, fields.product)

    def correlate(
        self, w: Value, fields: Fields, product: Value, beta: Value, nudge: complex
    ) -> tuple[Value, tuple[Value, ...]]:
        step = -ops.real((product - fields.product) / nudge)
        return w - beta * step, (fields.gradient + step, product)
