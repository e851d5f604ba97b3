"""A warning where learning diverges though every number is still finite."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.snapshot import Stateful
from hlsim.errors import NumericalWarning
from hlsim.models.losses import Loss
from hlsim.models.neurons import ACTIVATIONS
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.hamiltonian import boundary
from hlsim.models.rules.rule import Rule
from hlsim.simulation.judging import Presentation
from hlsim.topology.network import Network

Vector = NDArray[np.float64]
# Rows whose mean is judged, and how many times worse than nothing it has to be. Of such blocks the first few
# are looked at, and one in as many of the others: what has diverged stays so, and a row may last but a tick.
ROWS, WORSE, EARLY = 20, 3.0, 10
# Step of the central difference that tells the curvature of a loss.
_STEP = 1e-4


class Divergence(Stateful):
    """Judges what outputs tell of rows before their target counts: what is learned must not make it worse.

    A replica that learns is warned of, once, when the mean loss of a block of ``ROWS`` rows is ``WORSE``
    times what outputs of 0 have cost so far, and what its own first row cost, and its weights have moved by
    as much as they were.

    Parameters
    ----------
    read : callable
        Called with names of fields and a tick; returns them (replica, node), see ``Engine.read``.
    """

    STATE = ("_told", "_warned", "_when", "_seen", "_first", "_cost", "_silent", "_judged")

    def __init__(
        self,
        network: Network,
        rule: Rule,
        loss: Loss | None,
        dt: float,
        read: Callable[[Sequence[str], int], dict[str, NDArray[np.float64]]],
    ) -> None:
        self._network, self._rule, self._loss, self._dt, self._read = network, rule, loss, dt, read
        self._rate = float(network.weight_rate(rule)[network.plastic].max(initial=0.0))
        self._told: Vector | None = None
        self._warned = False
        self._when = ""
        self._seen = 0
        # What the first row cost, what those of the block cost, and what outputs of 0 would have, in all.
        self._first: Vector | None = None
        self._cost: Vector | None = None
        self._silent: Vector | None = None
        self._judged = 0

    def hint(self, learning: bool) -> str:
        """Return what may help where a state is no longer finite."""
        if not (learning and self._rate):
            return ""
        return f"; weights move, and a smaller learning.beta than {self._rate:g} may help"

    def tell(self, y: Vector) -> None:
        """Take outputs (replica, output) of a row that its own target has not touched."""
        self._told = y

    def judge(self, tick: int, shown: Presentation, y: Vector) -> None:
        """Take a row at its last tick, with what it tells then if it has told nothing before."""
        told, self._told = self._told, None
        if self._warned or not self._rate or self._loss is None or shown.target is None:
            return
        block, at = divmod(self._seen, ROWS)
        self._seen += 1
        if block >= EARLY and block % EARLY:
            return
        y, self._when = (y, "at its last tick") if told is None else (told, "before its own target counts")
        target = torch.as_tensor(shown.target)
        cost = self._loss.value(torch.as_tensor(y), target).numpy()
        self._first = cost if self._first is None else self._first
        self._cost = cost if at == 0 or self._cost is None else self._cost + cost
        silent = self._loss.value(torch.zeros_like(target), target).numpy()
        self._silent = silent if self._silent is None else self._silent + silent
        self._judged += 1
        if at == ROWS - 1:
            self._compare(tick, shown, self._cost / ROWS, self._silent / self._judged, self._first)

    def _compare(self, tick: int, shown: Presentation, mean: Vector, silent: Vector, first: Vector) -> None:
        least = np.maximum(silent, first)
        worse = np.where(shown.real & (least > 0), mean / np.where(least > 0, least, 1.0), 0.0)
        replica = int(worse.argmax())
        if not worse[replica] > WORSE or not self._far(tick, replica):
            return
        self._warned = True
        warnings.warn(
            f"learning diverges: over {ROWS} rows up to tick {tick} (stage {shown.stage.name!r}"
            f"{f', replica {replica}' if len(mean) > 1 else ''}) a row cost {mean[replica]:.3g} "
            f"{self._when}; outputs of 0 cost {silent[replica]:.3g}, the first row "
            f"{first[replica]:.3g}. {self._advice(tick, shown, replica)}",
            NumericalWarning,
            stacklevel=2,
        )

    def _far(self, tick: int, replica: int) -> bool:
        """Tell whether weights have moved by as much as they were: outputs may be far off from the start."""
        row = min(replica, self._network.weight.shape[0] - 1)
        before = self._network.weight[row][self._network.plastic]
        after = self._read(("w",), tick)["w"][row][self._network.plastic]
        return bool(np.linalg.norm(after - before) >= np.linalg.norm(before))

    def _advice(self, tick: int, shown: Presentation, replica: int) -> str:
        advice = f"A smaller learning.beta than {self._rate:g} may help"
        network, rule = self._network, self._rule
        if type(rule) is not Hamiltonian or not network.clock[network.outputs].all():
            return advice
        node, kappa = self._steepest(tick, shown, replica)
        mu = 1.0 - rule.eta * self._dt * network.period[node]
        if not 0.0 <= mu < 1.0:
            return advice
        late, name = (0, "2 (2 - eta dt)") if rule.order == "sequential" else (1, "eta dt")
        return (
            f"{advice}: an output's own synapses are stable while kappa = beta phi dt^2 L'' slope^2 sum s^2 "
            f"is below {name} = {boundary(late, mu):.3g}, less with lags and delays (dt: a period); at "
            f"{network.label[node]!r}, phi 1, it is {kappa:.3g}"
        )

    def _steepest(self, tick: int, shown: Presentation, replica: int) -> tuple[int, float]:
        """Return the output with the largest kappa, and that: for phi = 1, drives of 0, states of now."""
        network = self._network
        h = self._read(("h",), tick)["h"][replica].real
        into = np.flatnonzero(np.isin(network.target, network.outputs) & network.plastic)
        source = network.source[into]
        heard = np.where(source >= 0, h[source], 1.0)
        rates = network.weight_rate(self._rule, into)
        power = np.bincount(network.target[into], rates * heard * heard, network.n)[network.outputs]
        rest = torch.zeros(1, dtype=torch.float64)
        curves = [ACTIVATIONS[network.activation[i]] for i in network.outputs]
        y = torch.cat([curve.value(rest) for curve in curves])
        slope = torch.cat([curve.slope(rest, curve.value(rest)) for curve in curves]).numpy()
        step = self._dt * network.period[network.outputs]
        kappa = step**2 * self._curvature(y, shown, replica) * slope**2 * power
        most = int(kappa.argmax())
        return int(network.outputs[most]), float(kappa[most])

    def _curvature(self, y: Tensor, shown: Presentation, replica: int) -> Vector:
        """Return the second derivative of the loss by each output, by a central difference."""
        if self._loss is None or shown.target is None:
            return np.zeros(len(y))
        target = torch.as_tensor(shown.target[replica]).expand(len(y), -1)
        steps = _STEP * torch.eye(len(y), dtype=y.dtype)
        more, less = (self._loss.gradient(y + sign * steps, target).diagonal() for sign in (1.0, -1.0))
        return ((more - less) / (2.0 * _STEP)).abs().numpy()
