"""The synapses of one projection: where they lie in storage, what they hold fixed, how they learn."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.state import State
from hlsim.engine.snapshot import Stateful
from hlsim.models.rules.rule import AnyRule, Fields, Phase, Rule
from hlsim.topology.network import NONE, RANDOM, Network

# After every instant neuron: where leaky neurons are evaluated.
LAST = 2**30
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
    lag: int = 0  # of the targets


class Synapses(Stateful):
    """The edges of one projection: where they lie in storage, what they hold fixed, how they learn."""

    def __init__(
        self, network: Network, edges: Ints, start: int, rule: Rule, shape: tuple[int, ...], weight: Tensor
    ) -> None:
        self.edges, self.span, self.shape = edges, slice(start, start + len(edges)), shape
        self._rule: AnyRule = rule
        replicas = weight.shape[0]

        def fixed(values: NDArray) -> Tensor:
            return torch.as_tensor(values, dtype=weight.dtype, device=weight.device).reshape(shape)

        rates = network.weight_rate(rule, edges)
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

    def hear_again(self, state: State) -> None:
        """Hear what sources are, in a state that was restored, where nothing else is kept of it."""

    def product(self, own: Tensor) -> Tensor:
        """Return what targets have (replica, node) times what they heard last, the mean of a minibatch."""
        raise NotImplementedError

    def _met(self, own: Tensor) -> Tensor:
        met = self.product(own)
        return met if self._mask is None else met * self._mask

    def _fields(self, state: State) -> Fields:
        return self._rule.fields(self._view(x) for x in state.fields.values())

    def _move(self, state: State, w: Tensor, fields: tuple[Tensor, ...]) -> None:
        for kept, values in zip((state.w, *state.fields.values()), (w, *fields), strict=True):
            view = self._view(kept)
            # Of synapses that are not plastic nothing moves, whatever a rule makes of w.
            view.copy_(values if self._mask is None else torch.where(self._mask != 0, values, view))

    def _view(self, x: Tensor) -> Tensor:
        view = x[:, self.span]
        return view.view(self.shape) if self._squeeze else view.view(-1, *self.shape)
