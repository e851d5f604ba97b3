"""Where the time of a run goes: what a profiler counts by function, told by part.

A function of hlsim belongs to a part by its module, or by its name where a module does more than one thing.
Whatever else takes time (torch, numpy, h5py, formulas) counts for the functions that called it, shared among
them as the time of its calls is. What is called while a run is put together or recorded belongs to that.
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
PASS = "synapses: drive, learn and send in one pass"
LOOP = "arrivals: deliver, update and learn in one loop"
RECORD = "record: samples, events, HDF5"
START = "start: network and engine built"
OTHER = "other"
PARTS = (START, KERNEL, DELIVER, UPDATE, LEARN, PASS, LOOP, RECORD, OTHER)

# Parts that own whatever is called on their behalf.
COVERING = (START, RECORD)
CALLER = "as its caller"

# Modules of hlsim, and packages whose own functions are a part of a run rather than somebody's tool.
MODULES: Mapping[str, tuple[str, ...]] = {
    START: (
        "attributes", "columns", "checking", "couplings", "expansion", "graphfiles", "topology", "network",
        "plan", "building", "datasets", "settings", "parsing", "overrides", "compiled", "usercode",
        "machine_code", "arrival_arrays",
        "experiment", "numba",
    ),
    KERNEL: (
        "kernel", "controls", "clocks", "streams", "generated", "stimulus", "noise", "faults", "links",
        "protocol", "traffic",
        "simulation", "reference", "quiet", "effects", "simpy",
    ),
    DELIVER: ("calendar", "post", "push", "wires"),
    UPDATE: (
        "engine", "lockstep", "circuit", "advance", "wakeups", "projections", "synapses",
        "process", "alarms",
    ),
    PASS: ("fused",),
    LOOP: ("arrivals",),
    RECORD: (
        "view", "watch", "recording", "tables", "layout", "reading", "recovery", "superblock",
        "chunks", "trace",
    ),
    OTHER: (
        "errors", "baseline", "oracle", "rates", "curves", "ideal", "paths", "alignment", "estimates",
        "staleness",
        "laws", "descent", "stability", "hardware", "locality", "comparison", "analysis", "findings",
        "axes", "estimate", "grid", "outcomes", "workers", "cluster", "ledger", "pace", "sweep",
        "charts", "drawing", "samples", "credit", "figures", "beside", "sweep_charts", "stability_chart",
        "interactive", "printed", "page", "report", "words", "terminal", "shown", "profiling",
        "analyze_command", "report_command", "sweep_command", "cli", "__main__",
    ),
    CALLER: (
        "ops", "neurons", "losses", "phi", "rule", "hamiltonian", "equilibrium", "continual", "holomorphic",
        "oscillating", "rules", "draws", "threads", "state", "record", "synapse_loops", "neuron_loops",
        "arrival_formulas", "arrival_calendar", "arrival_neurons", "arrival_kernels",
    ),
}  # fmt: skip

# Functions that do something else than their module.
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    KERNEL: (
        "engine._find_due", "engine._ask_for_next", "lockstep._change", "process.live", "process.ring",
        "experiment.run",
    ),
    DELIVER: (
        "engine._take", "engine._send", "fused.pullback", "fused.emit", "fused._send_back",
        "projections.emit", "projections._heard", "projections._sent_back", "projections._send_back",
        "process.receive", "reference.post", "reference._deliver",
    ),
    UPDATE: ("push.drive", "push.heard", "push.drift", "reference.gradient", "reference.tell"),
    LEARN: (
        "engine._mark", "advance._learn", "advance._correlate", "advance.learn_instant", "lockstep._learn",
        "projections.learn", "projections._step", "synapses.euler", "synapses.mark",
        "synapses.correlate", "fused.learn", "fused._settle", "push.euler", "push.hold", "push.mark",
        "push.correlate", "push._store", "process._synapse_steps", "process._learn_instant",
        "process._correlate", "process.mark",
    ),
    CALLER: (
        "engine.read", "engine.counts", "lockstep.counts", "synapses.weight", "projections.product",
        "synapses.transport", "synapses._fields", "synapses._view", "projections.scatter",
        "projections.gather",
        "push.weight", "push.stored", "push._fields", "push._sum", "push.edges_of", "push.expand",
    ),
}  # fmt: skip

_PART = {module: part for part, modules in MODULES.items() for module in modules}
_PART |= {function: part for part, functions in FUNCTIONS.items() for function in functions}

_ROW = {part: i for i, part in enumerate(PARTS)}

# Calls within calls are followed down to this depth, or until shares change by less.
_ROUNDS, _SETTLED = 500, 1e-6
_SHORTEST = 1e-9  # seconds

_HERE = Path(__file__).parent


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
    return CALLER if name == "__init__" else _PART.get(f"{module}.{name}", _PART.get(module, OTHER))


def _module(code: CodeType | str) -> str | None:
    """Return the module of hlsim, or the package with a part of its own, that a function stands in."""
    if isinstance(code, str):
        return None
    file = Path(code.co_filename)
    if file.parent == _HERE:
        return file.stem
    return next((name for name, folder in _PACKAGES.items() if file.is_relative_to(folder)), None)


def _folders(*packages: str) -> dict[str, Path]:
    found = {name: importlib.util.find_spec(name) for name in packages}
    return {name: Path(spec.origin).parent for name, spec in found.items() if spec and spec.origin}


_PACKAGES = _folders("simpy", "numba")


def _name(code: CodeType | str) -> str:
    if isinstance(code, str):
        return code
    return f"{Path(code.co_filename).stem}.{code.co_qualname}"
