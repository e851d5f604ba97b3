"""What a run learned by, as its trace tells: rule, loss, phi and learning tick by tick."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlsim.errors import TraceError, unknown
from hlsim.models.losses import LOSSES, Custom, Loss
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.phi import Phi, changes, of_form
from hlsim.trace import Trace
from hlsim.trace.reader import ticks

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What a run learned by.

    Attributes
    ----------
    rule : Hamiltonian
        With its eta and order.
    loss : Loss
    learns : bool (ticks,)
        Whether synapses moved from this tick to the next.
    phi : float64 (ticks,)
        What the loss counted.
    """

    rule: Hamiltonian
    loss: Loss
    learns: NDArray[np.bool_]
    phi: Array


def learned_by(trace: Trace, rule: Hamiltonian | None = None, loss: str | Loss | None = None) -> Learned:
    """Return by what a run learned, as its experiment says unless it is given.

    Raises
    ------
    TraceError
        The trace has no experiment with the rule "hamiltonian", and none is given.
    """
    settings = settings_of(trace)
    rule = rule_of(settings) if rule is None else rule
    phi = _phi_by_tick(trace, settings, rule.phi)
    return Learned(rule, loss_of(settings, loss), learning_ticks(trace, settings), phi)


def rule_of(settings: Mapping[str, Any]) -> Hamiltonian:
    """Return the rule of an experiment; TraceError where that is not "hamiltonian"."""
    learning = dict(settings.get("learning", {}))
    if not settings or learning.pop("rule", "hamiltonian") != Hamiltonian.name:
        raise TraceError("analysis: the run did not learn by rule 'hamiltonian'; say by which with rule=")
    known = {name: x for name, x in learning.items() if name in ("beta", "eta", "order")}
    return replace(Hamiltonian(), phi=of_form(learning.get("phi", 1.0)), **known)


def settings_of(trace: Trace) -> dict[str, Any]:
    """Return what a run was made with, by table of its experiment; of one without, what it learned by."""
    text = str(trace.attrs["experiment"])
    return tomllib.loads(text) if text else json.loads(trace.attrs.get("learning", "{}"))


def loss_of(settings: Mapping[str, Any], loss: str | Loss | None = None) -> Loss:
    """Return the loss of an experiment, or the one that is given; TraceError for one that has no name."""
    if isinstance(loss, Loss):
        return loss
    kind = loss or settings.get("loss", {}).get("kind", "squared_error")
    if kind == Custom.name:
        raise TraceError("analysis: the loss was a function of one's own: give it with loss=")
    if kind == "none":
        raise TraceError("analysis: the run had no loss; say which with loss=")
    if kind not in LOSSES:
        raise TraceError(f"analysis: {unknown('loss', kind, LOSSES)}")
    return LOSSES[kind]


def learning_ticks(trace: Trace, settings: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return at which ticks synapses move: not in the rows of a stage that only shows them."""
    still = {
        stage.get("name", "train") for stage in settings.get("stage", []) if not stage.get("learn", True)
    }
    learns = np.ones(ticks(trace), bool)
    for name, start, stop in _rows(trace):
        learns[start:stop] = name not in still
    return learns


def _phi_by_tick(trace: Trace, settings: Mapping[str, Any], phi: Phi) -> Array:
    own = {
        stage.get("name", "train"): of_form(stage["phi"])
        for stage in settings.get("stage", [])
        if "phi" in stage
    }
    found = np.full(ticks(trace), phi if isinstance(phi, float | int) else 0.0)
    for name, start, stop in _rows(trace):
        for tick, value in changes(own.get(name, phi), start, stop - start):
            found[tick:stop] = value
    return found


def _rows(trace: Trace) -> list[tuple[str, int, int]]:
    """Return the stage of every row, its first tick and the one behind its last.

    A row that did not come to its end is taken to be of the stage of the one before.
    """
    starts = [0, *(trace["rows/tick"] + 1).tolist(), ticks(trace)]
    names = trace["rows/split"].tolist()
    return list(zip([*names, *(names[-1:] or ["train"])], starts[:-1], starts[1:], strict=True))


def sampled(trace: Trace, name: str) -> Array:
    """Return the samples (sample, edge) of a quantity; TraceError where there are none, or replicas."""
    if f"sampled/{name}" not in trace or not len(trace[f"sampled/{name}"]):
        raise TraceError(f"analysis: the trace has no samples of {name}")
    values = trace[f"sampled/{name}"]
    if values.ndim == 3:
        raise TraceError(f"analysis: needs one replica, got {values.shape[1]}")
    return np.asarray(values, dtype=np.float64)


def stimulus(trace: Trace, end: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return inputs and targets (row, columns), and which is in force at every tick before ``end``."""
    held = np.searchsorted(trace["stimulus/tick"], np.arange(end), "right") - 1
    x, y = (np.asarray(trace[f"stimulus/{name}"], dtype=np.float64) for name in ("input", "target"))
    if held.min() < 0 or not y.shape[-1] or np.isnan(y).any():
        raise TraceError("analysis: needs an input and a target at every tick")
    if x.ndim == 3:
        raise TraceError(f"analysis: needs one replica, got {x.shape[1]}")
    return x, y, held
