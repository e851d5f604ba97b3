r"""Projections: the edges of a network, in the form in which each part of it is computed best.

``Dense`` and ``Sparse`` *pull*: between neurons that update and send at every tick (clock 1, thresholds 0),
where a target reads what its source was ``delay`` ticks ago. ``hlsim.engine.circuit.push`` carries single
messages, for everything else. Each has four verbs: ``drive`` (sum w s into the target), ``pullback`` (sum r =
w q into the source), ``learn`` (move the synapses), and ``emit``, which keeps what will be heard later.
``hlsim.engine.circuit.plan`` deals the edges out in canonical order: every sum is done in the same order
whatever the order of insertion.

Shapes: neuron fields ``(replica, node)``; ``span`` is where a projection's edges lie in the synapse fields.
"""

from collections import deque

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.circuit.state import State, Whole
from hlsim.engine.circuit.synapses import Ints, Signature, Synapses
from hlsim.engine.snapshot import Array, Arrays, stacked, unstacked
from hlsim.engine.threads import one_thread, product
from hlsim.models.rules.rule import Rule, in_place
from hlsim.topology.network import Network
from hlsim.topology.order import order


class Dense(Synapses):
    """Every source to every target with one delay: two matrix products and an outer product."""

    STATE = ("_s", "_forward", "_backward", "_past")

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
    ) -> None:
        super().__init__(network, edges, start, rule, (len(targets), len(sources)), weight)
        self.signature = signature
        self.bias = signature.bias
        device = weight.device
        self._targets = Whole(torch.as_tensor(targets, device=device))
        self._sources = Whole(torch.as_tensor(np.maximum(sources, 0), device=device))
        self._replicas, self._shared = replicas, weight.shape[0] == 1
        # Whether sources still are what the targets heard when the synapses learn from it.
        late = rule.order == "explicit" or signature.instant
        self._lasting = signature.delay == 0 and late and not (rule.nudges or signature.lag)
        # What the targets heard last, and what is on its way.
        self._s = torch.zeros(replicas, len(sources), dtype=number, device=device)
        if self.bias:
            self._s.fill_(1.0)
        self._forward: deque[Tensor] = deque()
        self._backward: deque[Tensor] = deque()
        # What the targets heard at every tick of their lag, the last one too.
        self._past: deque[Tensor] = deque(maxlen=signature.lag + 1)
        self.backwards = bool(network.carries_costates(rule, edges).any())

    def drive(self, state: State, into: Tensor) -> None:
        """Add sum w s to the targets' drive, with what the sources were ``delay`` ticks ago."""
        if not self.bias:
            self._s = self._heard(state.m)
        if self._keeps:
            self._past.append(self._s)
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
        lag = self.signature.lag
        if not self.plastic or (lag and state.learned <= lag):
            return
        if not (self._plain and self._step(state, duration)):
            self.euler(state, self.product(state.q), duration)

    @property
    def _keeps(self) -> bool:
        return self.signature.lag > 0 and not self.bias

    @property
    def _then(self) -> Tensor:
        """What costates meet: what the targets heard last, or as long ago as their lag."""
        if not self._keeps:
            return self._s
        return self._past[0] if len(self._past) > self.signature.lag else torch.zeros_like(self._s)

    @property
    def _plain(self) -> bool:
        """Whether every synapse moves alike, and only by the products."""
        return self._mask is None and isinstance(self._beta, float) and not self._rule.weight_decay

    def _step(self, state: State, duration: float) -> bool:
        q, w, fields = self._targets.take(state.q), self.weight(state), self._fields(state)
        s = self._then

        def add(omega: Tensor, keep: float, scale: float) -> None:
            with one_thread(w):
                if self._shared:
                    omega.addmm_(q.T, s, beta=keep, alpha=scale / self._replicas)
                else:
                    omega.baddbmm_(q.unsqueeze(2), s.unsqueeze(1), beta=keep, alpha=scale)

        return in_place(self._rule) and self._rule.step(w, fields, add, self._beta, duration)

    def product(self, own: Tensor) -> Tensor:
        q, s = self._targets.take(own), self._then
        if not self._shared:
            return q.unsqueeze(2) * s.unsqueeze(1)
        if self._replicas == 1:
            return q[0].unsqueeze(1) * s[0]
        return product(q.T, s) / self._replicas

    def collect(self) -> dict[str, Array]:
        """Return what the targets heard last, and what is on its way, in its order."""
        queues = {"forward": self._forward, "backward": self._backward, "past": self._past}
        return {"s": stacked([self._s], self._s)[0]} | {
            name: stacked(queue, self._s) for name, queue in queues.items()
        }

    def put_back(self, arrays: Arrays) -> None:
        """Take what another one like this saved."""
        delay, back = (max(0, x) for x in (self.signature.delay, self.signature.feedback_delay))
        # Not in place: it may be a view of the states themselves.
        self._s = unstacked("s", Arrays({"s": arrays["s"][None]}, arrays.where), self._s, 1)[0]
        self._forward = deque(unstacked("forward", arrays, self._s, delay))
        self._backward = deque(unstacked("backward", arrays, self._s, back))
        kept = self.signature.lag + 1
        self._past = deque(unstacked("past", arrays, self._s, kept), maxlen=kept)

    def hear_again(self, state: State) -> None:
        """Look at the states of sources that still are what was heard, as if that had been kept."""
        if self._lasting and not self.bias:
            self._s = self._sources.take(state.m)

    def reset(self, state: State) -> None:
        """Drop what is on its way."""
        self._forward.clear()
        self._backward.clear()
        self._past.clear()
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


