"""What a user registers is named by graphs and experiments, runs compiled, and is refused in one line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from torch import Tensor

import hlsim
from hlsim.errors import ExperimentError, TraceError
from hlsim.models import load, register, registry
from hlsim.models.losses import Loss
from hlsim.models.neurons import MODELS, RESERVED, Activation, Neuron
from hlsim.models.rules import RULES, Hamiltonian, Rule
from hlsim.topology.attributes import node_attributes
from hlsim.trace.network import network_of
from tests.support.own import CATALOGUES, registered

# A copy of each, under names of its own, as somebody who does not know ours would write them.
COPIES = """
from dataclasses import dataclass
from typing import ClassVar

from hlsim.models import ops
from hlsim.models.losses import Loss
from hlsim.models.neurons import Activation, Neuron
from hlsim.models.rules import Equilibrium, Hamiltonian


class Leak(Neuron):
    name = "leak"
    parameters = {"tau": 1.0}
    relaxes = True

    def velocity(self, h, a, sigma, p):
        return (sigma.value(a) - h) / p.tau

    def partials(self, h, a, sigma, p):
        return -1.0 / p.tau, sigma.slope(a, sigma.value(a)) / p.tau

    def rest(self, a, sigma):
        return sigma.value(a)

    def rate(self, p):
        return 1.0 / p.tau


class Curve(Activation):
    name = "curve"

    def value(self, a):
        return ops.tanh(a)

    def slope(self, a, y):
        return 1.0 - y * y


class Square(Loss):
    name = "square"

    def value(self, y, target):
        return 0.5 * (y - target).square().sum(-1)

    def gradient(self, y, target):
        return y - target


@dataclass(frozen=True)
class Descent(Hamiltonian):
    name: ClassVar[str] = "descent"

    def synapse_euler(self, w, fields, qs, beta, duration):
        omega = fields.omega + duration * (qs - self.eta * fields.omega)
        return w - duration * beta * (omega if self.sequential else fields.omega), (omega,)

    def synapse_hold(self, w, fields, s1, s2, beta, duration):
        w = w - beta * (fields.omega * self.memory(duration) + s2)
        return w, (ops.exp(-self.eta * duration) * fields.omega + s1,)


@dataclass(frozen=True)
class Balance(Equilibrium):
    name: ClassVar[str] = "balance"
"""
OURS = {"leak": "leaky", "curve": "tanh", "square": "squared_error", "descent": "hamiltonian"}


@pytest.fixture(autouse=True)
def _tables() -> Iterator[None]:
    """Leave the tables as they were."""
    kept = dict(registry._LOADED)
    with registered():
        yield
    registry._LOADED.clear()
    registry._LOADED.update(kept)


def write(folder: Path, text: str = COPIES) -> Path:
    (folder / "mine.py").write_text(text)
    return folder / "mine.py"


def experiment(folder: Path, update: str, own: bool, engine: str, compiled: str) -> hlsim.trace.Trace:
    names = {"leak": "leak", "curve": "curve", "square": "square", "descent": "descent"} if own else OURS
    (folder / "g.py").write_text(
        "from hlsim.topology import layered\n\ndef build():\n    return layered([2, 3, 1])\n"
    )
    (folder / "experiment.toml").write_text(f"""
