r"""What gradient descent would have made of the same run, at once or as late as the messages of the run.

At every tick a control takes the gradient of the row that is on, of the network without delays and time
constants, and moves as a synapse of Hamiltonian Learning does,

.. math:: \Omega \leftarrow (1 - \eta\,dt)\,\Omega + dt\,\phi\,\partial L/\partial w, \qquad
          w \leftarrow w - \beta\,dt\,\Omega

which is ``torch.optim.SGD`` with lr = beta dt and momentum 1 - eta dt, the gradient taken times dt phi, with
the weight decay of the run. The late control takes for each synapse the gradient of so many ticks ago as it
takes, by the longest paths, until all of a gradient is there: the step from which a held input would give the
exact one.
"""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from hlsim.analysis.ages import exact_from
from hlsim.analysis.baseline import FeedForward
from hlsim.analysis.learned import Array, Learned, learned_by, stimulus
from hlsim.errors import TraceError
from hlsim.models.losses import Loss
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of
from hlsim.trace.reader import ticks

LEARNERS = ("run", "sgd", "late_sgd")


def controls(
    trace: Trace,
    *,
    rule: Hamiltonian | None = None,
    loss: str | Loss | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Return the on-line loss of a run beside those of gradient descent on the same stream.

    Parameters
    ----------
    trace : Trace
        Of a run with the rule ``hamiltonian`` and one replica, without cycles, with a target at every tick.
    rule, loss
        What the run learned by; by default what the experiment in the trace says.
    progress : callable, optional
        Called with the share of the ticks that are over.

    Returns
    -------
    Dataset over (row, learner)
        ``loss`` at the last tick of each row; learner: "run", "sgd" and "late_sgd". Coordinates ``tick`` and
        ``stage`` over row; ``late`` (edge,): by how many ticks the late one is late.

    Raises
    ------
    TraceError
        The trace does not tell enough, with what is missing.
    TopologyError
        The network has a cycle.
    """
    learned, network, end = learned_by(trace, rule, loss), network_of(trace), ticks(trace)
    x, y, held = stimulus(trace, learned, end, by_rows=True)
    if trace["rows/loss"].ndim > 1:
        raise TraceError("controls: needs one replica")
    # A target that comes later than the input of its row has waited for that already.
    known = exact_from(network, learned.rule.order) - int(trace.attrs.get("target_delay", 0))
    late = np.where(network.plastic & np.isfinite(known), np.maximum(known, 0.0), 0.0).astype(np.int64)
    rows = trace["rows/tick"]
    curves = [trace["rows/loss"]]
    for number, lateness in enumerate((np.zeros_like(late), late)):
        at, losses = _Descent(network, learned, float(trace.attrs["dt"]), lateness), np.empty(end)
        for tick in range(end):
            losses[tick] = at.step(tick, x[held[tick]], y[held[tick]])
            if progress is not None and tick % 256 == 0:
                progress((number + tick / end) / 2.0)
        curves.append(np.where(np.isnan(curves[0]), np.nan, losses[rows]))
    found = np.stack(curves, 1)
    return xr.Dataset(
        {
            "loss": (
                ("row", "learner"),
                found,
                {"units": "1", "long_name": "loss at the last tick of a row"},
            ),
            "late": ("edge", late, {"units": "ticks"}),
        },
        coords={"learner": list(LEARNERS), "tick": ("row", rows), "stage": ("row", trace["rows/split"])},
    )


class _Descent:
    """Gradient descent, a step a tick, each synapse by the gradient of so many ticks ago."""

    def __init__(self, network: Network, learned: Learned, dt: float, late: NDArray[np.int64]) -> None:
        self._net, self._learned, self._dt, self._late = FeedForward(network), learned, dt, late
        self._plastic = network.plastic
        self._decay = learned.rule.weight_decay
        self._rate = network.weight_rate(learned.rule) * dt
        self._recent = np.zeros((int(late.max(initial=0)) + 1, network.m))
        self._edges = np.arange(network.m)
        self._omega = np.zeros(network.m)

    def step(self, tick: int, x: Array, y: Array) -> float:
        """Return the loss of a row at a tick, before the step that it gives rise to."""
        learned, size = self._learned, len(self._recent)
        outputs = self._net(torch.as_tensor(x)[None])
        total = learned.loss.value(outputs, torch.as_tensor(y)[None]).sum()
        (gradient,) = torch.autograd.grad(total, self._net.w)
        pull = gradient + self._decay * self._net.w.detach()
        self._recent[tick % size] = learned.phi[tick] * pull.numpy() * self._plastic
        if learned.learns[tick]:
            due = self._recent[(tick - self._late) % size, self._edges]
            self._omega = (1.0 - self._dt * learned.rule.eta) * self._omega + self._dt * due
            with torch.no_grad():
                self._net.w -= torch.as_tensor(self._rate * self._omega)
        return float(total.detach())
