"""The compiled engine: on the CPU, one loop over ticks.

It means what ``hlsim.engine.general.engine.Batched`` means, tick by tick, on the same circuit. Where that
makes a hundred calls of torch in every tick in which anything is due, here the loop over ticks is compiled
with all that is in it, so that a message costs the same whether ten are due or ten thousand.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from types import ModuleType
from typing import Any

import numpy as np
import simpy
import torch
from numpy.typing import NDArray

from hlsim.engine.circuit import view
from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.circuit.concern import Concern
from hlsim.engine.clock import Ticks, coming_tick
from hlsim.engine.compiled import layout
from hlsim.engine.compiled.blocks import arrangement
from hlsim.engine.compiled.known import others
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.interface import Observer
from hlsim.engine.snapshot import Array, Arrays, Whole, digest, prefixed, text
from hlsim.engine.threads import without_subnormals
from hlsim.models.losses import CrossEntropy, SquaredError
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.neurons import MODELS, Neuron
from hlsim.models.rules import RULES, Rule
from hlsim.topology.network import Network

# Those that are compiled; the gradient of others is asked for.
_LOSSES = {type(None): layout.SILENT, SquaredError: layout.SQUARED_ERROR, CrossEntropy: layout.CROSS_ENTROPY}
# Updates of neurons after which SimPy has its turn, so that a run can be interrupted.
_BUDGET = 100_000


def hindrance(network: Network, rule: Rule, replicas: int) -> str | None:
    """Return why the loops cannot do all that a run asks for; None: they can."""
    if replicas > 1 and network.weight.shape[0] != replicas:
        return "replicas that share synapses are computed in torch"
    if network.lag.any():
        return "what neurons with a lag keep is kept in torch"
    if network.m * replicas >= 2**31:
        return f"loops count edges up to 2**31 - 1, got {network.m * replicas}"
    return _not_compiled(network, rule)


def _not_compiled(network: Network, rule: Rule) -> str | None:
    """Return which formula cannot be compiled; None: all can."""
    models, sigmas = others(network)
    things: list[Any] = [*models, *sigmas, *([] if RULES.is_ours(type(rule)) else [rule])]
    derived = [MODELS[name] for name in sorted(set(network.model)) if rule.sends_costates]
    derived = [m for m in derived if type(m).partials is Neuron.partials and m.stateful]
    if not things and not derived:
        return None
    from hlsim.engine import formulas

    for thing in things:
        if not formulas.compiles(thing, rule.complex_states):
            return f"a formula of {thing.name!r} cannot be compiled"
    for model in derived:
        if not (formulas.compiles(model, True) and formulas.derives(model)):
            return f"model {model.name!r} gives no partials, and they cannot be had by a complex step"
    return None


class Compiled(Whole):
    """Runs a circuit none of whose edges is in a matrix or a sparse projection of torch.

    When SimPy comes to a busy tick, the loop runs it and goes on through all busy ticks before anybody's next
    event, since nothing else can happen until then.
    """

    STATE = ("_asked", "_broken", "_concern", "_ticks")
    SCRATCH = ("_noisy",)

    def __init__(self, env: simpy.Environment, circuit: Circuit, controls: Controls) -> None:
        self.circuit, self._controls, self._env = circuit, controls, env
        self._ticks = Ticks(env, self._tick)
        self._observer: Observer | None = None
        # The tick at which a number was found that is not finite, and when controls were asked for last.
        self._broken: int | None = None
        self._asked = 0
        real = np.float32 if circuit.dtype == torch.float32 else np.float64
        self._concern = Concern(circuit.network, circuit.replicas, circuit.sync.numpy(), real)
        # Whether no edge carries messages, and all neurons update at every tick.
        self._steady = bool((circuit.sync | circuit.is_input).all()) and not len(circuit.push.edges)
        self._always_due = circuit.tile(torch.nonzero(circuit.sync).squeeze(1)).flat.numpy()
        controls.attach(lambda: self._ticks.request(coming_tick(env)))

    # All take their time: that of a run, not that of who only builds a simulation.
    @cached_property
    def _loops(self) -> ModuleType:
        if self._steady:
            from hlsim.engine.compiled import steady

            return steady
        from hlsim.engine.compiled import tick

        return tick

    @cached_property
    def _arrays(self) -> ModuleType:
        from hlsim.engine.compiled import arrays

        return arrays

    @cached_property
    def _saving(self) -> ModuleType:
        from hlsim.engine.compiled import saving

        return saving

    @cached_property
    def _net(self) -> Any:
        return self._arrays.make(self.circuit)

    @cached_property
    def _noisy(self) -> torch.Tensor:
        """What is added to drives, where that is more than the stimulus."""
        noisy = torch.empty_like(self.circuit.state.u)
        self._net.replace(stimulus=self._arrays.flat(noisy))
        return noisy

    @cached_property
    def _outside(self) -> Any:
        from hlsim.engine.outside import Outside

        return Outside(self._asked_for, lambda: self._net.terms["failed"].fill(True))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        # This thread takes a part as well.
        flush = partial(torch.set_flush_denormal, True)
        return ThreadPoolExecutor(len(self._net.blocks.scratch) - 1, initializer=flush)

    @property
    def observer(self) -> Observer | None:
        """Who hears of every message and update."""
        return self._observer

    @observer.setter
    def observer(self, observer: Observer | None) -> None:
        self._observer = observer
        self._arrays.listen(self._net, observer is not None)

    def start(self) -> None:
        """Ask SimPy for tick 0."""
        self._ticks.request(0)

    def prepare(self) -> None:
        """Compile the loops, or load them if that has been done."""
        from numba import types

        loops, net, number = self._loops, self._net, types.int64
        loops.open_tick.compile((net.numba_type, number, types.Array(number, 1, "C")))
        loops.run.compile((net.numba_type, *[number] * 6))
        if self.circuit.nudges:
            flags = types.complex128, types.boolean, types.boolean
            loops.mark_all.compile((net.numba_type, number, *flags))

    def read(self, names: Sequence[str], tick: int) -> dict[str, NDArray[np.float64]]:
        """Return fields at ``tick``; see ``hlsim.engine.circuit.view``."""
        return view.read(self.circuit, names, tick)

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return sends and updates by neuron, and messages overtaken, replaced, lost and in flight."""
        shape, work = (self.circuit.replicas, self.circuit.n), self._net.work
        return {
            "state": work.sends[STATE].reshape(shape).copy(),
            "costate": work.sends[COSTATE].reshape(shape).copy(),
            "updates": work.updates.reshape(shape).copy(),
            "overtaken": work.lost[:1].copy(),
            "replaced": work.lost[1:2].copy(),
            "lost": work.lost[2:].copy(),
            "in_flight": self._net.agenda.tally[2:3].copy(),
        }

    # ---- what is saved

    @property
    def made_of(self) -> dict[str, Array]:
        """What a state belongs to."""
        blocks = digest(arrangement(self.circuit).rows)
        return {"kind of engine": text("compiled"), **self.circuit.made_of, "arrangement in blocks": blocks}

    def collect(self) -> dict[str, Array]:
        """Return the circuit's state, and what the loops keep beside it."""
        return {
            **self.circuit.collect(),
            **prefixed("loops", self._saving.save(self._net)),
            **super().collect(),
        }

    def put_back(self, arrays: Arrays) -> None:
        """Take what another one like this saved."""
        self.circuit.put_back(arrays)
        self._saving.load(self._net, arrays.within("loops"))
        super().put_back(arrays)
        self._take_noise()
        self._tell_terms()

    # ---- the tick

    def _tick(self, tick: int) -> None:
        # Threads that help do so as well: bits do not depend on who computes.
        with without_subnormals():
            self._run(tick)

    def _run(self, tick: int) -> None:
        if self._broken is not None:
            self.circuit.check_finite(self._broken)
        changes = self._controls.take()
        self._asked = self._asked if changes.empty else tick
        opened = self._open(changes, tick) if tick == 0 or not changes.empty else -1
        # Who listens is told tick by tick.
        until = tick + 1 if self._observer is not None else max(tick + 1, self._next_event())
        asked = self._asked if self._controls.waiting else -1
        if len(self._net.blocks.scratch) > 1:
            self._net.terms["parts"] = torch.get_num_threads() > 1
        last, finite, silent, following = self._loops.run(
            self._net, opened, until, _BUDGET, *self._room(), asked
        )
        self._outside.check()
        if last >= 0:
            self._told(last, finite)
        if silent:
            self._controls.settled(last)
        following = following if self._broken is None else self._broken
        if following < layout.NEVER:
            self._ticks.request(following)

    def _open(self, changes: Changes, tick: int) -> int:
        """Run the phases of a tick up to the controls."""
        loops, net = self._loops, self._net
        if tick == 0:
            loops.begin(net.agenda)
        if changes.reset:
            loops.clear_messages(net.agenda)
        if tick == 0:
            self._tell_terms()
        loops.open_tick(net, tick, self._concern.due(changes, tick))
        if changes.mark is not None and self.circuit.state.learning:
            phase = changes.mark
            loops.mark_all(net, tick, complex(phase.weight), phase.first, phase.last)
        if changes.reset:
            self._reset(tick)
        self._set(changes)
        self._tell_terms()
        return tick

    def _next_event(self) -> int:
        """Return the first tick that is not before the next event of SimPy's, whosever it is."""
        at = self._env.peek()
        return math.ceil(at) if math.isfinite(at) else layout.NEVER

    # ---- controls

    def _set(self, changes: Changes) -> None:
        c, work = self.circuit, self._net.work
        view.set_values(c, changes)
        if c.target is not None:
            work.target[work.outputs] = c.target.numpy()
        self._take_noise()

    def _take_noise(self) -> None:
        state = self.circuit.state
        if state.noise is not None:
            torch.add(state.u, state.noise, out=self._noisy)

    def _reset(self, tick: int) -> None:
        self._loops.reset(self._net, tick)
        self.circuit.state.reset()
        self.circuit.push.reset()
        if self._observer is not None:
            self._observer.dropped(tick)

    # ---- what loops need and what they tell

    def _asked_for(self, what: int, tick: int) -> None:
        """Do what a loop asks for in the middle of a tick."""
        if what == layout.PARTS:
            self._sweep(tick)
        else:
            c = self.circuit
            y = c.output_set.take(c.state.h)
            gradient = c.loss.gradient(y, c.target)  # type: ignore[union-attr, arg-type]
            self._net.work.gradient[self._net.work.outputs] = gradient.numpy()

    def _sweep(self, tick: int) -> None:
        """Sweep over the parts side by side. A thread is given the loop itself: Python has one lock."""
        from hlsim.engine.compiled.sweep import sweep_part

        net = self._net
        waiting = [self._pool.submit(sweep_part, net, tick, k) for k in range(1, len(net.blocks.scratch))]
        sweep_part(net, tick, 0)
        for each in waiting:
            each.result()

    def _tell_terms(self) -> None:
        c, terms = self.circuit, self._net.terms[0]
        terms["phi"], terms["nudge"], terms["learning"] = c.state.phi, c.state.nudge, c.state.learning
        terms["loss"] = layout.SILENT if c.target is None else _LOSSES.get(type(c.loss), layout.OTHER)
        terms["failed"] = False
        terms["outside"] = self._outside.address

    def _room(self) -> tuple[int, int]:
        """Make room in the calendar for whatever a tick may send, and return how much that is."""
        if self._steady:
            return 0, 0
        arrays, edges, agenda = self._arrays, self._net.edges, self._net.agenda
        failing = bool(self._net.fates.may[0])
        chunks, far = arrays.reserve(edges, agenda), arrays.far_edges(edges, failing)
        while agenda.tally[1] < chunks:
            arrays.grow(agenda)
        arrays.make_room_for_far(agenda, far)
        return chunks, far

    def _told(self, tick: int, finite: bool) -> None:
        """Pass on what happened at the last tick that ran."""
        if self._observer is not None:
            for kind in (STATE, COSTATE):
                self._tell_messages(self._observer, kind, tick)
        if not finite:
            self._stop(tick)
        elif self._observer is not None:
            c, work = self.circuit, self._net.work
            due = np.sort(np.concatenate((work.due[: work.tally[0]], self._always_due)))
            self._observer.update(tick, due % c.n, due // c.n)

    def _tell_messages(self, observer: Observer, kind: int, tick: int) -> None:
        c, work, network = self.circuit, self._net.work, self.circuit.network
        count = work.tally[1 + kind]
        if not count:
            return
        at, value, ticks = (x[kind, :count] for x in (work.log_edge, work.log_value, work.log_ticks))
        single, read = c.push.edges, arrangement(c).edges
        # Those in blocks are counted on behind the others.
        behind = at - len(c.push.target)
        in_block, number = behind >= 0, max(1, len(read))
        replica = np.where(in_block, behind // number, at // max(1, len(single)))
        edge = np.empty(count, np.int64)
        edge[in_block] = read[behind[in_block] % number]
        edge[~in_block] = single[at[~in_block] % max(1, len(single))]
        sender = (network.source if kind == STATE else network.target)[edge]
        order = np.lexsort((edge, sender, replica))
        edge, replica, value, ticks = edge[order], replica[order], value[order], ticks[order]
        arrives = ticks >= 0
        if not arrives.all():
            gone = ~arrives
            observer.lost(kind, edge[gone], value[gone], tick, replica[gone])
        if arrives.any():
            arrival = (tick + ticks)[arrives]
            observer.message(kind, arrival, edge[arrives], value[arrives], tick, replica[arrives])

    def _stop(self, tick: int) -> None:
        """End the run at a tick at which a number was not finite: now, or when SimPy comes to it."""
        if tick <= self._env.now:
            self.circuit.check_finite(tick)
        self._broken = tick
