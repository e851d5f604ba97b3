"""The engine that a run asks for, and when loops compiled at run time stand in for torch.

Where a loop over synapses is the whole cost of a run, it is written a second time as a plain loop that numba
compiles. Torch computes the same without it, to round-off.
"""

import importlib.util
from typing import Any

import simpy
import torch

from hlsim.engine.circuit import plan
from hlsim.engine.circuit.circuit import Circuit
from hlsim.engine.compiled import blocks
from hlsim.engine.compiled import engine as compiled_loops
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.controls import Controls
from hlsim.engine.general.engine import Batched
from hlsim.engine.interface import Engine
from hlsim.engine.lockstep import engine as lockstep
from hlsim.engine.lockstep.engine import Lockstep
from hlsim.engine.reference.engine import Reference
from hlsim.errors import ExperimentError, unknown
from hlsim.models.losses import Loss
from hlsim.models.rules.rule import Rule
from hlsim.topology.network import Network

ENGINES = ("batched", "reference")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
DEVICES = ("auto", "cpu", "cuda")


def engine(
    env: simpy.Environment,
    network: Network,
    rule: Rule,
    loss: Loss | None,
    controls: Controls,
    *,
    dt: float,
    replicas: int,
    kind: str,
    compiled: str,
    dtype: str,
    device: str,
    ticks: float = 0,
) -> tuple[Engine, dict[str, Any]]:
    """Return an engine and what a trace says of it: its kind, number format and device.

    ``ticks``: how long a run will be, as far as that is known.
    """
    for what, name, known in (
        ("engine", kind, ENGINES),
        ("dtype", dtype, DTYPES),
        ("device", device, DEVICES),
    ):
        if name not in known:
            raise ExperimentError(f"simulation: {unknown(what, name, known)}")
    chosen = _device(device)
    if kind == "reference":
        facts = {"engine": kind, "dtype": _number("float64", rule), "device": "cpu"}
        return Reference(env, network, rule, loss, dt, replicas, controls), facts
    touchable = controls.touchable
    steady = touchable is None and synchronous_throughout(network, rule, replicas)
    loops = wanted(compiled, network.m * replicas, chosen.type, synchronous=steady, ticks=ticks)
    made = None
    why = compiled_loops.hindrance(network, rule, replicas) if loops else None
    if loops and why is None:
        number, alone = DTYPES[dtype], None if touchable is None else touchable.edges
        states = number.to_complex() if rule.complex_states else number
        made = blocks.deal(network, rule, replicas, number, states, alone)
    circuit = Circuit(network, rule, loss, dt, replicas, DTYPES[dtype], chosen, loops, touchable, made=made)
    facts = {"engine": kind, "dtype": _number(dtype, rule), "device": str(chosen)}
    if made is not None:
        return Compiled(env, circuit, controls), facts
    in_step = lockstep.qualifies(circuit)
    if compiled == "always" and not in_step:
        raise ExperimentError(f"simulation.compiled: must not be 'always' here: {why}")
    torch_engine = Lockstep if in_step else Batched
    return torch_engine(env, circuit, controls), facts


def synchronous_throughout(network: Network, rule: Rule, replicas: int) -> bool:
    """Tell whether all neurons update at every tick, so that no message travels by itself."""
    return bool(plan.in_projections(network, rule, replicas).all())


def _number(dtype: str, rule: Rule) -> str:
    """Return the format of the numbers of neurons; that of synapses is real."""
    return {"float32": "complex64", "float64": "complex128"}[dtype] if rule.complex_states else dtype


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ExperimentError("simulation.device: cuda is not available on this machine, got 'cuda'")
    cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


MODES = ("auto", "always", "never")
# Below so many synapses starting the compiler costs more than it saves, unless a run is known to have so many
# ticks. It saves more where messages travel one by one: there a tick takes torch 5 ms, however small the
# network, and else 1 ms; compiling takes some 20 s, once, and loading what was compiled 1 s.
_LEAST, _LEAST_SYNCHRONOUS = 200, 2_000
_LONG, _LONG_SYNCHRONOUS = 2_000, 10_000


def wanted(
    mode: str, synapses: int, device: str = "cpu", *, synchronous: bool = True, ticks: float = 0
) -> bool:
    """Tell whether a run uses compiled loops where there are any.

    Parameters
    ----------
    mode : str
        "auto": on a CPU, where numba is installed and the network is large or the run is long; "always": on a
        CPU; "never".
    synapses : int
        How many the network has.
    device : str
        Type of the device; the loops are for a CPU.
    synchronous : bool
        Whether all neurons update at every tick.
    ticks : float
        How many ticks the stages of a run have; infinity: no end; 0: it is not known.
    """
    if mode not in MODES:
        raise ExperimentError(f"simulation: {unknown('compiled', mode, MODES)}")
    least, long = (_LEAST_SYNCHRONOUS, _LONG_SYNCHRONOUS) if synchronous else (_LEAST, _LONG)
    if mode == "never" or (mode == "auto" and synapses < least and ticks < long):
        return False
    installed = importlib.util.find_spec("numba") is not None
    if mode == "always" and device != "cpu":
        raise ExperimentError(f"simulation.compiled: always needs device = 'cpu', got {device!r}")
    if mode == "always" and not installed:
        raise ExperimentError("simulation.compiled: always needs numba (pip install numba)")
    return installed and device == "cpu"
