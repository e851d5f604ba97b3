"""The projection that carries single messages (any pattern, delays, thresholds), and links that may fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.calendar import Delivery
from hlsim.engine.circuit.state import NEVER, Some, State
from hlsim.engine.links import LOST, LinkChange, TouchableLinks, late, uniform
from hlsim.engine.snapshot import Stateful
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.rules.rule import AnyRule, Fields, Phase, Post, Pre, Rule
from hlsim.topology.network import RANDOM, Network
from hlsim.topology.order import order


class Fan:
    """Edges by neuron: for each neuron a run of edges, in canonical order."""

    def __init__(self, owner: NDArray[np.int64], chosen: NDArray[np.int64], n: int) -> None:
        by = owner[chosen]
        self.count = torch.as_tensor(np.bincount(by, minlength=n))
        self._start = torch.cumsum(self.count, 0) - self.count
        self._edge = torch.as_tensor(chosen[order(by)])

    def expand(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edges of ``nodes`` (k,) one after another, and for each the position of its node."""
        count = self.count[nodes]
        row = torch.repeat_interleave(torch.arange(len(nodes), device=nodes.device), count)
        before = torch.cumsum(count, 0) - count
        place = torch.arange(len(row), device=nodes.device) - before[row]
        return self._edge[self._start[nodes][row] + place], row

    def to(self, device: torch.device) -> "Fan":
        self.count, self._start, self._edge = (x.to(device) for x in (self.count, self._start, self._edge))
        return self


