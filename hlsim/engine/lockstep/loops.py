"""Compiled loops over neurons that are all updated at every tick; ``engine`` calls them.

Neuron fields ``(replica, node)``; ``runs`` (run, 2) are the first node and the one after the last of each
contiguous run of neurons. Numbers come in the fields' own format, so that nothing is computed in another one.
``count`` (replica, node) are sends so far, beside those in ``whole`` (replica, run) of all neurons of a run.
Every loop goes over slices from 0 on: an index that might be negative keeps the compiler from using vectors.
"""

import numpy as np
from numpy.typing import NDArray

from hlsim.engine.loops import plain

Array = NDArray


@plain
def count_news(news: Array, sends: Array, count: Array, whole: Array, run: int) -> None:
    """Count messages of the neurons of a run: where all of them send something new, once for all of them."""
    total = 0
    for i in range(len(news)):
        total += sends[i] & news[i]
    if total == len(news):
        whole[run] += 1
    elif total:
        for i in range(len(news)):
            count[i] += sends[i] & news[i]


@plain
def euler(runs: Array, dt: float, h: Array, f: Array, sends: Array, count: Array, whole: Array) -> None:
    """Move states one step on, and send those that change."""
    news = np.empty(h.shape[1], np.bool_)
    for p in range(h.shape[0]):
        for r in range(len(runs)):
            lo, hi = runs[r]
            h_, f_, news_ = h[p, lo:hi], f[p, lo:hi], news[lo:hi]
            for i in range(len(h_)):
                x = h_[i] + dt * f_[i]
                news_[i] = x != h_[i]
                h_[i] = x
            count_news(news_, sends[lo:hi], count[p, lo:hi], whole[p], r)


@plain
def costate_euler(runs: Array, dt: float, eta: float, z: Array, g: Array, df_dh: Array) -> None:
    """Move costates one step on, as ``Hamiltonian.costate_euler``."""
    for p in range(z.shape[0]):
        for lo, hi in runs:
            z_, g_, slope = z[p, lo:hi], g[p, lo:hi], df_dh[p, lo:hi]
            for i in range(len(z_)):
                z_[i] += dt * (g_[i] + z_[i] * slope[i] - eta * z_[i])


@plain
def stimulate(
    runs: Array,
    emits: Array,
    u: Array,
    now: Array,
    h: Array,
    sent: Array,
    sends: Array,
    count: Array,
    whole: Array,
    updates: Array,
    whole_updates: Array,
) -> None:
    """Take the stimulus ``u`` (replica, column); those that emit it are updated and send where it changes."""
    changed, news = np.empty((2, h.shape[1]), np.bool_)
    for p in range(u.shape[0]):
        k = 0
        for r in range(len(runs)):
            lo, hi = runs[r]
            u_, now_, h_, sent_ = u[p, k : k + hi - lo], now[p, lo:hi], h[p, lo:hi], sent[p, lo:hi]
            emits_, changed_, news_ = emits[lo:hi], changed[lo:hi], news[lo:hi]
            for i in range(len(now_)):
                changed_[i] = (u_[i] != now_[i]) & emits_[i]
                now_[i] = u_[i]
                h_[i] = u_[i] if changed_[i] else h_[i]
                news_[i] = changed_[i] & (h_[i] != sent_[i])
                sent_[i] = h_[i] if news_[i] else sent_[i]
            count_news(changed_, emits_, updates[p, lo:hi], whole_updates[p], r)
            count_news(news_, sends[lo:hi], count[p, lo:hi], whole[p], r)
            k += hi - lo


@plain
def settle_instant(
    runs: Array, y: Array, slope: Array, h: Array, df_da: Array, sends: Array, count: Array, whole: Array
) -> None:
    """Take the state and its slope (replica, k) of memoryless neurons, and send it where it changes."""
    news = np.empty(h.shape[1], np.bool_)
    for p in range(h.shape[0]):
        k = 0
        for r in range(len(runs)):
            lo, hi = runs[r]
            y_, slope_ = y[p, k : k + hi - lo], slope[p, k : k + hi - lo]
            h_, df_da_, news_ = h[p, lo:hi], df_da[p, lo:hi], news[lo:hi]
            for i in range(len(h_)):
                news_[i] = y_[i] != h_[i]
                h_[i] = y_[i]
                df_da_[i] = slope_[i]
            count_news(news_, sends[lo:hi], count[p, lo:hi], whole[p], r)
            k += hi - lo


