"""Gradient descent is a special case: instant neurons, no delays, one update a tick."""

from collections.abc import Callable, Iterator

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hlsim import Simulation, topology
from hlsim.models.rules import Hamiltonian, Schedule
from hlsim.stimulus import Arrays
from hlsim.topology.network import Network
from tests.support.theory import ENGINES, Twin, Vector, distance, samples, simulate, stacked

# The fast engine takes a layer as a matrix or edge by edge, as it is large or small: 24, 48 and 24 edges.
SIZES = (4, 6, 8, 3)
STEPS = 300
# lr, momentum, dampening, dt: the paper's four settings, and a momentum worth the name.
SETTINGS = {
    "GD-a": (0.01, 0.0, 0.0, 1.0),
    "GD-b": (0.001, 0.0, 0.0, 0.5),
    "Mom-a": (0.01, 0.05, 0.6, 1.0),
    "Mom-b": (0.01, 0.1, 0.5, 0.5),
    "mu=.9": (0.01, 0.9, 0.0, 1.0),
}
EXACT = 1e-14

Loss = Callable[[Tensor, Tensor], Tensor]


def squared_error(y: Tensor, target: Tensor) -> Tensor:
    """Return the mean over a batch."""
    return 0.5 * ((y - target) ** 2).sum(-1).mean()


LOSSES: dict[str, Loss] = {"squared_error": squared_error, "cross_entropy": nn.functional.cross_entropy}


def rule(
    setting: str, undampened_start: bool = True, order: str = "sequential", decay: float = 0.0
) -> Hamiltonian:
    """Return the rule that the paper's map gives: lr = beta dt, mu = 1 - dt eta, rho = 1 - dt phi."""
    lr, mu, rho, dt = SETTINGS[setting]
    scale = (1.0 - rho) / dt
    phi = Schedule(((0, 1.0 / dt), (1, scale))) if rho and undampened_start else scale
    return Hamiltonian(lr / dt, (1.0 - mu) / dt, phi, order, decay)


def net(setting: str, stimulus: Arrays, hamiltonian: Hamiltonian, **options: object) -> Simulation:
    graph = topology.layered(SIZES, seed=3, model="instant", bias=0.1, output_activation="identity")
    return simulate(graph, stimulus, rule=hamiltonian, dt=SETTINGS[setting][3], **options)


def stream(loss: str, rows: int = STEPS) -> Arrays:
    """Return random samples; for cross-entropy the targets are probabilities."""
    stimulus = samples(rows, SIZES[0], SIZES[-1])
    if loss == "squared_error":
        return stimulus
    inputs, targets = stacked(stimulus)
    return Arrays(inputs, np.exp(targets) / np.exp(targets).sum(1, keepdims=True))


