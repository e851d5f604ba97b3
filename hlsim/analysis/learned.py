"""What a run learned by, as its trace tells: rule, loss, phi and learning tick by tick."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlsim.errors import DamageError, TraceError, shown, unknown
from hlsim.models.losses import LOSSES, Custom, Loss
from hlsim.models.rules import Hamiltonian, Rule
from hlsim.models.rules.phi import of_form
from hlsim.textdata import read_json, read_toml
from hlsim.topology.network import Network
from hlsim.trace import Trace
from hlsim.trace.reader import ticks

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What a run learned by.

    Attributes
    ----------
    rule : Hamiltonian
        With its eta, order and weight decay.
    loss : Loss
    learns : bool (ticks,)
        Whether synapses moved from this tick to the next.
    phi : float64 (ticks,)
        What the loss counted.
    resets : bool (ticks,)
        Whether states and messages were forgotten at this tick.
    """

    rule: Hamiltonian
    loss: Loss
    learns: NDArray[np.bool_]
    phi: Array
    resets: NDArray[np.bool_]


def learned_by(trace: Trace, rule: Hamiltonian | None = None, loss: str | Loss | None = None) -> Learned:
    """Return by what a run learned, as its experiment says unless it is given.

    Raises
    ------
    TraceError
        The trace has no experiment with the rule "hamiltonian", and none is given.
    """
    settings = settings_of(trace)
    rule = rule_of(settings) if rule is None else rule
    phi = _in_force(trace, "phi")
    return Learned(rule, loss_of(settings, loss), learning_ticks(trace), phi, resets(trace))


def rule_of(settings: Mapping[str, Any]) -> Hamiltonian:
    """Return the rule of an experiment; TraceError where that is not "hamiltonian"."""
    learning = dict(settings.get("learning", {}))
    if not settings or learning.pop("rule", "hamiltonian") != Hamiltonian.name:
        raise TraceError("analysis: the run did not learn by rule 'hamiltonian'; say by which with rule=")
    known = {name: x for name, x in learning.items() if name in ("beta", "eta", "order", "weight_decay")}
    return replace(Hamiltonian(), phi=of_form(learning.get("phi", 1.0)), **known)


