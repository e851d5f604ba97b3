r"""How the weight costates that a run recorded compare with those that exact gradients would have made.

Where a synapse of Hamiltonian Learning takes its local product q s, an *ideal* one takes the gradient that an
oracle gives, and fades the same way:

.. math:: \Omega(t) = (1 - \eta\, dt)\, \Omega(t - dt) + dt\, \partial L/\partial w

The cosine between omega and its ideal tells whether learning goes downhill, the ratio of their lengths how
far. With :math:`\eta = 0` they are sums over the whole run, with :math:`\eta = 1/dt` the gradient of a tick.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim import oracle
from hlsim.errors import TraceError, unknown
from hlsim.graphfiles import NodeLink
from hlsim.layout import EDGE_FIELDS, NODE_FIELDS
from hlsim.losses import LOSSES, Loss
from hlsim.network import Network
from hlsim.neurons import MODELS
from hlsim.rules import Hamiltonian
from hlsim.trace import Trace

Array = NDArray[np.float64]

# Oracles that have a gradient for every tick.
ORACLES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {"backpropagation": oracle.backpropagation, "recurrent": oracle.recurrent}
)


def alignment(
    trace: Trace,
    *,
    against: str = "backpropagation",
    change: bool = False,
    rule: Hamiltonian | None = None,
    loss: str | Loss | None = None,
) -> xr.Dataset:
    """Compare the omega that was sampled with the ideal one, over time and by group.

    Parameters
    ----------
    trace : Trace
        Of a run with the rule ``hamiltonian`` and one replica, that sampled omega, and w where it moved;
        between two samples of w the earlier one counts.
    against : str
        "backpropagation" of the network without delays, or "recurrent", real-time recurrent learning through
        its delays (for small networks).
    change : bool
        Compare what omega and its ideal changed by since the sample before, instead of what they are.
    rule, loss
        What the run learned by; by default what the experiment in the trace says.

    Returns
    -------
    Dataset over (tick, group)
        ``cosine`` and ``norm_ratio`` of omega to the ideal, of the synapses of a group's neurons and of all
        (group "all"); NaN where one of them is 0.

    Raises
    ------
    TraceError
        The trace does not tell enough, with what is missing.
    """
    if against not in ORACLES:
        raise TraceError(f"alignment: {unknown('oracle', against, ORACLES)}")
    rule, loss_ = _learned_by(trace, rule, loss)
    network, dt = network_of(trace), float(trace.attrs["dt"])
    omega, ticks = _sampled(trace, "omega"), trace.ticks("sampled/omega")
    gradient = _gradients(trace, network, int(ticks[-1]) + 1, against, rule.order, loss_, dt)
    ideal = _faded(gradient, rule, dt)[ticks]
    if change:
        omega, ideal = (np.diff(x, axis=0, prepend=np.zeros((1, network.m))) for x in (omega, ideal))
    members = _members(network)
    cosine, ratio = (np.full((len(ticks), len(members)), np.nan) for _ in range(2))
    for k, edges in enumerate(members.values()):
        mine, exact = omega[:, edges], ideal[:, edges]
        lengths = np.linalg.norm(mine, axis=1), np.linalg.norm(exact, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine[:, k] = (mine * exact).sum(1) / (lengths[0] * lengths[1])
            ratio[:, k] = np.where(lengths[0] > 0, lengths[0] / lengths[1], np.nan)
    over = ("tick", "group")
    return xr.Dataset(
        {
            "cosine": (over, cosine, {"units": "1", "long_name": "cosine of omega and its ideal"}),
            "norm_ratio": (over, ratio, {"units": "1", "long_name": "length of omega over its ideal's"}),
        },
        coords={"tick": ("tick", ticks, {"units": "ticks"}), "group": list(members)},
        attrs={"oracle": against},
    )


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


def _learned_by(trace: Trace, rule: Hamiltonian | None, loss: str | Loss | None) -> tuple[Hamiltonian, Loss]:
    settings = tomllib.loads(str(trace.attrs["experiment"]))
    if rule is None:
        learning = dict(settings.get("learning", {}))
        if not settings or learning.pop("rule", "hamiltonian") != Hamiltonian.name:
            raise TraceError("alignment: the trace does not name a rule 'hamiltonian'; say which with rule=")
        known = {name: x for name, x in learning.items() if name in ("eta", "order")}
        rule = replace(Hamiltonian(), **known)
    if isinstance(loss, Loss):
        return rule, loss
    kind = loss or settings.get("loss", {}).get("kind", "squared_error")
    if kind not in LOSSES:
        raise TraceError(f"alignment: {unknown('loss', kind, LOSSES)}")
    return rule, LOSSES[kind]


def _sampled(trace: Trace, name: str) -> Array:
    if f"sampled/{name}" not in trace or not len(trace[f"sampled/{name}"]):
        raise TraceError(f"alignment: the trace has no samples of {name}")
    values = trace[f"sampled/{name}"]
    if values.ndim == 3:
        raise TraceError(f"alignment: needs one replica, got {values.shape[1]}")
    return np.asarray(values, dtype=np.float64)


def _gradients(
    trace: Trace, network: Network, end: int, against: str, order: str, loss: Loss, dt: float
) -> Array:
    """Return the oracle's gradient (tick, edge) of every tick before ``end``."""
    held = np.searchsorted(trace["stimulus/tick"], np.arange(end), "right") - 1
    x, y = (np.asarray(trace[f"stimulus/{name}"], dtype=np.float64) for name in ("input", "target"))
    if held.min() < 0 or np.isnan(y).any():
        raise TraceError("alignment: needs an input and a target at every tick")
    if x.ndim == 3:
        raise TraceError(f"alignment: needs one replica, got {x.shape[1]}")
    w, now, before = _weights(trace, network, end)
    # In the sequential order instant neurons learn at the end of a tick.
    late = np.array([MODELS[network.model[i]].instant for i in network.target]) & (order == "sequential")
    if against == "recurrent":
        return oracle.recurrent(network, np.where(late, w[before], w[now]), x[held], y[held], loss, dt=dt)
    # The same row with the same weights has the same gradient.
    kinds, which = np.unique(np.stack([held, now, before]), axis=1, return_inverse=True)
    rows, now, before = kinds
    weights = np.where(late, w[before], w[now])
    return oracle.backpropagation(network, weights, x[rows], y[rows], loss)[which]


