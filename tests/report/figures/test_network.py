"""Networks as they are drawn, against plain loops over them."""

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, topology
from hlsim.models.rules import Equilibrium
from hlsim.report.charts import Boxes, Paths, Points, Texts
from hlsim.report.figures import network
from hlsim.stimulus import Arrays
from hlsim.trace import Trace
from tests.support.charts import chart_of, of, reason, simulated


def test_every_neuron_and_synapse_of_a_small_network_is_drawn(run: Trace) -> None:
    chart = chart_of("network", run)
    (points,) = of(Points, chart)
    (paths,) = of(Paths, chart)
    assert points.told is not None
    assert paths.told is not None
    place = dict(zip(points.told["neuron"], zip(points.x, points.y, strict=True), strict=True))
    assert set(place) == set(run["network/node_label"].tolist())
    real = run["network/source"] >= 0
    assert len(paths.xs) == real.sum()
    for x, y, u, v in zip(paths.xs, paths.ys, paths.told["from"], paths.told["to"], strict=True):
        assert (x[0], y[0]) == pytest.approx(place[u])
        assert (x[-1], y[-1]) == pytest.approx(place[v])
    (titles,) = of(Texts, chart)
    assert list(titles.text) == ["input", "hidden", "output"]
    assert sorted(titles.x) == list(titles.x)
    assert [place[f"{name}[0]"][0] for name in titles.text] == list(titles.x)


def test_width_is_the_weight_and_colour_the_delay() -> None:
    graph = topology.layered([2, 3, 2], seed=1, delay=(1, 4))
    with simulated(graph) as trace:
        (paths,) = of(Paths, chart_of("network", trace))
    assert paths.told is not None
    weight, width = np.abs(paths.told["weight"]), np.asarray(paths.width)
    np.testing.assert_allclose((width - 0.4) / 2.2, weight / weight.max())
    shades = {(delay, shade) for delay, shade in zip(paths.told["delay"], paths.color, strict=True)}
    assert len(shades) == len({delay for delay, _ in shades}) == len({shade for _, shade in shades}) > 1


@pytest.mark.filterwarnings("ignore:.*did not settle")
def test_two_ways_between_the_same_neurons_do_not_cover_each_other() -> None:
    graph = topology.layered([1, 2, 1], seed=1, symmetric=True)
    with coupled(graph) as trace:
        (paths,) = of(Paths, chart_of("network", trace))
    assert paths.told is not None
    ends = list(zip(paths.told["from"], paths.told["to"], strict=True))
    ways = [ends.index(("hidden[0]", "output[0]")), ends.index(("output[0]", "hidden[0]"))]
    middles = [(paths.ys[way].min() + paths.ys[way].max()) / 2 for way in ways]
    straight = (paths.ys[ways[0]][0] + paths.ys[ways[0]][-1]) / 2
    assert min(middles) < straight < max(middles)


def coupled(graph: nx.DiGraph) -> Trace:
    rows = Arrays(np.ones((1, 1)), np.ones((1, 1)))
    sim = Simulation(graph, rule=Equilibrium(), stimulus=rows, hold=4, node_defaults={"update": "clock"})
    return sim.run()


def test_a_large_network_is_drawn_by_groups() -> None:
    sizes = [200, 60, 10]
    with simulated(topology.layered(sizes, seed=1, delay=(1, 5), self_loops=True)) as trace:
        chart, found = chart_of("network", trace), network.joints(trace)
        source, target = trace["network/source"], trace["network/target"]
        group, delay = trace["network/group"], trace["network/delay"]
    (boxes,) = of(Boxes, chart)
    assert boxes.told is not None
    assert list(boxes.told["neurons"]) == sizes
    assert (np.diff(boxes.left) > 0).all()
    assert sum(joint.synapses for joint in found) == (source >= 0).sum()
    for joint in found:
        chosen = (source >= 0) & (group[source] == joint.source) & (group[target] == joint.target)
        assert joint.synapses == chosen.sum()
        assert joint.delay == (delay[chosen].min(), delay[chosen].max())


def test_too_many_groups_are_told_and_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = nx.DiGraph()
    graph.add_node("u", model="input", role="input", group="in")
    for k in range(network.NODES):
        graph.add_node(f"n{k}", group=f"g{k}")
        graph.add_edge("u", f"n{k}")
    with simulated(graph) as trace:
        assert reason("network", trace) == "151 groups with 150 kinds of synapses are too many to be drawn"
        monkeypatch.setattr(network, "GROUPS", 1000)
        monkeypatch.setattr(network, "JOINS", 149)
        assert "too many" in reason("network", trace)
        monkeypatch.setattr(network, "JOINS", 150)
        assert chart_of("network", trace)
