"""Sparse plastic synapses with delays as a scan of JAX."""

import os
from functools import partial
from typing import Any

# One thread, like everybody else; read when jax starts.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from workloads.rivals.wiring import BETA, ETA, Wiring


class Scan:
    """Rows of synapses, flat ring buffers; a run is one compiled call that reuses what it was given."""

    def __init__(self, wiring: Wiring) -> None:
        n, order = wiring.n, wiring.by_target
        self.wiring, self.order = wiring, order
        w = jnp.asarray(wiring.weight[order]).reshape(n, -1)
        self._fixed = tuple(
            jnp.asarray(x, jnp.int32) for x in (wiring.delay[order], wiring.back[order], wiring.source[order])
        )
        self._told = tuple(jnp.asarray(x).reshape(n) for x in (wiring.stimulus, wiring.target, wiring.told))
        rings = (jnp.zeros(wiring.depth * n) for _ in range(2))
        neurons = (jnp.zeros(n) for _ in range(5))
        self._carry = (w, jnp.zeros_like(w), jnp.zeros_like(w), *rings, *neurons, jnp.int32(0))
        self._run = partial(_scan, wiring.depth)

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        self._carry = self._run(ticks, self._carry, self._fixed, self._told)
        jax.block_until_ready(self._carry)

    def numbers(self) -> Any:
        """Return what it has come to."""
        w, omega, _, _, _, h, z, _, _, a, _ = self._carry
        return self.wiring.numbers(h, a, z, omega, w, self.order)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _scan(depth: int, ticks: int, carry: Any, fixed: Any, told: Any) -> Any:
    delay, back, source = fixed
    u, target, mask = told
    n = len(u)

    def tick(carry: Any, _: None) -> Any:
        w, omega, s, history, coming, h, z, q, g, a, t = carry
        begun = t > 0
        w = jnp.where(begun, w - BETA * omega, w)
        omega = jnp.where(begun, omega * (1 - ETA) + q[:, None] * s, omega)
        z, h = jnp.where(begun, g - ETA * z, z), jnp.where(begun, jnp.tanh(a), h)
        now = t % depth
        history = jax.lax.dynamic_update_slice(history, h, (now * n,))
        row = now - delay
        s = history[jnp.where(row < 0, row + depth, row) * n + source].reshape(w.shape)
        a = (w * s).sum(1) + u
        q = z * (1 - jnp.tanh(a) ** 2)
        heard = jax.lax.dynamic_slice(coming, (now * n,), (n,))
        coming = jax.lax.dynamic_update_slice(coming, jnp.zeros(n), (now * n,))
        row = now + back
        places = jnp.where(row >= depth, row - depth, row) * n + source
        coming = coming.at[places].add((w * q[:, None]).reshape(-1))
        g = mask * (h - target) + heard
        return (w, omega, s, history, coming, h, z, q, g, a, t + 1), None

    return jax.lax.scan(tick, carry, None, length=ticks)[0]
