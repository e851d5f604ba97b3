r"""How what a run learned compares with what exact gradients would have made of it.

The cosine between omega and its ideal (see ``hlsim.analysis.ideal``) tells whether learning goes downhill,
the ratio of their lengths how far. With :math:`\eta = 0` they are sums over the whole run, with :math:`\eta =
1/dt` the gradient of a tick.
"""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.analysis.ages import exact_from
from hlsim.analysis.ideal import fading, gradients, ideals
from hlsim.analysis.learned import Array, Learned, is_still, learned_by, sampled
from hlsim.errors import TraceError, unknown
from hlsim.models.losses import Loss
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network
from hlsim.trace import Trace
from hlsim.trace.network import network_of

OF = ("omega", "change", "step")
# A product is taken as exact that is this close to the gradient, by length of the difference.
EXACT = 1e-6
AGE = {"units": "steps", "long_name": "mean age of the weights that gradients were taken with"}


def alignment(
    trace: Trace,
    *,
    against: str = "backpropagation",
    of: str = "omega",
    rule: Hamiltonian | None = None,
    loss: str | Loss | None = None,
) -> xr.Dataset:
    """Compare the omega that was sampled, or the steps of the weights, with the ideal ones.

    Parameters
    ----------
    trace : Trace
        Of a run with the rule ``hamiltonian`` and one replica, that sampled omega, and w where it moved:
        between two samples of w the nearer one counts, and ``age`` says how near it was.
    against : str
        "backpropagation" of the network without delays, "recurrent", real-time recurrent learning through
        its delays (for small networks), "through_time", the same by backpropagation, as if the weights of a
        sample had been there from the start, or "implicit", at the fixed point that the stimulus of a tick
        would lead to.
    of : str
        "omega"; "change" of omega since the sample before; or "step" of the weights since the sample before,
        whose ideal goes against the sum of the ideal omegas.
    rule, loss
        What the run learned by; by default what the experiment in the trace says.

    Returns
    -------
    Dataset over (tick, group) and (edge)
        ``cosine`` and ``norm_ratio`` of all synapses onto the neurons of a group at a tick, and of all
        (group "all"); ``edge_cosine`` and ``edge_norm_ratio`` of every synapse over the ticks, NaN where it
        is not plastic. NaN where one of the two is 0. A stage that does not learn changes nothing.
        ``age`` (tick,): how old, or how new, the weights were that the gradients behind a sample were taken
        with, in steps of the weights, mean by what is left of each gradient; 0: they are exact.

    Raises
    ------
    TraceError
        The trace does not tell enough, with what is missing.
    """
    if of not in OF:
        raise TraceError(f"alignment: {unknown('of', of, OF)}")
    learned, network = learned_by(trace, rule, loss), network_of(trace)
    name = "w" if of == "step" else "omega"
    mine, ticks = sampled(trace, name), trace.ticks(f"sampled/{name}")
    exact = ideals(trace, network, learned, against, ticks)
    ideal, age = exact.omega, exact.age if of == "omega" else exact.age_since
    if of == "change":
        mine, ideal = (np.diff(x, axis=0, prepend=np.zeros((1, network.m))) for x in (mine, ideal))
    if of == "step":
        beta = network.weight_rate(learned.rule)
        mine, ideal = np.diff(mine, axis=0, prepend=network.weight), beta * exact.steps
    found = _compared(mine, ideal, ticks, network, against, of)
    return found.assign(age=("tick", age, AGE))


def _compared(
    mine: Array, ideal: Array, ticks: NDArray[np.int64], network: Network, against: str, of: str
) -> xr.Dataset:
    members = groups_of_edges(network)
    parts = [likeness(mine[:, edges], ideal[:, edges]) for edges in members.values()]
    by_group = [np.stack(values, 1) for values in zip(*parts, strict=True)]
    by_edge = [np.where(network.plastic, values, np.nan) for values in likeness(mine.T, ideal.T)]
    names = {"cosine": "cosine of learned and ideal", "norm_ratio": "length of learned over that of ideal"}
    data: dict[str, Any] = {}
    for (name, about), group, edge in zip(names.items(), by_group, by_edge, strict=True):
        data[name] = (("tick", "group"), group, {"units": "1", "long_name": about})
        data[f"edge_{name}"] = (("edge",), edge, {"units": "1", "long_name": f"{about}, over the ticks"})
    return xr.Dataset(
        data,
        coords={"tick": ("tick", ticks, {"units": "ticks"}), "group": list(members), **edge_names(network)},
        attrs={"oracle": against, "of": of},
    )


