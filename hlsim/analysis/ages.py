r"""How old what meets at a synapse is, by the delays of the paths that it took.

At a synapse j -> i the last state of j that i has heard, s, meets the costate q of i. With :math:`d` and
:math:`d'` the delays of an edge and of its feedback, ages in ticks are

.. math::
    A_{ij} = d_{ij} + A_j, \quad A_i = \mathrm{hop} + \textstyle\max_j A_{ij}, \quad
    Z_i = \max(\mathrm{hop} + E_i, \mathrm{hop} + d'_{ik} + Z_k)

for the oldest path, min for the newest, where an input has age 0, a hop into a leaky neuron costs a tick,
into an instant one nothing, and E is the age of the loss at an output: 0 for its target, A for its state. In
the sequential order a leaky neuron takes its new state into the loss, which saves a tick.

A neuron with a lag lets a costate meet the states and the slope of so many ticks ago, and its own loss waits
until costates from further away have come: these are older by that.

They hold where everybody sends at every tick: thresholds 0, clocks of period 1 or update on arrival. Source:
Melacci et al., PMLR 277:71-95 (2025), section 5, for one delay in all layers; here for any.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.topology.network import BIAS, Network

Ages = NDArray[np.float64]
PATHS = ("newest", "oldest")
QUANTITIES = ("state", "target", "output", "staleness", "any")


@dataclass(frozen=True)
class Kinds:
    """What a network's neurons and edges are, as far as ages go.

    Attributes
    ----------
    output : bool (n,)
        Whether a node has a target.
    late : bool (n,)
        Leaky neurons whose new costate takes in the loss at their new state: clock and sequential order.
    bent : bool (n,)
        Whether the slope of the activation depends on the drive.
    synapse : bool (m,)
        Edges between nodes.
    """

    output: NDArray[np.bool_]
    late: NDArray[np.bool_]
    bent: NDArray[np.bool_]
    synapse: NDArray[np.bool_]


def kinds(network: Network, order: str) -> Kinds:
    """Return what the elements of a network are, under a rule of this order."""
    output = np.zeros(network.n, bool)
    output[network.outputs] = True
    return Kinds(
        output=output,
        late=network.stateful & network.clock & (order == "sequential"),
        bent=np.array([name != "identity" for name in network.activation]),
        synapse=network.source != BIAS,
    )


def ages(network: Network, order: str = "explicit") -> xr.Dataset:
    """Return the ages of what meets at every synapse.

    Parameters
    ----------
    order : str
        "explicit" or "sequential".

    Returns
    -------
    Dataset over (path, edge), in ticks
        ``state``: of the stimulus that made s; ``target``: of the target in q; ``output``: of the stimulus
        that made the output in q; ``staleness``: how much older that stimulus is than that of s;
        ``any``: of the oldest or newest thing that s or q depends on at all. NaN where no such path is, or,
        of oldest ones, where a cycle makes it endless; a bias has no state.
    """
    kind = kinds(network, order)
    found = {path: _ages(network, kind, path) for path in PATHS}
    data = {
        name: (("path", "edge"), np.array([_finite(found[path][name]) for path in PATHS]), {"units": "ticks"})
        for name in QUANTITIES
    }
    return xr.Dataset(data, coords={"path": list(PATHS)})


def exact_from(network: Network, order: str = "explicit") -> Ages:
    """Return the step of a hold from which the gradient (edge,) is exact: all that meets is of this hold.

    Weights stand still and nothing fades; NaN where cycles make it endless.
    """
    kind, oldest = kinds(network, order), ages(network, order)["any"].sel(path="oldest").values
    # What meets at a tick is learned at the next one; in the sequential order at once.
    known: Ages = oldest + (~(kind.late | (network.instant & (order == "sequential"))))[network.target]
    return known


def _ages(network: Network, kind: Kinds, path: str) -> dict[str, Ages]:
    """Return the ages (edge,) along the oldest or newest paths; infinite where there is none, or no end."""
    # The newest path is the longest one where all lengths are negative.
    sign = 1.0 if path == "oldest" else -1.0
    source, target, back = network.source, network.target, sign * network.feedback_delay
    hop, nothing = (sign * network.stateful).astype(np.float64), np.full(network.n, -np.inf)
    to_target, to_source = latest_at(target, network.n), latest_at(source, network.n)

    def reach(h: Ages) -> Ages:
        return np.where(kind.synapse, sign * network.delay + h[source], -np.inf)

    def state(h: Ages) -> Ages:
        return np.where(network.is_input, 0.0, hop + to_target(reach(h)))

    first = np.where(network.is_input, 0.0, -np.inf)
    h = _settled(state, first, _loops(network, kind, sign, forward=True))
    s = reach(h)
    # What a neuron has kept for the costates that belong to it is older by its lag.
    lag, waits = sign * network.lag, sign * network.loss_waits
    slope = np.where(kind.bent, to_target(s) + lag, -np.inf)
    turned = _loops(network, kind, sign, forward=False)

    def error(own: Ages, slope: Ages) -> Ages:
        """Return the ages (n,) of costates, given those of the loss at outputs and of slopes on the way."""
        first = np.where(kind.output, own + waits, -np.inf)

        def costate(z: Ages) -> Ages:
            r = np.where(network.has_feedback, back + np.maximum(z, slope)[target], -np.inf)
            return np.maximum(first, hop + to_source(r))

        return _settled(costate, first, turned)

    now = h + np.where(kind.late, 0.0, hop)
    # A late neuron's new costate meets what it has held for a tick.
    held = sign * kind.late
    met, bend = s + (held + lag)[target], np.maximum(slope + held, nothing)
    by_target, output = error(hop, nothing), error(now, nothing)
    either = np.maximum(error(np.maximum(hop, now), slope), bend)
    with np.errstate(invalid="ignore"):  # no path less no path
        found = {
            "state": met,
            "target": by_target[target],
            "output": output[target],
            "staleness": output[target] - met,
            "any": np.maximum(met, either[target]),
        }
    return {name: sign * values for name, values in found.items()}


def latest_at(nodes: NDArray[np.int64], n: int) -> Callable[[Ages], Ages]:
    """Return a function from values of edges (m,) to the largest at each of their nodes (n,); -inf: none."""
    edges = np.flatnonzero(nodes >= 0)
    edges = edges[np.argsort(nodes[edges], kind="stable")]
    present, starts = np.unique(nodes[edges], return_index=True)

    def latest(values: Ages) -> Ages:
        found = np.full((n, *values.shape[1:]), -np.inf)
        if present.size:
            found[present] = np.maximum.reduceat(values[edges], starts, axis=0)
        return found

    return latest


def _settled(step: Callable[[Ages], Ages], start: Ages, endless: NDArray[np.bool_]) -> Ages:
    """Return the least ages from ``start`` on that a step leaves as they are."""
    x = np.where(endless, np.inf, start)
    while True:
        following = np.where(endless, np.inf, np.maximum(x, step(x)))
        if np.array_equal(following, x):
            return x
        x = following


def _loops(network: Network, kind: Kinds, sign: float, *, forward: bool) -> NDArray[np.bool_]:
    """Return the nodes on cycles that inputs (backward: outputs) reach; none for newest paths."""
    from scipy.sparse.csgraph import connected_components

    if sign < 0.0:
        return np.zeros(network.n, bool)
    carries = kind.synapse if forward else network.has_feedback
    before, after = (network.source, network.target) if forward else (network.target, network.source)
    found = reached(network.is_input if forward else kind.output, before, after, carries)
    inside = carries & found[before]
    before, after = before[inside], after[inside]
    _, component = connected_components(_matrix(network.n, before, after), connection="strong")
    # An edge inside a strong component is part of a cycle.
    looped = np.zeros(network.n, bool)
    looped[after[component[before] == component[after]]] = True
    return looped


def reached(
    starts: NDArray[np.bool_],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    carries: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return the nodes that edges which carry lead to from some nodes, and these."""
    from scipy.sparse.csgraph import dijkstra

    edges = _matrix(len(starts), before[carries], after[carries])
    hops = dijkstra(edges, indices=np.flatnonzero(starts), unweighted=True, min_only=True)
    found: NDArray[np.bool_] = np.isfinite(hops)
    return found


def _matrix(n: int, before: NDArray[np.int64], after: NDArray[np.int64]) -> Any:
    # Imported here, as what searches it: scipy takes a third of a second, and running a network does without.
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(before)), (before, after)), shape=(n, n))


def _finite(values: Ages) -> Ages:
    return np.where(np.isfinite(values), values, np.nan)
