"""Dense layers: in lockstep with one product a tick (C), and as gradient descent with momentum (B)."""

from collections.abc import Iterator

import numpy as np
import torch

import hlsim
from hlsim.models.rules import Hamiltonian
from hlsim.stimulus import Arrays, Stage
from hlsim.topology.network import flatten
from workloads.agreement import require_same
from workloads.memory import peak_bytes
from workloads.rows import Row, medians

BETA, ETA = 1e-4, 0.5
RATE, MOMENTUM = 1e-3, 0.9
# Minibatches that follow each other for ever.
BATCHES = 16


SIZES = (784, 512, 512, 10)


def matrices(network: hlsim.network.Network, weight: np.ndarray | None = None) -> list[torch.Tensor]:
    """Return the weights (edge,) of the network, its initial ones by default, layer by layer."""
    layer = [name.partition("[")[0] for name in network.label]
    number = np.array([int(name.partition("[")[2][:-1]) for name in network.label])
    values, made = network.weight[0] if weight is None else weight, []
    for after in ("hidden1", "hidden2", "output"):
        edges = np.flatnonzero(np.array([name == after for name in layer])[network.target])
        i, j = number[network.target[edges]], number[network.source[edges]]
        w = torch.zeros(int(i.max()) + 1, int(j.max()) + 1)
        w[i, j] = torch.as_tensor(values[edges]).float()
        made.append(w)
    return made


class DenseLoop:
    """784-512-512-10 leaky neurons with tau = dt, layer by layer, as a loop of torch calls."""

    def __init__(self, network: hlsim.network.Network, x: np.ndarray, target: np.ndarray, batch: int) -> None:
        self.w = matrices(network)
        self.omega = [torch.zeros_like(w) for w in self.w]
        self.x, self.target = torch.as_tensor(x).float(), torch.as_tensor(target).float()
        self.h = [torch.zeros(batch, len(w)) for w in self.w]
        self.z, self.q, self.a, self.g = ([torch.zeros_like(h) for h in self.h] for _ in range(4))
        self.s = [torch.zeros(batch, w.shape[1]) for w in self.w]
        self.batch, self.t = batch, 0

    def run(self, ticks: int) -> None:
        """Run so many ticks of the explicit order."""
        for _ in range(ticks):
            if self.t:
                for k, w in enumerate(self.w):
                    step = self.q[k].T @ self.s[k] / self.batch
                    w.sub_(BETA * self.omega[k])
                    self.omega[k] += step - ETA * self.omega[k]
                    self.z[k] = self.g[k] - ETA * self.z[k]
                    self.h[k] = torch.tanh(self.a[k])
            self.s = [self.x, *self.h[:-1]]
            for k, w in enumerate(self.w):
                self.a[k] = self.s[k] @ w.T
                y = torch.tanh(self.a[k])
                self.q[k] = self.z[k] * (1.0 - y * y)
            for k in range(2):
                self.g[k] = self.q[k + 1] @ self.w[k + 1]
            self.g[2] = self.h[2] - self.target
            self.t += 1


def workload_c(quick: bool, repeats: int) -> Iterator[Row]:
    """Dense layers, every neuron a tick: time of a tick."""
    ticks = 20 if quick else 50
    graph = hlsim.topology.layered(SIZES)
    network = flatten(graph, node_defaults={"update": "clock"})
    for batch in (1, 128):
        rng = np.random.default_rng(0)
        x, target = rng.normal(size=(batch, 784)), rng.uniform(-0.5, 0.5, (batch, 10))
        sim = hlsim.Simulation(network, rule=Hamiltonian(beta=BETA, eta=ETA), batch=batch)
        sim.controls.input(x)
        sim.controls.target(target)
        loop = DenseLoop(network, x, target, batch)

        def ours(sim: hlsim.Simulation = sim) -> None:
            sim.env.run(until=sim.tick + ticks)  # the ticks alone, without a trace

        mine, other = medians(repeats, ours, lambda loop=loop: loop.run(ticks))
        outputs = network.outputs
        require_same("C, states of the outputs", sim.read("h")[:, outputs], loop.h[2])
        _require_same_moves("C", network, sim.read("w")[0], loop.w)
        what = f"784-512-512-10 fully local, batch {batch}, against a torch loop"
        each = 1e3 / ticks
        yield Row("C", what, mine * each, other * each, "ms a tick", mine / other, 1.15, at_least=False)


