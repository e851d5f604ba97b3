"""The in-synapses of one neuron, compiled: what they drive, how the formulas of the rule move them."""

from collections.abc import Callable
from typing import Any

from hlsim.engine import formulas
from hlsim.engine.loops import tight

hold_synapse = formulas.optional("synapse_hold", "w, fields, s1, s2, beta, duration", "w, fields")
euler_synapse = formulas.optional("synapse_euler", "w, fields, qs, beta, duration", "w, fields")
mark_synapse = formulas.optional("mark", "w, fields, product, beta, phase", "w, fields")
correlate_synapse = formulas.optional("correlate", "w, fields, product, beta, nudge", "w, fields")
momentum = formulas.optional("momentum", "fields", "0.0")


@tight
def of(edges: Any, i: int) -> tuple[slice, slice]:
    """Return where the in-edges of neuron i stand, and their rates."""
    first, last = edges.start[i].into, edges.start[i + 1].into
    at = edges.start[i].rates
    return slice(first, last), slice(at, at + last - first)


@tight
def hold(rule: Any, edges: Any, x: Any, i: int, i1: Any, i2: Any, duration: Any) -> None:
    """Move them over an exact hold, given the integrals of the q that they met."""
    into, rates = of(edges, i)
    w, s, beta, plastic = x.w[into], x.s[into], edges.beta[rates], edges.plastic[rates]
    fields = formulas.part(x.fields, into)
    for k in range(len(w)):
        own = formulas.at(rule, fields, k)
        moved, new = hold_synapse(rule, w[k], own, s[k] * i1, s[k] * i2, beta[k], duration)
        # Of one that is not plastic nothing moves, whatever a rule makes of w.
        w[k] = moved if plastic[k] != 0 else w[k]
        formulas.put(fields, k, new, plastic[k] != 0)


@tight
def euler(rule: Any, terms: Any, edges: Any, x: Any, i: int, duration: Any) -> None:
    """Move them one Euler step on, with the q and s held."""
    into, rates = of(edges, i)
    w, s, beta, plastic = x.w[into], x.s[into], edges.beta[rates], edges.plastic[rates]
    fields, decay, q = formulas.part(x.fields, into), terms.phi * rule.weight_decay, x.q[i]
    for k in range(len(w)):
        gradient = q * s[k] + decay * w[k]
        moved, new = euler_synapse(rule, w[k], formulas.at(rule, fields, k), gradient, beta[k], duration)
        w[k] = moved if plastic[k] != 0 else w[k]
        formulas.put(fields, k, new, plastic[k] != 0)


def _by_product(step: Callable) -> Any:
    """Return a loop by which they move by what their neuron sent last, times what they hold."""

    @tight
    def loop(rule: Any, edges: Any, x: Any, i: int, own: Any, cause: Any) -> None:
        into, rates = of(edges, i)
        w, s, beta, plastic = x.w[into], x.s[into], edges.beta[rates], edges.plastic[rates]
        fields = formulas.part(x.fields, into)
        for k in range(len(w)):
            moved, new = step(rule, w[k], formulas.at(rule, fields, k), own * s[k], beta[k], cause)
            w[k] = moved if plastic[k] != 0 else w[k]
            formulas.put(fields, k, new, plastic[k] != 0)

    return loop


# At the end of a phase, and at an update while the loss pulls with a nudge.
mark, correlate = _by_product(mark_synapse), _by_product(correlate_synapse)


@tight
def take_in(edges: Any, x: Any, work: Any, i: int) -> None:
    """Let them hear what was delivered, where it waited for their neuron's tick."""
    into, _ = of(edges, i)
    for e in range(into.start, into.stop):
        x.s[e] = work.inbox[e]
        if work.state_arrived[e] >= 0:
            work.state_arrived[e] = -1
            work.waiting[0] -= 1


@tight
def read(edges: Any, x: Any, history: Any, i: int, now: int) -> None:
    """Let them hold what their sources were, where that is read."""
    into, _ = of(edges, i)
    s, own, depth = x.s[into], edges.read[into], len(history)
    base = now % depth
    for k in range(len(s)):
        if own[k].delay >= 0:
            row = base - own[k].delay
            s[k] = history[row + depth if row < 0 else row, own[k].source]


@tight
def send_back(edges: Any, x: Any, coming: Any, i: int, now: int) -> None:
    """Add r = w q to what their sources will hear, where that is read."""
    into, _ = of(edges, i)
    w, own, depth = x.w[into], edges.read[into], len(coming)
    base = now % depth
    for k in range(len(w)):
        if own[k].back >= 0:
            row = base + own[k].back
            coming[row - depth if row >= depth else row, own[k].source] += w[k] * x.q[i]


@tight
def drive(edges: Any, x: Any, i: int) -> Any:
    """Return sum w s."""
    into, _ = of(edges, i)
    w, s = x.w[into], x.s[into]
    total = type(x.h[i])(0)
    for k in range(len(w)):
        total += w[k] * s[k]
    return total


@tight
def drift(rule: Any, edges: Any, x: Any, i: int) -> Any:
    """Return on what the drift of the drive depends: A, B and size of ``Push.drift``."""
    into, rates = of(edges, i)
    s, beta, fields = x.s[into], edges.beta[rates], formulas.part(x.fields, into)
    a = b = size = type(x.h[i])(0)
    for k in range(len(s)):
        moving = beta[k] * momentum(rule, formulas.at(rule, fields, k))
        a += moving * s[k]
        b += beta[k] * s[k] * s[k]
        size += abs(moving)
    return a, b, size
