"""The baseline against networks that torch's own modules make, and against formulas written out."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hlsim.analysis import baseline
from hlsim.analysis.baseline import FeedForward
from hlsim.errors import TopologyError
from hlsim.models.losses import LOSSES
from hlsim.stimulus import Arrays, Stage
from hlsim.topology import layered, ring
from hlsim.topology.network import Network, flatten
from tests.support.own import FitzHughNagumo, registered

ROWS = np.random.default_rng(3).normal(size=(40, 4))
LABEL = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
SPLITS = {"train": slice(0, 30), "test": slice(30, 40)}


def weight(network: Network, source: str | None, target: str) -> float:
    """The weight of one edge, found by the labels of its ends; without a source, the bias."""
    j = -1 if source is None else network.label.index(source)
    (edge,) = np.flatnonzero((network.source == j) & (network.target == network.label.index(target)))
    return float(network.weight[0, edge])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[FeedForward]:
    """The networks that a test trains."""
    nets: list[FeedForward] = []

    class Kept(FeedForward):
        def __init__(self, network: Network) -> None:
            super().__init__(network)
            nets.append(self)

    monkeypatch.setattr(baseline, "FeedForward", Kept)
    return nets


def layers() -> Network:
    return flatten(layered([4, 5, 3, 2], draw=False, bias=0.25, output_activation="identity"), seeds=(7,))


def sequential(network: Network) -> nn.Sequential:
    """The same layers as modules of torch, filled edge by edge."""
    names = {"input": 4, "hidden1": 5, "hidden2": 3, "output": 2}
    parts: list[nn.Module] = []
    for (before, m), (after, n) in zip(list(names.items())[:-1], list(names.items())[1:], strict=True):
        linear = nn.Linear(m, n, dtype=torch.float64)
        with torch.no_grad():
            for i in range(n):
                linear.bias[i] = weight(network, None, f"{after}[{i}]")
                for j in range(m):
                    linear.weight[i, j] = weight(network, f"{before}[{j}]", f"{after}[{i}]")
        parts += [linear, nn.Tanh()]
    return nn.Sequential(*parts[:-1])


def stream() -> Arrays:
    return Arrays(ROWS, np.eye(2)[LABEL], LABEL, SPLITS)


def as_edges(network: Network, model: nn.Sequential, values: str) -> np.ndarray:
    """The parameters of the modules, or their gradients, in the order of the network's edges."""
    filled = np.full(network.m, np.nan)
    for layer, linear in zip(("hidden1", "hidden2", "output"), list(model)[::2], strict=True):
        assert isinstance(linear, nn.Linear)
        for k in range(network.m):
            name, i = network.label[network.target[k]].rstrip("]").split("[")
            if name != layer:
                continue
            tensor = linear.bias if network.source[k] < 0 else linear.weight
            j = (
                0
                if network.source[k] < 0
                else int(network.label[network.source[k]].rstrip("]").split("[")[1])
            )
            part = tensor if values == "data" else tensor.grad
            assert part is not None
            filled[k] = part.detach()[(int(i),) if network.source[k] < 0 else (int(i), j)]
    return filled


def test_outputs_and_gradients_are_those_of_torch_modules() -> None:
    network = layers()
    net, model = FeedForward(network), sequential(network)
    x = torch.tensor(ROWS)
    torch.testing.assert_close(net(x), model(x), rtol=0, atol=1e-14)
    net(x).sin().sum().backward()
    model(x).sin().sum().backward()
    assert net.w.grad is not None
    np.testing.assert_allclose(net.w.grad, as_edges(network, model, "grad"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_training_is_that_of_torch_modules(trained: list[FeedForward], loss: str, momentum: float) -> None:
    """Every row is judged before it is learned from; a stage that does not learn leaves the weights alone."""
    network = layers()
    stages = [
        Stage(passes=2, shuffle=True),
        Stage("test", split="test", learn=False),
        Stage("again", split="test", learn=False),
    ]
    found = baseline.sgd(network, stream(), stages, LOSSES[loss], lr=0.03, momentum=momentum, seed=5)
    model = sequential(network)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03, momentum=momentum)
    right: dict[str, list[bool]] = {stage.name: [] for stage in stages}
    for stage in stages:
        for row in stage.presentations(stream(), 5):
            y = model(torch.tensor(row.input))
            right[stage.name].append(bool(y.argmax() == row.label))
            if stage.learn:
                optimiser.zero_grad()
                _loss(loss, y, row.label).backward()
                optimiser.step()
    assert found == {name: np.mean(hits) for name, hits in right.items()}
    assert found["test"] == found["again"]
    w = trained[0].w.detach().numpy()
    np.testing.assert_allclose(w, as_edges(network, model, "data"), rtol=0, atol=1e-12)


def _loss(name: str, y: Tensor, label: int) -> Tensor:
    target = torch.eye(2, dtype=torch.float64)[label]
    if name == "cross_entropy":
        return nn.functional.cross_entropy(y[None], torch.tensor([label]))
    return 0.5 * nn.functional.mse_loss(y, target, reduction="sum")


def shortcuts() -> nx.DiGraph:
    """Neurons 3, 2 and 1 in a row, against the order of their labels, with shortcuts."""
    graph = nx.DiGraph()
    graph.add_node("1", activation="identity", role="output", bias=0.5)
    graph.add_node("2", activation="sigmoid")
    graph.add_node("3", activation="tanh", role="input")
    graph.add_node("in", model="input")
    for source, target, w in (
        ("in", "3", 0.3),
        ("in", "2", -0.7),
        ("3", "2", 1.1),
        ("2", "1", 0.9),
        ("3", "1", -1.3),
    ):
        graph.add_edge(source, target, weight=w, delay=2)
    return graph


def test_shortcuts_and_driven_neurons_are_as_written_out() -> None:
    """Delays are left out, and a neuron of role input adds the stimulus to its drive."""
    network = flatten(shortcuts())
    net = FeedForward(network)
    driven, x = torch.tensor([0.2, -0.4], dtype=torch.float64), torch.tensor([1.0, 0.6], dtype=torch.float64)
    y = net(torch.stack([driven, x], 1))
    third = torch.tanh(0.3 * x + driven)
    second = torch.sigmoid(-0.7 * x + 1.1 * third)
    torch.testing.assert_close(y[:, 0], 0.5 + 0.9 * second - 1.3 * third, rtol=0, atol=1e-15)


def test_what_is_not_plastic_stays(trained: list[FeedForward]) -> None:
    graph = shortcuts()
    graph.edges["3", "2"]["plastic"] = False
    network = flatten(graph)
    data = Arrays(ROWS[:, :2], ROWS[:, 2:3])
    baseline.sgd(network, data, [Stage()], LOSSES["squared_error"], lr=0.01, momentum=0.9)
    moved = trained[0].w.detach().numpy() != network.weight[0]
    fixed = (network.source == network.label.index("3")) & (network.target == network.label.index("2"))
    assert moved.tolist() == (~fixed).tolist()


def test_a_cycle_is_named() -> None:
    with pytest.raises(TopologyError, match=r"without cycles, got neuron\[0\] -> neuron\[1\] -> neuron\[2\]"):
        FeedForward(flatten(ring(3)))


def test_a_model_that_does_not_settle_at_sigma_of_its_drive_is_named() -> None:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    graph.add_node("y", model="fhn", update="clock", role="output")
    graph.add_edge("x", "y")
    with registered(FitzHughNagumo), pytest.raises(TopologyError, match=r"node 'y': model: .*got 'fhn'"):
        FeedForward(flatten(graph))
