"""Random networks with something to do: hypothesis draws the structure, numpy the numbers."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import simpy
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from hlsim import Simulation
from hlsim.engine.clock import READ, call_at
from hlsim.models.rules import Hamiltonian
from hlsim.topology.network import Network, flatten
from hlsim.trace.reader import Trace

# How neurons update. "synchronous": at every tick; "mixed": some on a clock, some on arrival.
KINDS = ("synchronous", "clock", "sequential", "arrival", "mixed")
SAMPLED = ("h", "z", "a", "w", "omega", "loss")

# (tick, method of Controls, arguments: by place or by name)
Act = tuple[int, str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it learns by, and what its controls are asked for, tick by tick."""

    graph: nx.DiGraph
    options: Mapping[str, Any]
    script: tuple[Act, ...] = ()

    def __repr__(self) -> str:
        lines = [f"node {node}: {data}" for node, data in self.graph.nodes(data=True)]
        lines += [f"edge {u} -> {v}: {data}" for u, v, data in self.graph.edges(data=True)]
        return "\n".join(["Case", *lines, str(dict(self.options)), *map(str, self.script)])

    @cached_property
    def network(self) -> Network:
        options = {"seed": 0, "dt": 1.0, **self.options}
        return flatten(self.graph, seeds=(options["seed"],), dt=options["dt"])

    @property
    def arrival(self) -> np.ndarray:
        """Which nodes (n,) are neurons that update on arrival."""
        return ~self.network.clock & (np.array(self.network.model) != "input")


def fixed(
    case: Case,
    *,
    node: Mapping[str, Any] | None = None,
    edge: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    **options: Any,
) -> Case:
    """Return a case whose neurons, edges and options have the values given, without some kinds of act."""
    graph = case.graph.copy()
    for _, data in graph.nodes(data=True):
        data.update({} if data.get("model") == "input" else node or {})
    for *_, data in graph.edges(data=True):
        data.update(edge or {})
    script = tuple(act for act in case.script if act[1] not in without)
    return Case(graph, {**case.options, **options}, script)


def build(case: Case, **options: Any) -> Simulation:
    """Return a simulation of a case in float64, which acts on its controls as the case says."""
    sim = Simulation(case.graph, **{"dtype": "float64", **case.options, **options})
    sim.env.process(play(sim, case.script))
    return sim


def run(
    case: Case, until: int, look: Callable[[Simulation], None] | None = None, **options: Any
) -> tuple[Simulation, Trace]:
    """Return a simulation of a case after ``until`` ticks, and the trace of everything at every tick.

    ``look`` is called after every tick.
    """
    sim = build(case, **options)
    if look is not None:
        for tick in range(until):
            call_at(sim.env, tick, READ, lambda: look(sim))
    return sim, sim.run(until=until, every=1, events=("message", "update"))


def play(sim: Simulation, script: tuple[Act, ...]) -> Generator[simpy.Event, object, None]:
    """Be the user's process that acts on a simulation at the ticks of a script."""
    for tick, name, arguments in script:
        yield sim.env.timeout(tick - sim.env.now)
        control = getattr(sim.controls, name)
        control(**arguments) if isinstance(arguments, Mapping) else control(*arguments)


# What keeps a neuron from sending at every tick what changes.
_RESERVE = ("send_threshold", "costate_threshold", "send_interval", "refresh", "period", "phase")


def in_step(case: Case, share: float, seed: int) -> Case:
    """Return a case in which inputs, and a share of the neurons, send all changes at every tick."""
    generator, graph = np.random.default_rng(seed), case.graph.copy()
    for _, data in graph.nodes(data=True):
        given = data.get("model") == "input"
        if given or generator.random() < share:
            for name in _RESERVE:
                data.pop(name, None)
            data.update({} if given else {"update": "clock"})
            if "tau" in data:
                # With less an Euler step of a tick would not be stable.
                data["tau"] = max(data["tau"], case.options["dt"])
    return Case(graph, case.options, case.script)


# ---- strategies


@st.composite
def cases(draw: DrawFn, kind: str | None = None, until: int = 150) -> Case:
    """Draw a case of a kind, which has something happen now and then before ``until``."""
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    options = draw(_options(kind))
    graph = _graph(draw, generator, kind, options)
    script = _script(draw, generator, until, _columns(graph, "input"), _columns(graph, "output"))
    return Case(graph, options, script)


