"""Sending: which neurons send what they have become, where it goes, and the count of it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.calendar import Calendar
from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.circuit.state import Some, Whole
from hlsim.engine.general import wakeups
from hlsim.engine.interface import Observer
from hlsim.engine.snapshot import Stateful
from hlsim.models.messages import COSTATE, STATE


class Sending(Stateful):
    """Sends states and costates of one circuit.

    Parameters
    ----------
    reached : callable
        Told which flat neurons a zero-delay message is about to reach, before it is delivered.

    Attributes
    ----------
    counts : dict of str to Tensor
        State and costate sends so far, by neuron (replica, node).
    """

    STATE = ("counts", "_carried_until", "now")
    SCRATCH = ("_sent",)

    def __init__(self, circuit: Circuit, calendar: Calendar, reached: Callable[[Tensor], None]) -> None:
        self._c, self._calendar, self._reached = circuit, calendar, reached
        self.observer: Observer | None = None
        self.now = 0
        shape = (circuit.replicas, circuit.n)
        self.counts = [torch.zeros(shape, dtype=torch.int64, device=circuit.device) for _ in range(2)]
        self._reach = _reach(circuit)
        self._carried_until = 0
        # Who sent at this tick; kept only while somebody observes.
        self._sent = [torch.zeros(shape, dtype=torch.bool, device=circuit.device) for _ in range(2)]

    def state(self, chosen: Some) -> None:
        """Send h of those event neurons that are to and may."""
        c, state = self._c, self._c.state
        ready = wakeups.pending(
            chosen.take(state.m), chosen.take(state.h_sent), chosen.param(c.send_threshold)
        )
        free = self.now - chosen.take(state.h_sent_at) >= chosen.param(c.send_interval)
        senders = chosen.where(ready & free & chosen.param(c.sends_state))
        if len(senders):
            self._mark(STATE, senders, state.m, state.h_sent, state.h_sent_at)
            self._send_states(senders)
            if c.nudges:
                self._carry(self._reach[senders.nodes])

    def impulses(self, chosen: Some) -> None:
        """Send an impulse of size 1 from each."""
        c, state = self._c, self._c.state
        chosen.put(state.h_sent_at, self.now)
        senders = chosen.where(chosen.param(c.sends_state))
        if len(senders):
            senders.put(self.counts[STATE], senders.take(self.counts[STATE]) + 1)
            push = c.push
            edge, _ = push.edges_of(push.outgoing, senders)
            self._send(STATE, edge, torch.ones_like(push.s[edge]), push.delay[edge], push.target)

    def costate(self, chosen: Some) -> None:
        """Send q of those event neurons that are to and may."""
        c, state = self._c, self._c.state
        moved = chosen.take(state.moved) & chosen.param(c.learns)
        q, sent = chosen.take(state.q), chosen.take(state.q_sent)
        ready = wakeups.pending(q, sent, chosen.param(c.costate_threshold), moved)
        free = self.now - chosen.take(state.q_sent_at) >= chosen.param(c.send_interval)
        senders = chosen.where(ready & free & chosen.param(c.sends_costate))
        if len(senders):
            self._mark(COSTATE, senders, state.q, state.q_sent, state.q_sent_at)
            senders.put(state.moved, False)
            self._send_costates(senders)

    def sync_state(self, whole: Whole) -> None:
        """Synchronous neurons send h: projections read it, here it is counted and posted on single edges."""
        c, state = self._c, self._c.state
        h = whole.take(state.m)
        changed = (h != whole.take(state.h_sent)) & whole.param(c.sends_state)
        whole.put(state.h_sent, h)
        self._count(STATE, whole, changed)
        if c.nudges:
            self._carry((changed * whole.param(self._reach)).view(-1))
        if c.mixed_out is not None:
            self._send_states(self._among(c.mixed_out, whole, changed))

    def sync_costate(self, whole: Whole, moved: bool) -> None:
        """Synchronous neurons send q; ``moved``: their weights have moved since they last did."""
        c, state = self._c, self._c.state
        q = whole.take(state.q)
        changed = q != whole.take(state.q_sent)
        if moved:
            changed = changed | ((q != 0) & whole.param(c.may_have_moved))
        changed = changed & whole.param(c.sends_costate)
        whole.put(state.q_sent, q)
        self._count(COSTATE, whole, changed)
        if c.mixed_back is not None:
            self._send_costates(self._among(c.mixed_back, whole, changed))

    @property
    def carrying(self) -> bool:
        """Whether a projection still has on its way what was sent earlier; known for rules that nudge."""
        return self.now < self._carried_until

    def reset(self) -> None:
        """A reset drops what is on its way."""
        self._carried_until = 0

    def _carry(self, ticks: Tensor) -> None:
        if len(ticks):
            self._carried_until = max(self._carried_until, self.now + int(ticks.max()))

    def report(self) -> None:
        """Tell the observer what went through projections at this tick, message by message."""
        if self.observer is None:
            return
        c, state = self._c, self._c.state
        for pull in c.plan.pulls:
            edges = torch.as_tensor(pull.edges, device=c.device)
            source, target = (torch.as_tensor(x, device=c.device)[edges] for x in self._ends())
            sent = self._sent[STATE][:, source.clamp(min=0)] & (source >= 0)
            self._tell(STATE, edges, sent, state.m[:, source.clamp(min=0)])
            back = torch.as_tensor(c.network.carries_costates(c.rule), device=c.device)[edges]
            r = pull.transport(state).reshape(-1, len(edges)) * state.q[:, target]
            self._tell(COSTATE, edges, self._sent[COSTATE][:, target] & back, r)
        for sent in self._sent:
            sent.zero_()

    def _ends(self) -> tuple:
        return self._c.network.source, self._c.network.target

    def _among(self, some: Some, whole: Whole, changed: Tensor) -> Some:
        mask = torch.zeros(self._c.replicas, self._c.n, dtype=torch.bool, device=self._c.device)
        whole.put(mask, changed)
        return some.where(some.take(mask))

    def _mark(self, kind: int, senders: Some, value: Tensor, sent: Tensor, sent_at: Tensor) -> None:
        senders.put(sent, senders.take(value))
        senders.put(sent_at, self.now)
        senders.put(self.counts[kind], senders.take(self.counts[kind]) + 1)
        if self.observer is not None:
            senders.put(self._sent[kind], True)

    def _count(self, kind: int, whole: Whole, changed: Tensor) -> None:
        whole.put(self.counts[kind], whole.take(self.counts[kind]) + changed)
        if self.observer is not None:
            whole.put(self._sent[kind], whole.take(self._sent[kind]) | changed)

    def _send_states(self, senders: Some) -> None:
        push = self._c.push
        edge, row = push.edges_of(push.outgoing, senders)
        self._send(STATE, edge, senders.take(self._c.state.m)[row], push.delay[edge], push.target)

    def _send_costates(self, senders: Some) -> None:
        push = self._c.push
        edge, row = push.edges_of(push.backward, senders)
        r = push.costate(self._c.state, edge, senders.take(self._c.state.q)[row])
        self._send(COSTATE, edge, r, push.feedback_delay[edge], push.source)

    def _send(self, kind: int, edge: Tensor, value: Tensor, delay: Tensor, ends: Tensor) -> None:
        """Put messages on flat edges: delivered at once where the delay is 0, else in the calendar."""
        if len(edge) == 0:
            return
        failing = self._c.failing
        if failing is not None:
            arrives, delay = failing.send(kind, edge, self.now)
            self._report_lost(kind, edge[~arrives], value[~arrives])
            edge, value, delay = edge[arrives], value[arrives], delay[arrives]
        at_once = delay == 0
        later = ~at_once
        if bool(later.any()):
            self._calendar.put(kind, self.now + delay[later], edge[later], value[later], self.now)
        if bool(at_once.any()):
            self._reached(ends[edge[at_once]])
            self._c.push.deliver(kind, edge[at_once], value[at_once], self.now)
            if failing is not None:
                failing.at_once(kind, edge[at_once], self.now)
        if self.observer is not None:
            self._report_pushed(kind, edge, value, delay)

    def _report_pushed(self, kind: int, edge: Tensor, value: Tensor, delay: Tensor) -> None:
        self._hear(kind, self.now + delay, *self._canonical(edge, value))

    def _report_lost(self, kind: int, edge: Tensor, value: Tensor) -> None:
        if self.observer is not None and len(edge):
            edges, values, replicas = (_array(x) for x in self._canonical(edge, value))
            self.observer.lost(kind, edges, values, self.now, replicas)

    def _canonical(self, edge: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return edges of the network, values and replicas of messages on flat edges."""
        count = len(self._c.push.edges)
        canonical = torch.as_tensor(self._c.push.edges, device=edge.device)[edge % count]
        return canonical, value, torch.div(edge, count, rounding_mode="floor")

    def _tell(self, kind: int, edges: Tensor, sent: Tensor, value: Tensor) -> None:
        """Report the messages (replica, edge) where ``sent``, on canonical ``edges``."""
        network = self._c.network
        delays = network.delay if kind == STATE else network.feedback_delay
        replica, place = torch.nonzero(sent, as_tuple=True)
        if len(place):
            edge = edges[place]
            arrival = self.now + torch.as_tensor(delays, device=edge.device)[edge]
            self._hear(kind, arrival, edge, value.expand(sent.shape)[replica, place], replica)

    def _hear(self, kind: int, arrival: Tensor, edge: Tensor, value: Tensor, replica: Tensor) -> None:
        when, edges, values, replicas = (_array(x) for x in (arrival, edge, value, replica))
        if self.observer is not None:
            self.observer.message(kind, when, edges, values, self.now, replicas)


def _array(x: Tensor) -> NDArray:
    return x.detach().cpu().numpy()


def _reach(circuit: Circuit) -> Tensor:
    """Return how many ticks a state of each neuron travels at most over edges that projections carry."""
    network, reach = circuit.network, np.zeros(circuit.n, np.int64)
    for pull in circuit.plan.pulls:
        edges = pull.edges[network.source[pull.edges] >= 0]
        np.maximum.at(reach, network.source[edges], network.delay[edges])
    return torch.as_tensor(reach, device=circuit.device)
