"""The compiled engine for networks in which every neuron updates on arrival.

It means what ``engine.Batched`` means, tick by tick, on the same circuit. Where that makes a hundred calls of
torch in every tick in which anything is due, here the loop over ticks is compiled with all that is in it, so
that a message costs the same whether ten are due or ten thousand.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from types import ModuleType

import numpy as np
import simpy
import torch
from numpy.typing import NDArray

from hlsim.engine.arrival import arrays
from hlsim.engine.circuit import view
from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.clock import Ticks, coming_tick
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.interface import Observer
from hlsim.models.losses import CrossEntropy, SquaredError
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.neurons import MODELS
from hlsim.models.rules.hamiltonian import Hamiltonian

# Updates of neurons after which SimPy has its turn, so that a run can be interrupted.
_BUDGET = 100_000


def qualifies(circuit: Circuit) -> bool:
    """Tell whether the compiled loops know all that is in a circuit: what they know, they know exactly."""
    models = {type(MODELS[name]) for name in circuit.network.model}
    return (
        type(circuit.rule) is Hamiltonian
        and circuit.rule.order == "explicit"
        and circuit.rule.weight_decay == 0
        and type(circuit.loss) in (type(None), SquaredError, CrossEntropy)
        and models <= set(arrays.MODEL_TYPES)
        and set(circuit.network.activation) <= set(arrays.ACTIVATION_NAMES)
        and bool(circuit.arrival.all())
        and not circuit.plan.pulls
        and circuit.failing is None
        and circuit.device.type == "cpu"
        and len(circuit.push.target) < 2**31
    )


class Arrivals:
    """Runs a circuit that ``qualifies``.

    When SimPy comes to a busy tick, the loop runs it and goes on through all busy ticks before anybody's next
    event, since nothing else can happen until then.
    """

    def __init__(self, env: simpy.Environment, circuit: Circuit, controls: Controls) -> None:
        self.circuit, self._controls, self._env = circuit, controls, env
        self._ticks = Ticks(env, self._tick)
        self._observer: Observer | None = None
        # The tick at which a number was found that is not finite.
        self._broken: int | None = None
        controls.attach(lambda: self._ticks.request(coming_tick(env)))

    # Both take their time: that of a run, not that of who only builds a simulation.
    @cached_property
    def _loops(self) -> ModuleType:
        from hlsim.engine.arrival import tick

        return tick

    @cached_property
    def _net(self) -> arrays.Net:
        return arrays.make(self.circuit)

    @property
    def observer(self) -> Observer | None:
        """Who hears of every message and update."""
        return self._observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._observer = observer
        self._net = arrays.listening(self._net, observer is not None)

    def start(self) -> None:
        """Ask SimPy for tick 0."""
        self._ticks.request(0)

    def read(self, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
        """Return fields at ``tick``; see ``hlsim.engine.circuit.view``."""
        return view.read(self.circuit, names, tick)

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return sends and updates by neuron, messages in flight (no others can be)."""
        shape, work = (self.circuit.replicas, self.circuit.n), self._net.work
        return {
            "state": work.sends[STATE].reshape(shape).copy(),
            "costate": work.sends[COSTATE].reshape(shape).copy(),
            "updates": work.updates.reshape(shape).copy(),
            "overtaken": np.zeros(1, np.int64),
            "replaced": np.zeros(1, np.int64),
            "lost": np.zeros(1, np.int64),
            "in_flight": self._net.agenda.tally[2:3].copy(),
        }

    def _tick(self, tick: int) -> None:
        if self._broken is not None:
            self.circuit.check_finite(self._broken)
        changes = self._controls.take()
        opened = self._open(changes, tick) if tick == 0 or not changes.empty else -1
        # Who listens is told tick by tick.
        until = tick + 1 if self._observer is not None else max(tick + 1, self._next_event())
        net = self._room()
        room = arrays.reserve(net.edges, net.agenda), arrays.far_edges(net.edges)
        last, finite, following = self._loops.run(net, self._terms(), opened, until, _BUDGET, *room)
        if last >= 0:
            self._told(last, finite)
        following = following if self._broken is None else self._broken
        if following < arrays.NEVER:
            self._ticks.request(following)

    def _open(self, changes: Changes, tick: int) -> int:
        """Run the phases of a tick up to the controls."""
        self._loops.open_tick(self._net, self._terms(), tick, self._concerned(changes, tick))
        if changes.reset:
            self._reset(tick)
        self._set(changes)
        return tick

    def _next_event(self) -> int:
        """Return the first tick that is not before the next event of SimPy's, whosever it is."""
        at = self._env.peek()
        return math.ceil(at) if math.isfinite(at) else arrays.NEVER

    # ---- controls

    def _concerned(self, changes: Changes, tick: int) -> NDArray[np.int64]:
        """Return whom changes make due, by flat index."""
        c = self.circuit
        due = torch.full((c.replicas, c.n), view.makes_all_due(changes, tick))
        view.make_due(c, changes, due)
        return torch.nonzero(due.view(-1)).squeeze(1).numpy()

    def _set(self, changes: Changes) -> None:
        c, work = self.circuit, self._net.work
        view.set_values(c, changes)
        if c.target is not None:
            work.target[work.outputs] = c.target.numpy()
        if c.state.noise is not None:
            self._net = self._net._replace(stimulus=arrays.flat(c.state.u + c.state.noise))

    def _reset(self, tick: int) -> None:
        self.circuit.state.reset()
        self.circuit.push.reset()
        self._net.values.r[:] = 0.0
        self._loops.clear_messages(self._net.agenda)
        if self._observer is not None:
            self._observer.dropped(tick)

    # ---- what loops need and what they tell

    def _terms(self) -> arrays.Terms:
        c, number = self.circuit, self._net.values.h.dtype.type
        silent = c.loss is None or c.target is None
        coupled = c.loss is not None and c.loss.coupled
        return arrays.Terms(
            dt=number(c.dt),
            eta=number(c.rule.eta),
            phi=number(c.state.phi),
            learning=c.state.learning,
            loss=arrays.SILENT if silent else arrays.CROSS_ENTROPY if coupled else arrays.SQUARED_ERROR,
            couples=coupled,
            levels=int(c.network.rank.max(initial=-1)) + 1,
            back_levels=int(c.network.back_rank.max(initial=-1)) + 1,
        )

    def _room(self) -> arrays.Net:
        """Return the arrays, with room in the calendar for whatever a tick may send."""
        net, agenda = self._net, self._net.agenda
        if agenda.tally[1] < arrays.reserve(net.edges, agenda):
            agenda = arrays.grown(agenda)
        agenda = arrays.with_room_for_far(agenda, arrays.far_edges(net.edges))
        if agenda is not net.agenda:
            self._net = net._replace(agenda=agenda)
        return self._net

    def _told(self, tick: int, finite: bool) -> None:
        """Pass on what happened at the last tick that ran."""
        if self._observer is not None:
            for kind in (STATE, COSTATE):
                self._tell_messages(self._observer, kind, tick)
        if not finite:
            self._stop(tick)
        elif self._observer is not None:
            c, work = self.circuit, self._net.work
            due = np.sort(work.due[: work.tally[0]])
            self._observer.update(tick, due % c.n, due // c.n)

    def _tell_messages(self, observer: Observer, kind: int, tick: int) -> None:
        push, work = self.circuit.push, self._net.work
        count, edges = work.tally[1 + kind], len(push.edges)
        if not count:
            return
        edge, value = work.log_edge[kind, :count], work.log_value[kind, :count]
        delay, sender = (push.delay, push.source) if kind == STATE else (push.feedback_delay, push.target)
        order = np.argsort(sender.numpy()[edge], kind="stable")
        edge, value = edge[order], value[order]
        arrival = tick + delay.numpy()[edge]
        observer.message(kind, arrival, push.edges[edge % edges], value, tick, edge // edges)

    def _stop(self, tick: int) -> None:
        """End the run at a tick at which a number was not finite: now, or when SimPy comes to it."""
        if tick <= self._env.now:
            self.circuit.check_finite(tick)
        self._broken = tick