class Push(Stateful):
    """Messages on single edges; with an ensemble, an edge of replica r is ``r * edges + edge``.

    Attributes
    ----------
    target, source : Tensor
        Flat neurons at both ends of each flat edge; a bias has source -1 and hears 1 for ever.
    s, inbox, r : Tensor
        By flat edge: the state held since the target's last update, the state last delivered, and the costate
        last delivered to the source.
    beta, plastic : Tensor
        By flat edge: the weight rate, 0 where it is not plastic, and 1 where it is.
    random, feedback : Tensor
        By flat edge: whether costates are carried by a fixed random weight, and that weight.
    overtaken, replaced : Tensor
        Messages that a later one kept from being heard; those of them that waited in an inbox for their
        neuron's tick.
    """

    STATE = ("s", "inbox", "r", "_arrived", "overtaken", "replaced")

    def __init__(
        self,
        network: Network,
        edges: NDArray[np.int64],
        start: int,
        rule: Rule,
        weight: Tensor,
        replicas: int,
        number: torch.dtype,
    ) -> None:
        # Edges live with their target: in-edges of a neuron stand side by side.
        self.edges = edges[order(network.target[edges])]
        edges = self.edges
        self._rule: AnyRule = rule
        self._n, self._e, self._replicas = network.n, len(edges), replicas
        self._m, self._start = network.m, start
        device, dtype = weight.device, weight.dtype
        source, target = network.source[edges], network.target[edges]
        everything = np.arange(len(edges))
        back = network.carries_costates(rule, edges)
        self.incoming = Fan(target, everything, network.n).to(device)
        self.outgoing = Fan(source, np.flatnonzero(source >= 0), network.n).to(device)
        self.backward = Fan(target, np.flatnonzero(back), network.n).to(device)
        self.hearing = Fan(source, np.flatnonzero(back), network.n).to(device)

        def tiled(values: NDArray, step: int = 0) -> Tensor:
            copies = [values + step * p if step else values for p in range(replicas)]
            return torch.as_tensor(np.concatenate(copies), device=device)

        self.target, self.source = tiled(target, network.n), tiled(source, network.n)
        self.delay, self.feedback_delay = tiled(network.delay[edges]), tiled(network.feedback_delay[edges])
        self.beta = tiled(network.weight_rate(rule, edges) * network.plastic[edges]).to(dtype)
        self.plastic = tiled(network.plastic[edges].astype(float)).to(dtype)
        self.random = tiled(network.feedback[edges] == RANDOM)
        self.feedback = torch.as_tensor(
            network.feedback_weight[:, edges], dtype=dtype, device=device
        ).reshape(-1)
        self._bias = tiled(source < 0)
        # Edges that carry impulses: they add up until their neuron takes them in, and are forgotten then.
        self.impulse = tiled(network.impulses[edges])
        self._has_impulses = bool(self.impulse.any())
        self.s = self._bias.to(number)
        self.inbox = self.s.clone()
        self.r = torch.zeros_like(self.s)
        self.overtaken, self.replaced = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(2))

    @cached_property
    def _arrived(self) -> list[Tensor]:
        """When what waits to be taken in arrived, by kind; NEVER: nothing waits. Only torch asks for it."""
        return [torch.full_like(self.target, NEVER) for _ in (STATE, COSTATE)]

    def edges_of(self, fan: Fan, chosen: Some) -> tuple[Tensor, Tensor]:
        """Return the flat edges of the chosen neurons and the position of each edge's neuron."""
        edge, row = fan.expand(chosen.nodes)
        if self._replicas > 1:
            edge = edge + (chosen.flat // self._n)[row] * self._e
        return edge, row

    def deliver(self, kind: int, edge: Tensor, value: Tensor, now: int) -> None:
        """Put messages where their neuron will find them."""
        box, arrived = (self.inbox, self.r)[kind], self._arrived[kind]
        if self._has_impulses and kind == STATE:
            impulse = self.impulse[edge]
            box.index_add_(0, edge[impulse], value[impulse])
            edge, value = edge[~impulse], value[~impulse]
        before = arrived[edge]
        waiting = before != NEVER
        self.overtaken += waiting.sum()
        self.replaced += (waiting & (before < now)).sum()
        arrived[edge] = now
        box[edge] = value

    def take_in(self, chosen: Some) -> tuple[Tensor, Tensor]:
        """Let neurons that update hear what was delivered; return their in-edges and each one's position."""
        edge, row = self.edges_of(self.incoming, chosen)
        self.s[edge] = self.inbox[edge]
        if self._has_impulses:
            self.inbox[edge[self.impulse[edge]]] = 0.0
        self._arrived[STATE][edge] = NEVER
        return edge, row

    @property
    def undelivered(self) -> bool:
        """Whether a state that was delivered waits for its neuron to take it in."""
        return bool((self._arrived[STATE] != NEVER).any())

    def drive(self, state: State, chosen: Some) -> tuple[Tensor, Tensor | None]:
        """Take in what was delivered; return sum w s of states (k,) and of impulses, None: there are none."""
        edge, row = self.take_in(chosen)
        each, impulse = self.weight(state, edge) * self.s[edge], self.impulse[edge]
        if not self._has_impulses:
            return _sum(each, row, len(chosen)), None
        none = torch.zeros_like(each)
        parts = torch.where(impulse, none, each), torch.where(impulse, each, none)
        return _sum(parts[0], row, len(chosen)), _sum(parts[1], row, len(chosen))

    def drive_of(self, state: State) -> Callable[[Some], Tensor]:
        """Return sum w s for a given state; of neurons that hear no impulses."""
        return lambda chosen: self.drive(state, chosen)[0]

    def heard(self, chosen: Some) -> Tensor:
        """Return sum r of what was delivered backward to each, (k,)."""
        edge, row = self.edges_of(self.hearing, chosen)
        self._arrived[COSTATE][edge] = NEVER
        return _sum(self.r[edge], row, len(chosen))

    def weight(self, state: State, edge: Tensor) -> Tensor:
        """Return w of flat edges, (k,)."""
        return state.w.view(-1)[self.stored(edge)]

    def costate(self, state: State, edge: Tensor, q: Tensor) -> Tensor:
        """Return r = w q, with the weights that carry costates backward."""
        return torch.where(self.random[edge], self.feedback[edge], self.weight(state, edge)) * q

    def euler(self, state: State, chosen: Some, duration: float | Tensor) -> None:
        """Move the in-synapses of the chosen neurons one Euler step on, with the q and s held."""
        edge, row = self.edges_of(self.incoming, chosen)
        if self._rule.apart:
            self._step_apart(state, chosen, edge, row, duration)
            return
        gradient = chosen.take(state.q)[row] * self.s[edge]
        if self._rule.weight_decay:
            gradient = gradient + (state.phi * self._rule.weight_decay) * self.weight(state, edge)
        gradient = gradient * self.plastic[edge]
        at = self.stored(edge)
        if isinstance(duration, Tensor):
            duration = duration[row]
        w, fields = self._rule.synapse_euler(
            state.w.view(-1)[at], self._fields(state, at), gradient, self.beta[edge], duration
        )
        self._store(state, at, edge, w, fields)

    def _step_apart(
        self, state: State, chosen: Some, edge: Tensor, row: Tensor, duration: float | Tensor
    ) -> None:
        at = self.stored(edge)
        post = Post(*(chosen.take(getattr(state, name))[row] for name in Post._fields))
        step = duration[row] if isinstance(duration, Tensor) else duration
        w, fields = state.w.view(-1)[at], self._fields(state, at)
        moved = self._rule.synapse(w, fields, Pre(self.s[edge]), post, self.beta[edge], step)
        self._store(state, at, edge, *moved)

    def mark(self, state: State, own: Tensor, phase: Phase) -> None:
        """Let every synapse take the end of a phase into account; ``own`` (replica, node) was sent last."""
        edge = torch.arange(len(self.target), device=self.target.device)
        product = own.view(-1)[self.target] * self.s * self.plastic
        at = self.stored(edge)
        w, fields = self._rule.mark(state.w.view(-1)[at], self._fields(state, at), product, self.beta, phase)
        self._store(state, at, edge, w, fields)

    def correlate(self, state: State, own: Tensor, chosen: Some) -> None:
        """Move the in-synapses of neurons that update by the product of what they sent and hold."""
        edge, row = self.edges_of(self.incoming, chosen)
        product = chosen.take(own)[row] * self.s[edge] * self.plastic[edge]
        at = self.stored(edge)
        w, fields = self._rule.correlate(
            state.w.view(-1)[at], self._fields(state, at), product, self.beta[edge], state.nudge
        )
        self._store(state, at, edge, w, fields)

    def hold(self, state: State, chosen: Some, i1: Tensor, i2: Tensor, duration: Tensor) -> None:
        """Move the in-synapses over an exact hold, given the integrals of q that they met (k,)."""
        edge, row = self.edges_of(self.incoming, chosen)
        at = self.stored(edge)
        s = self.s[edge] * self.plastic[edge]
        w, fields = self._rule.synapse_hold(
            state.w.view(-1)[at],
            self._fields(state, at),
            s * i1[row],
            s * i2[row],
            self.beta[edge],
            duration[row],
        )
        self._store(state, at, edge, w, fields)

    def drift(self, state: State, chosen: Some) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return A = sum beta omega s, B = sum beta s^2 and sum beta |omega|, each (k,)."""
        edge, row = self.edges_of(self.incoming, chosen)
        momentum = self._rule.momentum(self._fields(state, self.stored(edge)))
        beta, s = self.beta[edge], self.s[edge]
        terms = (beta * momentum * s, beta * s * s, beta * momentum.abs())
        a, b, size = (_sum(term, row, len(chosen)) for term in terms)
        return a, b, size

    def reset(self) -> None:
        """Forget everything heard."""
        self.s.copy_(self._bias)
        self.inbox.copy_(self._bias)
        self.r.zero_()
        for arrived in self._arrived:
            arrived.fill_(NEVER)

    def stored(self, edge: Tensor) -> Tensor:
        """Return where flat edges lie in the flattened synapse fields."""
        if self._replicas == 1:
            return edge + self._start
        return torch.div(edge, self._e, rounding_mode="floor") * self._m + edge % self._e + self._start

    def _fields(self, state: State, at: Tensor) -> Fields:
        return self._rule.fields(x.view(-1)[at] for x in state.fields.values())

    def _store(self, state: State, at: Tensor, edge: Tensor, w: Tensor, fields: tuple[Tensor, ...]) -> None:
        # Of synapses that are not plastic nothing moves, whatever a rule makes of w.
        moves = self.plastic[edge] != 0
        for kept, values in zip((state.w, *state.fields.values()), (w, *fields), strict=True):
            kept.view(-1)[at] = torch.where(moves, values, kept.view(-1)[at])


def _sum(values: Tensor, row: Tensor, count: int) -> Tensor:
    # Serial over its index on a CPU, hence the same sum whatever the number of threads.
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add_(0, row, values)


# ---- what becomes of messages where links may fail


@dataclass(frozen=True)
class _Kind(Stateful):
    """Properties of the links of one kind of message, by flat edge of ``Push``."""

    STATE = ("down", "delay", "loss", "jitter")

    down: Tensor
    delay: Tensor
    loss: Tensor
    jitter: Tensor


class FailingLinks(Stateful):
    """What every flat edge of ``Push`` does to messages.

    Parameters
    ----------
    touchable : TouchableLinks
        Edges that may be touched; ``push`` has them all.
    """

    STATE = ("kinds", "_newest", "lost")

    def __init__(self, touchable: TouchableLinks, push: Push) -> None:
        device = push.delay.device
        self._push, self.edges = push, touchable.edges
        cells = np.add.outer(np.arange(touchable.replicas) * touchable.network.m, push.edges).ravel()
        self.keys = touchable.keys[torch.as_tensor(cells)].to(device)
        # Flat edge of a cell, replica * edges of the network + edge.
        self._place = torch.full(
            (touchable.replicas * touchable.network.m,), -1, dtype=torch.int64, device=device
        )
        self._place[torch.as_tensor(cells, device=device)] = torch.arange(len(cells), device=device)

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(len(cells), dtype=dtype, device=device)

        self.kinds = [
            _Kind(zeros(torch.bool), delay.clone(), zeros(torch.float64), zeros(torch.int64))
            for delay in (push.delay, push.feedback_delay)
        ]
        # Ticks at which what arrived last was sent, by kind and flat edge.
        self._newest = [torch.full_like(push.delay, -1) for _ in self.kinds]
        self.lost = 0

    def change(self, changes: Sequence[LinkChange]) -> None:
        """Let changes take effect, one after the other."""
        for change in changes:
            at = self._place[torch.as_tensor(change.cells, device=self._place.device)]
            getattr(self.kinds[change.kind], change.what)[at] = change.value

    def send(self, kind: int, edge: Tensor, tick: int) -> tuple[Tensor, Tensor]:
        """Return which messages sent on flat edges (k,) are not lost, and after how many ticks all arrive."""
        links, key = self.kinds[kind], self.keys[edge]
        lost = links.down[edge] | (uniform(key, tick, kind, LOST) < links.loss[edge])
        self.lost += int(lost.sum())
        return ~lost, links.delay[edge] + late(key, tick, kind, links.jitter[edge])

    def newer(self, kind: int, delivery: Delivery | None) -> Delivery | None:
        """Return a delivery without what was sent before something that has arrived on its edge, or does now.

        That is overtaken, and makes nobody due.
        """
        if delivery is None:
            return None
        edge, sent, newest = delivery.edge, delivery.sent, self._newest[kind]
        # Of impulses every one counts, whatever came before.
        every = self._push.impulse[edge] & (kind == STATE)
        before = newest[edge]
        newest.scatter_reduce_(0, edge, sent, "amax")
        kept = (sent > before) & (sent == newest[edge]) | every
        self._push.overtaken += (~kept).sum()
        return Delivery(edge[kept], delivery.value[kept], sent[kept])

    def at_once(self, kind: int, edge: Tensor, tick: int) -> None:
        """Take note of messages that arrive at the tick at which they are sent."""
        self._newest[kind][edge] = tick
