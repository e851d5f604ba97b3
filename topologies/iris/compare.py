"""Hamiltonian Learning beside torch.optim.SGD: the same network, weights, rows and order of rows."""

from pathlib import Path

import numpy as np
import torch

from hlsim import baseline, experiment
from hlsim.experiment import Experiment

HERE = Path(__file__).parent


def descend(plan: Experiment, lr: float, momentum: float) -> np.ndarray:
    """Return the weights (edge,) that torch's gradient descent reaches in the stages that learn."""
    net, loss = baseline.FeedForward(plan.network), plan.loss()
    sgd = torch.optim.SGD([net.w], lr=lr, momentum=momentum)
    for stage in filter(lambda stage: stage.learn, plan.stages()):
        for row in stage.presentations(plan.stream, plan.settings.simulation.seed):
            y, target = net(torch.as_tensor(row.input)[None]), torch.as_tensor(row.target)[None]
            sgd.zero_grad()
            loss.value(y, target).sum().backward()
            sgd.step()
    return net.w.detach().numpy()


def compare(file: str) -> None:
    """Print the accuracies of both, and how far apart the weights end."""
    plan = experiment.load(HERE / file)
    learning, table = plan.settings.learning, plan.settings.simulation
    descent = {"lr": learning.beta * table.dt, "momentum": 1.0 - learning.eta * table.dt}
    simulation = plan.simulation()
    simulation.run()
    local = simulation.summary["accuracy"]["test"]
    sgd = baseline.sgd(plan.network, plan.stream, plan.stages(), plan.loss(), seed=table.seed, **descent)
    apart = np.abs(simulation.read("w")[0] - descend(plan, **descent)).max()
    print(f"{file:16} HL {local:.3f}   SGD {sgd['test']:.3f}   largest difference of a weight {apart:.1e}")


if __name__ == "__main__":
    for file in ("linear.toml", "experiment.toml"):
        compare(file)
