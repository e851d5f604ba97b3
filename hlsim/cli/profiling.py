"""Where the time of a run goes: what a profiler counts by function, told by part.

A function of hlsim belongs to a part by its package, or by its module or its own name where those do more
than one thing. Whatever else takes time (torch, numpy, h5py, formulas) counts for the functions that called
it, shared among them as the time of its calls is. What is called while a run is put together or recorded
belongs to that.
"""

import cProfile
import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

KERNEL = "kernel: SimPy, clock, protocol"
DELIVER = "deliver: messages"
UPDATE = "update: neurons and their drives"
LEARN = "learn: synapses moved"
LOOP = "compiled: deliver, update and learn in one loop"
RECORD = "record: samples, events, HDF5"
START = "start: network and engine built"
OTHER = "other"
PARTS = (START, KERNEL, DELIVER, UPDATE, LEARN, LOOP, RECORD, OTHER)
# Parts that own whatever is called on their behalf.
COVERING = (START, RECORD)
CALLER = "as its caller"
# What of hlsim is which part of a run: packages, modules and functions, of which the longest name that fits
# counts. Packages of others stand here where their own functions are a part of a run, not somebody's tool.
# What no name fits is OTHER.
PART_NAMES: Mapping[str, tuple[str, ...]] = {
    START: (
        "topology", "experiment", "usercode", "stimulus.datasets", "simulation.options", "engine.build",
        "engine.loops", "engine.elementary", "engine.formulas", "engine.tables", "engine.circuit.plan",
        "engine.compiled.arrays", "engine.compiled.blocks", "engine.compiled.known", "numba",
    ),
    KERNEL: (
        "engine", "stimulus", "simulation", "simpy", "experiment.experiment.run",
        "engine.circuit.concern", "engine.circuit.view.set_values", "engine.general.engine._find_due",
        "engine.general.engine._ask_for_next", "engine.general.engine.quiet",
        "engine.general.engine._restless",
        "engine.general.wakeups.strikes", "engine.general.wakeups.next", "engine.general.wakeups.clocks",
        "engine.lockstep.engine._change", "engine.reference.engine", "engine.reference.neuron.live",
        "engine.reference.neuron.ring",
    ),
    DELIVER: (
        "engine.circuit.calendar", "engine.circuit.push", "engine.general.sending",
        "engine.general.engine._take", "engine.general.engine._send",
        "engine.circuit.projections.emit",
        "engine.circuit.projections._heard", "engine.circuit.projections._sent_back",
        "engine.circuit.projections._send_back", "engine.reference.neuron.receive",
        "engine.reference.engine.send", "engine.reference.engine._deliver",
    ),
    UPDATE: (
        "engine.circuit", "engine.general", "engine.lockstep", "engine.reference",
        "engine.circuit.push.drive", "engine.circuit.push.heard", "engine.circuit.push.drift",
        "engine.reference.engine.gradient", "engine.reference.engine.tell",
    ),
    LEARN: (
        "engine.general.engine._mark", "engine.circuit.advance._learn", "engine.circuit.advance._correlate",
        "engine.circuit.advance.learn_instant", "engine.lockstep.engine._learn",
        "engine.circuit.projections.learn", "engine.circuit.projections._step",
        "engine.circuit.synapses.euler", "engine.circuit.synapses.mark", "engine.circuit.synapses.correlate",
        "engine.circuit.push.euler",
        "engine.circuit.push.hold", "engine.circuit.push.mark", "engine.circuit.push.correlate",
        "engine.circuit.push._store", "engine.reference.neuron._synapse_steps",
        "engine.reference.neuron._learn_instant", "engine.reference.neuron._correlate",
        "engine.reference.neuron.mark",
    ),
    LOOP: ("engine.compiled.engine",),
    RECORD: ("trace", "simulation.watch", "engine.circuit.view"),
    CALLER: (
        "models", "draws", "engine.threads", "engine.circuit.state",
        "engine.lockstep.loops", "engine.compiled", "engine.reference.record", "engine.general.engine.read",
        "engine.general.engine.counts", "engine.lockstep.engine.counts", "engine.circuit.synapses.weight",
        "engine.circuit.synapses.transport", "engine.circuit.synapses._fields",
        "engine.circuit.synapses._view", "engine.circuit.projections.product",
        "engine.circuit.projections.scatter", "engine.circuit.projections.gather",
        "engine.circuit.push.weight", "engine.circuit.push.stored", "engine.circuit.push._fields",
        "engine.circuit.push._sum", "engine.circuit.push.edges_of", "engine.circuit.push.expand",
    ),
}  # fmt: skip

NAMES = {name: part for part, names in PART_NAMES.items() for name in names}