@st.composite
def _options(draw: DrawFn, kind: str) -> dict[str, Any]:
    eta = draw(st.sampled_from((0.3, 0.1, 0.0)))
    # Without dissipation omega sums up for ever, and learning would soon leave the range of moderate gain.
    beta = draw(st.sampled_from((0.02, 0.05, 0.0))) * (1.0 if eta else 0.05)
    decay = draw(st.sampled_from((0.0, 0.1))) if kind in ("synchronous", "clock", "sequential") else 0.0
    order = "sequential" if kind == "sequential" else "explicit"
    return {
        "rule": Hamiltonian(beta=beta, eta=eta, order=order, weight_decay=decay),
        "loss": draw(st.sampled_from(("squared_error", "cross_entropy", "none"))),
        "dt": draw(st.sampled_from((1.0, 0.5, 0.1))),
        "seed": draw(st.integers(0, 1000)),
    }


def _graph(
    draw: DrawFn, generator: np.random.Generator, kind: str, options: Mapping[str, Any]
) -> nx.MultiDiGraph:
    """Draw inputs, neurons and outputs, in an order that makes zero delays between instant ones legal."""
    graph = nx.MultiDiGraph()
    populations = draw(st.booleans())
    inputs = draw(st.integers(1, 2))
    neurons = draw(st.integers(2, 3 if populations else 6))
    size = st.integers(2, 3) if populations else st.none()
    for i in range(inputs):
        graph.add_node(f"n{i}", model="input", **draw(_sending(True)), **_given(size=draw(size)))
    for i in range(inputs, inputs + neurons):
        last = i == inputs + neurons - 1
        graph.add_node(f"n{i}", **draw(_neuron(generator, kind, options, last)), **_given(size=draw(size)))
    nodes = list(graph)
    count = draw(st.integers(neurons, 3 * neurons))
    ends = [
        (
            draw(st.sampled_from(nodes)),
            draw(st.sampled_from(nodes[inputs:])) if k >= neurons else nodes[inputs + k],
        )
        for k in range(count)
    ]
    fan_in = {node: sum(target == node for _, target in ends) for node in nodes}
    for source, target in ends:
        std = 0.6 / np.sqrt(fan_in[target] * (graph.nodes[source].get("size") or 1))
        graph.add_edge(source, target, **draw(_edge(generator, graph, source, target, std)))
    return graph


@st.composite
def _sending(draw: DrawFn, clocked: bool) -> dict[str, Any]:
    values = (0.0, 0.003) if clocked else (None, 0.0, 0.01)
    thresholds = {name: draw(st.sampled_from(values)) for name in ("send_threshold", "costate_threshold")}
    return _given(**thresholds, send_interval=draw(st.sampled_from((None, None, 1, 2, 3))))


@st.composite
def _neuron(
    draw: DrawFn, generator: np.random.Generator, kind: str, options: Mapping[str, Any], last: bool
) -> dict[str, Any]:
    model = draw(st.sampled_from(("leaky", "instant")))
    activation = draw(st.sampled_from(("tanh", "sigmoid", "relu", "softplus", "identity")))
    bias = float(generator.normal() * 0.3) if draw(st.booleans()) else None
    role = "output" if last else draw(st.sampled_from((None, None, "input", "output")))
    group = draw(st.sampled_from((None, "left", "right")))
    node = {"model": model, **_given(activation=activation, bias=bias, role=role, group=group)}
    clocked = kind != "arrival" and (kind != "mixed" or draw(st.booleans()))
    node["update"] = "clock" if clocked else "arrival"
    if kind != "synchronous":
        node |= draw(_sending(clocked))
    period = 1
    if clocked and kind != "synchronous":
        period = node["period"] = draw(st.integers(1, 3))
        node["phase"] = draw(st.integers(0, period - 1))
    if not clocked:
        node["refresh"] = draw(st.integers(2, 10))
    if model == "leaky":
        node["tau"] = _tau(draw, generator, options, period if clocked else 0)
    return node


def _tau(draw: DrawFn, generator: np.random.Generator, options: Mapping[str, Any], period: int) -> float:
    """Draw a time constant; on a clock one with which Euler steps are stable, down to tau = the step."""
    step = period * options["dt"]
    if period and draw(st.booleans()):
        return step
    least = step / (1.9 - step * options["rule"].eta)
    return float(max(least, 0.3) * generator.uniform(1.1, 5.0))


