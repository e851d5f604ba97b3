"""Checks of graphs: every rule of nodes, edges and the whole graph, and what a broken one says."""

from typing import Any

import networkx as nx
import numpy as np
import pytest

from hlsim.errors import ExperimentError, TopologyError
from hlsim.models import neurons
from hlsim.topology.checking import check, refuse_foreign
from hlsim.topology.network import flatten

KNOWN_NODE = (
    "activation, bias, costate_threshold, group, lag, model, period, phase, refresh, role, send_interval, "
    "send_threshold, size, tau, update"
)
KNOWN_EDGE = (
    "beta, connect, delay, feedback, feedback_delay, in_degree, plastic, probability, symmetric, weight"
)
WEIGHT_FORMS = (
    "must be a finite number, an array of shape (target size, source size) of them, {'normal': std} or "
    "{'uniform': [low, high]}"
)
DELAYS = "must be whole numbers of ticks >= 0 in an array of shape (target size, source size)"


def node(**attributes: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("x", **attributes)
    graph.add_node("other")
    return graph


def edge(sizes: tuple[int, int] | None = None, graph: Any = nx.DiGraph, **attributes: Any) -> nx.DiGraph:
    made = graph()
    for name, size in zip("ab", sizes or (), strict=False):
        made.add_node(name, size=size)
    made.add_edge("a", "b", **attributes)
    return made


def within(**attributes: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node("p", size=4)
    graph.add_edge("p", "p", connect="random", **attributes)
    return graph


def into_input() -> nx.DiGraph:
    graph = edge()
    graph.nodes["b"]["model"] = "input"
    return graph


def labels(*nodes: Any, **attributes: Any) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes, **attributes)
    return graph


def populations_that_clash() -> nx.DiGraph:
    graph = labels("a[1]")
    graph.add_node("a", size=3)
    return graph


def two_keys(first: Any, second: Any) -> nx.MultiDiGraph:
    graph = edge(graph=nx.MultiDiGraph, key=first)
    graph.add_edge("a", "b", key=second)
    return graph


def instant_ring(**attributes: Any) -> nx.DiGraph:
    """A ring with a way in and a way out, neither of which belongs to the cycle."""
    graph = nx.DiGraph()
    nx.add_cycle(graph, ["b", "c", "a"], **attributes)
    graph.add_edge("before", "b")
    graph.add_edge("c", "behind")
    nx.set_node_attributes(graph, "instant", "model")
    return graph


BAD_NODES: dict[str, tuple[nx.DiGraph, str]] = {
    "unknown attribute": (
        node(taw=2.0),
        f"node 'x': unknown attribute 'taw' (did you mean 'tau'?); known: {KNOWN_NODE}",
    ),
    "unknown model": (
        node(model="laeky"),
        "node 'x': unknown model 'laeky' (did you mean 'leaky'?); known: input, instant, leaky, readout",
    ),
    "model not text": (node(model=3), "node 'x': unknown model '3'; known: input, instant, leaky, readout"),
    "unknown activation": (
        node(activation="TANH"),
        "node 'x': unknown activation 'TANH'; known: identity, relu, sigmoid, softplus, steep_sigmoid, tanh",
    ),
    "unknown role": (node(role="target"), "node 'x': unknown role 'target'; known: input, output"),
    "unknown update": (
        node(update="clocked"),
        "node 'x': unknown update 'clocked' (did you mean 'clock'?); known: arrival, clock",
    ),
    "size zero": (node(size=0), "node 'x': size must be a whole number >= 1, got 0"),
    "size true": (node(size=True), "node 'x': size must be a whole number >= 1, got True"),
    "tau zero": (node(tau=0), "node 'x': tau must be finite and > 0, got 0"),
    "tau infinite": (node(tau=float("inf")), "node 'x': tau must be finite and > 0, got inf"),
    "tau of an instant neuron": (
        node(model="instant", tau=1.0),
        "node 'x': tau has no meaning for model 'instant', got 1.0",
    ),
    "tau of an input": (node(model="input", tau=2), "node 'x': tau has no meaning for model 'input', got 2"),
    "bias not a number": (node(bias="0.1"), "node 'x': bias must be a finite number, got '0.1'"),
    "bias NaN": (node(bias=float("nan")), "node 'x': bias must be a finite number, got nan"),
    "bias beyond float": (node(bias=10**309), f"node 'x': bias must be a finite number, got 1{'0' * 76}..."),
    "bias of an input": (
        node(model="input", bias=0),
        "node 'x': bias has no meaning for model 'input', got 0",
    ),
    "activation of an input": (
        node(model="input", activation="relu"),
        "node 'x': activation has no meaning for model 'input', got 'relu'",
    ),
    "clock of an input": (
        node(model="input", update="clock", period=2),
        "node 'x': period has no meaning for model 'input', got 2",
    ),
    "output that is an input": (
        node(model="input", role="output"),
        "node 'x': role must be 'input' for model 'input', got 'output'",
    ),
    "group a number": (node(group=3), "node 'x': group must be a string, got 3"),
    "period zero": (
        node(update="clock", period=0),
        "node 'x': period must be a whole number of ticks >= 1, got 0",
    ),
    "period on arrival": (node(period=2), "node 'x': period needs update = 'clock', got 2"),
    "phase on arrival": (node(phase=0), "node 'x': phase needs update = 'clock', got 0"),
    "phase negative": (
        node(update="clock", phase=-1),
        "node 'x': phase must be a whole number of ticks >= 0, got -1",
    ),
    "phase beyond the period": (
        node(update="clock", period=3, phase=3),
        "node 'x': phase must be less than the period = 3, got 3",
    ),
    "threshold negative": (
        node(send_threshold=-1e-9),
        "node 'x': send_threshold must be finite and >= 0, got -1e-09",
    ),
    "threshold infinite": (
        node(costate_threshold=float("inf")),
        "node 'x': costate_threshold must be finite and >= 0, got inf",
    ),
    "interval zero": (
        node(send_interval=0),
        "node 'x': send_interval must be a whole number of ticks >= 1, got 0",
    ),
    "refresh not whole": (
        node(refresh=2.5),
        "node 'x': refresh must be a whole number of ticks >= 1, got 2.5",
    ),
    "refresh too large": (
        node(refresh=10**18),
        "node 'x': refresh must be a whole number of ticks >= 1 and < 2**53 = 9007199254740992, "
        "got 1000000000000000000",
    ),
    "label twice as text": (
        labels(1, "1"),
        "node '1': label must be unique as text, among members of populations too, got it twice",
    ),
    "label of a member": (
        populations_that_clash(),
        "node 'a[1]': label must be unique as text, among members of populations too, got it twice",
    ),
    "value of many lines": (
        node(bias=np.zeros((2, 2))),
        "node 'x': bias must be a finite number, got array([[0., 0.], [0., 0.]])",
    ),
}

BAD_EDGES: dict[str, tuple[nx.DiGraph, str]] = {
    "unknown attribute": (
        edge(wieght=1.0),
        f"edge 'a' -> 'b': unknown attribute 'wieght' (did you mean 'weight'?); known: {KNOWN_EDGE}",
    ),
    "weight infinite": (edge(weight=float("-inf")), f"edge 'a' -> 'b': weight {WEIGHT_FORMS}, got -inf"),
    "weight text": (edge(weight="strong"), f"edge 'a' -> 'b': weight {WEIGHT_FORMS}, got 'strong'"),
    "weight ragged": (
        edge(weight=[[1.0, 2.0], [3.0]]),
        f"edge 'a' -> 'b': weight {WEIGHT_FORMS}, got [[1.0, 2.0], [3.0]]",
    ),
    "weight flat": (edge((2, 1), weight=[1, 2]), f"edge 'a' -> 'b': weight {WEIGHT_FORMS}, got [1, 2]"),
    "weight with NaN": (
        edge(weight=[[float("nan")]]),
        f"edge 'a' -> 'b': weight {WEIGHT_FORMS}, got [[nan]]",
    ),
    "weight transposed": (
        edge((3, 2), weight=np.ones((3, 2))),
        "edge 'a' -> 'b': weight must have shape (target size, source size) = (2, 3), got (3, 2)",
    ),
    "unknown distribution": (
        edge(weight={"norml": 1}),
        "edge 'a' -> 'b': unknown distribution of weight 'norml' (did you mean 'normal'?); "
        "known: normal, uniform",
    ),
    "two distributions": (
        edge(weight={"normal": 1, "uniform": [0, 1]}),
        "edge 'a' -> 'b': weight must name one distribution out of normal, uniform, "
        "got {'normal': 1, 'uniform': [0, 1]}",
    ),
    "std negative": (
        edge(weight={"normal": -1}),
        "edge 'a' -> 'b': weight needs a finite standard deviation >= 0 in {'normal': std}, "
        "got {'normal': -1}",
    ),
    "uniform upside down": (
        edge(weight={"uniform": [1, 0]}),
        "edge 'a' -> 'b': weight needs finite numbers low <= high in {'uniform': [low, high]}, "
        "got {'uniform': [1, 0]}",
    ),
    "delay not whole": (
        edge(delay=1.5),
        "edge 'a' -> 'b': delay must be a whole number of ticks >= 0, got 1.5",
    ),
    "delay negative": (
        edge(graph=nx.MultiDiGraph, key="slow", delay=-1),
        "edge 'a' -> 'b' (key 'slow'): delay must be a whole number of ticks >= 0, got -1",
    ),
    "delay normal": (
        edge(delay={"poisson": 1}),
        "edge 'a' -> 'b': unknown distribution of delay 'poisson'; known: uniform",
    ),
    "delays not whole": (
        edge(delay={"uniform": [0, 1.5]}),
        "edge 'a' -> 'b': delay needs whole numbers of ticks 0 <= low <= high in {'uniform': [low, high]}, "
        "got {'uniform': [0, 1.5]}",
    ),
    "delay array negative": (edge(delay=[[-1]]), f"edge 'a' -> 'b': delay {DELAYS}, got [[-1]]"),
    "delay array too large": (edge(delay=[[1e16]]), f"edge 'a' -> 'b': delay {DELAYS}, got [[1e+16]]"),
    "delay array not whole": (edge(delay=[[0.5]]), f"edge 'a' -> 'b': delay {DELAYS}, got [[0.5]]"),
    "feedback_delay array of wrong shape": (
        edge((2, 2), feedback_delay=[[1]]),
        "edge 'a' -> 'b': feedback_delay must have shape (target size, source size) = (2, 2), got (1, 1)",
    ),
    "unknown feedback": (
        edge(feedback="symetric"),
        "edge 'a' -> 'b': unknown feedback 'symetric' (did you mean 'symmetric'?); "
        "known: none, random, symmetric",
    ),
    "plastic a number": (edge(plastic=1), "edge 'a' -> 'b': plastic must be true or false, got 1"),
    "beta negative": (edge(beta=-0.1), "edge 'a' -> 'b': beta must be finite and >= 0, got -0.1"),
    "unknown connect": (
        edge(connect="all"),
        "edge 'a' -> 'b': unknown connect 'all'; known: dense, one_to_one, random",
    ),
    "one to one of two sizes": (
        edge((2, 3), connect="one_to_one"),
        "edge 'a' -> 'b': connect = 'one_to_one' needs equal sizes, got 2 and 3",
    ),
    "in_degree without random": (
        edge((2, 2), in_degree=1),
        "edge 'a' -> 'b': in_degree needs connect = 'random', not 'dense', got 1",
    ),
    "random without in_degree": (
        within(),
        "edge 'p' -> 'p': connect = 'random' needs in_degree or probability, got neither",
    ),
    "random with both": (
        within(in_degree=1, probability=0.5),
        "edge 'p' -> 'p': connect = 'random' needs in_degree or probability, got both",
    ),
    "in_degree beyond others": (
        within(in_degree=4),
        "edge 'p' -> 'p': in_degree must be <= 3, the sources there are, got 4",
    ),
    "in_degree beyond sources": (
        edge((4, 2), connect="random", in_degree=5),
        "edge 'a' -> 'b': in_degree must be <= 4, the sources there are, got 5",
    ),
    "probability zero": (
        within(probability=0),
        "edge 'p' -> 'p': probability must be a probability > 0 and <= 1, got 0",
    ),
    "target an input": (
        into_input(),
        "edge 'a' -> 'b': the target must be a neuron, got model 'input'",
    ),
    "keys alike as text": (
        two_keys(7, "7"),
        "edge 'a' -> 'b' (key '7'): keys of parallel edges must differ as text, got two '7'",
    ),
}

BAD_GRAPHS: dict[str, tuple[Any, str]] = {
    "no graph": ([("a", "b")], "graph: must be a networkx graph, got [('a', 'b')]"),
    "empty": (
        nx.DiGraph(),
        "graph: needs a neuron, a node that is no input; got 0 nodes without one",
    ),
    "only inputs": (
        labels("a", "b", model="input"),
        "graph: needs a neuron, a node that is no input; got 2 nodes without one",
    ),
    "zero-delay cycle": (
        instant_ring(feedback_delay=1),
        "graph: zero-delay cycle of instant neurons: a -> b -> c -> a; one of its edges needs a delay >= 1",
    ),
    "zero-feedback_delay cycle": (
        instant_ring(delay=1, feedback_delay=0),
        "graph: zero-feedback_delay cycle of instant neurons: a -> b -> c -> a; "
        "one of its edges needs a feedback_delay >= 1",
    ),
    "diverging Euler steps": (
        node(update="clock", tau=0.25),
        "node 'x': period * dt * (rate + eta) must be < 2 on a clock (leaky: rate = 1/tau), got 4",
    ),
}

BAD = {
    f"{kind}: {name}": case
    for kind, table in (("node", BAD_NODES), ("edge", BAD_EDGES), ("graph", BAD_GRAPHS))
    for name, case in table.items()
}


@pytest.mark.parametrize(("graph", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_topology_gives_one_line_with_where_rule_and_value(graph: Any, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        flatten(graph)
    assert str(caught.value) == message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        (
            {"node_defaults": {"taw": 1}},
            f"node_defaults: unknown attribute 'taw' (did you mean 'tau'?); known: {KNOWN_NODE}",
        ),
        ({"node_defaults": {"tau": -1}}, "node_defaults: tau must be finite and > 0, got -1"),
        (
            {"edge_defaults": {"delays": 1}},
            f"edge_defaults: unknown attribute 'delays' (did you mean 'delay'?); known: {KNOWN_EDGE}",
        ),
        (
            {"edge_defaults": {"delay": 0.5}},
            "edge_defaults: delay must be a whole number of ticks >= 0, got 0.5",
        ),
        ({"node_defaults": {"update": "clock", "phase": 2}}, "must be less than the period = 1, got 2"),
    ],
)
def test_defaults_keep_the_same_rules(defaults: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        flatten(edge(), **defaults)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": ()}, "seeds must hold at least one seed, got none"),
        ({"seeds": (-1,)}, "seed: must be a whole number >= 0, got -1"),
        ({"seeds": (1.5,)}, "seed: must be a whole number >= 0, got 1.5"),
        ({"dt": 0}, "dt must be finite and > 0, got 0"),
    ],
)
def test_options_of_flatten_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        flatten(node(), **options)
    assert str(caught.value) == message


def test_attributes_go_before_given_defaults_and_those_before_built_in_ones() -> None:
    graph = labels("own", "given")
    graph.add_node("own", tau=3.0)
    graph.add_edge("own", "given", delay=4)
    graph.add_edge("given", "own")
    network = flatten(graph, node_defaults={"tau": 2.0}, edge_defaults={"delay": 5})
    assert network.label == ("given", "own")
    assert network.parameters["tau"].tolist() == [2.0, 3.0]
    assert network.delay.tolist() == [5, 4]
    assert flatten(graph).parameters["tau"].tolist() == [1.0, 3.0]
    assert flatten(graph).delay.tolist() == [0, 4]


def test_defaults_without_meaning_for_a_node_are_left_out() -> None:
    """The same values written on the node are errors, see above."""
    graph = labels("in", model="input")
    graph.add_node("memoryless", model="instant")
    graph.add_node("slow", update="arrival")
    defaults = {"tau": 2, "bias": 0.5, "activation": "relu", "role": "output", "update": "clock", "period": 3}
    network = flatten(graph, node_defaults=defaults)
    assert network.label == ("in", "memoryless", "slow")
    np.testing.assert_array_equal(network.parameters["tau"], [np.nan, np.nan, 2.0])
    assert network.target.tolist() == [1, 2]
    assert network.activation == ("identity", "relu", "relu")
    assert (network.inputs.tolist(), network.outputs.tolist()) == ([0], [1, 2])
    assert network.period.tolist() == [1, 3, 1]


def test_one_of_in_degree_and_probability_on_an_edge_goes_before_the_other_by_default() -> None:
    network = flatten(within(probability=1.0), edge_defaults={"in_degree": 2})
    assert network.m == 4 * 3
    assert flatten(within(), edge_defaults={"in_degree": 2}).m == 4 * 2


def test_random_defaults_leave_edges_alone_that_say_dense() -> None:
    network = flatten(edge((2, 3), connect="dense"), edge_defaults={"connect": "random", "in_degree": 1})
    assert network.m == 6


def test_thresholds_are_zero_unless_updates_come_with_arrivals() -> None:
    graph = labels("arrival")
    graph.add_node("clock", update="clock")
    graph.add_node("given", send_threshold=0.5, costate_threshold=0.25)
    graph.add_node("in", model="input")
    network = flatten(graph)
    assert network.label == ("arrival", "clock", "given", "in")
    assert network.send_threshold.tolist() == [0.001, 0.0, 0.5, 0.0]
    assert network.costate_threshold.tolist() == [0.001, 0.0, 0.25, 0.0]
    assert network.clock.tolist() == [False, True, False, False]


def test_arrival_is_refused_for_a_model_without_exact_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    models = dict(neurons.MODELS) | {"cubic": neurons.Neuron(name="cubic", parameters={"gain": 3.0})}
    monkeypatch.setattr(neurons, "MODELS", models)
    with pytest.raises(TopologyError) as caught:
        flatten(node(model="cubic"))
    assert str(caught.value) == "node 'x': update must be 'clock' for model 'cubic', which has no exact hold"
    network = flatten(node(model="cubic", update="clock", gain=2))
    np.testing.assert_array_equal(network.parameters["gain"], [np.nan, 2.0])


@pytest.mark.parametrize("value", [3, 3.0, np.int32(3), np.float32(3.0)])
def test_whole_numbers_may_come_as_any_kind_of_number(value: Any) -> None:
    """GraphML from other programs and JSON hold 3.0 for 3."""
    network = flatten(edge(delay=value))
    assert network.delay.tolist() == [3]


def test_checking_leaves_the_graph_as_it_is() -> None:
    graph = edge((2, 2), weight={"normal": 1.0}, delay=[[0, 1], [2, 3]])
    before = repr((graph.nodes(data=True), list(graph.edges(data=True))))
    check(graph, {"tau": 2.0}, {"beta": 1.0})
    flatten(graph, node_defaults={"tau": 2.0}, edge_defaults={"beta": 1.0})
    assert repr((graph.nodes(data=True), list(graph.edges(data=True)))) == before


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\0"])
def test_a_label_or_group_that_no_trace_can_hold_is_refused(text: str) -> None:
    graph = nx.DiGraph()
    graph.add_nodes_from(["a", text, "b"])
    with pytest.raises(TopologyError) as caught:
        check(graph)
    assert str(caught.value).startswith(
        f"node {text!r}: its label must be text that a trace can hold, without"
    )
    graph = nx.DiGraph()
    graph.add_node("a", group=text)
    with pytest.raises(TopologyError, match="node 'a': group must be text that a trace can hold"):
        check(graph)


def test_attributes_of_others_are_refused_where_none_are_wanted() -> None:
    graph = nx.DiGraph([("a", "b", {"weight": 1.0})])
    refuse_foreign(graph)
    graph.nodes["b"]["club"] = "Officer"
    graph.edges["a", "b"]["length"] = 2.0
    check(graph)
    with pytest.raises(TopologyError, match=r"^node 'b': unknown attribute 'club'; known: activation"):
        refuse_foreign(graph)
    del graph.nodes["b"]["club"]
    with pytest.raises(TopologyError, match=r"^edge 'a' -> 'b': unknown attribute 'length'; known: beta"):
        refuse_foreign(graph)
