r"""Projections: the edges of a network, in the form in which each part of it is computed best.

``Dense`` and ``Sparse`` *pull*: between neurons that update and send at every tick (clock 1, thresholds 0),
where a target reads what its source was ``delay`` ticks ago. ``hlsim.push`` carries single messages, for
everything else. Each has four verbs: ``drive`` (sum w s into the target), ``pullback`` (sum r = w q into the
source), ``learn`` (move the synapses), and ``emit``, which keeps what will be heard later. ``hlsim.plan``
deals the edges out in canonical order: every sum is done in the same order whatever the order of insertion.

Shapes: neuron fields ``(replica, node)``; ``span`` is where a projection's edges lie in the synapse fields.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.hamiltonian import Hamiltonian
from hlsim.network import Network
from hlsim.rule import Fields, Phase, Rule
from hlsim.state import State, Whole
from hlsim.threads import one_thread, product

# After every instant neuron: where leaky neurons are evaluated.
LAST = 2**30

NONE, SYMMETRIC, RANDOM = 0, 1, 2

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Signature:
    """What edges must share to be computed together."""

    instant: bool  # the target is an instant neuron (in sequential order it learns in another phase)
    forward: int  # rank at which the drive is summed; LAST: after every instant neuron
    backward: int  # likewise for costates
    delay: int = -1
    feedback_delay: int = -1
    feedback: int = NONE
    bias: bool = False  # never beside synapses: it has no source to read


class Synapses:
    """The edges of one projection: where they lie in storage, what they hold fixed, how they learn."""

    def __init__(
        self, network: Network, edges: Ints, start: int, rule: Rule, shape: tuple[int, ...], weight: Tensor
    ) -> None:
        self.edges, self.span, self.shape = edges, slice(start, start + len(edges)), shape
        self._rule = rule
        replicas = weight.shape[0]

        def fixed(values: NDArray) -> Tensor:
            return torch.as_tensor(values, dtype=weight.dtype, device=weight.device).reshape(shape)

        own = network.beta[edges]
        rates = np.where(np.isnan(own), rule.beta, own)
        # One number where all synapses have the same, so that it takes no memory.
        self._beta = float(rates[0]) if (rates == rates[0]).all() else fixed(rates)
        plastic = network.plastic[edges]
        self.plastic = bool(plastic.any())
        self._mask = None if plastic.all() else fixed(plastic.astype(float))
        self.random = network.feedback[edges] == RANDOM
        self._feedback = None
        if self.random.any():
            values = torch.as_tensor(network.feedback_weight[:, edges], dtype=weight.dtype)
            self._feedback = values.to(weight.device).reshape(replicas, *shape)
            self._use_random = fixed(self.random.astype(float)).bool()
        # One replica of the synapses: drop the axis, and products become plain matrices.
        self._squeeze = replicas == 1

    def weight(self, state: State) -> Tensor:
        """Return w, a view of shape ``shape``, with a leading replica axis where synapses are private."""
        return self._view(state.w)

    def transport(self, state: State) -> Tensor:
        """Return the weights that carry costates backward: w itself, or the fixed random ones."""
        w = self.weight(state)
        if self._feedback is None:
            return w
        return torch.where(self._use_random, self._feedback[0] if self._squeeze else self._feedback, w)

    def euler(self, state: State, qs: Tensor, duration: float | Tensor) -> None:
        """Move the synapses one Euler step on, given the mean product of q and s."""
        w = self.weight(state)
        if self._rule.weight_decay:
            qs = qs + (state.phi * self._rule.weight_decay) * w
        if self._mask is not None:
            qs = qs * self._mask
        self._move(state, *self._rule.synapse_euler(w, self._fields(state), qs, self._beta, duration))

    def mark(self, state: State, own: Tensor, phase: Phase) -> None:
        """Let the synapses take the end of a phase into account; ``own`` (replica, node) was sent last."""
        if self.plastic:
            w, fields = self.weight(state), self._fields(state)
            self._move(state, *self._rule.mark(w, fields, self._met(own), self._beta, phase))

    def correlate(self, state: State, own: Tensor) -> None:
        """Move the synapses by the product of what their neurons sent and hold."""
        if self.plastic:
            w, fields = self.weight(state), self._fields(state)
            self._move(state, *self._rule.correlate(w, fields, self._met(own), self._beta, state.nudge))

    def product(self, own: Tensor) -> Tensor:
        """Return what targets have (replica, node) times what they heard last, the mean of a minibatch."""
        raise NotImplementedError

    def _met(self, own: Tensor) -> Tensor:
        met = self.product(own)
        return met if self._mask is None else met * self._mask

    def _fields(self, state: State) -> dict[str, Tensor]:
        return {name: self._view(x) for name, x in state.fields.items()}

    def _move(self, state: State, w: Tensor, fields: Fields) -> None:
        self.weight(state).copy_(w)
        for name, values in fields.items():
            self._view(state.fields[name]).copy_(values)

    def _view(self, x: Tensor) -> Tensor:
        view = x[:, self.span]
        return view.view(self.shape) if self._squeeze else view.view(-1, *self.shape)


class Dense(Synapses):
    """Every source to every target with one delay: two matrix products and an outer product."""

    def __init__(
        self,
        network: Network,
        signature: Signature,
        sources: Ints,
        targets: Ints,
        edges: Ints,
        start: int,
        rule: Rule,
        weight: Tensor,
        replicas: int,
        number: torch.dtype,
        compiled: bool = False,
    ) -> None:
        super().__init__(network, edges, start, rule, (len(targets), len(sources)), weight)
        self.signature = signature
        self.bias = signature.bias
        device = weight.device
        self._targets = Whole(torch.as_tensor(targets, device=device))
        self._sources = Whole(torch.as_tensor(np.maximum(sources, 0), device=device))
        self._replicas, self._shared = replicas, weight.shape[0] == 1
        # A step of one product is one pass in a compiled loop; the mean of many is a product of matrices.
        alone = compiled and type(rule) is Hamiltonian and weight.shape[0] == replicas
        self._learn_matrix = _loop() if alone else None
        # Whether sources still are what the targets heard when the synapses learn from it.
        late = rule.order == "explicit" or signature.instant
        self._lasting = signature.delay == 0 and late and not rule.nudges
        # What the targets heard last, and what is on its way.
        self._s = torch.zeros(replicas, len(sources), dtype=number, device=device)
        if self.bias:
            self._s.fill_(1.0)
        self._forward: deque[Tensor] = deque()
        self._backward: deque[Tensor] = deque()
        self.backwards = signature.feedback != NONE and rule.sends_costates

    def drive(self, state: State, into: Tensor) -> None:
        """Add sum w s to the targets' drive, with what the sources were ``delay`` ticks ago."""
        if not self.bias:
            self._s = self._heard(state.m)
        w = self.weight(state)
        if self._shared:
            self._targets.add_product(into, self._s, w.T)
        else:
            self._targets.add(into, product(w, self._s.unsqueeze(-1)).squeeze(-1))

    def pullback(self, state: State, into: Tensor) -> None:
        """Add sum r to the sources, with what the targets sent ``feedback_delay`` ticks ago."""
        if self.signature.feedback_delay == 0:
            if self._shared:
                self._sources.add_product(into, self._targets.take(state.q), self.transport(state))
            else:
                self._sources.add(into, self._sent_back(state))
        elif len(self._backward) >= self.signature.feedback_delay:
            self._sources.add(into, self._backward.popleft())

    def emit(self, state: State) -> None:
        """Keep what is sent now and heard later, when every h and q of the tick is final."""
        if self.signature.delay and not self.bias:
            self._forward.append(self._sources.take(state.m).clone())
        if self.backwards and self.signature.feedback_delay:
            self._backward.append(self._sent_back(state))

    def learn(self, state: State, duration: float) -> None:
        """Move the synapses by q and the s that the targets took in at their last update."""
        if self.plastic and not (self._plain and self._outer(state, duration)):
            self.euler(state, self.product(state.q), duration)

    @property
    def _plain(self) -> bool:
        """Whether every synapse moves alike, and only by the products."""
        return self._mask is None and isinstance(self._beta, float) and not self._rule.weight_decay

    def _outer(self, state: State, duration: float) -> bool:
        q, w, fields = self._targets.take(state.q), self.weight(state), self._fields(state)
        if self._learn_matrix is None:
            with one_thread(w):
                return self._rule.outer_euler(w, fields, q, self._s, float(self._beta), duration)
        matrices = (x.numpy().reshape(-1, *self.shape) for x in (w, fields["omega"]))
        exact = duration, self._rule.eta, duration * float(self._beta), 0.0
        numbers = tuple(q.numpy().dtype.type(x) for x in exact)
        sequential = self._rule.order == "sequential"
        self._learn_matrix(numbers, sequential, *matrices, q.numpy(), self._s.numpy())
        return True

    def product(self, own: Tensor) -> Tensor:
        q = self._targets.take(own)
        if not self._shared:
            return q.unsqueeze(2) * self._s.unsqueeze(1)
        if self._replicas == 1:
            return q[0].unsqueeze(1) * self._s[0]
        return product(q.T, self._s) / self._replicas

    def reset(self, state: State) -> None:
        """Drop what is on its way."""
        self._forward.clear()
        self._backward.clear()
        if not self.bias:
            self._s = torch.zeros_like(self._s)

    def _heard(self, h: Tensor) -> Tensor:
        if self.signature.delay == 0:
            heard = self._sources.take(h)
            return heard if self._lasting else heard.clone()
        if len(self._forward) < self.signature.delay:
            return torch.zeros_like(self._s)
        return self._forward.popleft()

    def _sent_back(self, state: State) -> Tensor:
        w, q = self.transport(state), self._targets.take(state.q)
        return product(q, w) if self._shared else product(q.unsqueeze(1), w).squeeze(1)


