"""A tiny experiment in a folder: 2 inputs, 3 hidden neurons, 2 outputs, 12 rows in two classes."""

from pathlib import Path

import numpy as np
import pytest

from hlsim import experiment
from hlsim.errors import ExperimentError

TOML = """\
[network]
topology = "topology.py"
parameters = { hidden = 3 }

[network.node_defaults]
update = "clock"

[learning]
beta = 0.05
phi = { gate = 2 }

[stimulus]
source = "file"
path = "stream.npz"
hold = 5

[[stage]]
name = "train"
split = "train"
passes = 2
shuffle = true

[[stage]]
name = "test"
split = "test"
learn = false

[record]
every = { default = 2, w = 25 }
events = ["message", "update"]
"""

TOPOLOGY = """\
import hlsim


def build(hidden=3, delay=0):
    return hlsim.topology.layered([2, hidden, 2], seed=1, delay=delay)
"""

TRAIN, TEST, HOLD = 8, 4, 5
TICKS = (2 * TRAIN + TEST) * HOLD


def write(folder: Path, toml: str = TOML) -> Path:
    """Write the experiment into a folder and return it."""
    folder.mkdir(exist_ok=True)
    (folder / "experiment.toml").write_text(toml, encoding="utf-8")
    (folder / "topology.py").write_text(TOPOLOGY, encoding="utf-8")
    label = np.arange(TRAIN + TEST) % 2
    target = np.eye(2)[label]
    split = np.array(["train"] * TRAIN + ["test"] * TEST)
    np.savez(folder / "stream.npz", input=target + 0.1, target=target, label=label, split=split)
    return folder


NETWORK = '[network]\ntopology = "topology.py"\n'


def toml(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        experiment.load(path, overrides)
    return str(caught.value)
