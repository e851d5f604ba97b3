"""Sparse plastic synapses with delays as torch calls, by one who knows them; and compiled by torch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workloads.rivals import require_compiler
from workloads.rivals.wiring import BETA, ETA, Wiring

# Rings are windows that slide over so many times their length, and are then copied back.
SLIDE = 9


def _learn(w: Tensor, omega: Tensor, s: Tensor, q: Tensor, z: Tensor, g: Tensor, a: Tensor) -> Any:
    w.add_(omega, alpha=-BETA)
    omega.mul_(1.0 - ETA).addcmul_(q[:, None], s)
    return g - ETA * z, torch.tanh(a)


def _send(w: Tensor, window: Tensor, at: Tensor, z: Tensor, coming: Tensor, back: Tensor, u: Tensor) -> Any:
    s = window[at].view(w.shape)
    a = (w * s).sum(1) + u
    q = z * (1.0 - torch.tanh(a) ** 2)
    heard = coming[: len(z)].clone()
    coming.index_add_(0, back, (w * q[:, None]).view(-1))
    return s, a, q, heard


class Loop:
    """What one writes first: ring buffers with a modulo, synapses as they come, new tensors."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.n, self.depth, self.t = wiring, wiring.n, wiring.depth, 0
        ends = (wiring.source, wiring.to, wiring.delay, wiring.back)
        self.source, self.to, self.delay, self.back = map(torch.as_tensor, ends)
        self.w = torch.tensor(wiring.weight)
        self.omega, self.s = torch.zeros_like(self.w), torch.zeros_like(self.w)
        self.h, self.z, self.q, self.g, self.a = (torch.zeros(self.n) for _ in range(5))
        self.history, self.coming = (torch.zeros(self.depth * self.n) for _ in range(2))
        told = (wiring.stimulus, wiring.target, wiring.told)
        self.u, self.target, self.told = (torch.as_tensor(x).view(self.n) for x in told)

    def run(self, ticks: int) -> None:
        """Run so many ticks: Algorithm 1 with delays, explicit order."""
        n, depth = self.n, self.depth
        for _ in range(ticks):
            t = self.t
            if t:
                step = self.q[self.to] * self.s
                self.w -= BETA * self.omega
                self.omega += step - ETA * self.omega
                self.z = self.g - ETA * self.z
                self.h = torch.tanh(self.a)
            now = (t % depth) * n
            self.history[now : now + n] = self.h
            self.s = self.history[(t - self.delay) % depth * n + self.source]
            self.a = self.u.index_add(0, self.to, self.w * self.s)
            self.q = self.z * (1.0 - torch.tanh(self.a) ** 2)
            heard = self.coming[now : now + n].clone()
            self.coming[now : now + n] = 0.0
            self.coming.index_add_(0, (t + self.back) % depth * n + self.source, self.w * self.q[self.to])
            self.g = self.told * (self.h - self.target) + heard
            self.t += 1

    def numbers(self) -> Any:
        """Return what it has come to."""
        found = (self.h, self.a, self.z, self.omega, self.w)
        return self.wiring.numbers(*(x.numpy() for x in found), slice(None))


class Flat:
    """Rows of synapses, indices made once, operations in place, ring buffers that need no modulo."""

    def __init__(self, wiring: Wiring) -> None:
        def tensor(x: Any) -> Tensor:
            return torch.as_tensor(x)

        n, order = wiring.n, wiring.by_target
        self.wiring, self.order, self.depth, self.begun = wiring, order, wiring.depth, False
        self.w = tensor(wiring.weight[order]).view(n, -1)
        self.omega, self.s = torch.zeros_like(self.w), torch.zeros_like(self.w)
        self.history, self.coming = (torch.zeros(SLIDE * self.depth * n) for _ in range(2))
        # Into the window of the last ticks, and that of the next.
        self.at = tensor((self.depth - 1 - wiring.delay[order]) * n + wiring.source[order])
        self.back = tensor(wiring.back[order] * n + wiring.source[order])
        self.h, self.z, self.q, self.g, self.a = (torch.zeros(n) for _ in range(5))
        self.u, self.target, self.told = (
            tensor(x).view(n) for x in (wiring.stimulus, wiring.target, wiring.told)
        )
        self.past, self.next = self.depth - 1, 0
        self.learn: Callable[..., Any] = _learn
        self.send: Callable[..., Any] = _send

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        n, depth = self.wiring.n, self.depth
        for _ in range(ticks):
            if self.begun:
                self.z, self.h = self.learn(self.w, self.omega, self.s, self.q, self.z, self.g, self.a)
            self._slide()
            self.history[self.past * n : (self.past + 1) * n] = self.h
            window = self.history[(self.past - depth + 1) * n : (self.past + 1) * n]
            coming = self.coming[self.next * n : (self.next + depth) * n]
            self.s, self.a, self.q, heard = self.send(
                self.w, window, self.at, self.z, coming, self.back, self.u
            )
            self.g = self.told * (self.h - self.target) + heard
            self.past, self.next, self.begun = self.past + 1, self.next + 1, True

    def _slide(self) -> None:
        n, depth, end = self.wiring.n, self.depth, SLIDE * self.depth
        if self.past == end:
            self.history[: (depth - 1) * n] = self.history[(end - depth + 1) * n :].clone()
            self.past = depth - 1
        if self.next + depth > end:
            left = end - self.next
            self.coming[: left * n] = self.coming[self.next * n :].clone()
            self.coming[left * n :] = 0.0
            self.next = 0

    def numbers(self) -> Any:
        """Return what it has come to."""
        return self.wiring.numbers(
            *(x.numpy() for x in (self.h, self.a, self.z, self.omega, self.w)), self.order
        )


class Compiled(Flat):
    """The same through ``torch.compile``."""

    def __init__(self, wiring: Wiring) -> None:
        require_compiler()
        super().__init__(wiring)
        self.learn, self.send = (torch.compile(each, dynamic=False) for each in (_learn, _send))
