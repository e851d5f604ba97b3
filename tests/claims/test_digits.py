"""The main job on real input: a fully local network learns handwritten digits nearly as well as SGD does."""

import numpy as np
import pytest

from hlsim import analysis, experiment
from hlsim.analysis import baseline
from tests.support.places import TOPOLOGIES

DIGITS = TOPOLOGIES / "digits"


@pytest.mark.verify
def test_local_learning_of_digits_comes_close_to_gradient_descent() -> None:
    """Mean over five seeds at least .93, and within .03 of torch.optim.SGD on the same streams."""
    trace = experiment.load(DIGITS, ["simulation.ensemble=5", 'record.sampled=["loss"]']).run()
    local = analysis.accuracy(trace)["accuracy"].sel(stage="test").to_numpy()
    descent = []
    for seed in range(5):
        plan = experiment.load(DIGITS, [f"simulation.seed={seed}"])
        simulation = plan.simulation()
        stages = plan.stages()
        assert plan.stream is not None
        assert stages is not None
        assert simulation.loss is not None
        accuracy = baseline.sgd(simulation.network, plan.stream, stages, simulation.loss, lr=0.02, seed=seed)
        descent.append(accuracy["test"])
    assert local.shape == (5,)
    assert local.mean() >= 0.93
    assert local.mean() >= np.mean(descent) - 0.03


def test_a_local_network_learns_from_a_few_hundred_digits() -> None:
    """The short form: far above chance (.1) after 300 images, on images it has not seen."""
    overrides = [
        "stage.train.rows=300",
        "stage.train.passes=1",
        "stage.test.rows=100",
        'record.sampled=["loss"]',
    ]
    trace = experiment.load(DIGITS, overrides).run()
    assert trace.summary["ticks"] == 400 * 16
    assert trace.summary["accuracy"]["test"] > 0.7


FAST = DIGITS / "fast.toml"


def on_test(*overrides: str) -> np.ndarray:
    """Accuracy by seed, of five."""
    given = ["simulation.ensemble=5", "record.every=5000", *overrides]
    found = analysis.accuracy(experiment.load(FAST, given).run())["accuracy"].sel(stage="test")
    return np.asarray(found)


@pytest.mark.verify
@pytest.mark.parametrize("extra", [0, 4, 8])
def test_a_new_digit_every_tick_is_learned_from_with_matched_lags(extra: int) -> None:
    """Mean over five seeds at least .93, the rate chosen on training images; unaided it stays at chance."""
    delay = f"network.parameters.delay={1 + extra}"
    assert on_test(delay).mean() >= 0.93
    assert on_test(delay, "learning.lag=0", "stimulus.target_delay=0").mean() < 0.15


def test_a_few_hundred_digits_are_learned_from_in_as_many_ticks() -> None:
    """The short form, with nine ticks each way; each image is shown for one."""
    overrides = ["network.parameters.delay=9", "stage.train.rows=500", "stage.train.passes=1"]
    trace = experiment.load(FAST, [*overrides, "stage.test.rows=100", 'record.sampled=["loss"]']).run()
    assert trace.summary["ticks"] == 600 + 18
    assert trace.summary["accuracy"]["test"] > 0.6
