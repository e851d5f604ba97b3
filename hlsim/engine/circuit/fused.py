"""Sparse projections in one compiled pass a tick: what was sent back, the step of learning, the drive.

The verbs are those of ``hlsim.engine.circuit.projections``. Sending back and learning are put off until the
drive of the same or the next tick, as nobody looks at a synapse in between: a tick then goes over the
synapses once.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.state import State
from hlsim.engine.circuit.synapses import Ints, Signature, Synapses
from hlsim.models.rules.hamiltonian import Hamiltonian
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import RANDOM, Network

# More kinds of synapse than this (weight rate, plastic or not, feedback) are left to torch.
_KINDS = 8
# Parts of a projection that threads can compute side by side at most, and synapses that a part must have.
_PARTS, _PART_LEAST = 8, 100_000
# Synapses a part must have for each number in its rows of sums, of which it has one for every delay.
_PER_SUM = 0.5


def arrange(network: Network, rule: Rule, edges: Ints, replicas: int, private: bool) -> list[Ints] | None:
    """Return the edges of a sparse projection split by kind, in the loops' order; None: not for them."""
    if type(rule) is not Hamiltonian or (replicas > 1 and not private) or (network.source[edges] < 0).any():
        return None
    facts = np.stack([network.weight_rate(rule, edges), network.plastic[edges], network.feedback[edges]])
    _, kind = np.unique(facts, axis=1, return_inverse=True)
    if kind.max() >= _KINDS:
        return None
    return [_sorted(network, edges[kind == k]) for k in range(kind.max() + 1)]


def _sorted(network: Network, edges: Ints) -> Ints:
    keys = edges, network.target[edges], network.feedback_delay[edges], network.delay[edges]
    return edges[np.lexsort((*keys, _part(network, edges)))]


def _part(network: Network, edges: Ints) -> Ints:
    """Return the part of each edge: targets in contiguous ranges, as many as the network makes worth it.

    The parts depend on the network alone: so do all sums, whatever the number of threads.
    """
    depth = 1 + network.feedback_delay[edges].max(initial=0)
    worth = len(edges) / max(_PART_LEAST, _PER_SUM * depth * network.n)
    # A power of two, so that as many threads have as much to do.
    parts = 2 ** int(np.log2(np.clip(worth, 1, _PARTS)))
    count = np.cumsum(np.bincount(network.target[edges], minlength=network.n))
    return ((count[network.target[edges]] - 1) * parts) // len(edges)