_ROW = {part: i for i, part in enumerate(PARTS)}
# Calls within calls are followed down to this depth, or until shares change by less.
_ROUNDS, _SETTLED = 500, 1e-6
_SHORTEST = 1e-9  # seconds
_HLSIM = Path(__file__).parents[1]


@dataclass(frozen=True)
class Function:
    """What a profiler counted: calls, and seconds in the function itself."""

    name: str
    part: str
    calls: int
    seconds: float


class Profile:
    """Counts what runs inside it, as a context manager; of the thread that it is entered in.

    Attributes
    ----------
    wall : float
        Seconds of wall time inside; counting makes Python slower, machine code not.
    """

    def __init__(self) -> None:
        self._profiler = cProfile.Profile()
        self.wall = 0.0

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        self._profiler.enable()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._profiler.disable()
        self.wall += time.perf_counter() - self._started

    def parts(self) -> dict[str, float]:
        """Return seconds by part; together they are all that was counted."""
        entries = self._profiler.getstats()
        seconds = np.array([entry.inlinetime for entry in entries]) @ _shares(entries)
        return dict(zip(PARTS, seconds.tolist(), strict=True))

    def functions(self, count: int) -> list[Function]:
        """Return the functions that took longest by themselves, each with the part that it is mostly of."""
        entries = self._profiler.getstats()
        longest = sorted(zip(entries, _shares(entries), strict=True), key=lambda each: -each[0].inlinetime)
        return [
            Function(_name(entry.code), PARTS[share.argmax()], entry.callcount, entry.inlinetime)
            for entry, share in longest[:count]
        ]


def _shares(entries: Sequence[Any]) -> NDArray[np.float64]:
    """Return what share of each function's time belongs to which part (function, part); rows sum to 1.

    What callers say is handed down call by call until nothing changes: functions call each other in circles.
    """
    caller, callee, weight = _calls(entries)
    own = np.array([_ROW.get(part_of(entry.code), -1) for entry in entries])
    own[~np.isin(np.arange(len(own)), callee) & (own < 0)] = _ROW[OTHER]
    parts = np.eye(len(PARTS))[own] * (own >= 0)[:, None]
    # Of what comes from above, a part's own function takes over no more than what covers it.
    passed = np.where(own[:, None] < 0, 1.0, [part in COVERING for part in PARTS]) * (1.0 - parts)
    shares = parts
    for _ in range(_ROUNDS):
        above = np.zeros_like(shares)
        np.add.at(above, callee, weight[:, None] * shares[caller])
        above *= passed
        before, shares = shares, above + parts * (1.0 - above.sum(1, keepdims=True))
        if np.abs(shares - before).max() < _SETTLED:
            break
    shares[:, _ROW[OTHER]] += 1.0 - shares.sum(1)
    return shares


def _calls(entries: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return for each pair of functions that call: caller, callee, and its share of the callee's time."""
    index = {entry.code: i for i, entry in enumerate(entries)}
    pairs = [(i, index[call.code], call) for i, entry in enumerate(entries) for call in entry.calls or ()]
    caller, callee = (np.array([pair[k] for pair in pairs], np.int64) for k in (0, 1))
    # A call that was too short to be timed weighs little, and not nothing.
    time = np.array([call.totaltime + _SHORTEST * call.callcount for *_, call in pairs])
    return caller, callee, time / np.bincount(callee, time, len(entries))[callee]


def part_of(code: CodeType | str) -> str:
    """Return the part to which a function belongs, or that it counts for its caller."""
    module = _module(code)
    if isinstance(code, str) or module is None:
        return CALLER
    name = code.co_qualname.partition(".<locals>")[0].rpartition(".")[2]
    if name == "__init__":
        return CALLER
    longest = f"{module}.{name}"
    while longest and longest not in NAMES:
        longest = longest.rpartition(".")[0]
    return NAMES.get(longest, OTHER)


def _module(code: CodeType | str) -> str | None:
    """Return the module below hlsim, or the package with a part of its own, that a function stands in."""
    if isinstance(code, str):
        return None
    file = Path(code.co_filename)
    if file.is_relative_to(_HLSIM):
        return ".".join(file.relative_to(_HLSIM).with_suffix("").parts)
    return next((name for name, folder in _PACKAGES.items() if file.is_relative_to(folder)), None)


def _folders(*packages: str) -> dict[str, Path]:
    found = {name: importlib.util.find_spec(name) for name in packages}
    return {name: Path(spec.origin).parent for name, spec in found.items() if spec and spec.origin}


_PACKAGES = _folders("simpy", "numba")


def _name(code: CodeType | str) -> str:
    if isinstance(code, str):
        return code
    return f"{Path(code.co_filename).stem}.{code.co_qualname}"