def likeness(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the cosines of the rows of two matrices, and the ratios of their lengths; NaN where one is 0."""
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: Array = (a * b).sum(1) / (lengths[0] * lengths[1])
        return cosine, np.where(lengths[0] > 0, lengths[0] / lengths[1], np.nan)


def groups_of_edges(network: Network) -> dict[str, NDArray[np.int64]]:
    """Return the plastic synapses onto the neurons of each group, in the order of these, and all."""
    group = np.array(network.group)[network.target]
    learning = set(group[network.plastic].tolist())
    names = [name for name in dict.fromkeys(network.group) if name and name in learning]
    found = {name: np.flatnonzero(network.plastic & (group == name)) for name in names}
    return {**found, "all": np.flatnonzero(network.plastic)}


def edge_names(network: Network) -> dict[str, tuple[str, NDArray[np.str_]]]:
    """Return the labels of the nodes at the two ends of every edge, as coordinates; a bias is its source."""
    label = np.array([*network.label, "bias"])
    return {"source": ("edge", label[network.source]), "target": ("edge", label[network.target])}


# ---- what a synapse learned in a tick


def products(trace: Trace, network: Network, learned: Learned) -> Array:
    """Return what entered every omega in a tick, (tick, edge): that of tick t is of what met there.

    NaN at ticks that do not learn.

    Raises
    ------
    TraceError
        omega was not sampled at every tick.
    """
    omega, at = sampled(trace, "omega"), trace.ticks("sampled/omega")
    if not np.array_equal(at, np.arange(len(at))):
        raise TraceError("analysis: omega must have been sampled at every tick")
    fades = fading(network, learned, float(trace.attrs["dt"]))
    before = np.concatenate([np.zeros((1, omega.shape[1])), omega[:-1]])
    entered: Array = (omega - fades.keep * before) / fades.gain
    entered = entered[1:] if learned.rule.order == "explicit" else entered
    entered[~learned.learns[: len(entered)]] = np.nan
    return entered


def steps_to_exact(
    trace: Trace,
    *,
    against: str = "backpropagation",
    rule: Hamiltonian | None = None,
    loss: str | Loss | None = None,
) -> xr.Dataset:
    """Return the step of a hold from which what enters omega is the exact gradient.

    Parameters
    ----------
    trace : Trace
        With omega sampled at every tick, weights that stand still, and one phi; neurons of clocks with
        period 1.

    Returns
    -------
    Dataset over (row, group) and (edge)
        ``measured``: steps after the start of a row, of the slowest synapse of a group, NaN where it did not
        become exact before the next row, or was not learned from; ``predicted`` (group,) and
        ``edge_predicted``, by the longest paths.

    Raises
    ------
    TraceError
        The trace does not tell enough, with what is missing.
    """
    learned, network = learned_by(trace, rule, loss), network_of(trace)
    entered = products(trace, network, learned)
    entered /= _steady_phi(network, learned, len(entered))
    exact = gradients(trace, network, len(entered), against, learned)
    starts = trace["stimulus/tick"]
    starts = starts[starts < len(entered)]
    predicted = exact_from(network, learned.rule.order)
    members = groups_of_edges(network)
    measured = np.full((len(starts), len(members)), np.nan)
    shift = int(learned.rule.order == "explicit")
    for k, (start, stop) in enumerate(zip(starts, [*starts[1:], len(entered)], strict=True)):
        off = np.abs(entered[start:stop] - exact.table[exact.which[start:stop]])
        allowed = EXACT * np.abs(exact[start]).max()
        for j, edges in enumerate(members.values()):
            wrong = np.flatnonzero(~(off[:, edges] <= allowed).all(1))
            first = wrong[-1] + 1 if wrong.size else 0
            measured[k, j] = first + shift if first < stop - start else np.nan
    steps = {"units": "ticks"}
    return xr.Dataset(
        {
            "measured": (("row", "group"), measured, steps),
            "predicted": (
                "group",
                [predicted[edges].max(initial=-np.inf) for edges in members.values()],
                steps,
            ),
            "edge_predicted": ("edge", predicted, steps),
        },
        coords={"tick": ("row", starts, steps), "group": list(members), **edge_names(network)},
        attrs={"oracle": against},
    )


def _steady_phi(network: Network, learned: Learned, end: int) -> float:
    """Return the phi of all ticks before ``end``; TraceError where there are several, or weights move."""
    if not is_still(network, learned.rule):
        raise TraceError("steps to exact: weights must stand still")
    phi = np.unique(learned.phi[:end])
    if len(phi) != 1 or not phi.all():
        raise TraceError(f"steps to exact: phi must be one number that is not 0, got {phi.tolist()}")
    return float(phi[0])


def best_lag(
    trace: Trace,
    lags: int = 32,
    *,
    against: str = "backpropagation",
    rule: Hamiltonian | None = None,
    loss: str | Loss | None = None,
) -> xr.Dataset:
    """Return by how many ticks what enters omega is late: the lag at which it is most like the gradient.

    Returns
    -------
    Dataset over (group, lag)
        ``cosine`` of what entered omega, over all ticks that learn and a group's synapses, with phi times the
        gradient so many ticks before; ``best`` (group,), the lag of the largest; ``age``, of the
        weights of those gradients, as in ``alignment``.

    Raises
    ------
    TraceError
        The trace does not tell enough, with what is missing.
    """
    learned, network = learned_by(trace, rule, loss), network_of(trace)
    entered = products(trace, network, learned)
    table = gradients(trace, network, len(entered), against, learned)
    exact = learned.phi[: len(entered), None] * table.table[table.which]
    members = groups_of_edges(network)
    count = min(lags, len(entered) - 1) + 1
    cosine = np.full((len(members), count), np.nan)
    for j, edges in enumerate(members.values()):
        for lag in range(count):
            mine, ideal = entered[count - 1 :, edges], exact[count - 1 - lag : len(exact) - lag, edges]
            known = ~np.isnan(mine).any(1)
            mine, ideal = mine[known], ideal[known]
            cosine[j, lag] = likeness(mine.reshape(1, -1), ideal.reshape(1, -1))[0][0]
    found = xr.Dataset(
        {"cosine": (("group", "lag"), cosine, {"units": "1"})},
        coords={"group": list(members), "lag": ("lag", np.arange(count), {"units": "ticks"})},
        attrs={"oracle": against},
    )
    best = np.where(np.isnan(cosine).all(1), -1, np.nan_to_num(cosine, nan=-2.0).argmax(1))
    return found.assign(best=("group", best, {"units": "ticks"}), age=((), table.away.mean(), AGE))
