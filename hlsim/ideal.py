r"""What a run learned from, as its trace tells, and what exact gradients would have made of that.

Where a synapse of Hamiltonian Learning takes its local product q s, an *ideal* one takes the gradient that an
oracle gives, and fades the same way:

.. math:: \Omega(t) = (1 - \eta\, dt)\, \Omega(t - dt) + dt\, \phi\, \partial L/\partial w
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlsim import oracle
from hlsim.errors import TraceError, unknown
from hlsim.graphfiles import NodeLink
from hlsim.layout import EDGE_FIELDS, NODE_FIELDS
from hlsim.losses import LOSSES, Custom, Loss
from hlsim.network import Network
from hlsim.phi import Gate, Phi, Schedule, of_form
from hlsim.rates import ticks
from hlsim.rules import Hamiltonian
from hlsim.trace import Trace

Array = NDArray[np.float64]

# Oracles that have a gradient for every tick.
ORACLES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {"backpropagation": oracle.backpropagation, "recurrent": oracle.recurrent, "implicit": oracle.implicit}
)

THROUGH_TIME = "through_time"  # has one for a sum of ticks


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
    if rule is None:
        learning = dict(settings.get("learning", {}))
        if not settings or learning.pop("rule", "hamiltonian") != Hamiltonian.name:
            raise TraceError("analysis: the run did not learn by rule 'hamiltonian'; say by which with rule=")
        known = {name: x for name, x in learning.items() if name in ("beta", "eta", "order")}
        rule = replace(Hamiltonian(), phi=of_form(learning.get("phi", 1.0)), **known)
    phi = _phi_by_tick(trace, settings, rule.phi)
    return Learned(rule, loss_of(settings, loss), learning_ticks(trace, settings), phi)


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
        now = own.get(name, phi)
        if isinstance(now, Schedule):
            steps, values = map(np.array, zip(*((0, 0.0), *now.points), strict=True))
            at = np.searchsorted(steps, np.arange(start, stop), "right") - 1
            found[start:stop] = values[at]
        else:
            for after, value in now.changes() if isinstance(now, Gate) else [(0, now)]:
                found[min(start + after, stop) : stop] = value
    return found


def _rows(trace: Trace) -> list[tuple[str, int, int]]:
    """Return the stage of every row, its first tick and the one behind its last.

    A row that did not come to its end is taken to be of the stage of the one before.
    """
    starts = [0, *(trace["rows/tick"] + 1).tolist(), ticks(trace)]
    names = trace["rows/split"].tolist()
    return list(zip([*names, *(names[-1:] or ["train"])], starts[:-1], starts[1:], strict=True))


def network_of(trace: Trace) -> Network:
    """Return the network that a trace was recorded of, of its first seed."""
    arrays = trace.network
    fields: dict[str, Any] = {name: arrays[name] for name in (*NODE_FIELDS, *EDGE_FIELDS)}
    for name in ("group", "model", "activation"):
        fields[name] = tuple(fields[name].tolist())
    # HDF5 has no truth values of numpy's.
    fields |= {name: fields[name].astype(bool) for name in ("clock", "plastic")}
    weight = np.atleast_2d(arrays["weight0"])[:1]
    feedback = np.atleast_2d(arrays.get("feedback_weight", np.full_like(weight, np.nan)))[:1]
    parameters = {
        name.removeprefix("parameters/"): x for name, x in arrays.items() if name.startswith("parameters/")
    }
    return Network(
        label=tuple(arrays["node_label"].tolist()),
        **fields,
        parameters=parameters,
        inputs=arrays["inputs"],
        outputs=arrays["outputs"],
        twin=np.full(weight.shape[1], -1),
        weight=weight,
        feedback_weight=feedback,
        node_link=NodeLink.of_text(str(arrays["graph"])),
        seed=int(trace.attrs["seed"]),
    )


def sampled(trace: Trace, name: str) -> Array:
    """Return the samples (sample, edge) of a quantity; TraceError where there are none, or replicas."""
    if f"sampled/{name}" not in trace or not len(trace[f"sampled/{name}"]):
        raise TraceError(f"analysis: the trace has no samples of {name}")
    values = trace[f"sampled/{name}"]
    if values.ndim == 3:
        raise TraceError(f"analysis: needs one replica, got {values.shape[1]}")
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Gradients:
    """Gradients by tick: that of tick t is ``table[which[t]]``, (edge,); many ticks share one."""

    table: Array
    which: NDArray[np.int64]

    def __getitem__(self, tick: int) -> Array:
        found: Array = self.table[self.which[tick]]
        return found


def gradients(trace: Trace, network: Network, end: int, against: str, learned: Learned) -> Gradients:
    """Return the oracle's gradients of every tick before ``end``, of the loss with phi = 1.

    Raises
    ------
    TraceError
        The oracle is not known, or the trace has no input or no target at some tick.
    """
    if against == THROUGH_TIME:
        raise TraceError("analysis: through_time has no gradient of a single tick: take recurrent")
    if against not in ORACLES:
        raise TraceError(f"analysis: {unknown('oracle', against, [*ORACLES, THROUGH_TIME])}")
    order, loss, dt = learned.rule.order, learned.loss, float(trace.attrs["dt"])
    x, y, held = stimulus(trace, end)
    w, now, before = _weights(trace, network, end)
    # In the sequential order instant neurons learn at the end of a tick.
    late = network.instant[network.target] & (order == "sequential")
    if against == "recurrent":
        weights = np.where(late, w[before], w[now])
        table = oracle.recurrent(network, weights, x[held], y[held], loss, dt=dt)
        return Gradients(table, np.arange(end))
    # The same row with the same weights has the same gradient.
    kinds, which = np.unique(np.stack([held, now, before]), axis=1, return_inverse=True)
    rows, now, before = kinds
    weights = np.where(late, w[before], w[now])
    if against == "implicit":
        each = zip(weights, x[rows], y[rows], strict=True)
        table = np.array([oracle.implicit(network, *row, loss) for row in each])
    else:
        table = oracle.backpropagation(network, weights, x[rows], y[rows], loss)
    return Gradients(table, which.ravel())


def stimulus(trace: Trace, end: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return inputs and targets (row, columns), and which is in force at every tick before ``end``."""
    held = np.searchsorted(trace["stimulus/tick"], np.arange(end), "right") - 1
    x, y = (np.asarray(trace[f"stimulus/{name}"], dtype=np.float64) for name in ("input", "target"))
    if held.min() < 0 or np.isnan(y).any():
        raise TraceError("analysis: needs an input and a target at every tick")
    if x.ndim == 3:
        raise TraceError(f"analysis: needs one replica, got {x.shape[1]}")
    return x, y, held


