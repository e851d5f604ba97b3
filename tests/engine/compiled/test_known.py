"""Models and activations that loops know: the same for all networks of one file of models."""

from typing import Any

import networkx as nx
import numpy as np

from hlsim import Simulation
from hlsim.engine.compiled.engine import Compiled
from hlsim.engine.compiled.known import known, others
from hlsim.models import ops
from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Neuron, Parameters
from hlsim.models.ops import Value
from hlsim.models.rules.fixed import Fixed
from tests.support.agreement import COMPILED
from tests.support.own import registered


class First(Neuron):
    """A leaky neuron under another name."""

    name = "first"
    fields = {"v": "potential"}  # noqa: RUF012

    def velocity(self, x: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return sigma.value(a) - x


class Second(First):
    name = "second"


class Rough(First):
    """One whose velocity has no derivative in the complex plane."""

    name = "rough"

    def velocity(self, x: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return sigma.value(a) - ops.where(x > 0, x, -x)


class OfTensors(First):
    name = "of_tensors"

    def velocity(self, x: Value, a: Value, sigma: Activation, p: Parameters) -> Value:
        return sigma.value(a) - x.sum()  # type: ignore[union-attr]


class Bend(Activation):
    name = "bend"

    def value(self, x: Value) -> Value:
        return x / ops.exp(x)

    def slope(self, x: Value, y: Value) -> Value:
        return (1.0 - x) / ops.exp(x)


def simulation(*models: str, **options: Any) -> Simulation:
    graph = nx.DiGraph()
    graph.add_node("x", model="input")
    for name in models:
        graph.add_node(name, model=name, update="clock")
        graph.add_edge("x", name, weight=1.0)
    return Simulation(graph, rule=Fixed(), loss=None, **options)


def test_networks_of_one_file_share_what_is_compiled() -> None:
    """Those of its models that cannot be compiled with every rule are known where they are used."""
    ours = [*known(simulation("leaky").network)[0]]
    with registered(First, Second, Rough, OfTensors, Bend):
        found = {
            used: [model.name for model in known(simulation(*used).network)[0][len(ours) :]]
            for used in [("first",), ("second",), ("first", "second"), ("rough",), ("leaky",)]
        }
        assert others(simulation("first").network) == ((MODELS["first"],), ())
    both = ["first", "second"]
    assert found == {
        ("first",): both,
        ("second",): both,
        ("first", "second"): both,
        ("rough",): ["first", "rough", "second"],
        ("leaky",): [],
    }


def test_what_stands_beside_a_model_changes_nothing() -> None:
    """Neither whether it is compiled nor what comes out."""
    runs = []
    for models in ((First,), (First, Second, Rough, OfTensors)):
        with registered(*models):
            sim = simulation("first", "leaky", dtype="float64", **COMPILED)
            assert type(sim._engine) is Compiled
            sim.controls.input(np.array([0.7]))
            sim.run(until=9)
            runs.append(sim.read("h"))
    assert runs[0].any()
    assert (runs[0] == runs[1]).all()
    assert "bend" not in ACTIVATIONS
