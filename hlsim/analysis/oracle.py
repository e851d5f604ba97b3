r"""Independent gradients of a network by torch's autograd: what a local, late rule is measured against.

Four oracles, of the same graph and weights, in the edge order of the network: backpropagation through the
network without delays (``backpropagation``), backpropagation through time and real-time recurrent learning
through the network with its delays (``through_time``, ``recurrent``), and the gradient at a fixed point
(``implicit``). They share no code with the engines beyond the values of activations and losses; derivatives
are autograd's.

Time is that of a tick: at tick t a leaky neuron first takes a step with the drive of tick t - 1, then all
drives are formed from what sources were ``delay`` ticks ago, instant neurons in the order of their rank. At
tick 0 and at a reset everything is 0, and leaky neurons have had no drive yet. A leaky neuron on a clock
takes Euler steps, one on arrival relaxes exactly over a tick; thresholds are taken as 0 and intervals as 1,
everybody knows what there is to know.

Shapes: w ``(edge,)``, for gradients of every tick also ``(tick, edge)``; inputs ``(tick, n_input)``, targets
``(tick, n_output)``; gradients ``(edge,)`` or ``(tick, edge)``, 0 for edges that are not plastic. All numbers
are float64.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hlsim.analysis.baseline import FeedForward
from hlsim.errors import TopologyError
from hlsim.models.losses import Loss
from hlsim.models.neurons import ACTIVATIONS
from hlsim.topology.network import Network

Gradient = NDArray[np.float64]
# A fixed point is where no drive is further from consistent than this.
_SETTLED = 1e-13
_RELAXING, _NEWTON = 200, 50
# Synapses times rows that are differentiated together.
_AT_ONCE = 2**20


class Unrolled:
    """The network as a function from one tick to the next, differentiable in its state and weights.

    Parameters
    ----------
    network : Network
        Of leaky and instant neurons, inputs, and read-outs while the loss does not pull; clocks with period 1
        or on arrival.
    dt : float
        Length of a tick.

    Attributes
    ----------
    size : int
        Numbers of a state: what every neuron was at the last ticks, the latest first, and by how much it
        will have moved a tick later, if it is leaky.

    Raises
    ------
    TopologyError
        A model or clock that is not among those, with its node.
    """

    def __init__(self, network: Network, dt: float = 1.0) -> None:
        _check(network)
        self.network, self.dt = network, dt
        self.depth = int(network.delay.max(initial=0)) + 1
        self.size = (self.depth + 1) * network.n
        # A bias reads what stands behind the last neuron, which is 1.
        self._source = torch.as_tensor(np.where(network.source < 0, network.n, network.source))
        self._target, self._delay = torch.tensor(network.target), torch.tensor(network.delay)
        self._rate = torch.as_tensor(self._rates())
        self._leaky = torch.tensor(network.stateful)
        ranks = sorted(set(network.rank.tolist()) - {-1})
        self._levels = [torch.as_tensor(network.rank == rank) for rank in ranks]
        names = np.where(network.reads_out, "identity", network.activation)
        # What a read-out sends back is nothing while the loss does not pull.
        self._sends = torch.as_tensor(~network.reads_out[network.source] | (network.source < 0))
        self._activations = {name: torch.as_tensor(names == name) for name in sorted(set(names.tolist()))}

    def rest(self) -> Tensor:
        """Return the state before tick 0, or before a reset: everything is 0, and nothing moves."""
        return torch.zeros(self.size, dtype=torch.float64)

    def step(self, state: Tensor, w: Tensor, x: Tensor) -> Tensor:
        """Return the state one tick on, with the stimulus x (n_input,)."""
        n = self.network.n
        past, move = state[:-n].view(self.depth, n), state[-n:]
        stimulus = torch.zeros(n, dtype=torch.float64).index_put((torch.as_tensor(self.network.inputs),), x)
        h = torch.where(self._leaky, past[0] + move, stimulus)
        for level in self._levels:
            h = torch.where(level, self._sigma(self._drive(h, past, w, stimulus)), h)
        move = self._rate * (self._sigma(self._drive(h, past, w, stimulus)) - h)
        return torch.cat([h, past[:-1].reshape(-1), move])

    def outputs(self, state: Tensor) -> Tensor:
        """Return the states of the outputs (n_output,)."""
        return state[torch.as_tensor(self.network.outputs)]

    def _drive(self, h: Tensor, past: Tensor, w: Tensor, stimulus: Tensor) -> Tensor:
        known = torch.cat([h.unsqueeze(0), past])
        ones = torch.ones(len(known), 1, dtype=torch.float64)
        s = torch.cat([known, ones], 1)[self._delay, self._source]
        return stimulus.index_add(0, self._target, w * s * self._sends)

    def _sigma(self, a: Tensor) -> Tensor:
        y = a
        for name, chosen in self._activations.items():
            y = torch.where(chosen, ACTIVATIONS[name].value(a), y)
        return y

    def _rates(self) -> Gradient:
        """Return what share of its way to sigma(a) a neuron goes in a tick."""
        tau = self.network.parameters.get("tau", np.ones(self.network.n))
        tau = np.where(np.isnan(tau), 1.0, tau)
        return np.where(self.network.clock, self.dt / tau, -np.expm1(-self.dt / tau))


def backpropagation(
    network: Network, w: ArrayLike, inputs: ArrayLike, targets: ArrayLike, loss: Loss
) -> Gradient:
    """Return dL/dw (tick, edge) at each input, of the network without delays and time constants.

    Raises
    ------
    TopologyError
        The graph has a cycle; ``implicit`` has a gradient for it.
    """
    net = FeedForward(network)
    x, y = _real(inputs), _real(targets)
    weights, found = _by_tick(w, len(x)), np.zeros((len(x), network.m))
    step = max(1, _AT_ONCE // max(1, network.m))
    for k in range(0, len(x), step):
        some = slice(k, k + step)
        net.w = weights[some].clone().requires_grad_()
        found[some] = _gradient(loss.value(net(x[some]), y[some]).sum(), net.w, network)
    return found


def through_time(
    network: Network,
    w: ArrayLike,
    inputs: ArrayLike,
    targets: ArrayLike,
    loss: Loss,
    *,
    dt: float = 1.0,
    window: int | None = None,
    worth: ArrayLike | None = None,
    resets: ArrayLike | None = None,
) -> Gradient:
    """Return the gradient (edge,) of the loss summed over the last ``window`` ticks, all by default.

    Backpropagation through time, through the delays, from tick 0 on; weights stand still. ``worth`` (tick,)
    is what the loss of each tick counts, 1 by default; ``resets`` (tick,) where states and messages are
    forgotten, nowhere by default.
    """
    net = Unrolled(network, dt)
    x, y, weights = _real(inputs), _real(targets), _real(w).requires_grad_()
    state, total = net.rest(), torch.zeros((), dtype=torch.float64)
    first = 0 if window is None else len(x) - window
    counts = np.ones(len(x)) if worth is None else np.asarray(worth, dtype=np.float64)
    for t, starts in enumerate(_at_ticks(resets, len(x))):
        state = net.step(net.rest() if starts else state, weights, x[t])
        if t >= first:
            total = total + counts[t] * _loss(net, state, y[t], loss)
    return _gradient(total, weights, network)


def recurrent(
    network: Network,
    w: ArrayLike,
    inputs: ArrayLike,
    targets: ArrayLike,
    loss: Loss,
    *,
    dt: float = 1.0,
    resets: ArrayLike | None = None,
) -> Gradient:
    r"""Return the gradient (tick, edge) of the loss of each tick, by real-time recurrent learning.

    The influence :math:`J_t = \partial S_t/\partial w` of the weights on the state goes forward with it,
    :math:`J_{t+1} = \partial F/\partial S\, J_t + \partial F/\partial w`. Its size is that of the state
    times the edges: for small networks. Both are 0 again at ``resets`` (tick,), nowhere by default. Williams
    & Zipser, Neural Computation 1:270-280 (1989).
    """
    net = Unrolled(network, dt)
    x, y = _real(inputs), _real(targets)
    state = net.rest()
    influence = torch.zeros(net.size, network.m, dtype=torch.float64)
    rows, starts = [], _at_ticks(resets, len(x))
    for t, weights in enumerate(_by_tick(w, len(x))):
        if starts[t]:
            state, influence = net.rest(), torch.zeros_like(influence)
        by_state, by_weight = torch.func.jacrev(net.step, argnums=(0, 1))(state, weights, x[t])
        influence = by_state @ influence + by_weight
        state = net.step(state, weights, x[t])
        pull = torch.func.grad(lambda s, t=t: _loss(net, s, y[t], loss))(state)
        rows.append((pull @ influence).numpy() * network.plastic)
    return np.array(rows)


def implicit(network: Network, w: ArrayLike, x: ArrayLike, target: ArrayLike, loss: Loss) -> Gradient:
    r"""Return dL/dw (edge,) at the fixed point that a held stimulus x (n_input,) leads to.

    With :math:`a = F(a, w)` the drives at the fixed point, :math:`dL/dw = (\partial L/\partial a)
    (1 - \partial F/\partial a)^{-1} \partial F/\partial w`. Almeida (1987), Pineda, Phys. Rev. Lett.
    59:2229 (1987). Delays and time constants have no part in it.

    Raises
    ------
    TopologyError
        No fixed point was found from rest.
    """
    net = _Held(network, _real(x))
    weights = _real(w)
    a = net.settle(weights)
    by_drive, by_weight = torch.func.jacrev(net.drive, argnums=(0, 1))(a, weights)
    y = _real(target)
    pull = torch.func.grad(lambda drives: loss.value(net.outputs(drives)[None], y[None]).sum())(a)
    adjoint = torch.linalg.solve((torch.eye(network.n, dtype=torch.float64) - by_drive).T, pull)
    return (adjoint @ by_weight).numpy() * network.plastic


class _Held(Unrolled):
    """The drives of a network under a held stimulus as a function of themselves."""

    def __init__(self, network: Network, x: Tensor) -> None:
        super().__init__(network)
        self._is_input = torch.tensor(network.is_input)
        u = torch.zeros(network.n, dtype=torch.float64)
        self._u = u.index_put((torch.as_tensor(network.inputs),), x)

    def states(self, a: Tensor) -> Tensor:
        """Return the states that drives hold neurons at."""
        return torch.where(self._is_input, self._u, self._sigma(a))

    def drive(self, a: Tensor, w: Tensor) -> Tensor:
        """Return the drives (n,) that neurons with drives a give each other."""
        s = torch.cat([self.states(a), torch.ones(1, dtype=torch.float64)])[self._source]
        return self._u.index_add(0, self._target, w * s * self._sends)

    def outputs(self, state: Tensor) -> Tensor:
        return super().outputs(self.states(state))

    def settle(self, w: Tensor) -> Tensor:
        """Return the drives that reproduce themselves: relaxed from rest, then by Newton's method."""
        a = torch.zeros(self.network.n, dtype=torch.float64)
        for _ in range(_RELAXING):
            a = 0.5 * (a + self.drive(a, w))
        for _ in range(_NEWTON):
            off = self.drive(a, w) - a
            if not torch.isfinite(off).all():
                break
            if float(off.abs().max()) <= _SETTLED * (1.0 + float(a.abs().max())):
                return a
            slope = torch.func.jacrev(self.drive)(a, w) - torch.eye(len(a), dtype=torch.float64)
            a = a - torch.linalg.lstsq(slope, off).solution
        raise TopologyError("graph: no fixed point was found for the stimulus given")