@plain
def pull_leaky(
    runs: Array, y: Array, slope: Array, tau: Array, h: Array, f: Array, df_dh: Array, df_da: Array
) -> None:
    """Take sigma(a) and its slope (replica, k) of leaky neurons: dh/dt and its partial derivatives."""
    for p in range(h.shape[0]):
        k = 0
        for lo, hi in runs:
            y_, slope_, tau_ = y[p, k : k + hi - lo], slope[p, k : k + hi - lo], tau[lo:hi]
            h_, f_, df_dh_, df_da_ = h[p, lo:hi], f[p, lo:hi], df_dh[p, lo:hi], df_da[p, lo:hi]
            for i in range(len(h_)):
                f_[i] = (y_[i] - h_[i]) / tau_[i]
                df_dh_[i] = -1 / tau_[i]
                df_da_[i] = slope_[i] / tau_[i]
            k += hi - lo


@plain
def hear(runs: Array, phi: float, dl: Array, heard: Array, g: Array) -> None:
    """g = phi dL/dh plus the costates heard."""
    for p in range(g.shape[0]):
        for lo, hi in runs:
            g_, dl_, heard_ = g[p, lo:hi], dl[p, lo:hi], heard[p, lo:hi]
            for i in range(len(g_)):
                g_[i] = phi * dl_[i] + heard_[i]


@plain
def send_costates(
    runs: Array,
    moved: bool,
    z: Array,
    df_da: Array,
    q: Array,
    learns: Array,
    sends: Array,
    count: Array,
    whole: Array,
) -> None:
    """q = z df/da, sent where it changes or, not being 0, the weights have moved."""
    news = np.empty(q.shape[1], np.bool_)
    for p in range(q.shape[0]):
        for r in range(len(runs)):
            lo, hi = runs[r]
            z_, slope, q_ = z[p, lo:hi], df_da[p, lo:hi], q[p, lo:hi]
            news_, learns_ = news[lo:hi], learns[lo:hi]
            for i in range(len(q_)):
                x = z_[i] * slope[i]
                news_[i] = (x != q_[i]) | (moved & learns_[i] & (x != 0))
                q_[i] = x
            count_news(news_, sends[lo:hi], count[p, lo:hi], whole[p], r)


@plain
def hear_instant(
    runs: Array,
    phi: float,
    moved: bool,
    dl: Array,
    heard: Array,
    g: Array,
    z: Array,
    df_da: Array,
    q: Array,
    learns: Array,
    sends: Array,
    count: Array,
    whole: Array,
) -> None:
    """z = g = phi dL/dh plus the costates heard, of memoryless neurons; then as ``send_costates``."""
    news = np.empty(q.shape[1], np.bool_)
    for p in range(q.shape[0]):
        for r in range(len(runs)):
            lo, hi = runs[r]
            dl_, heard_, g_, z_ = dl[p, lo:hi], heard[p, lo:hi], g[p, lo:hi], z[p, lo:hi]
            slope, q_, news_, learns_ = df_da[p, lo:hi], q[p, lo:hi], news[lo:hi], learns[lo:hi]
            for i in range(len(q_)):
                x = phi * dl_[i] + heard_[i]
                g_[i] = x
                z_[i] = x
                x *= slope[i]
                news_[i] = (x != q_[i]) | (moved & learns_[i] & (x != 0))
                q_[i] = x
            count_news(news_, sends[lo:hi], count[p, lo:hi], whole[p], r)


@plain
def finite(x: Array) -> bool:
    """Tell whether every number is finite."""
    flat, bad = x.ravel(), False
    for i in range(len(flat)):
        # Infinity and NaN less themselves are NaN.
        bad |= (flat[i] - flat[i]) != 0
    return not bad
