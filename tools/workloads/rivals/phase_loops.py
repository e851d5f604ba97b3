"""Equilibrium propagation as torch calls: layers that relax, free and pulled."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


class Loop:
    """Instant hidden neurons (tanh) and read-outs behind a softmax, coupled both ways with a delay of a tick.

    Parameters
    ----------
    weights : (hidden, input), (output, hidden)
    x, y : (row, input), (row, output)
        ``batch`` rows together go through all phases from a state of 0, and are followed by the next ones.
    phases : sequence of (nudge, ticks, factor)
        How strongly the loss pulls, for how long, and with which factor the products at the end count.
        With complex nudges states are complex, and the real part of the sum counts.
    """

    def __init__(
        self,
        weights: Sequence[Array],
        x: Array,
        y: Array,
        *,
        beta: float,
        batch: int,
        phases: Sequence[tuple[complex, int, complex]],
    ) -> None:
        self.w = [torch.tensor(w).float() for w in weights]
        self.b = [torch.zeros(len(w)) for w in self.w]
        self.first = [w.clone() for w in self.w]
        self.x, self.y = (torch.as_tensor(values).float().split(batch) for values in (x, y))
        self.phases, self.beta, self.batch = phases, beta, batch
        self.complex = any(isinstance(nudge, complex) for nudge, *_ in phases)
        self.length = sum(ticks for _, ticks, _ in phases)
        self.t = self.rows = 0

    def run(self, ticks: int) -> None:
        """Run so many ticks; rows are gone through whole, when their last tick is over."""
        self.t += ticks
        while (self.rows + 1) * self.length <= self.t:
            shown = self.rows % len(self.x)
            self._relax(self.x[shown], self.y[shown])
            self.rows += 1

    def _relax(self, x: Tensor, y: Tensor) -> None:
        number = torch.complex64 if self.complex else torch.float32
        (w, v), (b, c) = ([values.to(number) for values in each] for each in (self.w, self.b))
        x = x.to(number)
        drive = x @ w.T + b  # the input stands, and its product with it
        hidden, pull = (torch.zeros(self.batch, len(each), dtype=number) for each in (w, v))
        moves: list[Any] = [0.0, 0.0, 0.0, 0.0]
        begun = False
        for nudge, ticks, factor in self.phases:
            for _ in range(ticks):
                # At the first tick nothing has been heard, and a bias is all there is.
                after = torch.tanh((drive if begun else b) + pull @ v)
                output = hidden @ v.T + c
                held, hidden, told = hidden, after, pull
                pull = nudge * (y - _softmax(output)) if nudge else torch.zeros_like(told)
                begun = True
            if factor:
                products = (hidden.T @ x, pull.T @ held, hidden.sum(0), pull.sum(0))
                moves = [move + _real(factor * each) for move, each in zip(moves, products, strict=True)]
        for value, move in zip((*self.w, *self.b), moves, strict=True):
            value.add_(move, alpha=self.beta / self.batch)

    def numbers(self) -> Mapping[str, Array]:
        """Return what has become of the weights."""
        moved = zip(self.w, self.first, strict=True)
        return {
            f"changes of the weights of layer {k}": (w - w0).numpy() for k, (w, w0) in enumerate(moved, 1)
        }


def _softmax(output: Tensor) -> Tensor:
    e = torch.exp(output - output.real.max(1, keepdim=True).values)
    return e / e.sum(1, keepdim=True)


def _real(x: Tensor) -> Tensor:
    return x.real if x.is_complex() else x