# ---- B: gradient descent


def descending(network: hlsim.network.Network, x: np.ndarray, y: np.ndarray, batch: int) -> hlsim.Simulation:
    """Return a simulation whose weights go the way of gradient descent with momentum, a minibatch a tick."""
    return hlsim.Simulation(
        network,
        rule=Hamiltonian(beta=RATE, eta=1.0 - MOMENTUM, order="sequential"),
        stimulus=Arrays(x, y),
        stages=[Stage(passes=10**6)],
        batch=batch,
    )


class Descent:
    """The same network by autograd and ``torch.optim.SGD``."""

    def __init__(self, weights: list[torch.Tensor], x: np.ndarray, y: np.ndarray, batch: int) -> None:
        layers = [torch.nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights]
        for layer, w in zip(layers, weights, strict=True):
            layer.weight.data.copy_(w)
        self.net = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Tanh())))
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


def workload_b(quick: bool, repeats: int) -> Iterator[Row]:
    """Layers of instant neurons, a minibatch a tick, through the whole simulator."""
    ticks = 20 if quick else 50
    graph = hlsim.topology.layered(SIZES, model="instant")
    network = flatten(graph, node_defaults={"update": "clock"})
    for batch, target in ((1, 1.0), (128, 0.95)):
        rng = np.random.default_rng(0)
        x, y = (
            rng.normal(size=(BATCHES * batch, SIZES[0])),
            rng.uniform(-0.5, 0.5, (BATCHES * batch, SIZES[-1])),
        )

        def ours(batch: int = batch, x: np.ndarray = x, y: np.ndarray = y) -> Running:
            return Running(descending(network, x, y, batch))

        def theirs(batch: int = batch, x: np.ndarray = x, y: np.ndarray = y) -> Descent:
            return Descent(matrices(network), x, y, batch)

        mine, other = (peak_bytes(make) / 1e6 for make in (ours, theirs))
        what = f"784-512-512-10 gradient descent, batch {batch}"
        yield Row("B", f"{what}, peak of tensors", mine, other, "MB", mine / other, 1.0, at_least=False)
        running, descent = ours(), theirs()
        mine, other = medians(repeats, lambda: running.run(ticks), lambda: descent.run(ticks))  # noqa: B023
        layers = [layer.weight.data for layer in descent.net if isinstance(layer, torch.nn.Linear)]
        _require_same_moves("B", network, running.sim.read("w")[0], layers)
        each = 1e3 / ticks
        what = f"{what}, against autograd and SGD"
        yield Row("B", what, mine * each, other * each, "ms a tick", mine / other, target, at_least=False)


class Running:
    """A simulation that goes on, without a trace."""

    def __init__(self, sim: hlsim.Simulation) -> None:
        self.sim = sim

    def run(self, ticks: int) -> None:
        """Run so many ticks."""
        self.sim.env.run(until=self.sim.tick + ticks)


def _require_same_moves(
    letter: str, network: hlsim.network.Network, mine: np.ndarray, theirs: list[torch.Tensor]
) -> None:
    """End the benchmark where what has become of the weights differs, layer by layer."""
    layers = zip(matrices(network), matrices(network, mine), theirs, strict=True)
    for number, (first, ours, other) in enumerate(layers, 1):
        what = f"{letter}, changes of the weights of layer {number}"
        require_same(what, ours - first, other - first, within=0.01)
