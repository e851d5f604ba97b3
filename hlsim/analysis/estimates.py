"""How good the gradients are that equilibrium propagation estimated: beside those of the fixed points.

The rules compare what a synapse meets in phases; at the end of a row each has an estimate of the gradient of
the loss at the free fixed point. The true one is that of the implicit function, by autograd. A symmetric
coupling is one weight on two synapses: its gradient is that of both, and each synapse has all of it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.analysis import oracle
from hlsim.analysis.alignment import AGE, groups_of_edges, likeness
from hlsim.analysis.learned import Array, is_still, learning_ticks, loss_of, settings_of, weights
from hlsim.errors import TraceError, unknown
from hlsim.models.losses import Loss
from hlsim.models.rules import RULES, Equilibrium, Rule
from hlsim.topology.network import Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of
from hlsim.trace.reader import ticks

FIELD = "sampled/gradient"


def estimates(trace: Trace, *, loss: str | Loss | None = None) -> xr.Dataset:
    """Compare the gradients that a rule with phases estimated with those at the fixed points.

    Parameters
    ----------
    trace : Trace
        That sampled ``gradient``, and ``w`` where weights moved; between two samples of w the nearest one
        counts. One ensemble member; a minibatch has the mean over its rows.
    loss : str or Loss, optional
        By default that of the experiment in the trace.

    Returns
    -------
    Dataset over (sample, group)
        ``cosine``, ``norm_ratio`` and ``relative_error``, the length of the difference over that of the true
        gradient, of the synapses of a group and of all. ``age`` (sample,): how many steps of the weights lie
        between the start of the row and the weights of the true gradient; 0: it is exact. Coordinate ``tick``
        over sample: first tick of the row. Rows that were not learned from have none.

    Raises
    ------
    TraceError
        The trace has no estimates, or of several members.
    TopologyError
        A model is not known to the oracle, or a network has no fixed point.
    """
    if FIELD not in trace or not len(trace[FIELD]):
        raise TraceError("estimates: the trace has no samples of gradient")
    if trace[FIELD].ndim > 2:
        raise TraceError("estimates: needs one member of an ensemble")
    settings = settings_of(trace)
    network, chosen = network_of(trace), loss_of(settings, loss)
    samples, starts = _rows(trace, settings)
    if not samples.size:
        raise TraceError("estimates: no sample of gradient is of a row that was learned from")
    mine = np.asarray(trace[FIELD], np.float64)[samples]
    known = weights(trace, network, _steps(trace, network, settings), ticks(trace))
    true = np.array([_true(trace, network, int(t), known.table[known.now[t]], chosen) for t in starts])
    members = groups_of_edges(network)
    parts = [likeness(mine[:, edges], true[:, edges]) for edges in members.values()]
    off = [np.linalg.norm(mine[:, edges] - true[:, edges], axis=1) for edges in members.values()]
    lengths = [np.linalg.norm(true[:, edges], axis=1) for edges in members.values()]
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.stack(off, 1) / np.stack(lengths, 1)
    over, one = ("sample", "group"), {"units": "1"}
    return xr.Dataset(
        {
            "cosine": (over, np.stack([cosine for cosine, _ in parts], 1), one),
            "norm_ratio": (over, np.stack([ratio for _, ratio in parts], 1), one),
            "relative_error": (over, relative, one),
            "age": ("sample", known.away[starts], AGE),
        },
        coords={"tick": ("sample", starts, {"units": "ticks"}), "group": list(members)},
        attrs={"oracle": "implicit"},
    )


def _rows(trace: Trace, settings: Mapping[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first sample behind each row that was learned from, and the first tick of that row.

    An estimate stands until the next row ends; one that grows while the loss pulls is whole only at the tick
    behind the row.
    """
    starts, at = trace["stimulus/tick"], trace.ticks(FIELD)
    learns = learning_ticks(trace)
    ends = np.append(starts[1:], ticks(trace) - 1)
    # What the last phase of a row makes of it is there at the tick after it.
    sample = np.searchsorted(at, ends)
    following = ends + 1 if _rule(settings).correlates else np.append(ends[1:], np.iinfo(np.int64).max)
    has = (sample < len(at)) & learns[np.minimum(starts, len(learns) - 1)]
    has[has] = at[sample[has]] < following[has]
    return sample[has], starts[has]


def _rule(settings: Mapping[str, Any]) -> type[Rule]:
    name = settings.get("learning", {}).get("rule", Equilibrium.name)
    if name not in RULES:
        raise TraceError(f"{unknown('rule', name, RULES)}; one of your own is registered first")
    return RULES[name]


def _steps(trace: Trace, network: Network, settings: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return from which ticks to the next weights step: at ends of rows; of one that correlates, always."""
    told, learns = settings.get("learning", {}), learning_ticks(trace)
    rate = Equilibrium() if "beta" not in told else Equilibrium(beta=told["beta"])
    if is_still(network, rate):
        return np.zeros_like(learns)
    if _rule(settings).correlates:
        return learns
    ends = np.append(trace["stimulus/tick"][1:], len(learns) - 1) - 1
    found = np.zeros_like(learns)
    found[ends] = learns[ends]
    return found


def _true(trace: Trace, network: Network, start: int, w: Array, loss: Loss) -> Array:
    row = int(np.searchsorted(trace["stimulus/tick"], start))
    x, y = (np.atleast_2d(trace[f"stimulus/{name}"][row]).astype(np.float64) for name in ("input", "target"))
    each = [oracle.implicit(network, w, x[k], y[k], loss) for k in range(len(x))]
    found = np.mean(each, axis=0)
    twin = _twins(network)
    return np.where(twin >= 0, found + found[twin], found)


def _twins(network: Network) -> NDArray[np.int64]:
    """Return the synapse that goes the other way with the same weight at the start; -1: none."""
    ends = zip(network.source.tolist(), network.target.tolist(), network.weight[0].tolist(), strict=True)
    places = {key: edge for edge, key in enumerate(ends)}
    return np.array([places.get((target, source, w), -1) for source, target, w in places], np.int64)