def _weights(trace: Trace, network: Network, end: int) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return the weights that are known (sample, edge), and which hold at the end of a tick and before."""
    if "sampled/w" not in trace or not len(trace["sampled/w"]):
        return network.weight, np.zeros(end, np.int64), np.zeros(end, np.int64)
    w = np.concatenate([network.weight, sampled(trace, "w")])
    changed = np.r_[True, (np.diff(w, axis=0) != 0).any(1)]
    number = np.cumsum(changed) - 1
    ticks = trace.ticks("sampled/w")
    now, before = (number[np.searchsorted(ticks, np.arange(end) - k, "right")] for k in (0, 1))
    return w[changed], now, before


def ideals(
    trace: Trace, network: Network, learned: Learned, against: str, at: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return the ideal omega at some ticks (sample, edge), and the sums by which ideal weights came there.

    In the explicit order an ideal omega knows the gradients before its tick, and weights the omegas before.

    Raises
    ------
    TraceError
        As in ``gradients``.
    """
    end, dt = int(at[-1]) + 1, float(trace.attrs["dt"])
    if against == THROUGH_TIME:
        return _through_time(trace, network, learned, at)
    gradient = gradients(trace, network, end, against, learned)
    late, keep = int(learned.rule.order == "explicit"), 1.0 - dt * learned.rule.eta
    ideal, moved = (np.zeros(network.m) for _ in range(2))
    samples, steps, wanted = [], [], set(at.tolist())
    for t in range(end):
        if t >= late and learned.learns[t - late]:
            before, ideal = ideal, keep * ideal + dt * learned.phi[t - late] * gradient[t - late]
            moved = moved + (before if late else ideal)
        if t in wanted:
            samples.append(ideal)
            steps.append(moved)
            moved = np.zeros(network.m)
    return np.array(samples), np.array(steps)


def _through_time(
    trace: Trace, network: Network, learned: Learned, at: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return the same by backpropagation through time: each is the gradient of a sum of losses."""
    dt, late = float(trace.attrs["dt"]), int(learned.rule.order == "explicit")
    x, y, held = stimulus(trace, int(at[-1]) + 1)
    w, now, _ = _weights(trace, network, int(at[-1]) + 1)
    samples, steps, last = [], [], -1
    for tick in at:
        # What the loss of a tick is worth: in omega, and in the sum of the omegas since the last sample.
        worth, total = (np.zeros(tick + 1) for _ in range(2))
        for t in range(tick + 1):
            if t >= late and learned.learns[t - late]:
                before = worth.copy()
                worth *= 1.0 - dt * learned.rule.eta
                worth[t - late] += dt * learned.phi[t - late]
                total += (t > last) * (before if late else worth)
        rows = held[: tick + 1]
        args = (network, w[now[tick]], x[rows], y[rows], learned.loss)
        samples.append(oracle.through_time(*args, dt=dt, worth=worth))
        steps.append(oracle.through_time(*args, dt=dt, worth=total))
        last = tick
    return np.array(samples), np.array(steps)
