r"""Oscillating equilibrium propagation: a teacher that never rests, and synapses that demodulate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from hlsim.errors import check_count
from hlsim.models import ops
from hlsim.models.ops import Value
from hlsim.models.rules.equilibrium import Equilibrium
from hlsim.models.rules.holomorphic import unit
from hlsim.models.rules.rule import Fields, Phase


@dataclass(frozen=True)
class OscillatingEquilibrium(Equilibrium):
    r"""Holomorphic equilibrium propagation without phases: the pull goes round and round.

    .. math::
        \beta(t) = |\beta|\, e^{i \omega t}, \qquad
        \hat g = -\frac{1}{T |\beta|} \int_T \mathrm{Re}\, \bigl[p(t)\, e^{-i \omega t}\bigr]\, dt

    Nothing settles and nothing of a free state is remembered; a synapse needs the common phase
    :math:`\omega t` and a demodulator. With P steps a period the error falls as :math:`P^{-2}`, and the
    imaginary part of the same integral, the field ``quadrature``, as :math:`P^{-1}`: each synapse can tell by
    itself that the teacher turns too fast.

    Parameters
    ----------
    beta : float
        Rate of the weights, which move at the end of every row.
    nudge : float
        Radius :math:`|\beta|`.
    steps : int
        P, steps of a period; the pull turns at each.
    dwell : int or None
        Ticks a step lasts; None: 1.
    discard, periods : int
        Periods of a row that are not counted, while the network forgets the row before; and those that are.
    lag : int
        Steps by which the demodulators follow the teacher, as its pull needs time to reach the synapses.

    Notes
    -----
    Laborieux & Zenke, arXiv 2209.00530 (2022). A row lasts ``(discard + periods) * steps * dwell`` ticks
    where it is learned from, whatever its hold. Its outputs are never free, so that no prediction is made.
    """

    name: ClassVar[str] = "oscillating_equilibrium"
    synapse_fields: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "gradient": "estimate of the gradient, of the last row",
            "quadrature": "imaginary part of the estimate, of the last row",
            "tally": "real part so far",
            "quadrature_tally": "imaginary part so far",
        }
    )

    recorded: ClassVar[tuple[str, ...]] = ("gradient", "quadrature")

    symmetric: bool = field(default=False, init=False)
    ends: str = field(default="dwell", init=False)
    steps: int = 50
    discard: int = 1
    periods: int = 1
    lag: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("learning.steps", self.steps, 2)
        check_count("learning.discard", self.discard, 0)
        check_count("learning.periods", self.periods)
        check_count("learning.lag", self.lag, 0)
        self.check_phases("steps", self.steps * (self.discard + self.periods))

    @property
    def complex_states(self) -> bool:
        return True

    def phases(self) -> tuple[Phase, ...]:
        count = self.periods * self.steps
        start = self.discard * self.steps
        found = []
        for k in range(start + count):
            b, followed = (self.nudge * unit(j % self.steps, self.steps) for j in (k, k - self.lag))
            weight = 1.0 / (count * followed) if k >= start else 0.0
            found.append(Phase(b, weight, self.dwell or 1, False, k == start, k == start + count - 1))
        return tuple(found)

    def mark(
        self, w: Value, fields: Fields, product: Value, beta: Value, phase: Phase
    ) -> tuple[Value, tuple[Value, ...]]:
        if phase.weight == 0:
            return w, (fields.gradient, fields.quadrature, fields.tally, fields.quadrature_tally)
        part = -phase.weight * product
        tally, quadrature = ops.real(part), ops.imaginary(part)
        if not phase.first:
            tally, quadrature = fields.tally + tally, fields.quadrature_tally + quadrature
        if not phase.last:
            return w, (fields.gradient, fields.quadrature, tally, quadrature)
        return w - beta * tally, (tally, quadrature, tally, quadrature)
