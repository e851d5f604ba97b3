"""When a neuron wants to send, and when it is to wake, compiled: see ``hlsim.engine.general.wakeups``."""

import math
from typing import Any

from numba import types
from numba.extending import overload

from hlsim.engine import formulas
from hlsim.engine.compiled import synapses
from hlsim.engine.compiled.layout import NEVER, SILENT
from hlsim.engine.loops import LINKED, inner, tight

# Later than any run: as good as never.
FAR = 2**40
# By how much bounds on a drive's motion are widened, for round-off.
_SLACK = 1e-6

memory = formulas.optional("memory", "duration", "0.0")
hold_constant = formulas.optional("constant_hold", "q, duration", "(q, q)")
hold_costate = formulas.optional("costate_hold", "z, g, rate, duration", "(z, z, z)")


@tight
def relax(x: Any, rest: Any, rate: Any, duration: Any) -> Any:
    """Return x after it has relaxed to ``rest`` for so long."""
    return rest + (x - rest) * math.exp(-duration * rate)


@tight
def value_sent(x: Any, trait: Any, i: int) -> Any:
    """Return what a neuron sends forward: its state, or the pull of the loss."""
    return x.pull[i] if trait.reads_out else x.h[i]


@tight
def own(x: Any, trait: Any, i: int) -> Any:
    """Return what a neuron sent last; of one that sends to nobody, what it would send."""
    return x.h_sent[i] if trait.sends_state else value_sent(x, trait, i)


@tight
def pending(value: Any, sent: Any, threshold: Any) -> bool:
    """Return whether a value differs from the one sent by its threshold, or cannot be compared with it."""
    return value != sent and not abs(value - sent) < threshold


@tight
def wants_state(x: Any, trait: Any, i: int) -> bool:
    """Tell whether a state is to be sent, its interval aside."""
    return pending(value_sent(x, trait, i), x.h_sent[i], trait.send_threshold)


@tight
def wants_costate(x: Any, trait: Any, i: int, q: Any) -> bool:
    """Tell whether q is to be sent: at threshold 0 also where the weights that scale it have moved."""
    moved = trait.costate_threshold == 0 and x.moved[i] and trait.learns and q != 0
    return moved or pending(q, x.q_sent[i], trait.costate_threshold)


# ---- when a relaxing value has moved by a threshold


@inner
def crossing(x: Any, goal: Any, rate: Any, origin: Any, threshold: Any, dt: Any) -> int:
    """Return in how many ticks (>= 1) |x - origin| first reaches the threshold as x relaxes to ``goal``."""
    if abs(goal - origin) <= threshold:
        return NEVER
    # At threshold 0 the last step of a relaxation may be too small for the number format to show.
    if threshold == 0 and type(x)(relax(x, goal, rate, dt)) == x:
        return NEVER
    ratio = _ratio(x, goal, origin, threshold)
    if x == goal or not ratio > 1:
        return 1
    ticks = math.log(ratio) / rate / dt
    return max(1, math.ceil(ticks)) if ticks < FAR else NEVER


def _ratio(x: Any, goal: Any, origin: Any, threshold: Any) -> Any:
    """Return by what factor x comes closer to ``goal`` until it is a threshold away from the origin."""
    raise NotImplementedError


@overload(_ratio, LINKED, strict=False)
def _ratio_of(x: Any, *_: Any) -> Any:
    return _complex_ratio if isinstance(x, types.Complex) else _real_ratio


def _real_ratio(x: Any, goal: Any, origin: Any, threshold: Any) -> Any:
    return (goal - x) / (goal - (origin + math.copysign(threshold, goal - origin)))


def _complex_ratio(x: Any, goal: Any, origin: Any, threshold: Any) -> Any:
    # |goal - origin + e (x - goal)| = threshold, the smaller of two roots, in units that keep squares small.
    scale = max(abs(goal - origin), abs(x - goal), threshold)
    to, away, least = (goal - origin) / scale, (x - goal) / scale, threshold / scale
    a, b, c = abs(away) ** 2, (to * away.conjugate()).real, abs(to) ** 2 - least**2
    return (-b + math.sqrt(max(0.0, b * b - a * c))) / c