[network]
topology = "g.py"
{'models = "mine.py"' if own else ""}
[network.node_defaults]
model = "{names["leak"]}"
activation = "{names["curve"]}"
update = "{update}"
[learning]
rule = "{names["descent"]}"
[loss]
kind = "{names["square"]}"
[simulation]
dt = 0.2
dtype = "float64"
engine = "{engine}"
compiled = "{compiled}"
[stimulus]
source = "arrays"
input = [[1.0, -1.0], [0.5, 1.0]]
target = [[0.5], [-0.3]]
hold = 20
""")
    return hlsim.experiment.load(folder).run()


@pytest.mark.parametrize("update", ["clock", "arrival"])
def test_copies_of_ours_from_a_users_file_are_ours_in_every_engine(tmp_path: Path, update: str) -> None:
    write(tmp_path)
    ours = experiment(tmp_path, update, False, "reference", "never")
    assert np.abs(ours["sampled/w"][-1] - ours["sampled/w"][0]).max() > 1e-3
    for engine, compiled in (("reference", "never"), ("batched", "never"), ("batched", "always")):
        own = experiment(tmp_path, update, True, engine, compiled)
        for name in ("h", "z", "w", "omega", "loss"):
            one, other = own[f"sampled/{name}"], ours[f"sampled/{name}"]
            assert np.abs(one - other).max() < 1e-12, (engine, compiled, name)


def test_a_file_is_run_again_only_when_its_text_has_changed(tmp_path: Path) -> None:
    path = write(tmp_path)
    load(path)
    first = RULES["descent"]
    load(path)
    assert RULES["descent"] is first
    write(tmp_path, COPIES.replace('"tau": 1.0', '"tau": 2.0'))
    load(path)
    assert RULES["descent"] is not first
    assert MODELS["leak"].parameters == {"tau": 2.0}


def test_a_file_counts_again_after_another_has_taken_its_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = write(tmp_path / "a"), write(tmp_path / "b", COPIES.replace('"tau": 1.0', '"tau": 2.0'))
    for path, tau in ((one, 1.0), (other, 2.0), (one, 1.0)):
        load(path)
        assert MODELS["leak"].parameters == {"tau": tau}


def test_a_trace_of_a_users_model_says_what_is_missing_where_nobody_knows_it(tmp_path: Path) -> None:
    write(tmp_path)
    trace = experiment(tmp_path, "clock", True, "batched", "never")
    for catalogue in CATALOGUES:
        catalogue._entries = {name: entry for name, entry in catalogue.items() if name in catalogue.ours}
    with pytest.raises(TraceError, match=r"unknown neuron model 'leak'.*hlsim --models FILE\.py"):
        network_of(trace)
    load(tmp_path / "mine.py")
    assert set(network_of(trace).model) == {"input", "leak"}


class Named(Neuron):
    name = "named"


@dataclass(frozen=True)
class Keyed(Hamiltonian):
    name: ClassVar[str] = "keyed"
    reset: float = 1.0


class Undecorated(Hamiltonian):
    name: ClassVar[str] = "undecorated"
    limit: float = 1.0


class Bare(Rule):
    name = "bare"


class NoName(Activation):
    name = ""


class Silent(Loss):
    name = "none"

    def value(self, y: Tensor, target: Tensor) -> Tensor:
        return y


@pytest.mark.parametrize(
    ("thing", "line"),
    [
        (Neuron(name="leaky"), "neuron model 'leaky' is hlsim's own"),
        (Neuron(name="x", parameters={"bias": 1.0}), "parameter 'bias' is an attribute of every node"),
        (Neuron(name="x", parameters={"a b": 1.0}), "parameters need names of letters and digits, got 'a b'"),
        (Neuron(name="x", parameters={"b": float("nan")}), "parameter 'b' needs a finite number, got nan"),
        (Neuron(name="two words"), "needs a name of letters and digits, got 'two words'"),
        (NoName, "activation needs a name"),
        (Keyed, "parameter 'reset' is a key of every rule"),
        (Undecorated, "must be a frozen dataclass, as 'limit' is no field"),
        (Bare, "must be a frozen dataclass"),
        (
            Neuron(name="x", fields={"v": "real", "b c": "real"}),
            "needs a name of letters and digits, got 'b c'",
        ),
        (Neuron(name="x", fields={"v": "real", "u": "complex"}), "fields are real, got a complex one"),
        (Neuron(name="x", fields={}), "needs a field, its state"),
        (Neuron(name="x", fields={"v": "real", "u": "real"}, instant=True), "several fields have no meaning"),
        (Silent, "loss 'none' means something else"),
        (Hamiltonian(), "must be a neuron model, an activation, a loss, or a class of rules"),
        (dict, "must be a neuron model, an activation, a loss, or a class of rules"),
        (3, "must be a neuron model, an activation, a loss, or a class of rules, got 3"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(thing: object, line: str) -> None:
    with pytest.raises(ExperimentError, match=line):
        register(thing)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\n", "defines no neuron model, activation, rule or loss"),
        ("1/0\n", "import, line 1: ZeroDivisionError"),
        ("def f(:\n", "import, line 1: SyntaxError"),
        (COPIES.replace('"leak"', '"leaky"'), "Leak: register: neuron model 'leaky' is hlsim's own"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ExperimentError, match=line):
        load(write(tmp_path, text))


def test_a_decorator_registers_and_returns_the_class() -> None:
    assert register(Named) is Named
    assert isinstance(MODELS["named"], Named)
    again = Named()
    assert register(again) is again
    assert MODELS["named"] is again


def test_attributes_of_every_node_are_those_that_no_parameter_is_called() -> None:
    own = {name for model in MODELS.values() for name in model.parameters}
    assert set(RESERVED) == node_attributes().keys() - own
