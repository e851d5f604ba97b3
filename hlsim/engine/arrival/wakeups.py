"""When a neuron on arrival wants to send, and when it is to wake, compiled: the formulas of ``wakeups``."""

import math
from typing import Any

from hlsim.engine.arrival.arrays import INPUT, INSTANT, LEAKY, NEVER, SILENT
from hlsim.engine.arrival.formulas import driven_and_drift, integrals, second_integral
from hlsim.engine.loops import inner

# Later than any run: as good as never.
_FAR = 2**40
# By how much bounds on a drive's motion are widened, for round-off.
_SLACK = 1.001


# ---- when a neuron is to wake


@inner
def pending(value: Any, sent: Any, threshold: Any) -> bool:
    """Return whether a value differs from the one sent by its threshold."""
    return value != sent and abs(value - sent) >= threshold


@inner
def crossing(x: Any, goal: Any, rate: Any, origin: Any, threshold: Any, dt: Any) -> int:
    """Return in how many ticks (>= 1) |x - origin| first reaches the threshold as x relaxes to ``goal``."""
    if not abs(goal - origin) > threshold:
        return NEVER
    # At threshold 0 the last step of a relaxation may be too small for the number format to show.
    if threshold == 0 and goal + (x - goal) * math.exp(-dt * rate) == x:
        return NEVER
    ratio = (goal - x) / (goal - (origin + math.copysign(threshold, goal - origin)))
    if not ratio > 1:
        return 1
    ticks = math.log(ratio) / rate / dt
    return max(1, math.ceil(ticks)) if ticks < _FAR else NEVER


@inner
def drive_moves(trait: Any, a: Any, b: Any, z: Any, g: Any, gain: Any, dt: Any, eta: Any) -> int:
    """Return in how many ticks its own weights will have moved a drive by its threshold, at most ``refresh``.

    ``a`` and ``b`` are the sums A and B of its synapses, a leaky q is ``gain * z``, an instant one z
    itself. Of the motion A p1 + B I2 every part moves one way, and none faster than at a speed that falls: so
    many ticks at once are passed over as it cannot have crossed.
    """
    instant, number = trait.model == INSTANT, type(a)
    goal = z if instant else g / (trait.rate + eta)
    pull, fall = abs(b * gain * goal), abs(b * gain * (z - goal))
    bound = abs(a) * trait.memory + pull * trait.memory2 + fall * trait.fading
    if bound == 0 or bound * number(_SLACK) < trait.send_threshold:
        return trait.refresh
    step = 1
    while step < trait.refresh:
        duration = dt * number(step)
        p1, p2 = integrals(eta, duration)
        i2 = z * p2 if instant else second_integral(z, g, trait.rate, eta, duration)
        motion = abs(a * p1 + b * (gain * i2))
        if motion != 0 and motion >= trait.send_threshold:
            return step
        fade = math.exp(-eta * duration)
        speed = pull * trait.memory + (abs(a) + fall / trait.rate) * fade
        ticks = (trait.send_threshold - motion) / (speed * dt * number(_SLACK))
        if ticks >= trait.refresh:
            break
        step += max(1, int(ticks)) if ticks > 1 else 1
    return trait.refresh


# ---- when to wake


@inner
def wants_costate(x: Any, trait: Any, i: int, q: Any) -> bool:
    """Tell whether q is to be sent: at threshold 0 also where the weights that scale it have moved."""
    moved = trait.costate_threshold == 0 and x.moved[i] and trait.learns and q != 0
    return moved or pending(q, x.q_sent[i], trait.costate_threshold)


@inner
def wake_at(trait: Any, edges: Any, x: Any, note: Any, terms: Any, i: int, now: int) -> int:
    """Return the tick at which a neuron must update although nothing reaches it; see ``wakeups``."""
    wake, leaky = NEVER, trait.model == LEAKY
    if trait.sends_state:
        wait = NEVER
        if pending(x.h[i], x.h_sent[i], trait.send_threshold):
            wait = 1
        elif leaky:
            wait = crossing(x.h[i], note.rest, trait.rate, x.h_sent[i], trait.send_threshold, terms.dt)
        wake = _after(now, wait, x.h_sent_at[i] + trait.send_interval)
    if trait.model == INPUT:
        return wake
    if leaky and trait.is_output and terms.loss != SILENT:
        wait = crossing(x.h[i], note.rest, trait.rate, x.h[i], trait.send_threshold, terms.dt)
        wake = min(wake, now + wait)
    if trait.sends_costate:
        # q now, not as last evaluated: a neuron made due by a costate of this tick did not send.
        q = x.df_da[i] * x.z[i] if leaky else x.q[i]
        wait = NEVER
        if wants_costate(x, trait, i, q):
            wait = 1
        elif leaky:
            lam = trait.rate + terms.eta
            goal = x.df_da[i] * x.g[i] / lam
            wait = crossing(q, goal, lam, x.q_sent[i], trait.costate_threshold, terms.dt)
        wake = min(wake, _after(now, wait, x.q_sent_at[i] + trait.send_interval))
    if terms.learning:
        wake = min(wake, now + _drift(trait, edges, x, note, terms, i, now))
    return wake if wake < NEVER else NEVER


@inner
def _after(now: int, wait: int, free: int) -> int:
    return max(now + wait, free) if wait < NEVER else NEVER


@inner
def _drift(trait: Any, edges: Any, x: Any, note: Any, terms: Any, i: int, now: int) -> int:
    """Return in how many ticks the neuron's own weights will have moved its drive, or is to be seen to."""
    if note.drive != now:
        _, note.a, note.b, note.size = driven_and_drift(edges, x, i)
    leaky = trait.model == LEAKY
    still = (x.z[i] == 0 and x.g[i] == 0) if leaky else x.q[i] == 0
    if note.size == 0 and (note.b == 0 or still):
        return NEVER
    if leaky:
        return drive_moves(trait, note.a, note.b, x.z[i], x.g[i], x.df_da[i], terms.dt, terms.eta)
    return drive_moves(trait, note.a, note.b, x.q[i], x.g[i], type(terms.dt)(1), terms.dt, terms.eta)