class Fused(Synapses):
    """Synapses of one kind between neurons that update at every tick, for ``Hamiltonian``."""

    def __init__(
        self,
        network: Network,
        signature: Signature,
        edges: Ints,
        start: int,
        rule: Rule,
        weight: Tensor,
        replicas: int,
    ) -> None:
        super().__init__(network, edges, start, rule, (len(edges),), weight)
        # Imported here: the compiler takes half a second, and few commands run a network.
        from hlsim.engine.circuit import loops

        self._loops: Any = loops
        kind = int(network.feedback[edges[0]])
        self.signature = replace(signature, feedback=kind)
        self.backwards = bool(network.carries_costates(rule, edges).any())
        self._back = None
        if kind == RANDOM:
            self._back = network.feedback_weight[:, edges].astype(_format(weight))
        self._source, self._target = (x[edges].astype(np.uint32) for x in (network.source, network.target))
        self._parts = _blocks(network, edges)
        delays = network.delay[edges], network.feedback_delay[edges]
        depth, back_depth = (int(delay.max()) for delay in delays)
        self._at_once = bool((delays[1] == 0).any()) and self.backwards
        shape = replicas, network.n
        self._history = np.zeros((replicas, depth + 2, network.n), _format(weight))
        self._coming = np.zeros((len(self._parts), replicas, back_depth + 1, network.n), _format(weight))
        # What is to be sent back and learned from when the synapses are next gone over.
        self._sent, self._q = np.zeros(shape, _format(weight)), np.zeros(shape, _format(weight))
        self._sends = False
        self._numbers: tuple[Any, ...] | None = None
        self._tick = 0
        # None: as many as torch has.
        self.threads: int | None = None
        # This thread takes a part as well.
        self._pool = ThreadPoolExecutor(len(self._parts) - 1) if len(self._parts) > 1 else None

    def drive(self, state: State, into: Tensor) -> None:
        """Add sum w s to the targets' drive, each s as its source was ``delay`` ticks ago."""
        self._history[:, self._tick % self._history.shape[1]] = state.m.numpy()
        together = self._numbers is not None and self._back is None and self._rule.order == "explicit"
        if not together:
            self._settle(state)
        sends, numbers, a = self._sends, self._numbers, into.numpy()
        self._sends, self._numbers = False, None

        def arguments(p: int, part: int) -> tuple[Any, ...]:
            ends, history = (self._source, self._target), self._history[p]
            w, omega = self._synapses(state, p)
            if not together:
                return self._parts[part], self._tick, w, *ends, history, a[p]
            sent, coming = (self._sent[p], self._q[p]), self._coming[part, p]
            synapses = w, omega, *ends
            return self._parts[part], self._tick, numbers, sends, *synapses, *sent, history, coming, a[p]

        self._each(self._loops.tick_over if together else self._loops.drive, arguments)

    def pullback(self, state: State, into: Tensor) -> None:
        """Add sum r to the sources: what arrives now, and what zero feedback delay brings at once."""
        if self._at_once:
            self._send_back(state, state.q.numpy(), self._tick, at_once=True)
        row = self._coming[:, :, self._tick % self._coming.shape[2]]
        heard = into.numpy()
        for part in row:
            heard += part
        row[:] = 0

    def emit(self, state: State) -> None:
        """Keep what is sent at this tick and heard at a later one; go on to the next tick."""
        self._history[:, self._tick % self._history.shape[1]] = state.m.numpy()
        self._tick += 1
        if self.backwards:
            self._sent[:] = state.q.numpy()
            self._sends = True

    def learn(self, state: State, duration: float) -> None:
        """Move the synapses by q and the s that the targets took in at their last update."""
        if not self.plastic:
            return
        rule = self._rule
        exact = duration, rule.eta, duration * float(self._beta), state.phi * rule.weight_decay
        self._numbers = tuple(self._history.dtype.type(x) for x in exact)
        self._q[:] = state.q.numpy()
        if rule.order == "sequential":
            # In phase 6 there is no drive to come at this tick.
            self._settle(state)

    def reset(self, state: State) -> None:
        """Drop what is on its way; what was learned before stays."""
        self._sends = False
        self._settle(state)
        self._history[:] = 0
        self._coming[:] = 0

    def _settle(self, state: State) -> None:
        """Send back and learn now, in this order: what is sent is w q with the w of its moment."""
        if self._sends:
            self._send_back(state, self._sent, self._tick - 1, at_once=False)
        self._sends = False
        numbers, self._numbers = self._numbers, None
        if numbers is None:
            return
        sequential = self._rule.order == "sequential"

        def arguments(p: int, part: int) -> tuple[Any, ...]:
            synapses = *self._synapses(state, p), self._source, self._target
            return self._parts[part], self._tick, numbers, sequential, *synapses, self._q[p], self._history[p]

        self._each(self._loops.learn, arguments)

    def _send_back(self, state: State, q: NDArray[Any], tick: int, at_once: bool) -> None:
        def arguments(p: int, part: int) -> tuple[Any, ...]:
            back = self._synapses(state, p)[0] if self._back is None else self._back[p % len(self._back)]
            ends = self._source, self._target
            return self._parts[part], tick, at_once, back, *ends, q[p], self._coming[part, p]

        self._each(self._loops.send_back, arguments)

    def _synapses(self, state: State, p: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return state.w.numpy()[p, self.span], state.fields["omega"].numpy()[p, self.span]

    def _each(self, loop: Callable[..., None], arguments: Callable[[int, int], tuple[Any, ...]]) -> None:
        """Go over every part of every replica, on ``threads`` threads.

        A thread is given the loop itself: with Python to run first it would wait for this one to stand still.
        """
        parts = range(len(self._parts))
        first, *others = [arguments(p, part) for p in range(len(self._history)) for part in parts]
        if self._pool is None or (self.threads or torch.get_num_threads()) == 1:
            for each in (first, *others):
                loop(*each)
            return
        waiting = [self._pool.submit(loop, *each) for each in others]
        loop(*first)
        for other in waiting:
            other.result()


def _blocks(network: Network, edges: Ints) -> list[Ints]:
    """Return for each part its blocks (block, 4): first edge, the one after the last, both delays."""
    delay, back = network.delay[edges], network.feedback_delay[edges]
    part = _part(network, edges)
    key = np.stack([part, delay, back])
    first = np.flatnonzero(np.r_[True, (np.diff(key, axis=1) != 0).any(0)])
    end = np.append(first[1:], len(edges))
    blocks = np.stack([first, end, delay[first], back[first]], 1)
    return [blocks[part[first] == k] for k in np.unique(part)]


def _format(weight: Tensor) -> np.dtype:
    return weight.numpy().dtype
