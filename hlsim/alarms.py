"""When a neuron of the reference engine has something to send, and when it must wake by itself."""

import math
from collections.abc import Callable

from hlsim.losses import Loss
from hlsim.record import Record
from hlsim.rule import Rule

# h, z and the two integrals of q after an exact hold of so much model time.
Held = Callable[[float], tuple[float, float, float, float]]


class Alarms:
    """Reads one neuron's record; see ``hlsim.wakeups`` for the rules in words."""

    def __init__(self, record: Record, rule: Rule, loss: Loss | None, dt: float, held: Held) -> None:
        self._r, self._rule, self._loss, self._dt, self._held = record, rule, loss, dt, held
        self._learns = any(s.plastic for s in record.synapses)
        self.sends_costate = rule.sends_costates and any(s.feedback for s in record.synapses)

    def wants_state(self) -> bool:
        """Whether h is to be sent, its interval aside."""
        r = self._r
        return r.h != r.h_sent and abs(r.h - r.h_sent) >= _least(r.send_threshold)

    def wants_costate(self, q: float) -> bool:
        """Whether q is to be sent, its interval aside."""
        r = self._r
        changed = q != r.q_sent and abs(q - r.q_sent) >= _least(r.costate_threshold)
        # r = w q has changed where w has, even if q stands still.
        return changed or (r.costate_threshold == 0 and r.moved and self._learns and q != 0)

    def next(self, now: int) -> int | None:
        """Return the tick to wake at, None: only when something comes."""
        r = self._r
        if r.clock:
            return r.phase if now < r.phase else now + r.period - (now - r.phase) % r.period
        ticks = [self._state(now)]
        if not r.model.is_input:
            ticks += [self._costate(now), self._listening(now), self._drive(now)]
        return min((tick for tick in ticks if tick is not None), default=None)

    def _state(self, now: int) -> int | None:
        r = self._r
        if not r.links:
            return None
        wait = 1 if self.wants_state() else None
        if wait is None and r.model.stateful:
            wait = self._crossing(r.h, self._rest(), r.model.rate(r.p), r.h_sent, r.send_threshold)
        return None if wait is None else max(now + wait, r.h_sent_at + r.send_interval)

    def _costate(self, now: int) -> int | None:
        r = self._r
        if not self.sends_costate:
            return None
        q = r.df_da * r.z if r.model.stateful else r.q
        wait = 1 if self.wants_costate(q) else None
        if wait is None and r.model.stateful:
            lam = r.model.rate(r.p) + self._rule.eta
            wait = self._crossing(q, r.df_da * r.g / lam, lam, r.q_sent, r.costate_threshold)
        return None if wait is None else max(now + wait, r.q_sent_at + r.send_interval)

    def _listening(self, now: int) -> int | None:
        """The loss listens to an output's h."""
        r = self._r
        if not r.model.stateful or r.output is None or self._loss is None or r.target is None:
            return None
        wait = self._crossing(r.h, self._rest(), r.model.rate(r.p), r.h, r.send_threshold)
        return None if wait is None else now + wait

    def _drive(self, now: int) -> int | None:
        """The first tick at which the neuron's own weights have moved its drive by the threshold."""
        r, rule, dt = self._r, self._rule, self._dt
        own = [s for s in r.synapses if s.plastic]
        a = sum(s.beta * rule.momentum(s.fields) * s.s for s in own)
        b = sum(s.beta * s.s * s.s for s in own)
        source = abs(r.q) if r.model.instant else abs(r.z) + abs(r.g)
        at_rest = all(s.beta * rule.momentum(s.fields) == 0 for s in own) and (b == 0 or source == 0)
        if not r.learning or at_rest:
            return None
        for steps in range(1, r.refresh):
            motion = abs(a * rule.memory(dt * steps) + b * self._held(dt * steps)[3])
            if motion != 0 and motion >= _least(r.send_threshold):
                return now + steps
        return now + r.refresh

    def _rest(self) -> float:
        return float(self._r.model.rest(self._r.a, self._r.activation))

    def _crossing(self, x: float, rest: float, rate: float, origin: float, threshold: float) -> int | None:
        """In how many ticks (>= 1) |x - origin| first reaches the threshold as x relaxes to ``rest``."""
        if abs(rest - origin) <= _least(threshold):
            return None
        if threshold == 0 and rest + (x - rest) * math.exp(-self._dt * rate) == x:
            return None
        level = origin + math.copysign(_least(threshold), rest - origin)
        if x == rest or (rest - x) / (rest - level) <= 1:
            return 1
        wait = math.ceil(math.log((rest - x) / (rest - level)) / rate / self._dt)
        return max(1, wait) if wait < 2**40 else None


def _least(threshold: float) -> float:
    # Less one part in 1e9: what moves by exactly the threshold counts as having moved.
    return threshold * (1 - 1e-9)
