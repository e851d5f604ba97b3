r"""Holomorphic equilibrium propagation: the loss pulls in complex directions, Cauchy's formula sums up."""

import cmath
import math
from dataclasses import dataclass, field
from typing import ClassVar

from hlsim.errors import check_count
from hlsim.models.rules.equilibrium import Equilibrium
from hlsim.models.rules.rule import Phase


@dataclass(frozen=True)
class HolomorphicEquilibrium(Equilibrium):
    r"""Equilibrium propagation with complex states and N nudged phases on a circle.

    .. math::
        \beta_k = |\beta|\, e^{2 \pi i k/N}, \qquad
        \hat g = -\frac1N \sum_{k=0}^{N-1} \mathrm{Re}\, \frac{p^{\beta_k}}{\beta_k}

    The error is of order :math:`(|\beta|/R)^N` where R is the distance of the nearest singularity: a pull
    need not be weak, so that noise counts for less. Activations and the loss must be holomorphic. Weights
    are real, a message carries two numbers.

    Parameters
    ----------
    beta, ends, dwell
        As in ``Equilibrium``.
    nudge : float
        Radius :math:`|\beta|`.
    points : int
        N; 1 is one-sided ``Equilibrium``, with the free phase subtracted.

    Notes
    -----
    Laborieux & Zenke, arXiv 2209.00530 (2022).
    """

    name: ClassVar[str] = "holomorphic_equilibrium"

    symmetric: bool = field(default=False, init=False)
    points: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("learning.points", self.points)
        self.check_phases("points", self.points)

    @property
    def complex_states(self) -> bool:
        return True

    def phases(self) -> tuple[Phase, ...]:
        n = self.points
        if n == 1:
            return super().phases()
        circle = [self.nudge * unit(k, n) for k in range(n)]
        return (
            self.free,
            *(self.nudged(b, 1.0 / (n * b), first=k == 0, last=k == n - 1) for k, b in enumerate(circle)),
        )


def unit(k: int, n: int) -> complex:
    """Return exp(2 pi i k/n), exact at quarter turns."""
    quarters, rest = divmod(4 * k, n)
    if rest == 0:
        return (1.0, 1.0j, -1.0, -1.0j)[quarters % 4]
    return cmath.exp(2j * math.pi * k / n)
