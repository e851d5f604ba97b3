"""The batched engine, for networks in which every neuron is updated at every tick and sends what changes.

Then nobody has to be asked whether it is due, and what a tick costs beside its projections is a few compiled
loops over neurons. ``Batched`` is the meaning: a tick on which anything unusual happens is left to it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import simpy
from numpy.typing import NDArray
from torch import Tensor

from hlsim.engine.circuit.circuit import Block, Circuit
from hlsim.engine.circuit.state import Whole
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.general.engine import Batched
from hlsim.engine.snapshot import Array, Stateful
from hlsim.models.messages import COSTATE, STATE
from hlsim.models.neurons import Leaky
from hlsim.models.rules.hamiltonian import Hamiltonian

# Beside those of messages sent.
_UPDATES = 2
_FIELDS = ("h", "z", "q", "f", "df_dh", "df_da", "u", "a", "heard", "dl", "g", "h_sent")


def qualifies(circuit: Circuit) -> bool:
    """Tell whether a circuit can run in lockstep: compiled, everybody synchronous, with costates."""
    inside = bool((circuit.sync | circuit.is_input).all()) and len(circuit.push.edges) == 0
    plain = type(circuit.rule) is Hamiltonian and circuit.lags is None
    return circuit.compiled and inside and plain


class Group(Stateful):
    """Neurons that one compiled loop goes over: the runs they consist of, and what whole runs sent."""

    STATE = ("counts",)

    def __init__(self, whole: Whole, replicas: int, block: Block | None = None) -> None:
        nodes = whole.nodes.numpy()
        first = np.flatnonzero(np.diff(nodes, prepend=nodes[0] - 2) != 1)
        last = np.append(first[1:], len(nodes)) - 1
        self.runs = np.stack([nodes[first], nodes[last] + 1], 1)
        self.whole, self.block = whole, block
        # Sends of states and costates, and updates (replica, run), of every neuron of a run at once.
        self.counts = np.zeros((3, replicas, len(self.runs)), np.int64)

    def settle(self, counts: list[NDArray[np.int64]]) -> None:
        """Move what was counted for whole runs to the neurons' own counts (replica, node)."""
        for count, whole in zip(counts, self.counts, strict=True):
            for run, (lo, hi) in enumerate(self.runs):
                count[:, lo:hi] += whole[:, run, None]
        self.counts[:] = 0


