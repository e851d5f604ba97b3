"""`hlsim validate` and `hlsim info`: what they tell of experiments, graphs and traces."""

import re
from pathlib import Path

import pytest

from hlsim.topology import layered, save
from tests.support import experiments
from tests.support.commands import Command, Outcome


def test_validate_tells_what_is_valid(hlsim_: Command) -> None:
    done = hlsim_("validate", "tiny")
    assert done == Outcome(0, f"tiny: valid, 7 nodes, 12 synapses, {experiments.TICKS} ticks\n", "")
    changed = hlsim_("validate", "tiny/experiment.toml", "--set", "network.parameters.hidden=4")
    assert "8 nodes, 16 synapses" in changed.out
    assert sorted(path.name for path in Path().iterdir()) == ["tiny"]


@pytest.mark.parametrize("name", ["graph.json", "graph.graphml", "tiny/topology.py"])
def test_graphs_are_validated_and_described(hlsim_: Command, name: str) -> None:
    if not Path(name).exists():
        save(layered([2, 3, 2], seed=1), name)
    assert hlsim_("validate", name).out == f"{name}: valid, 7 nodes, 12 synapses\n"
    shown = hlsim_("info", name)
    assert shown.code == 0
    assert re.search(r"groups +hidden 3, input 2, output 2", shown.out)


def test_info_shows_an_experiment_with_its_defaults(hlsim_: Command) -> None:
    done = hlsim_("info", "tiny", "--set", "learning.eta=0.125")
    assert done.code == 0
    assert re.search(r"synapses +12\b", done.out)
    assert "eta = 0.125" in done.out
    assert 'kind = "squared_error"' in done.out


def test_info_shows_a_trace(hlsim_: Command, traced: Path) -> None:
    done = hlsim_("info", str(traced))
    assert done.code == 0
    assert re.search(r"status +complete", done.out)
    assert re.search(r"sampled/h +50 x 7 +float32", done.out)
    assert "beta = 0.05" in done.out
