r"""The largest rate at which learning by late gradients is stable: measured by runs, and in closed form.

One weight w learns the loss :math:`\lambda w^2/2`. With :math:`\kappa = dt^2 \beta \phi \lambda`, momentum
:math:`\mu = 1 - \eta\,dt` and a gradient that is d ticks late, one of them by an explicit order,

.. math:: w_{t+1} - w_t = \mu (w_t - w_{t-1}) - \kappa\, w_{t-d}

is at the edge of growing where a root :math:`e^{i\theta}` of its polynomial has
:math:`\theta/2 + (d - 1)\theta + \arg(e^{i\theta} - \mu) = \pi/2`, for the smallest such angle, and

.. math:: \kappa = \sqrt{2 (1 - \cos\theta)(1 + \mu^2 - 2 \mu \cos\theta)}

Without momentum that is :math:`2 \sin(\pi/(2 (2 d + 1)))`: 2, 1, .618, .445, .347, .285 for d = 0 to 5. For
d = 0 it is :math:`2 (1 + \mu)`, and for d = 1 it is :math:`1 - \mu`: an explicit order needs dissipation.
"""

import importlib.util
import math
from collections.abc import Sequence

import networkx as nx
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hlsim.errors import ExperimentError, check_count, unknown
from hlsim.models.rules import Hamiltonian
from hlsim.models.rules.hamiltonian import ORDERS, boundary
from hlsim.simulation import Simulation
from hlsim.stimulus import Arrays

Rates = NDArray[np.float64]
WAYS = ("state", "feedback")
# Rates that are tried at once; ticks of a run in each round, more of them as growth is slower near the edge,
# and no more than keeps the fastest finite. With less dissipation w swings more slowly.
_TRIED, _ROUNDS = 25, (200, 300, 1000)
_LEAST, _MOST = 1e-3, 4.4
_LEAST_ETA = 0.1


def stability(
    delays: Sequence[int] = range(6),
    etas: Sequence[float] = (1.0, 0.5, 0.2),
    orders: Sequence[str] = ORDERS,
    *,
    way: str = "state",
) -> xr.Dataset:
    """Return the largest stable rate of one weight, by delay, dissipation and order.

    Parameters
    ----------
    delays : sequence of int
        Ticks, >= 0.
    etas : sequence of float
        Dissipation a tick, eta dt, or 1 - momentum: from 0.1 to 1.
    orders : sequence of str
        "explicit", "sequential".
    way : str
        What is delayed: the "state" on its way to the output, or the "feedback" on its way back.

    Returns
    -------
    Dataset over (order, eta, delay)
        ``measured`` and ``predicted``: the largest kappa = dt^2 beta phi lambda, with lambda the curvature of
        the loss: divide by dt^2 phi lambda for beta. Measured to 1 %.

    Raises
    ------
    ExperimentError
        A parameter is out of its bounds.
    """
    _check(delays, etas, orders, way)
    shape = (len(orders), len(etas), len(delays))
    measured, predicted = np.empty(shape), np.empty(shape)
    for i, order in enumerate(orders):
        for j, eta in enumerate(etas):
            measured[i, j] = _edges(np.array(delays), 1.0 - eta, order, way)
            predicted[i, j] = [boundary(d + (order == "explicit"), 1.0 - eta) for d in delays]
    over = ("order", "eta", "delay")
    about = {"units": "1", "long_name": "largest stable dt^2 beta phi lambda"}
    return xr.Dataset(
        {"measured": (over, measured, about), "predicted": (over, predicted, about)},
        coords={
            "order": list(orders),
            "eta": ("eta", list(etas), {"units": "1/tick"}),
            "delay": ("delay", list(delays), {"units": "ticks"}),
        },
        attrs={"way": way},
    )


def _check(delays: Sequence[int], etas: Sequence[float], orders: Sequence[str], way: str) -> None:
    for delay in delays:
        check_count("stability: delay", delay, least=0, unit=" of ticks")
    for eta in etas:
        if not _LEAST_ETA <= eta <= 1.0:
            raise ExperimentError(f"stability: eta must be from {_LEAST_ETA} to 1 a tick, got {eta}")
    for order in orders:
        if order not in ORDERS:
            raise ExperimentError(f"stability: {unknown('order', order, ORDERS)}")
    if way not in WAYS:
        raise ExperimentError(f"stability: {unknown('way', way, WAYS)}")


def _edges(delays: NDArray[np.int64], mu: float, order: str, way: str) -> Rates:
    """Return the rate by delay at which w begins to grow, between ever closer ones."""
    tried = np.geomspace(_LEAST, _MOST, _TRIED)[:, None].repeat(len(delays), axis=1)
    column = np.arange(len(delays))
    for length in _ROUNDS:
        grows = _grow(tried, delays, mu, order, way, length * math.ceil(0.2 / (1.0 - mu)))
        first = np.where(grows.any(0), grows.argmax(0), _TRIED - 1).clip(1)
        low, high = tried[first - 1, column], tried[first, column]
        tried = np.geomspace(low, high, _TRIED)
    edges: Rates = np.sqrt(low * high)
    return edges


def _grow(
    kappa: Rates, delays: NDArray[np.int64], mu: float, order: str, way: str, length: int
) -> NDArray[np.bool_]:
    """Return whether w grows in nets y = w u of one weight each, by rate and delay: (rate, delay)."""
    graph = nx.DiGraph()
    for k, (rate, delay) in enumerate(zip(kappa.ravel(), np.tile(delays, len(kappa)), strict=True)):
        there, back = (int(delay), 0) if way == "state" else (0, int(delay))
        graph.add_node(f"u[{k}]", model="input")
        graph.add_node(f"w[{k}]", model="instant", activation="identity")
        graph.add_node(f"y[{k}]", model="instant", activation="identity", role="output")
        graph.add_edge(f"u[{k}]", f"w[{k}]", weight=1.0, beta=float(rate))
        graph.add_edge(f"w[{k}]", f"y[{k}]", weight=1.0, plastic=False, delay=there, feedback_delay=back)
    stream = Arrays(np.ones((1, kappa.size)), np.zeros((1, kappa.size)))
    clock = {"update": "clock"}
    sim = Simulation(
        graph,
        rule=Hamiltonian(eta=1.0 - mu, order=order),
        stimulus=stream,
        hold=length,
        dtype="float64",
        node_defaults=clock,
        # Not worth it for a run of this size, but there are many of them.
        compiled="always" if importlib.util.find_spec("numba") else "never",
    )
    plastic = np.flatnonzero(sim.network.plastic)
    number = np.array([int(sim.network.label[i][2:-1]) for i in sim.network.target[plastic]])
    w = np.abs(sim.run(every=1, sampled=["w"])["sampled/w"][:, plastic])
    found = np.empty(kappa.size, bool)
    found[number] = w[length // 2 :].max(0) > w[: length // 2].max(0)
    return found.reshape(kappa.shape)
