"""How many messages went when and from where to where, as a trace counted them."""

import numpy as np
import xarray as xr

from hlsim.trace import Trace
from hlsim.trace.layout import UNKNOWN_COUNT
from hlsim.trace.reader import ticks

PART = 1_000_000  # events that are read at a time: a trace may hold more than the memory does
KINDS = ("state", "costate", "update")  # meaning of /events/kind 0, 1, 2


def message_rates(trace: Trace, bins: int = 100) -> xr.DataArray:
    """Return messages (and updates of neurons) per tick, all replicas together.

    From /events, by tick of arrival, where the run recorded them, from the first tick of the trace on;
    otherwise the means over the whole run, with the calls before.

    Parameters
    ----------
    bins : int
        Bins of equal width, in whole ticks, at most.

    Returns
    -------
    DataArray over (bin, kind)
        kind is "state", "costate" or "update", as far as it was recorded. Coordinates over bin: ``tick``, its
        first, and ``width``.
    """
    end = ticks(trace)
    if not trace.rows("events/event"):
        return _mean_rates(trace, end)
    start = int(trace.attrs.get("first_tick", 0))
    width = max(1, -(-(end - start) // bins))
    first = np.arange(start, end, width)
    widths = np.minimum(width, end - first)
    counts = _event_counts(trace, start, width, first.size)
    found = np.flatnonzero(counts.any(axis=0))
    return _rates(counts[:, found] / widths[:, None], first, widths, [KINDS[k] for k in found])


def _event_counts(trace: Trace, first: int, width: int, bins: int) -> np.ndarray:
    """Return how many events of each kind fall into bins of ``width`` ticks (bins, kinds); reads in parts."""
    total = trace.rows("events/event")
    counts = np.zeros(bins * len(KINDS), np.int64)
    for start in range(0, total, PART):
        part = slice(start, min(start + PART, total))
        at = (trace.part("events/tick", part) - first) // width
        cell = at * len(KINDS) + trace.part("events/kind", part)
        counts += np.bincount(cell, minlength=counts.size)[: counts.size]
    return counts.reshape(bins, len(KINDS))


def traffic(trace: Trace) -> xr.Dataset:
    """Return how many messages went from locality group to locality group, all replicas together.

    Returns
    -------
    Dataset over (source, target)
        ``state`` and ``costate``, from the group that sends to the one that receives; NaN where the run was
        cut off before it counted. Neurons without a group are in the group "".
    """
    names, data = trace["network/group_name"], {}
    origin, goal, sent = traffic_by_pair(trace)
    for kind, counts in sent.items():
        # Of a run that was cut off no count is known, not that of groups which no edge joins either.
        matrix = np.full((len(names),) * 2, 0.0 if np.isfinite(counts).all() else np.nan)
        matrix[origin, goal] = counts
        data[kind] = (("source", "target"), matrix, {"units": "messages"})
    found = xr.Dataset(data, coords={"source": names, "target": names})
    order = groups(trace)
    return found.sel(source=order, target=order)


def traffic_by_pair(trace: Trace) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return groups that send and that receive (pair,), as indices, and messages by kind; NaN: not known."""
    sent = {kind: trace[f"network/traffic_{kind}"].astype(float) for kind in KINDS[:2]}
    origin, goal = (trace[f"network/traffic_{end}"] for end in ("from", "to"))
    known = {kind: np.where(counts == UNKNOWN_COUNT, np.nan, counts) for kind, counts in sent.items()}
    return origin, goal, known


def groups(trace: Trace) -> list[str]:
    """Return the names of the locality groups, those nearest to the inputs first; equal ones by name.

    The distance of a group is the number of synapses to its nearest node; what no input reaches comes last.
    """
    hops = _hops(trace)
    distance: dict[str, int] = {}
    for name, hop in zip(trace["network/group"].tolist(), hops.tolist(), strict=True):
        distance[name] = min(hop, distance.get(name, hop))
    return [str(name) for name in sorted(distance, key=lambda name: (distance[name], name))]


def _hops(trace: Trace) -> np.ndarray:
    """Return the synapses on the shortest way from an input to every node (n,); n where there is no way."""
    # Imported here: scipy takes a third of a second, and running a network does without.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    source, target = trace["network/source"], trace["network/target"]
    source, target = source[source >= 0], target[source >= 0]
    n = trace["network/node_label"].size
    edges = csr_array((np.ones(source.size), (source, target)), shape=(n, n))
    hops = dijkstra(edges, indices=trace["network/inputs"], unweighted=True, min_only=True)
    return np.where(np.isinf(hops), n, hops).astype(np.int64)


def _mean_rates(trace: Trace, end: int) -> xr.DataArray:
    totals = dict(zip(KINDS, ("state_messages", "costate_messages", "node_updates"), strict=True))
    kinds = [kind for kind, name in totals.items() if name in trace.summary and end]
    rates = np.array([[trace.summary[totals[kind]] / end for kind in kinds]])
    return _rates(rates, np.zeros(1, np.int64), np.array([end]), kinds)


def _rates(values: np.ndarray, first: np.ndarray, widths: np.ndarray, kinds: list[str]) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("bin", "kind"),
        coords={
            "tick": ("bin", first, {"units": "ticks"}),
            "width": ("bin", widths, {"units": "ticks"}),
            "kind": kinds,
        },
        name="rate",
        attrs={"units": "1/tick", "long_name": "messages or updates per tick"},
    )
