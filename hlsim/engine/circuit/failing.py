"""Links that may fail, as the batched engine has them: what becomes of each message when it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hlsim.engine.circuit.calendar import Delivery
from hlsim.engine.circuit.push import Push
from hlsim.engine.links import LOST, LinkChange, TouchableLinks, late, uniform


@dataclass(frozen=True)
class _Kind:
    """Properties of the links of one kind of message, by flat edge of ``Push``."""

    down: Tensor
    delay: Tensor
    loss: Tensor
    jitter: Tensor


class FailingLinks:
    """What every flat edge of ``Push`` does to messages.

    Parameters
    ----------
    touchable : TouchableLinks
        Edges that may be touched; ``push`` has them all.
    """

    def __init__(self, touchable: TouchableLinks, push: Push) -> None:
        device = push.delay.device
        self._push = push
        cells = np.add.outer(np.arange(touchable.replicas) * touchable.network.m, push.edges).ravel()
        self._key = touchable.keys[torch.as_tensor(cells)].to(device)
        # Flat edge of a cell, replica * edges of the network + edge.
        self._place = torch.full(
            (touchable.replicas * touchable.network.m,), -1, dtype=torch.int64, device=device
        )
        self._place[torch.as_tensor(cells, device=device)] = torch.arange(len(cells), device=device)

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(len(cells), dtype=dtype, device=device)

        self._kinds = [
            _Kind(zeros(torch.bool), delay.clone(), zeros(torch.float64), zeros(torch.int64))
            for delay in (push.delay, push.feedback_delay)
        ]
        # Ticks at which what arrived last was sent, by kind and flat edge.
        self._newest = [torch.full_like(push.delay, -1) for _ in self._kinds]
        self.lost = 0

    def change(self, changes: Sequence[LinkChange]) -> None:
        """Let changes take effect, one after the other."""
        for change in changes:
            at = self._place[torch.as_tensor(change.cells, device=self._place.device)]
            getattr(self._kinds[change.kind], change.what)[at] = change.value

    def send(self, kind: int, edge: Tensor, tick: int) -> tuple[Tensor, Tensor]:
        """Return which messages sent on flat edges (k,) are not lost, and after how many ticks all arrive."""
        links, key = self._kinds[kind], self._key[edge]
        lost = links.down[edge] | (uniform(key, tick, kind, LOST) < links.loss[edge])
        self.lost += int(lost.sum())
        return ~lost, links.delay[edge] + late(key, tick, kind, links.jitter[edge])

    def newer(self, kind: int, delivery: Delivery | None) -> Delivery | None:
        """Return a delivery without what was sent before something that has arrived on its edge, or does now.

        That is overtaken, and makes nobody due.
        """
        if delivery is None:
            return None
        edge, sent, newest = delivery.edge, delivery.sent, self._newest[kind]
        before = newest[edge]
        newest.scatter_reduce_(0, edge, sent, "amax")
        kept = (sent > before) & (sent == newest[edge])
        self._push.overtaken += (~kept).sum()
        return Delivery(edge[kept], delivery.value[kept], sent[kept])

    def at_once(self, kind: int, edge: Tensor, tick: int) -> None:
        """Take note of messages that arrive at the tick at which they are sent."""
        self._newest[kind][edge] = tick