def _check(network: Network) -> None:
    for i, label in enumerate(network.label):
        model = network.model[i]
        if model not in ("leaky", "instant", "input", "readout"):
            raise TopologyError(
                f"node {label!r}: model: oracles know leaky and instant neurons and read-outs, got {model!r}"
            )
        if network.clock[i] and network.period[i] != 1:
            raise TopologyError(f"node {label!r}: period: must be 1 for an oracle, got {network.period[i]}")


def _loss(net: Unrolled, state: Tensor, target: Tensor, loss: Loss) -> Tensor:
    return loss.value(net.outputs(state)[None], target[None]).sum()


def _gradient(total: Tensor, w: Tensor, network: Network) -> Gradient:
    (found,) = torch.autograd.grad(total, w, allow_unused=True)
    return np.zeros(w.shape) if found is None else found.numpy() * network.plastic


def _by_tick(w: ArrayLike, ticks: int) -> Tensor:
    """Return weights (edge,) or (tick, edge) as (tick, edge)."""
    return torch.atleast_2d(_real(w)).expand(ticks, -1)


def _at_ticks(resets: ArrayLike | None, ticks: int) -> NDArray[np.bool_]:
    return np.zeros(ticks, bool) if resets is None else np.asarray(resets, bool)


def _real(values: ArrayLike | Sequence[float]) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))
