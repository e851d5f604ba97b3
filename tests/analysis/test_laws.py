"""Laws that are laid over figures: their numbers are those of the theory, where its conditions hold."""

from pathlib import Path

import pytest

from hlsim import experiment
from hlsim.analysis import laws
from tests.support import experiments

HELD = """
[network]
topology = "topology.py"
node_defaults = { update = "clock" }
[simulation]
until = 20
[learning]
beta = 0.0
eta = 0.0
[stimulus]
source = "file"
path = "stream.npz"
hold = 20
[record]
every = 1
"""


def steps(folder: Path, *overrides: str) -> dict[str, int]:
    with experiment.load(experiments.write(folder / "held", HELD), overrides).run() as trace:
        return laws.exact_from(trace)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_layer_l_of_two_is_exact_from_the_step_that_the_theory_says(tmp_path: Path, delay: int) -> None:
    """(2 nu - l)(d + 1) + 2 for leaky layers in the explicit order, docs/theory.md."""
    found = steps(tmp_path, f"network.parameters.delay={delay}")
    assert found == {"hidden": 3 * (delay + 1) + 2, "output": 2 * (delay + 1) + 2}


@pytest.mark.parametrize(
    "override",
    [
        "learning.beta=0.01",
        "learning.eta=0.5",
        "learning.phi={ gate = 3 }",
        "loss.kind=cross_entropy",
        "stimulus.hold=10",
        "record.every=2",
        "network.node_defaults.tau=2.0",
        "network.node_defaults.update=arrival",
        "network.node_defaults.send_threshold=0.01",
        "network.node_defaults.send_interval=2",
        "network.edge_defaults.feedback=random",
        "stage=[{ learn = false }]",
    ],
)
def test_where_a_condition_does_not_hold_there_is_no_law(tmp_path: Path, override: str) -> None:
    assert steps(tmp_path, override) == {}
