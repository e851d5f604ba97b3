"""Handwritten digits by equilibrium propagation: each rule beside backpropagation, with noise and without."""

import importlib.util
from types import ModuleType

import numpy as np
import pytest

from tests.support.places import TOPOLOGIES

FOLDER = TOPOLOGIES / "ep_digits"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_ep_digits", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMPARE = script()


@pytest.mark.parametrize("rule", COMPARE.RULES)
def test_after_few_passes_a_rule_is_near_backpropagation(rule: str) -> None:
    """Continual propagation has half the rate, and twice the passes."""
    passes = 6 if rule == "continual" else 3
    assert COMPARE.accuracy(COMPARE.RULES[rule], 0, passes=passes) > COMPARE.backpropagation(0, 3) - 0.03


@pytest.mark.verify
@pytest.mark.parametrize("rule", COMPARE.RULES)
def test_a_rule_is_within_three_points_of_backpropagation(rule: str) -> None:
    """Ten passes, three seeds, the same rows in the same order."""
    mine = [COMPARE.accuracy(COMPARE.RULES[rule], seed) for seed in range(3)]
    assert np.mean(mine) > np.mean([COMPARE.backpropagation(seed) for seed in range(3)]) - 0.03


@pytest.mark.verify
def test_points_on_a_circle_resist_noise_to_which_one_sided_propagation_falls() -> None:
    """Noise of std .6 on every drive: whatever the pull, one side loses more than three points."""
    found = {
        name: np.mean([COMPARE.accuracy(learning, seed, COMPARE.NOISE) for seed in range(3)])
        for name, learning in COMPARE.NOISY.items()
    }
    backpropagation = np.mean([COMPARE.backpropagation(seed) for seed in range(3)])
    assert found["holomorphic"] > backpropagation - 0.03
    assert found["equilibrium, weak pull"] < backpropagation - 0.3
    assert found["equilibrium, strong pull"] < backpropagation - 0.03


def test_noise_divides_the_rules_after_few_passes_too() -> None:
    """At half the passes and .4 a weak pull is lost in the noise, a strong one on a circle is not."""
    weak, circle = (COMPARE.NOISY[name] for name in ("equilibrium, weak pull", "holomorphic"))
    assert COMPARE.accuracy(circle, 0, 0.4, passes=3) > COMPARE.accuracy(weak, 0, 0.4, passes=3) + 0.1
