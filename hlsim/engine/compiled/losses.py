"""The gradient of the loss, compiled: where costates, and the pull of phases, begin."""

from typing import Any

from hlsim.engine.compiled.layout import CROSS_ENTROPY, GRADIENT, OTHER, SILENT, STATEFUL
from hlsim.engine.loops import inner
from hlsim.engine.outside import ask
from hlsim.models import ops


@inner
def gradient(net: Any, terms: Any, now: int, neurons: Any, whose: int) -> None:
    """Set dL/dh of the outputs among neurons; STATEFUL: of those with an Euler step alone."""
    x, work, replicas = net.values, net.work, len(net.work.outputs)
    before = -1
    if terms.loss == OTHER and len(neurons):
        ask(terms.outside, GRADIENT, now)
    for i in neurons:
        trait = net.traits[i]
        if not trait.is_output or (whose == STATEFUL and not (trait.clock and trait.stateful)):
            continue
        if terms.loss == SILENT:
            x.dl[i] = 0
        elif terms.loss == OTHER:
            x.dl[i] = work.gradient[i]
        elif terms.loss == CROSS_ENTROPY:
            replica = i // (len(net.traits) // replicas)
            if replica != before:
                largest, size, mass = _softmax(x.h, work.target, work.outputs[replica])
                before = replica
            x.dl[i] = ops.exp(x.h[i] - largest) / size * mass - work.target[i]
        else:
            x.dl[i] = x.h[i] - work.target[i]


@inner
def _softmax(h: Any, target: Any, outputs: Any) -> Any:
    """Return the largest real part, the sum of exponentials relative to it, and the sum of the targets."""
    largest, size, mass = ops.real(h[outputs[0]]), h[outputs[0]] * 0, target[outputs[0]] * 0
    for i in outputs:
        largest = max(largest, ops.real(h[i]))
    for i in outputs:
        size += ops.exp(h[i] - largest)
        mass += target[i]
    return largest, size, mass