def batches(stimulus: Arrays, size: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    inputs, targets = map(torch.as_tensor, stacked(stimulus))
    yield from zip(inputs.split(size), targets.split(size), strict=True)


def descended(
    simulation: Simulation,
    stimulus: Arrays,
    setting: tuple[float, float, float, float],
    loss: str = "squared_error",
    size: int = 1,
    decay: float = 0.0,
) -> Vector:
    """Return the weights (m,) after torch's SGD, a step a batch, from the simulation's initial ones."""
    lr, mu, rho, _ = setting
    twin = Twin(simulation.network, simulation.network.weight[0])
    sgd = torch.optim.SGD(twin.parameters(), lr=lr, momentum=mu, dampening=rho, weight_decay=decay)
    for x, y in batches(stimulus, size):
        sgd.zero_grad()
        LOSSES[loss](twin(x), y).backward()
        sgd.step()
    return twin.edges()


def learned(simulation: Simulation) -> Vector:
    """Return the weights (m,) after the whole stream."""
    simulation.run(every=10**6)
    return simulation.read("w")[0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_sequential_instant_net_is_sgd(setting: str, engine: str) -> None:
    stimulus = stream("squared_error")
    simulation = net(setting, stimulus, rule(setting), engine=engine)
    w = learned(simulation)
    assert distance(w, simulation.network.weight[0]) > 1e-2
    assert distance(w, descended(simulation, stimulus, SETTINGS[setting])) <= EXACT


@pytest.mark.parametrize(
    ("setting", "engine"), [("GD-b", "reference"), ("Mom-b", "batched"), ("mu=.9", "reference")]
)
def test_it_is_sgd_on_cross_entropy_too(setting: str, engine: str) -> None:
    stimulus = stream("cross_entropy")
    simulation = net(setting, stimulus, rule(setting), loss="cross_entropy", engine=engine)
    assert (
        distance(learned(simulation), descended(simulation, stimulus, SETTINGS[setting], "cross_entropy"))
        <= EXACT
    )


@pytest.mark.parametrize(
    ("setting", "engine"), [("GD-b", "reference"), ("Mom-a", "batched"), ("mu=.9", "reference")]
)
def test_weight_decay_inside_the_loss_is_that_of_sgd(setting: str, engine: str) -> None:
    stimulus = stream("squared_error")
    simulation = net(setting, stimulus, rule(setting, decay=0.1), engine=engine)
    w = learned(simulation)
    assert distance(w, descended(simulation, stimulus, SETTINGS[setting])) > 1e-2
    assert distance(w, descended(simulation, stimulus, SETTINGS[setting], decay=0.1)) <= EXACT


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("setting", ["GD-b", "mu=.9"])
def test_a_batch_is_sgd_on_the_mean_loss(setting: str, loss: str) -> None:
    stimulus = stream(loss, rows=60 * 8)
    simulation = net(setting, stimulus, rule(setting), batch=8, loss=loss)
    assert (
        distance(learned(simulation), descended(simulation, stimulus, SETTINGS[setting], loss, size=8))
        <= 1e-13
    )


@pytest.mark.parametrize("setting", ["Mom-a", "Mom-b"])
def test_torch_does_not_dampen_its_first_momentum_buffer(setting: str) -> None:
    """With a constant phi the two part at the first step, and only there."""
    stimulus = stream("squared_error")
    simulation = net(setting, stimulus, rule(setting, undampened_start=False))
    w = learned(simulation)
    assert 2e-3 < distance(w, descended(simulation, stimulus, SETTINGS[setting])) < 2e-2


def test_torch_ignores_dampening_without_momentum_and_hlsim_does_not() -> None:
    """At mu = 0 phi scales the step: torch gives the same weights with the rate times 1 - rho."""
    stimulus = stream("squared_error")
    simulation = net("GD-a", stimulus, Hamiltonian(0.01, 1.0, 1.0 - 0.4, "sequential"))
    w = learned(simulation)
    dampened, scaled = (
        descended(simulation, stimulus, setting)
        for setting in ((0.01, 0.0, 0.4, 1.0), (0.006, 0.0, 0.0, 1.0))
    )
    assert distance(w, dampened) > 1e-2
    assert distance(w, scaled) <= EXACT


def late_heavy_ball(simulation: Simulation, setting: str, stimulus: Arrays) -> Vector:
    """Return w_n of w_{n+1} - w_n = mu (w_n - w_{n-1}) - lr phi dt G_{n-1}(w_{n-1}), a step a sample."""
    lr, mu, rho, _ = SETTINGS[setting]
    twin = Twin(simulation.network, simulation.network.weight[0])
    parameters = list(twin.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    arrived = [torch.zeros_like(p) for p in parameters]
    for x, y in list(batches(stimulus))[:-1]:
        fresh = torch.autograd.grad(squared_error(twin(x), y), parameters)
        with torch.no_grad():
            for v, p, g in zip(velocity, parameters, arrived, strict=True):
                v.mul_(mu).sub_(lr * (1.0 - rho) * g)
                p.add_(v)
        arrived = list(fresh)
    return twin.edges()


@pytest.mark.parametrize(
    ("setting", "engine"),
    [*((setting, "reference") for setting in SETTINGS), ("GD-b", "batched"), ("mu=.9", "batched")],
)
def test_explicit_instant_net_is_a_heavy_ball_whose_gradient_is_one_step_late(
    setting: str, engine: str
) -> None:
    stimulus = stream("squared_error")
    explicit = rule(setting, undampened_start=False, order="explicit")
    simulation = net(setting, stimulus, explicit, engine=engine)
    w = learned(simulation)
    assert distance(w, descended(simulation, stimulus, SETTINGS[setting])) > 1e-5
    assert distance(w, late_heavy_ball(simulation, setting, stimulus)) <= EXACT


def recurrent(delay: int | tuple[int, int], activation: str) -> nx.DiGraph:
    """Return leaky neurons of different time constants that settle; each hears four others and itself."""
    graph = topology.random(
        10,
        4,
        seed=5,
        std=0.3,
        bias=0.2,
        activation=activation,
        delay=delay,
        self_loops=True,
        inputs=3,
        outputs=3,
    )
    for i, node in enumerate(graph):
        graph.nodes[node]["tau"] = 1.0 + 0.3 * i
    return graph


def implicit_gradient(network: Network, x: Vector, y: Vector) -> Vector:
    """Return dL/dw (m,) at the fixed point h = sigma(W h + b + u): autograd through the search for it."""
    w = torch.tensor(network.weight[0], requires_grad=True)
    u = torch.zeros(network.n, dtype=torch.float64)
    u[network.inputs] = torch.as_tensor(x)
    sigma = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[network.activation[0]]
    bias, source, target = network.source < 0, *map(torch.as_tensor, (network.source, network.target))
    h = torch.zeros(network.n, dtype=torch.float64)
    for _ in range(200):
        s = torch.where(torch.as_tensor(bias), 1.0, h[source])
        h = sigma(u.index_add(0, target, w * s))
    squared_error(h[network.outputs], torch.as_tensor(y)).backward()
    assert w.grad is not None
    return w.grad.numpy()


@pytest.mark.parametrize(
    ("update", "order", "engine", "delay"),
    [
        ("clock", "explicit", "batched", 0),
        ("clock", "sequential", "batched", (0, 3)),
        ("arrival", "explicit", "batched", (0, 3)),
        ("clock", "explicit", "reference", (0, 3)),
        ("clock", "sequential", "reference", 0),
        ("arrival", "explicit", "reference", 0),
    ],
)
def test_at_rest_omega_grows_by_the_implicit_gradient(
    update: str, order: str, engine: str, delay: int | tuple[int, int]
) -> None:
    """Almeida and Pineda's recurrent backpropagation: input held, weights frozen, no dissipation."""
    rest, dt = 400, 0.5
    x, y = np.array([0.8, -1.2, 0.5]), np.array([0.3, -0.4, 0.6])
    simulation = simulate(
        recurrent(delay, "tanh" if update == "clock" else "sigmoid"),
        Arrays(x[None], y[None]),
        rule=Hamiltonian(beta=0.0, eta=0.0, order=order),
        hold=rest + 1,
        dt=dt,
        engine=engine,
        node_defaults={"update": update, "send_threshold": 0.0, "costate_threshold": 0.0},
    )
    simulation.run(rest, every=10**6)
    before = simulation.read("omega")[0]
    simulation.run(rest + 1, every=10**6)
    moved = simulation.read("omega")[0] - before
    expected = implicit_gradient(simulation.network, x, y)
    assert np.abs(expected).max() > 1e-2
    assert distance(moved / dt, expected) <= 1e-10