@st.composite
def _edge(
    draw: DrawFn, generator: np.random.Generator, graph: nx.MultiDiGraph, source: str, target: str, std: float
) -> dict[str, Any]:
    ends = graph.nodes[source], graph.nodes[target]
    inside = all(data["model"] == "instant" for data in ends) and int(source[1:]) >= int(target[1:])
    least = 1 if inside else 0
    edge = {
        "weight": draw(_weight(generator, ends, std)),
        "delay": draw(_delay(generator, ends, least)),
        "feedback": draw(st.sampled_from(("symmetric", "random", "none"))),
        **_given(
            feedback_delay=draw(st.none() | _delay(generator, ends, least)),
            plastic=draw(st.sampled_from((None, None, False))),
            beta=draw(st.sampled_from((None, None, 0.001, 0.0))),
        ),
    }
    if edge["feedback"] == "random":
        edge["weight"] = {"normal": std}
    source_size, target_size = (data.get("size") or 1 for data in ends)
    if target_size * source_size > 1:
        edge |= draw(_connect(source, target, source_size, target_size, edge))
    return edge


@st.composite
def _weight(draw: DrawFn, generator: np.random.Generator, ends: tuple[dict, dict], std: float) -> Any:
    form = draw(st.sampled_from(("number", "array", "normal", "uniform")))
    if form == "number":
        return float(generator.normal() * std)
    if form == "array":
        return generator.normal(size=(ends[1].get("size") or 1, ends[0].get("size") or 1)) * std
    return {"normal": std} if form == "normal" else {"uniform": [-1.7 * std, 1.7 * std]}


@st.composite
def _delay(draw: DrawFn, generator: np.random.Generator, ends: tuple[dict, dict], least: int) -> Any:
    form = draw(st.sampled_from(("number", "number", "array", "uniform")))
    if form == "number":
        return draw(st.integers(least, 4))
    if form == "array":
        return generator.integers(least, 5, size=(ends[1].get("size") or 1, ends[0].get("size") or 1))
    return {"uniform": [least, draw(st.integers(least, 4))]}


@st.composite
def _connect(
    draw: DrawFn, source: str, target: str, source_size: int, target_size: int, edge: Mapping[str, Any]
) -> dict[str, Any]:
    forms = ["dense"]
    arrays = [
        name for name in ("weight", "delay", "feedback_delay") if isinstance(edge.get(name), np.ndarray)
    ]
    if source_size == target_size:
        forms.append("one_to_one")
    if source_size > (source == target):
        forms += ["degree", "probability"]
    form = draw(st.sampled_from(forms))
    if form == "degree":
        return {"connect": "random", "in_degree": draw(st.integers(1, source_size - (source == target)))}
    if form == "probability":
        return {"connect": "random", "probability": 0.6}
    return {} if form == "dense" and not arrays else {"connect": form}


def _columns(graph: nx.MultiDiGraph, role: str) -> int:
    """Return how many columns feed the nodes of a role, populations column by column."""
    nodes = [data for _, data in graph.nodes(data=True)]
    mine = [data for data in nodes if data.get("role") == role or (role == data.get("model"))]
    return sum(data.get("size") or 1 for data in mine)


def _script(
    draw: DrawFn, generator: np.random.Generator, until: int, n_input: int, n_output: int
) -> tuple[Act, ...]:
    """Draw what the controls are asked for: a first stimulus, then anything now and then."""
    others = ("input", "target", "both", "no target", "phi", "reset", "learn")
    tick, learning, script = 0, True, _feed(generator, 0, "both", n_input, n_output)
    while True:
        tick += draw(st.integers(1, 20))
        if tick >= until:
            return tuple(script)
        name = draw(st.sampled_from(others))
        if name in ("input", "target", "both"):
            script += _feed(generator, tick, name, n_input, n_output)
        elif name == "no target":
            script.append((tick, "target", (None,)))
        elif name == "phi":
            script.append((tick, "phi", (float(generator.choice([0.0, 0.5, 1.0])),)))
        elif name == "reset":
            script.append((tick, "reset", ()))
        else:
            learning = not learning
            script.append((tick, "learn", (learning,)))


def _feed(generator: np.random.Generator, tick: int, name: str, n_input: int, n_output: int) -> list[Act]:
    made: list[Act] = []
    if name != "target":
        made.append((tick, "input", (generator.normal(size=n_input),)))
    if name != "input":
        made.append((tick, "target", (generator.dirichlet(np.ones(n_output)),)))
    return made


def _given(**values: Any) -> dict[str, Any]:
    """Leave out what is None: the attribute is not written."""
    return {name: value for name, value in values.items() if value is not None}