class Lockstep(Batched):
    """Runs a circuit that ``qualifies``; the phases of a tick are those of ``Batched``."""

    STATE: ClassVar[tuple[str, ...]] = ("_groups", "_stateful", "_inputs")

    def __init__(self, env: simpy.Environment, circuit: Circuit, controls: Controls) -> None:
        super().__init__(env, circuit, controls)
        # Imported here: the compiler takes half a second, and few commands run a network.
        from hlsim.engine.lockstep import loops

        self._loops: Any = loops
        # The engine's tensors as arrays, over the same memory.
        self._x = {name: getattr(circuit.state, name).numpy() for name in _FIELDS}
        self._p = {name: values.numpy() for name, values in circuit.parameters.items()}
        self._sends = circuit.sends_state.numpy(), circuit.sends_costate.numpy()
        self._learns, self._emits = circuit.learns.numpy(), circuit.is_input.numpy()
        self._counted = [counts.numpy() for counts in (*self._sending.counts, self._updates)]
        self._inputs = Group(Whole(circuit.inputs), circuit.replicas) if len(circuit.inputs) else None
        self._groups = [Group(block.whole, circuit.replicas, block) for block in circuit.sync_blocks]
        sync = circuit.sync_stateful
        self._stateful = None if sync is None else Group(sync, circuit.replicas)
        self._number = self._x["h"].dtype.type
        # Whether the stimulus goes to others than input nodes.
        self._driven = not bool(circuit.is_input[circuit.inputs].all())

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return sends and updates by neuron, and messages overtaken, replaced, lost and in flight."""
        self._settle_counts()
        return super().counts()

    def collect(self) -> dict[str, Array]:
        """Return what ``Batched`` has; what was counted for whole runs is counted for their neurons."""
        self._settle_counts()
        return super().collect()

    def _settle_counts(self) -> None:
        for group in (*self._groups, self._stateful, self._inputs):
            if group is not None:
                group.settle(self._counted)

    def _run(self, tick: int, changes: Changes) -> None:
        state = self.circuit.state
        rare = (changes.mark, changes.nudge, changes.noise, self.observer, state.noise)
        if tick == 0 or changes.reset or any(one is not None for one in rare):
            # Whoever sends every change has sent what it is.
            state.h_sent.copy_(state.h)
            state.q_sent.copy_(state.q)
            super()._run(tick, changes)
            return
        self._now = tick
        self._integrate()
        self._change(changes)
        self._evaluate_all()
        self.circuit.loss_gradient(None)
        self._costates_all()
        for pull in self.circuit.plan.pulls:
            pull.emit(state)
        self._learn_late()
        self._sync_updates += 1
        if not all(self._loops.finite(self._x[name]) for name in ("h", "z", "a")):
            self.circuit.check_finite(tick)
        self._ask_for_next()

    def _fields(self, *names: str) -> list[NDArray[Any]]:
        return [self._x[name] for name in names]

    def _told(self, kind: int, group: Group) -> tuple[NDArray[Any], ...]:
        return self._sends[kind], self._counted[kind], group.counts[kind]

    # ---- phase 0

    def _integrate(self) -> None:
        c, group, learning = self.circuit, self._stateful, self.circuit.state.learning
        dt, eta = self._number(c.dt), self._number(c.rule.eta)
        sequential = c.rule.order == "sequential"
        if learning and not sequential:
            self._learn(lambda _: True)
        if group is not None:
            self._loops.euler(group.runs, dt, *self._fields("h", "f"), *self._told(STATE, group))
            if sequential:
                c.loss_gradient(None)
                self._hear(group)
            self._loops.costate_euler(group.runs, dt, eta, *self._fields("z", "g", "df_dh"))
            if learning and sequential:
                self._learn_new_costates()
        self._sync_moved |= learning

    def _learn_new_costates(self) -> None:
        """Sequential order: synapses of leaky neurons see z as it is now, though nobody was sent it."""
        q, z, slope = self._fields("q", "z", "df_da")
        sent = q.copy()
        np.multiply(z, slope, out=q)
        self._learn(lambda instant: not instant)
        q[:] = sent

    def _learn(self, chosen: Callable[[bool], bool]) -> None:
        """Move the synapses of the projections chosen by whether their targets are instant neurons."""
        for pull in self.circuit.plan.pulls:
            if chosen(pull.signature.instant):
                pull.learn(self.circuit.state, self.circuit.dt)

    # ---- phases 1 to 3

    def _change(self, changes: Changes) -> None:
        if changes.empty:
            return
        if changes.input is not None and self._inputs is not None:
            u, group = changes.input.astype(self._number), self._inputs
            told = *self._told(STATE, group), self._counted[_UPDATES], group.counts[_UPDATES]
            self._loops.stimulate(group.runs, self._emits, u, *self._fields("u", "h", "h_sent"), *told)
            changes.input = None
        self._apply(changes)

    def _evaluate_all(self) -> None:
        c = self.circuit
        self._stimulate()
        for level in c.forward_levels:
            for pull in c.plan.pulls:
                if pull.signature.forward == level:
                    pull.drive(c.state, c.state.a)
            for group in self._groups:
                if group.block is not None and group.block.rank == level:
                    self._settle(group, group.block)

    def _stimulate(self) -> None:
        """Begin the drives with the stimulus."""
        state = self.circuit.state
        for group in self._groups:
            group.whole.put(state.a, group.whole.take(state.u) if self._driven else 0.0)

    def _settle(self, group: Group, block: Block) -> None:
        a = block.whole.take(self.circuit.state.a)
        if not (block.model.instant or type(block.model) is Leaky):
            self._evaluate(block, block.whole, a)
            return
        y = block.model.rest(a, block.activation)
        both = _array(y), _array(block.activation.slope(a, y))
        if block.model.instant:
            out = self._fields("h", "df_da")
            self._loops.settle_instant(group.runs, *both, *out, *self._told(STATE, group))
        else:
            out = self._fields("h", "f", "df_dh", "df_da")
            self._loops.pull_leaky(group.runs, *both, self._p["tau"], *out)

    # ---- phases 5 and 6

    def _costates_all(self) -> None:
        c = self.circuit
        if self._stateful is not None:
            self._send_costates(self._stateful)
        c.state.heard.zero_()
        for level in c.backward_levels:
            for pull in c.plan.pulls:
                if pull.backwards and pull.signature.backward == level:
                    pull.pullback(c.state, c.state.heard)
            for group in self._groups:
                if group.block is not None and group.block.model.instant and group.block.back_rank == level:
                    self._hear_instant(group)
        if self._stateful is not None:
            self._hear(self._stateful)

    def _hear(self, group: Group) -> None:
        phi = self._number(self.circuit.state.phi)
        self._loops.hear(group.runs, phi, *self._fields("dl", "heard", "g"))

    def _hear_instant(self, group: Group) -> None:
        phi, moved = self._number(self.circuit.state.phi), bool(self._sync_moved)
        values = self._fields("dl", "heard", "g", "z", "df_da", "q")
        self._loops.hear_instant(group.runs, phi, moved, *values, self._learns, *self._told(COSTATE, group))

    def _send_costates(self, group: Group) -> None:
        values = self._fields("z", "df_da", "q")
        told = self._told(COSTATE, group)
        self._loops.send_costates(group.runs, bool(self._sync_moved), *values, self._learns, *told)

    def _learn_late(self) -> None:
        c = self.circuit
        self._sync_moved = False
        if c.rule.order == "sequential" and c.state.learning:
            self._learn(lambda instant: instant)
            self._sync_moved = True


def _array(x: Tensor) -> NDArray[Any]:
    return x.contiguous().numpy()
