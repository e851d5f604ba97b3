"""What a run needed from elsewhere: messages, barriers, weights of others, memory; and what that costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.analysis import hardware as profiles
from hlsim.analysis.ages import ages
from hlsim.analysis.hardware import PARTS, Hardware
from hlsim.analysis.learned import learning_ticks, settings_of
from hlsim.analysis.messages import KINDS, traffic_by_pair
from hlsim.topology.network import SYMMETRIC, Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of
from hlsim.trace.reader import ticks

MESSAGES = KINDS[:2]
UPDATE = 2  # kind of an event


def locality(trace: Trace) -> xr.Dataset:
    """Return what crossed the network, who had to wait for whom, and what had to be kept.

    Returns
    -------
    Dataset
        Over kind ("state", "costate"): ``messages``, and ``bytes`` in them without any address;
        ``per_synapse`` and ``per_neuron``, messages a synapse or neuron and tick of each replica; ``across``,
        the share that went from a group to another. NaN where the run was cut off before it was counted.
        Over barrier: ``barriers``, how often somebody had to wait for several others that no synapse joins to
        it: "softmax", a loss that mixes all outputs, at every tick; "phase", ends of phases of all the
        network; "minibatch", means over replicas, at every tick that learns.
        ``weight_reads``: how often a costate was sent back through the weight of the synapse that states go
        through, which is kept at its other end; NaN where only some feedback is such and no messages were
        recorded.
        Over node: ``kept_by_backpropagation``, states of a neuron that must be kept until their errors come
        back, in ticks; endless, NaN, in a cycle. The rules here keep one, the present state, and
        ``kept_for_lags``: slopes, costates that wait, and states for the synapses that ask for them.
    """
    network, end = network_of(trace), ticks(trace)
    origin, goal, sent = traffic_by_pair(trace)
    replicas = trace["replica"].size if "replica" in trace else 1
    synapses = int((network.source >= 0).sum()) * end * replicas
    neurons = int((~network.is_input).sum()) * end * replicas
    total = np.array([sent[kind].sum() for kind in MESSAGES])
    inside = np.array([sent[kind][origin == goal].sum() for kind in MESSAGES])
    data: dict[str, Any]
    with np.errstate(invalid="ignore", divide="ignore"):
        data = {
            "messages": ("kind", total, {"units": "messages"}),
            "bytes": ("kind", total * _size(trace), {"units": "bytes"}),
            "per_synapse": ("kind", total / np.float64(synapses), {"units": "1/tick"}),
            "per_neuron": ("kind", total / np.float64(neurons), {"units": "1/tick"}),
            "across": ("kind", (total - inside) / total, {"units": "1"}),
        }
    barriers = _barriers(trace, end)
    data["barriers"] = ("barrier", np.array(list(barriers.values())), {"units": "barriers"})
    reads = _weight_reads(trace, network, float(total[1]))
    data["weight_reads"] = ((), reads, {"units": "reads"})
    data["kept_by_backpropagation"] = ("node", _kept(network), {"units": "ticks"})
    data["kept_for_lags"] = ("node", network.kept, {"units": "numbers"})
    coordinates = {"kind": list(MESSAGES), "barrier": list(barriers), "node": list(network.label)}
    return xr.Dataset(data, coords=coordinates)


def cost(trace: Trace, hardware: str | Hardware = "loihi") -> xr.Dataset:
    """Return what a run would cost on some hardware, by what it did: messages, operations, bytes.

    Parameters
    ----------
    hardware : str or Hardware
        A profile, see ``hlsim.analysis.hardware.PROFILES``, or numbers of one's own.

    Returns
    -------
    Dataset over (part,)
        ``count``; ``energy`` in J; ``time`` in s, if one thing came after another: what works at once takes
        less. part: as in ``hlsim.analysis.hardware.PARTS``; messages are counted a synapse, also where
        hardware would send one for many. NaN where the trace does not tell. Attribute ``caveat``: why these
        are not the costs of the run, where messages of the hardware carry less than those of the run.
    """
    chosen = profiles.load(hardware) if isinstance(hardware, str) else hardware
    network, found = network_of(trace), locality(trace)
    messages = found.messages.sum(skipna=False).item()
    counts = {
        "message": messages,
        "boundary": (found.messages * found.across.fillna(0.0)).sum(skipna=False).item(),
        "synapse": messages,
        "neuron": float(trace.summary.get("node_updates", np.nan)),
        "learning": _synapse_updates(trace, network),
        "byte": found.bytes.sum(skipna=False).item(),
    }
    count = np.array([counts[part] for part in PARTS])
    data: dict[str, Any] = {"count": ("part", count, {"units": "1"})}
    for name, unit in (("energy", "J"), ("time", "s")):
        price = np.array([getattr(chosen, name).get(part, 0.0) for part in PARTS])
        data[name] = ("part", np.where(price > 0.0, count * price, 0.0), {"units": unit})
    return xr.Dataset(
        data,
        coords={"part": list(PARTS)},
        attrs={
            "hardware": chosen.name,
            "source": chosen.source,
            "caveat": chosen.caveat(8 * _size(trace)),
        },
    )


def _size(trace: Trace) -> int:
    """Return the bytes of a number."""
    return np.dtype(str(trace.attrs["dtype"])).itemsize


def _barriers(trace: Trace, end: int) -> dict[str, int]:
    settings = settings_of(trace)
    mixes = settings.get("loss", {}).get("kind") == "cross_entropy"
    phases = trace["phases/tick"].size if "phases/tick" in trace else 0
    minibatch = "replica" in trace and trace["network/weight0"].ndim == 1
    learns = int(learning_ticks(trace).sum())
    return {"softmax": end * mixes, "phase": phases, "minibatch": learns * minibatch}


def _weight_reads(trace: Trace, network: Network, costates: float) -> float:
    carries = network.has_feedback
    through = carries & (network.feedback == SYMMETRIC)
    if costates == 0.0 or not through.any():
        return 0.0 * costates
    if np.array_equal(through, carries):
        return costates
    back = trace["events/kind"] == KINDS.index("costate")
    return float(through[trace["events/edge"][back]].sum()) if back.any() else np.nan


def _kept(network: Network) -> NDArray[np.float64]:
    """Return how many ticks the oldest error is behind the states of each node (n,), if none waits."""
    back = network.feedback_delay - network.waiting
    network = replace(network, lag=np.zeros_like(network.lag), feedback_delay=back)
    behind = ages(network).staleness.sel(path="oldest").values + 1.0
    edges = np.flatnonzero(network.plastic & (network.source >= 0))
    kept = np.zeros(network.n)
    np.maximum.at(kept, network.source[edges], np.nan_to_num(behind[edges], nan=np.inf))
    return np.where(np.isinf(kept), np.nan, kept)


def _synapse_updates(trace: Trace, network: Network) -> float:
    """Return how often plastic synapses were updated; NaN where updates on arrival were not recorded."""
    end, replicas = ticks(trace), trace["replica"].size if "replica" in trace else 1
    learns = learning_ticks(trace)
    per_neuron = np.bincount(network.target[network.plastic], minlength=network.n)
    clocked = network.clock | network.is_input
    total, at = 0.0, np.flatnonzero(learns)
    for period, phase in {
        *zip(network.period[clocked].tolist(), network.phase[clocked].tolist(), strict=True)
    }:
        alike = clocked & (network.period == period) & (network.phase == phase)
        strikes = int(((at >= phase) & ((at - phase) % period == 0)).sum())
        total += strikes * replicas * int(per_neuron[alike].sum())
    if clocked.all() or not per_neuron[~clocked].any() or not end:
        return total
    updates = trace["events/kind"] == UPDATE
    if not updates.any():
        return np.nan
    node, tick = trace["events/node"][updates], trace["events/tick"][updates]
    own = ~clocked[node] & learns[tick]
    return total + float(per_neuron[node[own]].sum())