# ---- when its own weights have moved a drive


@tight
def _drift(kit: Any, net: Any, terms: Any, i: int) -> int:
    """Return in how many ticks a neuron's own weights will have moved its drive, or are to be seen to.

    ``a`` and ``b`` are the sums A and B of its synapses: the drive moves by A p1 + B I2. No part of that is
    larger sooner, so that many ticks at once are passed over.
    """
    x, trait = net.values, net.traits[i]
    a, b, size = synapses.drift(kit.rule, net.edges, x, i)
    still = x.q[i] == 0 if trait.instant else (x.z[i] == 0 and x.g[i] == 0)
    if size == 0 and (b == 0 or still):
        return NEVER
    least, bound = trait.send_threshold, _bound(kit, x, trait, i, a, b)
    if bound == 0 or bound * (1 + _SLACK) < least:
        return trait.refresh
    at, before = 1, _growth(kit, x, trait, i, a, b, terms.dt)
    # A growth begins as a square of time at most; what is tried is looked at before it is passed over.
    slope, jump = before, min(int(math.sqrt(least / before)) - 1, trait.refresh - 1) if before > 0 else 0
    while at < trait.refresh:
        moved = _motion(kit, x, trait, i, a, b, terms.dt * at)
        if moved != 0 and moved >= least:
            return at
        # Two motions differ by no more than their growths do.
        room = least * (1 - _SLACK) - moved
        if at > 1:
            jump = int(room / slope) if slope > 0 else trait.refresh
        jump = min(max(1, jump), trait.refresh - at)
        after = _growth(kit, x, trait, i, a, b, terms.dt * (at + jump))
        while jump > 1 and not after - before < room:
            jump //= 2
            after = _growth(kit, x, trait, i, a, b, terms.dt * (at + jump))
        # The first jump was along a parabola, whose slope at its end is twice that of its chord.
        slope = (after - before) / jump * (2 if at == 1 else 1)
        at, before = at + jump, after
    return trait.refresh


@tight
def _bound(kit: Any, x: Any, trait: Any, i: int, a: Any, b: Any) -> Any:
    """Return how far a drive may have moved at most before the refresh."""
    if trait.instant:
        return abs(a) * trait.memory + abs(b * x.q[i]) * trait.constant
    goal = x.g[i] / (trait.rate + kit.rule.eta)
    pulled = abs(goal) * trait.steady + abs(x.z[i] - goal) * trait.fading
    return abs(a) * trait.memory + abs(b * x.df_da[i]) * pulled


@tight
def _motion(kit: Any, x: Any, trait: Any, i: int, a: Any, b: Any, duration: Any) -> Any:
    if trait.instant:
        return abs(a * memory(kit.rule, duration) + b * hold_constant(kit.rule, x.q[i], duration)[1])
    i2 = hold_costate(kit.rule, x.z[i], x.g[i], trait.rate, duration)[2]
    return abs(a * memory(kit.rule, duration) + b * x.df_da[i] * i2)


@tight
def _growth(kit: Any, x: Any, trait: Any, i: int, a: Any, b: Any, duration: Any) -> Any:
    """Return how far a drive may have moved at most after so long, if every part went one way."""
    rule, moved = kit.rule, abs(a) * memory(kit.rule, duration)
    if trait.instant:
        return moved + abs(b) * hold_constant(rule, abs(x.q[i]), duration)[1]
    lam = trait.rate + rule.eta
    goal = x.g[i] / lam
    steady = hold_costate(rule, abs(goal), lam * abs(goal), trait.rate, duration)[2]
    fading = hold_costate(rule, abs(x.z[i] - goal), 0.0 * abs(goal), trait.rate, duration)[2]
    return moved + abs(b * x.df_da[i]) * (steady + fading)


# ---- when to wake