def _loop() -> Callable[..., None]:
    # Imported here: the compiler takes half a second, and few commands run a network.
    from hlsim import synapse_loops

    return synapse_loops.learn_matrix


class Sparse(Synapses):
    """Edges of any pattern, each with its own delays, between neurons that update at every tick."""

    def __init__(
        self,
        network: Network,
        signature: Signature,
        edges: Ints,
        start: int,
        rule: Rule,
        weight: Tensor,
        replicas: int,
        number: torch.dtype,
    ) -> None:
        super().__init__(network, edges, start, rule, (len(edges),), weight)
        self.signature, self._n = signature, network.n
        device = weight.device
        source = network.source[edges]
        self._bias = torch.as_tensor(source < 0, device=device)
        self._source = torch.as_tensor(np.maximum(source, 0), device=device)
        self._target = torch.as_tensor(network.target[edges], device=device)
        self._delay = torch.as_tensor(network.delay[edges], device=device)
        back = np.flatnonzero(network.feedback[edges] != NONE) if rule.sends_costates else np.empty(0, int)
        self.backwards = len(back) > 0
        self._back = torch.as_tensor(back, device=device)
        self._feedback_delay = torch.as_tensor(network.feedback_delay[edges][back], device=device)
        self._shared = weight.shape[0] == 1
        self._depth = int(network.delay[edges].max(initial=0)) + 1
        self._back_depth = int(network.feedback_delay[edges][back].max(initial=0)) + 1

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=number, device=device)

        self._s = zeros(replicas, len(edges))
        # Rings over ticks: what every neuron was, and what every neuron will hear.
        self._history = zeros(self._depth, replicas, network.n)
        self._coming = zeros(replicas, self._back_depth * network.n)
        self._tick = 0

    def drive(self, state: State, into: Tensor) -> None:
        """Add sum w s to the targets' drive, each s as its source was ``delay`` ticks ago."""
        self._history[self._tick % self._depth] = state.m
        rows = (self._tick - self._delay) % self._depth
        heard = self._history[rows, :, self._source].T
        self._s = torch.where(self._bias, torch.ones_like(heard), heard)
        _scatter(into, self._target, self.weight(state) * self._s)

    def pullback(self, state: State, into: Tensor) -> None:
        """Add sum r to the sources: what arrives now, and what zero feedback delay brings at once."""
        self._send_back(state, now=True)
        first = (self._tick % self._back_depth) * self._n
        row = self._coming[:, first : first + self._n]
        into += row
        row.zero_()

    def emit(self, state: State) -> None:
        """Keep what is sent at this tick and heard at a later one; go on to the next tick."""
        self._history[self._tick % self._depth] = state.m
        if self.backwards:
            self._send_back(state, now=False)
        self._tick += 1

    def learn(self, state: State, duration: float) -> None:
        """Move the synapses by q and the s that the targets took in at their last update."""
        if self.plastic:
            self.euler(state, self.product(state.q), duration)

    def product(self, own: Tensor) -> Tensor:
        qs = own[:, self._target] * self._s
        return qs.mean(0) if self._shared else qs

    def reset(self, state: State) -> None:
        """Drop what is on its way."""
        self._history.zero_()
        self._coming.zero_()
        self._s.zero_()

    def _send_back(self, state: State, now: bool) -> None:
        chosen = torch.nonzero((self._feedback_delay == 0) == now).squeeze(1)
        if len(chosen) == 0:
            return
        edge = self._back[chosen]
        r = (self.transport(state) * state.q[:, self._target])[:, edge]
        rows = (self._tick + self._feedback_delay[chosen]) % self._back_depth
        _scatter(self._coming, rows * self._n + self._source[edge], r)


def _scatter(into: Tensor, index: Tensor, values: Tensor) -> None:
    """Add values (replica, k) to columns ``index`` (k,) of ``into`` (replica, n), in the order of k."""
    into.scatter_add_(1, index.expand(values.shape), values)
