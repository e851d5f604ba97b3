"""Sending, compiled: which neurons send what they have become, and where a message goes."""

from typing import Any

from hlsim.engine.compiled import fates
from hlsim.engine.compiled.calendar import put, put_far
from hlsim.engine.compiled.layout import COSTATE, NEAR, OTHERS, STATE
from hlsim.engine.compiled.sweep import carriers_of, source_of, target_of
from hlsim.engine.compiled.wakeups import value_sent, wants_costate, wants_state
from hlsim.engine.loops import inner, tight


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
def spread_state(net: Any, i: int, now: int, value: Any) -> None:
    """Send a state on all edges of a neuron that carry messages."""
    base = now % (len(net.agenda.buckets) // 2)
    for each in net.edges.out[net.edges.start[i].out : net.edges.start[i + 1].out]:
        _send(net, STATE, base, each.delay, now, each.edge, each.edge, each.node, value)


@inner
def spread_costate(net: Any, i: int, now: int) -> None:
    """Send r = w q on all edges of a neuron that carry messages."""
    base = now % (len(net.agenda.buckets) // 2)
    for each in net.edges.back[net.edges.start[i].back : net.edges.start[i + 1].back]:
        r = (each.weight if each.fixed else net.values.w[each.at]) * net.values.q[i]
        _send(net, COSTATE, base, each.delay, now, each.edge, each.place, each.node, r)


@inner
def send_states(net: Any, now: int, level: int) -> None:
    """Neurons due send their state, instant ones of a rank or all OTHERS."""
    x, work, blocks = net.values, net.work, net.blocks
    for k in range(work.tally[0]):
        i = work.due[k]
        trait = net.traits[i]
        if (trait.rank if trait.instant else OTHERS) != level or trait.emits:
            continue
        if trait.is_input:
            x.h[i] = x.u[i]
        if trait.is_read:
            blocks.history[now % len(blocks.history), i] = value_sent(x, trait, i)
        free = now - x.h_sent_at[i] >= trait.send_interval
        if trait.sends_state and free and wants_state(x, trait, i):
            value = value_sent(x, trait, i)
            x.h_sent[i], x.h_sent_at[i] = value, now
            work.sends[STATE, i] += 1
            spread_state(net, i, now, value)
            if trait.is_read:
                blocks.carrying[0] = max(blocks.carrying[0], now + net.sync.reach[i % len(net.sync.reach)])
                net.sync.sends[STATE, i] = True


@inner
def send_costate(net: Any, i: int, now: int) -> None:
    """Send q of a neuron that is due, if it is to and may."""
    x, trait = net.values, net.traits[i]
    free = now - x.q_sent_at[i] >= trait.send_interval
    if trait.sends_costate and free and wants_costate(x, trait, i, x.q[i]):
        x.q_sent[i], x.q_sent_at[i], x.moved[i] = x.q[i], now, False
        net.work.sends[COSTATE, i] += 1
        spread_costate(net, i, now)


# ---- who listens hears of what is read, too


@inner
def tell_states(net: Any) -> None:
    """Tell who listens of the states that are read, edge by edge."""
    for row in net.blocks.rows:
        for first in range(0, len(net.traits), len(net.sync.reach)):
            for e in range(0 if row.bias else row.last - row.first):
                j = first + source_of(net.blocks, row, e)
                if net.sync.sends[STATE, j]:
                    _log(net.work, STATE, _behind(net, row, first, e), net.values.h_sent[j], row.delay)


@inner
def tell_costates(net: Any) -> None:
    """Tell who listens of the costates that are read."""
    for row in net.blocks.rows:
        for first in range(0, len(net.traits), len(net.sync.reach)):
            weights = net.blocks.carried if row.carried >= 0 else net.values.w
            carriers = weights[carriers_of(net, row, first)]
            for e in range(len(carriers) if row.back >= 0 else 0):
                i = first + target_of(net.blocks, row, e)
                if net.sync.sends[COSTATE, i]:
                    r = carriers[e] * net.values.q[i]
                    _log(net.work, COSTATE, _behind(net, row, first, e), r, row.back)


@tight
def _behind(net: Any, row: Any, first: int, e: int) -> int:
    """Return the number of an edge in a block, counted on behind those with messages."""
    replica = first // len(net.sync.reach)
    return len(net.values.s) + replica * int(net.blocks.rows[len(net.blocks.rows) - 1].last) + row.first + e
