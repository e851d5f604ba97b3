"""What a neuron on arrival asks of its own synapses, and when it is to wake, compiled.

The in-synapses of a neuron stand side by side: each of these loops goes once through contiguous memory. Sums
are done edge by edge in the order of ``Push``, so that both engines come to the same.
"""

from typing import Any

from hlsim.arrival_arrays import INPUT, LEAKY, NEVER, SILENT
from hlsim.arrival_formulas import crossing, drive_moves, pending
from hlsim.machine_code import inner


@inner
def learn(wires: Any, x: Any, i: int, i1: Any, i2: Any, memory: Any, fade: Any) -> None:
    """Move the in-synapses of neuron i, see ``Hamiltonian.synapse_hold``."""
    into, rates = _of(wires, i)
    w, omega, s, beta, plastic = x.w[into], x.omega[into], x.s[into], wires.beta[rates], wires.plastic[rates]
    for k in range(len(w)):
        met = s[k] * plastic[k]
        w[k] -= beta[k] * (omega[k] * memory + met * i2)
        omega[k] = fade * omega[k] + met * i1


@inner
def driven(wires: Any, x: Any, i: int) -> Any:
    """Return sum w s."""
    into, _ = _of(wires, i)
    w, s = x.w[into], x.s[into]
    drive = type(x.h[i])(0)
    for k in range(len(w)):
        drive += w[k] * s[k]
    return drive


@inner
def driven_and_drift(wires: Any, x: Any, i: int) -> Any:
    """Return sum w s, and on what the drift of the drive depends: A, B and size of ``Push.drift``."""
    into, rates = _of(wires, i)
    w, omega, s, beta = x.w[into], x.omega[into], x.s[into], wires.beta[rates]
    drive = a = b = size = type(x.h[i])(0)
    for k in range(len(w)):
        drive += w[k] * s[k]
        a += beta[k] * omega[k] * s[k]
        b += beta[k] * s[k] * s[k]
        size += beta[k] * abs(omega[k])
    return drive, a, b, size


@inner
def _of(wires: Any, i: int) -> tuple[slice, slice]:
    """Return where the in-edges of neuron i stand, and their rates."""
    first, last = wires.start[i].into, wires.start[i + 1].into
    at = wires.start[i].rates
    return slice(first, last), slice(at, at + last - first)


# ---- when to wake


@inner
def wants_costate(x: Any, trait: Any, i: int, q: Any) -> bool:
    """Tell whether q is to be sent: at threshold 0 also where the weights that scale it have moved."""
    moved = trait.costate_threshold == 0 and x.moved[i] and trait.learns and q != 0
    return moved or pending(q, x.q_sent[i], trait.costate_threshold)


@inner
def wake_at(trait: Any, wires: Any, x: Any, note: Any, terms: Any, i: int, now: int) -> int:
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
        wake = min(wake, now + _drift(trait, wires, x, note, terms, i, now))
    return wake if wake < NEVER else NEVER


@inner
def _after(now: int, wait: int, free: int) -> int:
    return max(now + wait, free) if wait < NEVER else NEVER


@inner
def _drift(trait: Any, wires: Any, x: Any, note: Any, terms: Any, i: int, now: int) -> int:
    """Return in how many ticks the neuron's own weights will have moved its drive, or is to be seen to."""
    if note.drive != now:
        _, note.a, note.b, note.size = driven_and_drift(wires, x, i)
    leaky = trait.model == LEAKY
    still = (x.z[i] == 0 and x.g[i] == 0) if leaky else x.q[i] == 0
    if note.size == 0 and (note.b == 0 or still):
        return NEVER
    if leaky:
        return drive_moves(trait, note.a, note.b, x.z[i], x.g[i], x.df_da[i], terms.dt, terms.eta)
    return drive_moves(trait, note.a, note.b, x.q[i], x.g[i], type(terms.dt)(1), terms.dt, terms.eta)
