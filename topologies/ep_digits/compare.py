"""Every rule of the family beside backpropagation: the same net, weights, rows and minibatches."""

import sys
from pathlib import Path

import numpy as np

from hlsim import baseline, experiment

HERE = Path(__file__).parent
DWELL = "ends = 'dwell', reset = true"
# The table [learning] of each rule.
RULES = {
    "equilibrium": f"rule = 'equilibrium', beta = 0.1, nudge = 0.1, dwell = 6, {DWELL}",
    "symmetric": f"rule = 'equilibrium', symmetric = true, beta = 0.1, nudge = 0.5, dwell = 6, {DWELL}",
    "continual": f"rule = 'continual_equilibrium', beta = 0.05, nudge = 0.5, dwell = 4, {DWELL}",
    "holomorphic": f"rule = 'holomorphic_equilibrium', beta = 0.1, nudge = 0.5, dwell = 9, {DWELL}",
    "oscillating": "rule = 'oscillating_equilibrium', beta = 0.1, nudge = 0.3, steps = 16, reset = true",
}
NOISE = 0.6
NOISY = {
    "equilibrium, weak pull": f"rule = 'equilibrium', beta = 0.1, nudge = 0.2, dwell = 6, {DWELL}",
    "equilibrium, strong pull": f"rule = 'equilibrium', beta = 0.1, nudge = 1.0, dwell = 6, {DWELL}",
    "holomorphic": f"rule = 'holomorphic_equilibrium', beta = 0.1, nudge = 1.0, dwell = 9, {DWELL}",
}


def accuracy(learning: str, seed: int, noise: float = 0.0, passes: int = 10) -> float:
    """Return the share of test images told right after training."""
    settings = (f"learning={{ {learning} }}", f"noise.std={noise}", *common(seed, passes))
    simulation = experiment.load(HERE, settings).simulation()
    simulation.run(sampled=())
    return float(simulation.summary["accuracy"]["test"])


def backpropagation(seed: int, passes: int = 10) -> float:
    """Return the same of torch.optim.SGD, with the rate of the experiment."""
    plan = experiment.load(HERE, common(seed, passes))
    how = {"lr": plan.rule().beta, "seed": seed, "batch": plan.settings.simulation.batch}
    return baseline.sgd(plan.network, plan.stream, plan.stages(), plan.loss(), **how)["test"]


def common(seed: int, passes: int) -> tuple[str, ...]:
    """Return the settings that all runs of a seed share."""
    return f"simulation.seed={seed}", f"stage.train.passes={passes}"


def show(name: str, found: list[float]) -> None:
    """Print the mean and each seed."""
    each = " ".join(f"{value:.3f}" for value in found)
    print(f"{name:42} {np.mean(found):.3f}   {each}", flush=True)


def main(seeds: range) -> None:
    """Print one line a rule."""
    show("backpropagation", [backpropagation(seed) for seed in seeds])
    for name, learning in RULES.items():
        show(name, [accuracy(learning, seed) for seed in seeds])
    for name, learning in NOISY.items():
        show(f"{name}, noise {NOISE}", [accuracy(learning, seed, NOISE) for seed in seeds])


if __name__ == "__main__":
    main(range(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
