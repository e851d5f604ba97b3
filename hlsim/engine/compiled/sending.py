"""Sending, compiled: which neurons send what they have become, and where a message goes."""

from typing import Any

from hlsim.engine.compiled import fates, synapses
from hlsim.engine.compiled.calendar import put, put_far
from hlsim.engine.compiled.layout import NEAR
from hlsim.engine.compiled.wakeups import value_sent, wants_costate, wants_state
from hlsim.engine.loops import inner, tight
from hlsim.models.messages import COSTATE, STATE

# Every neuron but the instant ones: those that have a state of their own, or are given one.
OTHERS = -1


@tight
def _send(
    net: Any, kind: int, base: int, delay: int, now: int, edge: int, address: int, node: int, value: Any
) -> None:
    """Send one message on an edge; ``base`` is the place of now among the ticks that have buckets."""
    depth = len(net.agenda.buckets) // 2
    far = delay < 0
    ticks = net.edges.far[-1 - delay] if far else delay
    if net.fates.may[0]:
        ticks = fates.fate(net.fates, kind, edge, now)
        far = ticks >= NEAR
    if net.work.log_edge.shape[1]:
        _log(net.work, kind, edge, value, ticks)
    if ticks < 0:
        net.work.lost[2] += 1
    elif far:
        put_far(net.agenda, kind, now + ticks, address, node, value, now)
    else:
        slot = base + ticks
        slot -= depth if slot >= depth else 0
        put(net.agenda, kind * depth + slot, now + ticks, now, address, node, value, now)


@tight
def _log(work: Any, kind: int, edge: int, value: Any, ticks: int) -> None:
    at = work.tally[1 + kind]
    work.log_edge[kind, at], work.log_value[kind, at], work.log_ticks[kind, at] = edge, value, ticks
    work.tally[1 + kind] += 1


@inner
def _tell_states(net: Any, i: int, value: Any) -> None:
    """Tell who listens of a state that is read, edge by edge."""
    for each in net.edges.out[net.edges.start[i].out_read : net.edges.start[i + 1].out]:
        _log(net.work, STATE, each.edge, value, each.delay)


@inner
def _tell_costates(net: Any, i: int) -> None:
    for each in net.edges.back[net.edges.start[i].back_read : net.edges.start[i + 1].back]:
        _log(net.work, COSTATE, each.edge, net.values.w[each.edge] * net.values.q[i], each.delay)


@inner
def send_states(net: Any, now: int, level: int) -> None:
    """Neurons due send their state, instant ones of a rank or all OTHERS."""
    x, work = net.values, net.work
    for k in range(work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if (trait.rank if trait.instant else OTHERS) != level:
            continue
        if trait.is_input:
            x.h[i] = x.u[i]
        if trait.is_read:
            work.history[now % len(work.history), i] = value_sent(x, trait, i)
        free = now - x.h_sent_at[i] >= trait.send_interval
        if trait.sends_state and free and wants_state(x, trait, i):
            value = value_sent(x, trait, i)
            x.h_sent[i], x.h_sent_at[i] = value, now
            work.sends[STATE, i] += 1
            base = now % (len(net.agenda.buckets) // 2)
            for each in net.edges.out[net.edges.start[i].out : net.edges.start[i].out_read]:
                _send(net, STATE, base, each.delay, now, each.edge, each.edge, each.node, value)
            if trait.is_read:
                work.carried[0] = max(work.carried[0], now + trait.reach)
                if work.log_edge.shape[1]:
                    _tell_states(net, i, value)


@inner
def send_costate(net: Any, i: int, now: int) -> None:
    """Send q of a neuron that is due, if it is to and may."""
    x, trait = net.values, net.traits[i]
    if trait.sends_costate and net.edges.start[i].back_read < net.edges.start[i + 1].back:
        synapses.send_back(net.edges, x, net.work.coming, i, now)
    free = now - x.q_sent_at[i] >= trait.send_interval
    if trait.sends_costate and free and wants_costate(x, trait, i, x.q[i]):
        x.q_sent[i], x.q_sent_at[i], x.moved[i] = x.q[i], now, False
        net.work.sends[COSTATE, i] += 1
        base = now % (len(net.agenda.buckets) // 2)
        if net.work.log_edge.shape[1]:
            _tell_costates(net, i)
        for each in net.edges.back[net.edges.start[i].back : net.edges.start[i].back_read]:
            r = (each.weight if each.fixed else net.values.w[each.edge]) * x.q[i]
            _send(net, COSTATE, base, each.delay, now, each.edge, each.place, each.node, r)
