"""Compiled loops over synapses whose ends are updated at every tick; ``fused`` calls them.

Synapses stand in blocks of one delay and one feedback delay, within a block by target: what a block gathers
and sums then lies in a few rows of one number a neuron, which stay in the processor's cache. Numbers come in
the synapses' own format. All loops give up Python's lock, so that threads run them side by side.

Arrays: ``w``, ``omega``, ``back`` (synapse,); ``source``, ``target`` (synapse,); ``history`` (depth, node),
what neurons sent; ``coming`` (depth, node), what they will hear; ``blocks`` (block, 4): first synapse, the
one after the last, delay, feedback delay.
"""

from numpy.typing import NDArray

from hlsim.engine.loops import entry

Array = NDArray


@entry
def send_back(
    blocks: Array,
    tick: int,
    at_once: bool,
    back: Array,
    source: Array,
    target: Array,
    q: Array,
    coming: Array,
) -> None:
    """r = w q into what sources will hear; ``at_once``: of feedback delay 0 alone, else of all others."""
    for first, end, _, delay in blocks:
        if (delay == 0) != at_once:
            continue
        row = coming[(tick + delay) % len(coming)]
        back_, j, i = back[first:end], source[first:end], target[first:end]
        for e in range(len(back_)):
            row[j[e]] += back_[e] * q[i[e]]


@entry
def learn(
    blocks: Array,
    tick: int,
    numbers: tuple[float, float, float, float],
    sequential: bool,
    w: Array,
    omega: Array,
    source: Array,
    target: Array,
    q: Array,
    history: Array,
) -> None:
    """One Euler step, with what was heard at the last tick; numbers: dt, eta, dt beta, phi weight_decay."""
    dt, eta, rate, decay = numbers
    for first, end, delay, _ in blocks:
        heard = history[(tick - 1 - delay) % len(history)]
        w_, omega_, j, i = w[first:end], omega[first:end], source[first:end], target[first:end]
        for e in range(len(w_)):
            old, x = omega_[e], w_[e]
            new = old + dt * (q[i[e]] * heard[j[e]] + decay * x - eta * old)
            omega_[e] = new
            w_[e] = x - rate * (new if sequential else old)


@entry
def learn_matrix(
    numbers: tuple[float, float, float, float], sequential: bool, w: Array, omega: Array, q: Array, s: Array
) -> None:
    """One Euler step of matrices (replica, target, source) by q (replica, target) and s (replica, source)."""
    dt, eta, rate, decay = numbers
    for p in range(len(w)):
        for i in range(w.shape[1]):
            w_, omega_, s_, q_ = w[p, i], omega[p, i], s[p], q[p, i]
            for j in range(len(w_)):
                old, x = omega_[j], w_[j]
                new = old + dt * (q_ * s_[j] + decay * x - eta * old)
                omega_[j] = new
                w_[j] = x - rate * (new if sequential else old)


@entry
def drive(blocks: Array, tick: int, w: Array, source: Array, target: Array, history: Array, a: Array) -> None:
    """a += w s, with what sources sent ``delay`` ticks ago."""
    for first, end, delay, _ in blocks:
        now = history[(tick - delay) % len(history)]
        w_, j, i = w[first:end], source[first:end], target[first:end]
        for e in range(len(w_)):
            a[i[e]] += w_[e] * now[j[e]]


@entry
def tick_over(
    blocks: Array,
    tick: int,
    numbers: tuple[float, float, float, float],
    sends: bool,
    w: Array,
    omega: Array,
    source: Array,
    target: Array,
    sent: Array,
    q: Array,
    history: Array,
    coming: Array,
    a: Array,
) -> None:
    """Do all three in one pass: r = w q of the last tick, the step of the explicit order, a += w s."""
    dt, eta, rate, decay = numbers
    for first, end, delay, feedback_delay in blocks:
        before = history[(tick - 1 - delay) % len(history)]
        now = history[(tick - delay) % len(history)]
        row = coming[(tick - 1 + feedback_delay) % len(coming)]
        later = sends and feedback_delay > 0
        w_, omega_, source_, target_ = w[first:end], omega[first:end], source[first:end], target[first:end]
        for e in range(len(w_)):
            i, j = target_[e], source_[e]
            old, x = omega_[e], w_[e]
            if later:
                row[j] += x * sent[i]
            omega_[e] = old + dt * (q[i] * before[j] + decay * x - eta * old)
            x -= rate * old
            w_[e] = x
            a[i] += x * now[j]
