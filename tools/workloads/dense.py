"""Dense layers: a layer a tick (C), and as gradient descent with momentum (B)."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import flatten
from workloads.layers import Layers
from workloads.memory import peak_bytes
from workloads.rivals import dense_loops
from workloads.rows import Case, Figures, Pair, Running, beside

BETA, ETA = 1e-4, 0.5
RATE, MOMENTUM = 1e-3, 0.9
# Minibatches that follow each other for ever.
BATCHES = 16
SIZES, IMAGES = (784, 512, 512, 10), (784, 500, 10)
# Of a turn, and that an image is held.
TICKS, HOLD = 20, 16


@lru_cache(maxsize=2)
def layers(sizes: tuple[int, ...], model: str | None = None) -> Layers:
    """Return layers all of whose neurons are on a clock."""
    graph = hlsim.topology.layered(sizes, model=model, populations=len(sizes) == 3)
    return Layers(flatten(graph, node_defaults={"update": "clock"}))


def _within(count: int) -> dict[str, float]:
    return {f"changes of the weights of layer {k}": 0.01 for k in range(1, count)}


# ---- C: a layer a tick


def standing(rival: type[dense_loops.Loop], batch: int, sizes: tuple[int, ...] = SIZES) -> Pair:
    """Return layers under a stimulus that stands, and a loop of torch calls."""
    net, rng = layers(sizes), np.random.default_rng(0)
    x, target = rng.normal(size=(batch, sizes[0])), rng.uniform(-0.5, 0.5, (batch, sizes[-1]))
    sim = hlsim.Simulation(net.network, rule=Hamiltonian(beta=BETA, eta=ETA), batch=batch)
    sim.controls.input(x)
    sim.controls.target(target)
    loop = rival(net.matrices(), x, target, beta=BETA, eta=ETA, batch=batch)
    return Pair(Running(sim, net.look), loop, TICKS, alike=TICKS, within=_within(len(sizes)))


def held(batch: int, sizes: tuple[int, ...] = IMAGES) -> Pair:
    """Return layers that are shown images, each held for some ticks, and a loop of torch calls in place."""
    net, rng, beta, count = layers(sizes), np.random.default_rng(0), 1e-3, 1_024
    x = (rng.random((count, sizes[0])) < 0.19) * rng.random((count, sizes[0]))
    y = np.eye(sizes[-1])[rng.integers(0, sizes[-1], count)]
    sim = hlsim.Simulation(
        net.network,
        rule=Hamiltonian(beta=beta, eta=ETA),
        loss="cross_entropy",
        stimulus=Arrays(x, y),
        stages=[Stage(passes=10**6)],
        hold=HOLD,
        batch=batch,
    )
    shown = {"batch": batch, "hold": HOLD, "entropy": True}
    loop = dense_loops.InPlace(net.matrices(), x, y, beta=beta, eta=ETA, **shown)
    ticks, work, within = HOLD * (8 if batch == 1 else 1), batch / HOLD, _within(len(sizes))
    ours = Running(sim, net.look)
    return Pair(ours, loop, ticks, work, unit="ms an image", alike=3 * HOLD, within=within)


def flushed(measure: Callable[[int], Figures]) -> Callable[[int], Figures]:
    """Return a measurement in which numbers below the normal range of their format are 0 on both sides.

    What decays while nothing is heard gets there in 130 ticks, and takes a processor many times as long.
    """

    def wrapped(repeats: int) -> Figures:
        torch.set_flush_denormal(True)
        try:
            return measure(repeats)
        finally:
            torch.set_flush_denormal(False)

    return wrapped


_C = "784-512-512-10 fully local, batch"
_IMAGES = "784-500-10, images held 16 ticks, batch"
C = (
    Case(f"{_C} 1, against a torch loop", beside(standing, dense_loops.Loop, 1), 1.15),
    Case(f"{_C} 1, against torch in place", beside(standing, dense_loops.InPlace, 1), 1.05),
    Case(f"{_C} 128, against a torch loop", beside(standing, dense_loops.Loop, 128), 1.15),
    Case(f"{_C} 128, against torch in place", beside(standing, dense_loops.InPlace, 128), 1.05),
    Case(f"{_IMAGES} 1, against torch in place", beside(held, 1), 1.0),
    Case(f"{_IMAGES} 128, against torch in place", beside(held, 128), 1.05),
    Case(f"{_IMAGES} 1, subnormals flushed, against the same", flushed(beside(held, 1)), 1.0),
    Case(f"{_IMAGES} 128, subnormals flushed, against the same", flushed(beside(held, 128)), 1.05),
)


# ---- B: gradient descent


class Descent:
    """The same network by autograd and ``torch.optim.SGD``."""

    def __init__(self, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, batch: int) -> None:
        made = [torch.nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights]
        for layer, w in zip(made, weights, strict=True):
            layer.weight.data.copy_(torch.as_tensor(w))
        self.first, self.layers = [layer.weight.data.clone() for layer in made], made
        self.net = torch.nn.Sequential(*(part for layer in made for part in (layer, torch.nn.Tanh())))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=RATE, momentum=MOMENTUM)
        self.x, self.y = (torch.as_tensor(values).float().split(batch) for values in (x, y))
        self.t = 0

    def run(self, ticks: int) -> None:
        """Take so many steps."""
        for _ in range(ticks):
            x, y = self.x[self.t % BATCHES], self.y[self.t % BATCHES]
            self.optimizer.zero_grad()
            loss = 0.5 * ((self.net(x) - y) ** 2).sum() / len(x)
            loss.backward()
            self.optimizer.step()
            self.t += 1

    def numbers(self) -> dict[str, torch.Tensor]:
        """Return what has become of the weights."""
        moved = zip(self.layers, self.first, strict=True)
        return {
            f"changes of the weights of layer {k}": layer.weight.data - first
            for k, (layer, first) in enumerate(moved, 1)
        }


def descending(
    batch: int, sizes: tuple[int, ...] = SIZES
) -> tuple[Callable[[], Running], Callable[[], Descent]]:
    """Return what makes both sides: weights that go the way of gradient descent, a minibatch a tick."""
    net, rng = layers(sizes, "instant"), np.random.default_rng(0)
    x = rng.normal(size=(BATCHES * batch, sizes[0]))
    y = rng.uniform(-0.5, 0.5, (BATCHES * batch, sizes[-1]))

    def ours() -> Running:
        sim = hlsim.Simulation(
            net.network,
            rule=Hamiltonian(beta=RATE, eta=1.0 - MOMENTUM, order="sequential"),
            stimulus=Arrays(x, y),
            stages=[Stage(passes=10**6)],
            batch=batch,
        )
        return Running(sim, net.moved)

    return ours, lambda: Descent(net.matrices(), x, y, batch)


def descent(batch: int, sizes: tuple[int, ...] = SIZES) -> Pair:
    """Return gradient descent by both."""
    ours, theirs = descending(batch, sizes)
    return Pair(ours(), theirs(), TICKS, alike=TICKS, within=_within(len(sizes)))


def peaks(batch: int) -> Callable[[int], Figures]:
    """Return the measurement of the tensors of both."""

    def measure(_repeats: int) -> Figures:
        mine, other = (peak_bytes(make) / 1e6 for make in descending(batch))
        return Figures(mine, other, "MB", mine / other)

    return measure


_B = "784-512-512-10 gradient descent, batch"
B = (
    Case(f"{_B} 1, peak of tensors", peaks(1), 1.0),
    Case(f"{_B} 1, against autograd and SGD", beside(descent, 1), 1.0),
    Case(f"{_B} 128, peak of tensors", peaks(128), 1.0),
    Case(f"{_B} 128, against autograd and SGD", beside(descent, 128), 0.95),
)