def settings_of(trace: Trace) -> dict[str, Any]:
    """Return what a run was made with, by table of its experiment; of one without, what it learned by."""
    text = str(trace.attrs["experiment"])
    try:
        found = read_toml(text) if text else read_json(trace.attrs.get("learning", "{}"))
    except ValueError as error:
        raise DamageError(f"analysis: what the trace says of its run cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise DamageError(f"analysis: what the trace says of its run must be tables, got {shown(found)}")
    for name in ("learning", "loss"):
        if not isinstance(found.get(name, {}), dict):
            raise DamageError(f"analysis: [{name}] of the run must be a table, got {shown(found[name])}")
    return found


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


def learning_ticks(trace: Trace) -> NDArray[np.bool_]:
    """Return at which ticks synapses move, as the network was told (ticks,)."""
    return _in_force(trace, "learn").astype(bool)


def resets(trace: Trace) -> NDArray[np.bool_]:
    """Return at which ticks states and messages were forgotten (ticks,)."""
    found = np.zeros(ticks(trace), bool)
    at = trace["controls/tick"][trace["controls/reset"] != 0]
    found[at[at < len(found)]] = True
    return found


def _in_force(trace: Trace, name: str) -> Array:
    """Return what a control was at every tick."""
    at = np.searchsorted(trace["controls/tick"], np.arange(ticks(trace)), "right")
    return np.concatenate([[trace[f"before/{name}"].item()], trace[f"controls/{name}"]])[at]


def is_still(network: Network, rule: Rule) -> bool:
    """Tell whether no weight moves: beta is 0, that of the rule and of every synapse that has its own."""
    return not network.weight_rate(rule)[network.plastic].any()


@dataclass(frozen=True)
class Weights:
    """The weights of a run as its samples tell them; between samples those of the nearest count.

    Attributes
    ----------
    table : (sample, edge)
        Weights that differ from those before.
    now, before : int (ticks,)
        Which of them stand for the weights at the end of every tick, and at the end of the one before.
    moved : int (ticks,)
        How many steps weights had taken by the end of each.
    stands : int (ticks,)
        The same at the sample that stands for it.
    """

    table: Array
    now: NDArray[np.int64]
    before: NDArray[np.int64]
    moved: NDArray[np.int64]
    stands: NDArray[np.int64]

    @property
    def away(self) -> NDArray[np.int64]:
        """How many steps of the weights lie between each tick and its sample; 0: it is as its own."""
        return np.abs(self.moved - self.stands)

    def between(self, tick: int) -> NDArray[np.int64]:
        """Return how many lie between each tick and the sample that stands for this one."""
        return np.abs(self.moved - self.stands[tick])


def weights_of(trace: Trace, network: Network, rule: Rule, end: int) -> Weights:
    """Return the weights of the ticks before ``end``, of a rule whose synapses step at every tick."""
    steps = learning_ticks(trace) & (not is_still(network, rule))
    return weights(trace, network, steps, end, rule.order)


def weights(
    trace: Trace, network: Network, steps: NDArray[np.bool_], end: int, order: str = "explicit"
) -> Weights:
    """Return the weights of the ticks before ``end``, and how many steps from each they were sampled.

    ``steps`` (ticks,): whether weights step from a tick to the next, or, where sequential, at that tick.
    """
    # Steps up to the end of a tick; the first is of tick -1, the start.
    moved = np.concatenate([[0, 0], np.cumsum(steps)])
    moved = moved[:-1] if order == "explicit" else np.delete(moved, 1)
    known, at = network.weight, np.zeros(0, np.int64)
    if "sampled/w" in trace and len(trace["sampled/w"]):
        known, at = np.concatenate([network.weight, sampled(trace, "w")]), trace.ticks("sampled/w")
    there = np.concatenate([[0], moved[at + 1]])
    later = np.minimum(np.searchsorted(there, moved), len(there) - 1)
    sooner = np.maximum(later - 1, 0)
    nearest = np.where(moved - there[sooner] <= there[later] - moved, sooner, later)
    changed = np.r_[True, (np.diff(known, axis=0) != 0).any(1)]
    number = (np.cumsum(changed) - 1)[nearest]
    mine = slice(1, end + 1)
    return Weights(known[changed], number[mine], number[:end], moved[mine], there[nearest][mine])


def sampled(trace: Trace, name: str) -> Array:
    """Return the samples (sample, edge) of a quantity; TraceError where there are none, or replicas."""
    if f"sampled/{name}" not in trace or not len(trace[f"sampled/{name}"]):
        raise TraceError(f"analysis: the trace has no samples of {name}")
    values = trace[f"sampled/{name}"]
    if values.ndim == 3:
        raise TraceError(f"analysis: needs one replica, got {values.shape[1]}")
    return np.asarray(values, dtype=np.float64)


def stimulus(
    trace: Trace, learned: Learned, end: int, *, by_rows: bool = False
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return inputs and targets (row, columns), and which is in force at every tick before ``end``.

    Where nothing is learned a target may be missing, and is 0. ``by_rows``: beside each target stands the
    input of its row, where targets come later than inputs.
    """
    if first := int(trace.attrs.get("first_tick", 0)):
        raise TraceError(f"analysis: needs a run from its start, this trace begins at tick {first}")
    held = np.searchsorted(trace["stimulus/tick"], np.arange(end), "right") - 1
    x, y = (np.asarray(trace[f"stimulus/{name}"], dtype=np.float64) for name in ("input", "target"))
    taught = held[learned.learns[:end] & (learned.phi[:end] != 0)]
    if held.min() < 0 or not y.shape[-1] or np.isnan(y[taught]).any():
        raise TraceError("analysis: needs an input and a target at every tick")
    if x.ndim == 3:
        raise TraceError(f"analysis: needs one replica, got {x.shape[1]}")
    if late := by_rows * int(trace.attrs.get("target_delay", 0)):
        before = held[np.maximum(0, np.arange(end) - late)]
        (before, now), held = np.unique(np.stack([before, held]), axis=1, return_inverse=True)
        x, y = x[before], y[now]
    return x, np.nan_to_num(y), held.ravel()