def _weights(trace: Trace, network: Network, end: int) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return the weights that are known (sample, edge), and which hold at the end of a tick and before."""
    if "sampled/w" not in trace or not len(trace["sampled/w"]):
        return network.weight, np.zeros(end, np.int64), np.zeros(end, np.int64)
    w = np.concatenate([network.weight, _sampled(trace, "w")])
    changed = np.r_[True, (np.diff(w, axis=0) != 0).any(1)]
    number = np.cumsum(changed) - 1
    ticks = trace.ticks("sampled/w")
    now, before = (number[np.searchsorted(ticks, np.arange(end) - k, "right")] for k in (0, 1))
    return w[changed], now, before


def _faded(gradient: Array, rule: Hamiltonian, dt: float) -> Array:
    """Return the ideal omega by tick: in the explicit order it knows the gradients before that tick."""
    ideal, keep = np.zeros_like(gradient), 1.0 - dt * rule.eta
    late = int(rule.order == "explicit")
    for t in range(len(gradient)):
        before = ideal[t - 1] if t else 0.0
        ideal[t] = keep * before + (dt * gradient[t - late] if t >= late else 0.0)
    return ideal


def _members(network: Network) -> dict[str, NDArray[np.int64]]:
    """Return the plastic synapses onto the neurons of each group, and all."""
    group = np.array(network.group)[network.target]
    names = sorted(set(group[network.plastic].tolist()) - {""})
    found = {name: np.flatnonzero(network.plastic & (group == name)) for name in names}
    return {**found, "all": np.flatnonzero(network.plastic)}