class Sparse(Synapses):
    """Edges of any pattern, each with its own delays, between neurons that update at every tick.

    Edges stand by feedback, delays and target: what is gathered and summed one after the other lies in a row
    of one number a neuron, which stays in a processor's cache.
    """

    STATE = ("_s", "_q", "_history", "_coming", "_tick", "_has_q", "_late")
    SCRATCH = ("_product",)

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
        self.signature, self._n, self._shared = signature, network.n, weight.shape[0] == 1
        device = weight.device
        delay, back = network.delay[edges], network.feedback_delay[edges]
        kind = feedback_kind(network, rule, edges)
        self.backwards = bool((kind > SILENT).any())
        # Edges that send nothing back, those that do so at once, and all others.
        first, later = np.searchsorted(kind, [AT_ONCE, LATER])
        self._at_once, self._later = slice(int(first), int(later)), slice(int(later), len(edges))
        lag = network.lag[network.target[edges]]
        self._depth, self._back_depth = (
            int(x.max(initial=0)) + 1 for x in (delay + lag, back[kind > SILENT])
        )
        source = network.source[edges]
        # A bias reads a column of ones.
        self._width = network.n + 1
        column = np.where(source < 0, network.n, source)
        self._target = torch.as_tensor(network.target[edges], device=device)
        # Where an edge reads and writes, counted from the row of the moment.
        reads = (self._depth - 1 - delay) * self._width + column
        self._reads = torch.as_tensor(reads, device=device)
        self._reads_late = torch.as_tensor(reads - lag * self._width, device=device) if lag.any() else None
        self._lag, self._longest = torch.as_tensor(lag, device=device), int(lag.max())
        self._writes = torch.as_tensor(back * network.n + np.maximum(source, 0), device=device)

        def zeros(size: int) -> Tensor:
            return torch.zeros(replicas, size, dtype=number, device=device)

        self._s, self._q, self._product = (zeros(len(edges)) for _ in range(3))
        # What was heard as long ago as the lags of targets, if they have any.
        self._late = zeros(len(edges)) if self._longest else None
        # Rings over ticks, twice as long as need be, so that a window of them is in one piece: what every
        # neuron was, and what every neuron will hear.
        self._history = zeros(2 * self._depth * self._width)
        self._coming = zeros(2 * self._back_depth * network.n)
        self._rows(self._history, self._width)[..., -1] = 1
        self._tick, self._has_q = 0, False

    def drive(self, state: State, into: Tensor) -> None:
        """Add sum w s to the targets' drive, each s as its source was ``delay`` ticks ago."""
        self._keep(state)
        first = (self._tick % self._depth + 1) * self._width
        window = self._history[:, first : first + self._depth * self._width]
        gather(window, self._reads, self._s)
        if self._late is not None and self._reads_late is not None:
            gather(window, self._reads_late, self._late)
        torch.mul(self.weight(state), self._s, out=self._product)
        scatter(into, self._target, self._product)

    def pullback(self, state: State, into: Tensor) -> None:
        """Add sum r to the sources: what arrives now, and what zero feedback delay brings at once."""
        self._send_back(state, self._at_once)
        rows, row = self._rows(self._coming, self._n), self._tick % self._back_depth
        for half in (row, row + self._back_depth):
            into += rows[:, half]
            rows[:, half] = 0

    def emit(self, state: State) -> None:
        """Keep what is sent at this tick and heard at a later one; go on to the next tick."""
        self._keep(state)
        self._send_back(state, self._later)
        # In the explicit order the synapses learn from the same q at the next tick.
        self._has_q = self._later == slice(0, len(self.edges)) and self._rule.order == "explicit"
        self._tick += 1

    def learn(self, state: State, duration: float) -> None:
        """Move the synapses by q and the s that the targets took in at their last update."""
        if not self.plastic:
            return
        kept = [self._view(x) for x in (state.w, *state.fields.values())]
        before = [x.clone() for x in kept] if self._longest and state.learned <= self._longest else []
        if self._rule.weight_decay or self._shared_by_many or not self._step(state, duration):
            self.euler(state, self.product(state.q), duration)
        # A neuron learns once the network has been learning for longer than its lag.
        for x, old in zip(kept, before, strict=False):
            x.copy_(torch.where(self._lag < state.learned, x, old))

    def product(self, own: Tensor) -> Tensor:
        qs = own[:, self._target] * self._then
        return qs.mean(0) if self._shared else qs

    def reset(self, state: State) -> None:
        """Drop what is on its way."""
        self._rows(self._history, self._width)[..., :-1] = 0
        self._coming.zero_()
        self._s.zero_()
        if self._late is not None:
            self._late.zero_()

    @property
    def _then(self) -> Tensor:
        """What costates meet."""
        return self._s if self._late is None else self._late

    @property
    def _shared_by_many(self) -> bool:
        return self._shared and len(self._s) > 1

    def _step(self, state: State, duration: float) -> bool:
        if not self._has_q:
            gather(state.q, self._target, self._q)
        q = self._q if self._mask is None else self._q * self._mask

        def add(omega: Tensor, keep: float, scale: float) -> None:
            omega.mul_(keep).addcmul_(q.view(omega.shape), self._then.view(omega.shape), value=scale)

        return in_place(self._rule) and self._rule.step(
            self.weight(state), self._fields(state), add, self._beta, duration
        )

    def _keep(self, state: State) -> None:
        """Note what neurons send at this tick."""
        rows, row = self._rows(self._history, self._width), self._tick % self._depth
        for half in (row, row + self._depth):
            rows[:, half, : self._n] = state.m

    def _send_back(self, state: State, part: slice) -> None:
        if part.start == part.stop:
            return
        r, q = self._product[:, part], self._q[:, part]
        gather(state.q, self._target[part], q)
        torch.mul(self.transport(state)[..., part], q, out=r)
        first = (self._tick % self._back_depth) * self._n
        window = self._coming[:, first : first + self._back_depth * self._n]
        scatter(window, self._writes[part], r)

    def _rows(self, ring: Tensor, width: int) -> Tensor:
        return ring.view(len(ring), -1, width)