@inner
def wake_at(kit: Any, net: Any, terms: Any, i: int, now: int) -> int:
    """Return the tick at which a neuron on arrival must update although nothing reaches it."""
    x, trait = net.values, net.traits[i]
    wake = _state_sends(net, terms, i, now)
    if trait.is_input:
        return wake
    if (
        trait.relaxes
        and trait.listened
        and (terms.loss != SILENT or (kit.rule.nudges and not trait.sends_state))
    ):
        wait = crossing(x.h[i], net.work.notes[i].rest, trait.rate, x.h[i], trait.send_threshold, terms.dt)
        wake = min(wake, now + wait)
    if kit.rule.nudges:
        wake = min(wake, now + 1) if unheard(terms, x, trait, i) else wake
    if kit.rule.sends_costates:
        wake = min(wake, _costate_sends(kit, net, terms, i, now))
        if terms.learning:
            wake = min(wake, now + _drift(kit, net, terms, i))
    return wake if wake < NEVER else NEVER


@tight
def unheard(terms: Any, x: Any, trait: Any, i: int) -> bool:
    """Return whether the pull of the loss has moved by the threshold since the drive took it in."""
    return pending(-terms.nudge * x.dl[i], x.pull[i], trait.send_threshold)


@inner
def _state_sends(net: Any, terms: Any, i: int, now: int) -> int:
    x, trait, wait = net.values, net.traits[i], NEVER
    if not trait.sends_state:
        return NEVER
    if wants_state(x, trait, i):
        wait = 1
    elif trait.relaxes:
        rest = net.work.notes[i].rest
        wait = crossing(x.h[i], rest, trait.rate, x.h_sent[i], trait.send_threshold, terms.dt)
    return _after(now, wait, x.h_sent_at[i] + trait.send_interval)


@inner
def _costate_sends(kit: Any, net: Any, terms: Any, i: int, now: int) -> int:
    x, trait, wait = net.values, net.traits[i], NEVER
    if not trait.sends_costate:
        return NEVER
    # q now, not as last evaluated: a neuron made due by a costate of this tick did not send.
    q = x.q[i] if trait.instant else x.df_da[i] * x.z[i]
    if wants_costate(x, trait, i, q):
        wait = 1
    elif trait.relaxes:
        lam = trait.rate + kit.rule.eta
        goal = type(q)(x.df_da[i] * x.g[i] / lam)
        wait = crossing(q, goal, lam, x.q_sent[i], trait.costate_threshold, terms.dt)
    return _after(now, wait, x.q_sent_at[i] + trait.send_interval)


@tight
def _after(now: int, wait: int, free: int) -> int:
    return max(now + wait, free) if wait < NEVER else NEVER


# ---- whether anything would still happen


@inner
def quiet(net: Any, terms: Any, asked: int, now: int) -> bool:
    """Tell, at the end of a tick, whether nothing is on its way and no neuron has anything to send."""
    agenda, work = net.agenda, net.work
    if agenda.tally[2] or work.waiting[0] or now < net.blocks.carrying[0]:
        return False
    if agenda.tally[0] > len(agenda.clocks):
        return False
    for i in range(len(net.traits)):
        late = net.values.updated[i] < asked and not net.traits[i].sync
        if net.traits[i].clock and (late or _restless(net, terms, i)):
            return False
    return True


@inner
def _restless(net: Any, terms: Any, i: int) -> bool:
    x, trait = net.values, net.traits[i]
    if trait.rich:
        # It may emit, or oscillate, for ever.
        return True
    threshold, value = trait.send_threshold, value_sent(x, trait, i)
    last = own(x, trait, i)
    if pending(value, last, threshold) or unheard(terms, x, trait, i):
        return True
    if not trait.stateful:
        return False
    step = x.h[i] + terms.dt * type(terms.dt)(trait.period) * x.f[i]
    far = trait.relaxes and threshold > 0 and not abs(net.work.notes[i].rest - last) < threshold
    return far or pending(type(value)(step), last, threshold)
