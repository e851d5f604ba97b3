"""How a run went, as its trace tells: losses and accuracies over time, and what it was in single numbers."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from hlsim.trace import Trace
from hlsim.trace.reader import ticks

TOLD = "share of rows told right before their target counts"
TAUGHT = "share of rows told right at their last tick, when their target counts"
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
    "replaced": "messages",
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
        ``loss``: mean, NaN without a target; ``accuracy``: share of labelled rows told right before their own
        target counted, NaN without labels or where nothing was told by then; ``taught``: share told
        right at the last tick of the row, NaN where that is the same. Coordinates over window:
        ``tick`` at its last row, ``stage``, ``rows``.
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
    accuracy, taught = (_share(rows, name, lambda x: _sums(x, cuts))[0] for name in ("told", "prediction"))
    loss = _sums(rows.loss.values, cuts) / counts[:, None]
    return xr.Dataset(
        {
            "loss": (("window", "replica"), loss, {"units": "1", "long_name": "mean loss of a row"}),
            "accuracy": (("window", "replica"), accuracy, {"units": "1", "long_name": TOLD}),
            "taught": (
                ("window", "replica"),
                _where_taught(rows, taught),
                {"units": "1", "long_name": TAUGHT},
            ),
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
        ``accuracy`` p, of what was told before a row's own target counted; ``standard_error`` of n
        independent rows, sqrt(p (1 - p)/n), and ``rows``, n. 0 rows where outputs hear of a row only
        when its target counts: nothing can be told of it in between. ``taught``: the same at the last
        tick of each row, when the network had felt its target; NaN where that is no other number. The
        replicas of a minibatch are one network, whose rows count together.
    """
    rows = _rows(trace)
    names = list(dict.fromkeys(rows.stage.values.tolist()))
    of_stage = (np.array(names, str)[:, None] == rows.stage.values).astype(float)

    def summed(values: np.ndarray) -> np.ndarray:
        found = of_stage @ values
        return found.sum(1, keepdims=True) if _is_minibatch(trace) else found

    p, n = _share(rows, "told", summed)
    taught, _ = _share(rows, "prediction", summed)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(p * (1.0 - p) / n)
    over = ("stage", "replica")
    return xr.Dataset(
        {
            "accuracy": (over, p, {"units": "1", "long_name": TOLD}),
            "taught": (over, _where_taught(rows, taught), {"units": "1", "long_name": TAUGHT}),
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
    wide = {name: trace[f"rows/{name}"].reshape(shape) for name in ("label", "prediction", "told", "loss")}
    return xr.Dataset(
        {name: (("row", "replica"), values) for name, values in wide.items()},
        coords={"tick": ("row", trace["rows/tick"]), "stage": ("row", stage)},
    )


def _share(
    rows: xr.Dataset, name: str, summed: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of these predictions that are right, and of how many: sums over rows."""
    label, prediction = rows.label.values, rows[name].values
    known = (label >= 0) & (prediction >= 0)
    right, n = (summed(x.astype(float)) for x in (known & (label == prediction), known))
    with np.errstate(invalid="ignore"):
        return right / n, n


def _where_taught(rows: xr.Dataset, share: np.ndarray) -> np.ndarray:
    """Return the shares at last ticks; NaN where no row was told otherwise before its target counted."""
    return share if (rows.told != rows.prediction).any() else np.full_like(share, np.nan)


def _stage_starts(stage: np.ndarray) -> np.ndarray:
    """Return the first row of every run of rows of one stage."""
    return np.flatnonzero(np.append(True, stage[1:] != stage[:-1])[: stage.size])


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts, axis=0) if starts.size else np.zeros((0, values.shape[1]))