# Whether an edge sends costates back, and if so at the tick of the costate.
SILENT, AT_ONCE, LATER = 0, 1, 2


def feedback_kind(network: Network, rule: Rule, edges: Ints) -> Ints:
    """Return by edge whether costates go back on it: not, at once or later."""
    sends = network.carries_costates(rule, edges)
    return np.where(sends, np.where(network.feedback_delay[edges] == 0, AT_ONCE, LATER), SILENT)


def in_order(network: Network, rule: Rule, edges: Ints) -> Ints:
    """Return the edges of a sparse projection in the order in which they stand in storage."""
    keys = edges, network.target[edges], network.feedback_delay[edges], network.delay[edges]
    return edges[order(*keys, feedback_kind(network, rule, edges))]


def gather(x: Tensor, index: Tensor, into: Tensor) -> None:
    """Set ``into`` (replica, k) to the columns ``index`` (k,) of x."""
    if len(x) == 1:
        torch.index_select(x[0], 0, index, out=into[0])
    else:
        torch.index_select(x, 1, index, out=into)


def scatter(into: Tensor, index: Tensor, values: Tensor) -> None:
    """Add values (replica, k) to columns ``index`` (k,) of ``into`` (replica, n), in the order of k."""
    if len(into) == 1:
        into[0].scatter_add_(0, index, values[0])
    else:
        into.scatter_add_(1, index.expand(values.shape), values)
