"""What a trace says: curves, rates and traffic, as xarray objects with named dimensions and units.

Every function takes an open ``hlsim.trace.Trace``; of a run that goes on or was cut off, it tells what there
is.
A dimension ``replica`` is always there, of size 1 where the run had one replica. Ticks are coordinates.
"""

import numpy as np
import xarray as xr

from hlsim.layout import UNKNOWN_COUNT
from hlsim.trace import Trace

PART = 1_000_000  # events that are read at a time: a trace may hold more than the memory does
KINDS = ("state", "costate", "update")  # meaning of /events/kind 0, 1, 2
# Of what a run tells at its end: the unit of each number.
UNITS = {
    "ticks": "ticks",
    "nodes": "nodes",
    "synapses": "synapses",
    "replicas": "replicas",
    "state_messages": "messages",
    "costate_messages": "messages",
    "numbers": "numbers",
    "messages_per_tick": "messages/tick",
    "overtaken": "messages",
    "node_updates": "updates",
    "loss": "1",
    "wall_s": "s",
}


def learning_curve(trace: Trace, window: int | None = None) -> xr.Dataset:
    """Average loss and accuracy over successive windows of rows; a window never spans two stages.

    Parameters
    ----------
    window : int, optional
        Rows a window; a stage's last one holds what is left. By default a twentieth of the longest stage.

    Returns
    -------
    Dataset over (window, replica)
        ``loss``: mean, NaN without a target; ``accuracy``: share of labelled rows told right, NaN without
        labels. Coordinates over window: ``tick`` at its last row, ``stage``, ``rows``.
    """
    rows = _rows(trace)
    starts = _stage_starts(rows.stage.values)
    lengths = np.diff([*starts, rows.sizes["row"]])
    size = window or max(1, int(max(lengths, default=1)) // 20)
    cuts = np.array(
        [s + k for s, n in zip(starts, lengths, strict=True) for k in range(0, n, size)], np.int64
    )
    counts = np.diff([*cuts, rows.sizes["row"]]) if cuts.size else cuts
    last = cuts + counts - 1
    right, labelled = _hits(rows)
    with np.errstate(invalid="ignore"):
        accuracy = _sums(right, cuts) / _sums(labelled, cuts)
    loss = _sums(rows.loss.values, cuts) / counts[:, None]
    return xr.Dataset(
        {
            "loss": (("window", "replica"), loss, {"units": "1", "long_name": "mean loss of a row"}),
            "accuracy": (("window", "replica"), accuracy, {"units": "1", "long_name": "share told right"}),
        },
        coords={
            "tick": ("window", rows.tick.values[last], {"units": "ticks"}),
            "stage": ("window", rows.stage.values[last]),
            "rows": ("window", counts, {"units": "rows"}),
        },
    )


def accuracy(trace: Trace) -> xr.Dataset:
    """Return the share of labelled rows that were told right, by stage.

    Returns
    -------
    Dataset over (stage, replica)
        ``accuracy`` p, ``standard_error`` of n independent rows, sqrt(p (1 - p)/n), and ``rows``, n. The
        replicas of a minibatch are one network, whose rows count together.
    """
    rows = _rows(trace)
    names = list(dict.fromkeys(rows.stage.values.tolist()))
    right, labelled = _hits(rows)
    of_stage = (np.array(names, str)[:, None] == rows.stage.values).astype(float)
    n, told = of_stage @ labelled, of_stage @ right
    if _is_minibatch(trace):
        n, told = (x.sum(1, keepdims=True) for x in (n, told))
    with np.errstate(invalid="ignore"):
        p = told / n
        error = np.sqrt(p * (1.0 - p) / n)
    over = ("stage", "replica")
    return xr.Dataset(
        {
            "accuracy": (over, p, {"units": "1", "long_name": "share of rows told right"}),
            "standard_error": (over, error, {"units": "1", "long_name": "binomial standard error"}),
            "rows": (over, n.astype(np.int64), {"units": "rows"}),
        },
        coords={"stage": names},
    )


def message_rates(trace: Trace, bins: int = 100) -> xr.DataArray:
    """Return messages (and updates of neurons) per tick, all replicas together.

    From /events, by tick of arrival, where the run recorded them; otherwise the means over the whole run.

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
    if not trace.h5["events/event"].shape[0]:
        return _mean_rates(trace, end)
    width = max(1, -(-end // bins))
    first = np.arange(0, end, width)
    widths = np.minimum(width, end - first)
    counts = _event_counts(trace, width, first.size)
    found = np.flatnonzero(counts.any(axis=0))
    return _rates(counts[:, found] / widths[:, None], first, widths, [KINDS[k] for k in found])


def _event_counts(trace: Trace, width: int, bins: int) -> np.ndarray:
    """Return how many events of each kind fall into bins of ``width`` ticks (bins, kinds); reads in parts."""
    total = trace.h5["events/event"].shape[0]
    counts = np.zeros(bins * len(KINDS), np.int64)
    for start in range(0, total, PART):
        part = slice(start, min(start + PART, total))
        cell = trace.h5["events/tick"][part] // width * len(KINDS) + trace.h5["events/kind"][part]
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
    names = trace["network/group_name"]
    data = {}
    for kind in KINDS[:2]:
        counts = trace[f"network/traffic_{kind}"].astype(float)
        known = np.where(counts == UNKNOWN_COUNT, np.nan, counts)
        data[kind] = (("source", "target"), known, {"units": "messages"})
    found = xr.Dataset(data, coords={"source": names, "target": names})
    order = groups(trace)
    return found.sel(source=order, target=order)


def groups(trace: Trace) -> list[str]:
    """Return the names of the locality groups, those nearest to the inputs first; equal ones by name.

    The distance of a group is the number of synapses to its nearest node; what no input reaches comes last.
    """
    hops = _hops(trace)
    group = trace["network/group"]
    distance = {name: hops[group == name].min() for name in trace["network/group_name"]}
    return [str(name) for name in sorted(distance, key=lambda name: (distance[name], name))]


def _hops(trace: Trace) -> np.ndarray:
    """Return the synapses on the shortest way from an input to every node (n,); n where there is no way."""
    source, target = trace["network/source"], trace["network/target"]
    source, target = source[source >= 0], target[source >= 0]
    hops = np.full(trace["network/node_label"].size, trace["network/node_label"].size)
    front = np.zeros(hops.size, bool)
    front[trace["network/inputs"]] = True
    depth = 0
    while front.any():
        hops[front] = depth
        depth += 1
        reached = np.zeros(hops.size, bool)
        reached[target[front[source]]] = True
        front = reached & (hops == hops.size)
    return hops


def summary(trace: Trace) -> xr.Dataset:
    """Return the run in single numbers; what a run that was cut off could not tell is left out.

    Returns
    -------
    Dataset of scalars, each with ``units``
        As in ``UNITS``. Counts of messages and updates are over all replicas.
    """
    told = trace.summary
    values = {
        "nodes": trace["network/node_label"].size,
        "synapses": int((trace["network/source"] >= 0).sum()),
        "replicas": _replicas(trace),
        **{name: told[name] for name in UNITS if told.get(name) is not None},
        "ticks": ticks(trace),
    }
    if "state_messages" in values and values["ticks"]:
        sent = values["state_messages"] + values.get("costate_messages", 0)
        values["messages_per_tick"] = sent / values["ticks"]
    data = {
        name: ((), np.mean(values[name]) if name == "loss" else values[name], {"units": unit})
        for name, unit in UNITS.items()
        if name in values
    }
    return xr.Dataset(data, attrs={"status": trace.status})


def ticks(trace: Trace) -> int:
    """Return how many ticks a run covered, as far as its trace tells."""
    if "ticks" in trace.summary:
        return int(trace.summary["ticks"])
    found = [trace.h5[name] for name in trace.names() if name.rpartition("/")[2].startswith("tick")]
    return max((int(column[-1]) + 1 for column in found if column.shape[0]), default=0)


def _replicas(trace: Trace) -> int:
    return trace["replica"].size if "replica" in trace else 1


def _is_minibatch(trace: Trace) -> bool:
    return _replicas(trace) > 1 and trace["network/weight0"].ndim == 1


def _rows(trace: Trace) -> xr.Dataset:
    """Return /rows over (row, replica)."""
    stage = trace["rows/split"]
    shape = (stage.size, _replicas(trace))
    wide = {name: trace[f"rows/{name}"].reshape(shape) for name in ("label", "prediction", "loss")}
    return xr.Dataset(
        {name: (("row", "replica"), values) for name, values in wide.items()},
        coords={"tick": ("row", trace["rows/tick"]), "stage": ("row", stage)},
    )


def _hits(rows: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return 1.0 where a row was told right, and where it has a label and was told at all: (row, replica)."""
    labelled = (rows.label.values >= 0) & (rows.prediction.values >= 0)
    return (labelled & (rows.label.values == rows.prediction.values)).astype(float), labelled.astype(float)


def _stage_starts(stage: np.ndarray) -> np.ndarray:
    """Return the first row of every run of rows of one stage."""
    return np.flatnonzero(np.append(True, stage[1:] != stage[:-1])[: stage.size])


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts, axis=0) if starts.size else np.zeros((0, values.shape[1]))


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
