"""A network on a device: constants as tensors, neurons sorted into what is evaluated together, state."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.circuit import lags, plan
from hlsim.engine.circuit.push import FailingLinks
from hlsim.engine.circuit.state import Selection, Some, State, Whole
from hlsim.engine.circuit.synapses import LAST
from hlsim.engine.links import TouchableLinks
from hlsim.engine.snapshot import Array, Arrays, Stateful, digest, made_of
from hlsim.errors import NumericalError
from hlsim.models.losses import Loss
from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Neuron, Parameters
from hlsim.models.rules.rule import AnyRule, Rule
from hlsim.topology.network import Network


@dataclass(frozen=True)
class Block:
    """Neurons of one model, activation and rank: one call evaluates them."""

    model: Neuron
    activation: Activation
    rank: int
    back_rank: int
    whole: Whole


class Circuit(Stateful):
    """Constants and state of a run; ``made``: how its edges are dealt out, where that is known.

    Neurons are *synchronous* (due at every tick, thresholds 0) or *event* neurons: all others, inputs too.
    """

    STATE = ("target", "push", "failing", "projections", "lags")

    def __init__(
        self,
        network: Network,
        rule: Rule,
        loss: Loss | None,
        dt: float,
        replicas: int,
        dtype: torch.dtype,
        device: torch.device,
        compiled: bool = False,
        touchable: TouchableLinks | None = None,
        *,
        made: plan.Plan | None = None,
    ) -> None:
        self.compiled = compiled
        self.network, self.loss, self.dt, self.replicas = network, loss, dt, replicas
        self.rule: AnyRule = rule
        self.n, self.dtype, self.device = network.n, dtype, device
        # Of the neurons' numbers; those of synapses are real.
        self.number = dtype.to_complex() if rule.complex_states else dtype
        self.nudges = rule.nudges
        alone = None if touchable is None else touchable.edges
        self.plan = made or plan.make(network, rule, replicas, dtype, self.number, device, alone)
        self.push = self.plan.push
        # What becomes of messages; None: they all arrive, after the delays of the graph.
        self.failing = None if touchable is None else FailingLinks(touchable, self.push)
        self.state = State.zeros(network, replicas, self.plan.weight, rule.synapse_fields, self.number)
        # What neurons keep of the past; None: no neuron has a lag.
        self.lags = lags.of(network, replicas, self.number, device)
        self._constants(network)
        self._sort(network)
        self.target: Tensor | None = None

    def _constants(self, network: Network) -> None:
        def real(x: np.ndarray) -> Tensor:
            return torch.as_tensor(x, dtype=self.dtype, device=self.device)

        def whole(x: np.ndarray) -> Tensor:
            return torch.tensor(x, device=self.device)

        # Input nodes follow the stimulus, whatever their update says.
        self.parameters = {name: real(x) for name, x in network.parameters.items()}
        # Less one part in 1e9, so that what moves by exactly the threshold counts as having moved.
        self.send_threshold = real(network.send_threshold) * (1 - 1e-9)
        self.costate_threshold = real(network.costate_threshold) * (1 - 1e-9)
        self.send_interval, self.refresh = whole(network.send_interval), whole(network.refresh)
        self.period, self.phase, self.clock = (
            whole(x) for x in (network.period, network.phase, network.clock & ~network.is_input)
        )
        self.inputs, self.outputs = whole(network.inputs), whole(network.outputs)
        self.output_set = Whole(self.outputs)
        self.fed = Whole(self.inputs)
        self.is_input, self.instant = whole(network.is_input), whole(network.instant)
        self.stateful, self.reads_out = whole(network.stateful), whole(network.reads_out)
        self.arrival = ~self.clock
        self.emits, self.rich = whole(network.emits), whole(network.rich)
        self.has_impulses, self.has_rich = bool(network.impulses.any()), bool(network.rich.any())
        self.sync = whole(plan.synchronous(network))
        self.is_output = torch.zeros(network.n, dtype=torch.bool, device=self.device)
        self.is_output[self.outputs] = True
        real_edge = network.source >= 0
        self.sends_state = whole(np.bincount(network.source[real_edge], minlength=network.n) > 0)
        back = network.carries_costates(self.rule)
        self.sends_costate = whole(np.bincount(network.target[back], minlength=network.n) > 0)
        # Whose state matters although it may send nothing: the loss listens to it, or a phase waits for it.
        self.listened = self.is_output | (~self.sends_state & self.nudges)
        moving = network.target[network.learns_what_it_sends_back(self.rule)]
        self.learns = whole(np.bincount(moving, minlength=network.n) > 0)
        self.rank, self.back_rank = (
            whole(np.where(r < 0, LAST, r)) for r in (network.rank, network.back_rank)
        )

    def _sort(self, network: Network) -> None:
        keys: dict[tuple, list[int]] = defaultdict(list)
        ranks, back_ranks, sync = self.rank.tolist(), self.back_rank.tolist(), self.sync.tolist()
        every = zip(sync, network.model, network.activation, ranks, back_ranks, strict=True)
        for i, key in enumerate(every):
            keys[key].append(i)
        self.sync_blocks: list[Block] = []
        self.event_blocks: list[Block] = []
        self.block_of = torch.full((network.n,), -1, dtype=torch.int64, device=self.device)
        for (is_sync, model, activation, rank, back), nodes in sorted(keys.items(), key=lambda kv: kv[1][0]):
            whole = Whole(torch.tensor(nodes, device=self.device))
            block = Block(MODELS[model], ACTIVATIONS[activation], rank, back, whole)
            if is_sync:
                self.sync_blocks.append(block)
            else:
                self.block_of[whole.nodes] = len(self.event_blocks)
                self.event_blocks.append(block)
        self.sync_stateful = self._whole(self.sync & self.stateful)
        # Synchronous neurons with single messages on some of their edges.
        self.mixed_in = self._all(self.sync & (self.push.incoming.count > 0))
        self.mixed_out = self._all(self.sync & (self.push.outgoing.count > 0))
        self.mixed_back = self._all(self.sync & (self.push.backward.count > 0))
        self.mixed_hearing = self._all(self.sync & (self.push.hearing.count > 0))
        self.forward_levels = self._levels([b.rank for b in self.blocks], "forward")
        self.backward_levels = self._levels([b.back_rank for b in self.blocks], "backward")
        # Masks of the neurons that are evaluated, forward and backward, at each level.
        self.at_forward = {k: (self.rank == k) & ~self.is_input for k in self.forward_levels}
        self.at_backward = {k: (self.back_rank == k) & self.instant for k in self.backward_levels}
        self.has_sync = bool(self.sync.any())
        self.has_arrival = bool((self.arrival & ~self.is_input).any())
        self.nobody = self.some(torch.empty(0, dtype=torch.int64, device=self.device))
        self.all_outputs_sync = bool(self.sync[self.outputs].all())

    # ---- what is saved

    @property
    def projections(self) -> list[plan.Pull]:
        """What projections hold of what was sent."""
        return self.plan.pulls

    @cached_property
    def made_of(self) -> dict[str, Array]:
        """What a state belongs to."""
        return {
            **made_of(self.network, self.rule, self.loss, self.dt, self.replicas),
            "dtype": digest(str(self.number)),
            # Where synapses stand in memory.
            "arrangement": digest(self.plan.place, [type(pull).__name__ for pull in self.plan.pulls]),
        }

    def collect(self) -> dict[str, Array]:
        """Return neurons, synapses, and what was sent and is to be heard."""
        return {**self.state.collect(), **super().collect()}

    def put_back(self, arrays: Arrays) -> None:
        """Take what another circuit saved that was made in the same way."""
        self.state.put_back(arrays)
        super().put_back(arrays)
        if self.target is not None:
            self.target = torch.as_tensor(self.target, device=self.device)
        for pull in self.plan.pulls:
            pull.hear_again(self.state)

    @property
    def blocks(self) -> list[Block]:
        """All blocks, those of synchronous neurons first."""
        return self.sync_blocks + self.event_blocks

    def _levels(self, ranks: list[int], channel: str) -> list[int]:
        pulled = [getattr(pull.signature, channel) for pull in self.plan.pulls]
        return sorted({*ranks, *pulled, LAST})

    def _whole(self, mask: Tensor) -> Whole | None:
        nodes = torch.nonzero(mask).squeeze(1)
        return Whole(nodes) if len(nodes) else None

    def _all(self, mask: Tensor) -> Some | None:
        """Return a fixed set of neurons of every replica by flat index."""
        nodes = torch.nonzero(mask).squeeze(1)
        return self.tile(nodes) if len(nodes) else None

    def tile(self, nodes: Tensor) -> Some:
        """Return ``nodes`` in every replica."""
        first = torch.arange(self.replicas, device=self.device).unsqueeze(1) * self.n
        return self.some((first + nodes).reshape(-1))

    def some(self, flat: Tensor) -> Some:
        """Return a selection of flat neurons."""
        return Some(flat, flat % self.n if self.replicas > 1 else flat)

    def by_block(self, chosen: Some) -> list[tuple[Block, Tensor]]:
        """Return each block that has neurons among the chosen event neurons, and which (k,)."""
        if len(chosen) == 0:
            return []
        block = self.block_of[chosen.nodes]
        return [(self.event_blocks[b], block == b) for b in torch.unique(block).tolist()]

    def x(self, block: Block, chosen: Selection) -> Any:
        """Return the state of a selection in a block, as formulas take it."""
        state, extra = self.state, range(len(block.model.fields) - 1)
        return block.model.state([chosen.take(state.h), *(chosen.take(state.more[r]) for r in extra)])

    def put_x(self, block: Block, chosen: Selection, x: Any, into: State | None = None) -> None:
        """Write a state of a selection in a block."""
        state = self.state if into is None else into
        h, *more = block.model.values(x)
        chosen.put(state.h, h)
        for r, values in enumerate(more):
            chosen.put(state.more[r], values)

    def q(self, chosen: Selection) -> Tensor:
        """Return q = z df/da of a selection, summed over the fields."""
        state = self.state
        q = chosen.take(state.z) * chosen.take(state.df_da)
        for z, df_da in zip(state.more_z, state.more_df_da, strict=True):
            q = q + chosen.take(z) * chosen.take(df_da)
        return q

    @property
    def slope(self) -> Tensor:
        """The slopes df/da (replica, node) that costates meet."""
        return self.state.df_da if self.lags is None else self.lags.slope

    def told(self, chosen: Selection) -> Tensor:
        """Return what the loss says to a selection, phi dL/dh, now or once errors from further away come."""
        if self.lags is None:
            return self.state.phi * chosen.take(self.state.dl)
        return chosen.take(self.lags.told)

    @property
    def may_have_moved(self) -> Tensor:
        """Neurons (node,) whose costates r = w q may be others though q is the same, if weights move."""
        return self.learns if self.lags is None else self.learns & self.lags.moved

    def p(self, chosen: Whole | Some) -> Parameters:
        """Return the model parameters of a selection."""
        return Parameters(**{name: chosen.param(x) for name, x in self.parameters.items()})

    def field(self, name: str, state: State) -> Tensor:
        """Return a further field of models (replica, node), NaN where a model has none of this name."""
        found = torch.full_like(self.state.h, math.nan)
        for block in self.blocks:
            if name in block.model.told:
                block.whole.put(found, block.whole.take(state.more[block.model.told.index(name)]))
        return found

    def check_finite(self, tick: int) -> None:
        """Raise NumericalError for the first node whose state is infinite or NaN."""
        state = self.state
        if bool(torch.isfinite(state.h.sum() + state.z.sum() + state.a.sum() + state.more.sum())):
            return
        fields: list[tuple[str | int, Tensor]] = [("h", state.h), ("z", state.z), ("a", state.a)]
        for name, values in (*fields, *enumerate(state.more)):
            bad = torch.nonzero(~torch.isfinite(values))
            if len(bad):
                replica, node = bad[0].tolist()
                names = list(MODELS[self.network.model[node]].fields)[1:]
                what = name if isinstance(name, str) else names[name]
                raise NumericalError(tick, self.network.label[node], what, values[replica, node].item())

    def loss_gradient(self, mask: Tensor | None) -> None:
        """Set dl = dL/dh at the outputs; ``mask`` (replica, output): only there."""
        state = self.state
        if len(self.outputs) == 0:
            return
        y = self.output_set.take(state.h)
        if self.loss is None or self.target is None:
            gradient = torch.zeros_like(y)
        else:
            gradient = self.loss.gradient(y, self.target)
        if mask is not None:
            gradient = torch.where(mask, gradient, self.output_set.take(state.dl))
        self.output_set.put(state.dl, gradient)
