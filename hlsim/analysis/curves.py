"""How a run went, as its trace tells: losses and accuracies over time, and what it was in single numbers."""

import numpy as np
import xarray as xr

from hlsim.trace import Trace
from hlsim.trace.reader import ticks

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
    "lost": "messages",
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
