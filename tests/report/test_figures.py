"""Charts of traces: what is in their marks, against analyses, plain loops over the network, and theory."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, analysis, experiment, topology
from hlsim.analysis import laws
from hlsim.errors import ExperimentError
from hlsim.models.rules import Equilibrium
from hlsim.report import figures
from hlsim.report.charts import (
    Band,
    Boxes,
    Chart,
    Heat,
    Line,
    Missing,
    Panel,
    Paths,
    Points,
    Reference,
    Scale,
    Texts,
)
from hlsim.report.figures import FIGURES, Asked, credit, network, samples
from hlsim.stimulus import Arrays
from hlsim.topology.network import flatten
from hlsim.trace import Recorder, Trace
from tests.support import experiments
from tests.support.places import TOPOLOGIES

Mark = TypeVar("Mark")
HEP = TOPOLOGIES / "hep_toy"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    folder = experiments.write(tmp_path_factory.mktemp("runs") / "tiny")
    with experiment.load(folder).run() as trace:
        yield trace


def of(kind: type[Mark], chart: Chart | Panel) -> list[Mark]:
    panels = chart.panels if isinstance(chart, Chart) else [chart]
    return [mark for panel in panels for mark in panel.marks if isinstance(mark, kind)]


def chart_of(name: str, trace: Trace, **asked: Any) -> Chart:
    found = dict(figures.drawn(trace, Asked(**asked)))[name]
    assert isinstance(found, Chart), found
    return found


def reason(name: str, trace: Trace) -> str:
    found = dict(figures.drawn(trace))[name]
    assert isinstance(found, Missing)
    return found.reason


def simulated(graph: nx.DiGraph, **options: Any) -> Trace:
    return Simulation(graph, node_defaults={"update": "clock"}).run(until=4, every=1, **options)


# ---- the table


def test_every_figure_has_data_and_named_axes_or_says_why_not(run: Trace) -> None:
    found = dict(figures.drawn(run))
    assert list(found) == list(FIGURES)
    absent = {name for name, chart in found.items() if isinstance(chart, Missing)}
    assert absent == {"alignment", "phases"}
    for chart in found.values():
        if isinstance(chart, Chart):
            assert chart.caption.endswith(".")
            assert all(panel.bare or panel.x for panel in chart.panels)


def test_what_comes_next_is_told(run: Trace) -> None:
    told: list[str] = []
    list(figures.drawn(run, tell=told.append))
    assert told == [title for title, _ in FIGURES.values()]


def test_a_trace_without_anything_says_why_of_every_figure_but_the_network() -> None:
    graph = nx.DiGraph()
    graph.add_node("a", model="input", role="input")
    graph.add_node("b")
    rec = Recorder(None, header={"seed": 0}, network=flatten(graph))
    rec.finish()
    with rec.trace() as trace:
        found = dict(figures.drawn(trace))
    assert [name for name, chart in found.items() if isinstance(chart, Chart)] == ["network"]


def test_lines_of_ones_own_are_laid_over_a_figure(run: Trace) -> None:
    law = Reference(math.cos(2 * math.atan(0.3)), "cos(2 arctan wT)")
    chart = chart_of("learning_curve", run, references={"learning_curve": [law]})
    assert of(Reference, chart.panels[0]) == [law]
    assert of(Reference, chart.panels[1]) == []
    assert chart.legend[-1].label == law.label
    with pytest.raises(ExperimentError, match="references: unknown figure 'learning'"):
        Asked(references={"learning": [law]})


# ---- learning and messages


def test_lines_of_the_learning_curve_are_the_analysis(run: Trace) -> None:
    chart, curve = chart_of("learning_curve", run), analysis.learning_curve(run)
    for panel, name in zip(chart.panels, ("loss", "accuracy"), strict=True):
        lines = of(Line, panel)
        assert [line.label for line in lines] == ["train", "test"]
        np.testing.assert_array_equal(np.concatenate([line.y for line in lines]), curve[name][:, 0])
        np.testing.assert_array_equal(np.concatenate([line.x for line in lines]), curve.tick)


def test_bands_are_the_spread_of_replicas(tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "tiny")
    with experiment.load(folder, ["simulation.ensemble=3"]).run() as trace:
        chart, curve = chart_of("learning_curve", trace), analysis.learning_curve(trace)
    bands = of(Band, chart.panels[0])
    np.testing.assert_allclose(
        np.concatenate([(band.high - band.low) / 2 for band in bands]), curve.loss.std("replica")
    )


def test_bars_are_messages_per_tick_and_steps_those_that_arrive(run: Trace) -> None:
    chart = chart_of("rates", run)
    sent, rate = analysis.traffic(run) / experiments.TICKS, analysis.message_rates(run)
    lengths = np.concatenate([bars.right for bars in of(Boxes, chart)])
    np.testing.assert_allclose(lengths, [*sent.state.sum("target"), *sent.costate.sum("target")])
    for line, kind in zip(of(Line, chart), ("state", "costate", "update"), strict=True):
        np.testing.assert_array_equal(line.y[::2], rate.sel(kind=kind))
        np.testing.assert_array_equal(line.y[1::2], rate.sel(kind=kind))


def test_the_matrix_has_its_first_group_on_top(run: Trace) -> None:
    chart, sent = chart_of("traffic", run), analysis.traffic(run)
    for panel, kind in zip(chart.panels, ("state", "costate"), strict=True):
        (image,) = of(Heat, panel)
        np.testing.assert_array_equal(np.nan_to_num(image.values[::-1]), sent[kind])
        assert panel.y_names is not None
        assert [panel.y_names[y] for y in (2.0, 1.0, 0.0)] == ["input", "hidden", "output"]


# ---- the network


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


# ---- samples


def test_a_line_of_many_samples_keeps_its_extremes() -> None:
    values = np.random.default_rng(1).normal(size=40_000)
    values[12_345], values[23_456] = 50.0, -50.0
    ticks, kept = samples._thinned(np.arange(40_000), values)
    assert kept.size <= 2 * samples.BUCKETS + 2
    assert (kept.max(), kept.min()) == (50.0, -50.0)
    np.testing.assert_array_equal(values[ticks], kept)


def test_neurons_are_chosen_from_every_group() -> None:
    with simulated(topology.layered([20, 30, 2], seed=1), sampled=["h", "z"]) as trace:
        lines = of(Line, chart_of("neurons", trace).panels[0])
        h, label = trace["sampled/h"], trace["network/node_label"].tolist()
    assert [line.label for line in lines] == [
        f"{g}[{k}]" for g in ("hidden", "input", "output") for k in (0, 1)
    ]
    for line in lines:
        np.testing.assert_allclose(line.y, h[:, label.index(line.label)])


def test_inputs_have_no_costate(run: Trace) -> None:
    chart = chart_of("neurons", run)
    z = next(panel for panel in chart.panels if panel.y == "costate z")
    assert not any(line.label.startswith("input") for line in of(Line, z))


def test_all_neurons_are_rows_of_an_image_in_order_of_groups(run: Trace) -> None:
    chart = chart_of("populations", run)
    group = run["network/group"]
    order = [i for name in ("input", "hidden", "output") for i in np.flatnonzero(group == name)]
    (image,) = of(Heat, chart.panels[0])
    np.testing.assert_allclose(image.values[::-1], run["sampled/h"][:, order].T)
    assert list((chart.panels[0].y_names or {}).values()) == ["input", "hidden", "output"]


def test_a_large_population_makes_an_image_of_bounded_size() -> None:
    with Simulation(topology.layered([3000, 2], seed=1), node_defaults={"update": "clock"}).run(
        until=1500, every=1, sampled=["h"]
    ) as trace:
        (image,) = of(Heat, chart_of("populations", trace).panels[0])
    assert image.values.shape[0] == samples.ROWS
    assert image.values.shape[1] <= samples.COLUMNS


def test_bands_of_weights_are_quantiles(run: Trace) -> None:
    chart = chart_of("synapses", run)
    group, real = run["network/group"][run["network/target"]], run["network/source"] >= 0
    w = run["sampled/w"][:, real & (group == "hidden")]
    band = of(Band, chart.panels[0])[0]
    np.testing.assert_allclose(band.low, np.quantile(w, 0.05, axis=1), rtol=1e-6)
    np.testing.assert_allclose(band.high, np.quantile(w, 0.95, axis=1), rtol=1e-6)


def test_complex_states_are_drawn_by_their_real_part_and_phases_by_their_length() -> None:
    with experiment.load(HEP).run() as trace:
        lines = of(Line, chart_of("neurons", trace).panels[0])
        label, h = trace["network/node_label"].tolist(), trace["sampled/h"]
        chart = chart_of("phases", trace)
        lengths = trace["phases/tick"] - trace["phases/start"] + 1
    for line in lines:
        np.testing.assert_allclose(line.y, h[:, label.index(line.label)].real)
    bars = of(Boxes, chart.panels[0])
    place = np.concatenate([box.left + 0.4 for box in bars])
    np.testing.assert_array_equal(np.concatenate([box.top for box in bars])[np.argsort(place)], lengths)


# ---- gradients and laws

HELD = """
[network]
topology = "topology.py"
parameters = {{ hidden = 3, delay = {delay} }}
node_defaults = {{ update = "clock" }}
[simulation]
dtype = "float64"
until = 20
[learning]
beta = 0.0
eta = {eta}
[stimulus]
source = "file"
path = "stream.npz"
hold = 20
[record]
every = 1
"""


@pytest.mark.parametrize("delay", [0, 2])
def test_from_the_step_that_the_law_draws_the_cosine_is_1(tmp_path: Path, delay: int) -> None:
    folder = experiments.write(tmp_path / "held", HELD.format(delay=delay, eta=0.0))
    with experiment.load(folder).run() as trace:
        chart = chart_of("alignment", trace)
        steps = laws.exact_from(trace)
    assert steps == {"hidden": 3 * (delay + 1) + 2, "output": 2 * (delay + 1) + 2}
    cosine, ratio = chart.panels
    for group, step in steps.items():
        (line,) = [x for x in of(Line, cosine) if x.label == group]
        (size,) = [x for x in of(Line, ratio) if x.label == group]
        np.testing.assert_allclose(line.y[step:], 1.0)
        assert size.y[step - 1] != pytest.approx(1.0, abs=1e-3)
        (law,) = [x for x in of(Reference, cosine) if x.label.startswith(f"{group}:")]
        assert (law.axis, law.value) == ("x", step)


def test_no_law_is_drawn_where_it_does_not_hold(tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "held", HELD.format(delay=0, eta=0.5))
    with experiment.load(folder).run() as trace:
        chart = chart_of("alignment", trace)
    assert of(Reference, chart) == []
    assert "law" not in chart.caption


def test_why_there_is_no_alignment_is_said(
    run: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "weights move and are known every 25 ticks" in reason("alignment", run)
    assert of(Line, chart_of("alignment", run, oracle="backpropagation"))
    folder = experiments.write(tmp_path / "held", HELD.format(delay=0, eta=0.0))
    with experiment.load(folder).run() as trace:
        monkeypatch.setattr(credit, "AFFORDABLE", 10)
        assert "ask for it with --oracle backpropagation" in reason("alignment", trace)
    with pytest.raises(ExperimentError, match="unknown oracle 'bptt'; known: backpropagation, "):
        Asked(oracle="bptt")


def test_the_histogram_of_ages_is_the_analysis(tmp_path: Path) -> None:
    """With a short cut from input to output, so that the newest and the oldest path differ."""
    settings = HELD.format(delay=1, eta=0.0).replace("hold = 20", "hold = 1") + 'events = ["message"]\n'
    folder = experiments.write(tmp_path / "cut", settings)
    with (folder / "topology.py").open("a") as file:
        file.write("\n\ndef whole(**options):\n    graph = layers(**options)\n")
        file.write("    graph.add_edge('input[0]', 'output[0]', weight=0.5)\n    return graph\n")
        file.write("\n\nlayers, build = build, whole\n")
    with experiment.load(folder, ["network.parameters={ hidden = 3, delay = 2 }"]).run() as run:
        chart, found = chart_of("staleness", run), analysis.staleness(run)
    assert (found["count"].sel(path="newest") != found["count"].sel(path="oldest")).any()
    for panel, name in zip(chart.panels, ("state", "staleness"), strict=True):
        for bars, path in zip(of(Boxes, panel), ("newest", "oldest"), strict=True):
            count = found["count"].sel(quantity=name, path=path)
            mean = ((count * count.age).sum() / count.sum()).item()
            width = bars.right[0] - bars.left[0]
            shift = 0.0 if path == "newest" else width
            assert bars.top.sum() == pytest.approx(1.0)
            assert (bars.top * (bars.left - shift + 0.5)).sum() == pytest.approx(mean)
        laws_ = [line for line in of(Line, panel) if line.dash == "dashed"]
        expected = found.expected.sel(quantity=name, path="oldest")
        assert laws_[1].y.max() == pytest.approx((expected / expected.sum()).max().item())


def test_where_nothing_that_meets_is_known_there_is_no_histogram(tmp_path: Path) -> None:
    """In a ring everything goes back to before the run."""
    folder = experiments.write(tmp_path / "ring", HELD.format(delay=1, eta=0.0) + 'events = ["message"]\n')
    (folder / "topology.py").write_text(
        "import hlsim\n\n\ndef build(**_):\n    return hlsim.topology.ring(4, seed=1, inputs=2, outputs=2)\n"
    )
    with experiment.load(folder).run() as trace:
        assert reason("staleness", trace).startswith("nothing met at a synapse")


def test_too_many_messages_are_not_followed(run: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit, "MESSAGES", 10)
    assert reason("staleness", run).endswith("events are too many to be followed, at most 10")


# ---- scales


def test_a_scale_goes_from_its_first_colour_to_its_last() -> None:
    scale = Scale("delay", 2.0, 6.0, "ticks")
    palette = scale.palette()
    assert scale.colors(np.array([0.0, 2.0, 6.0, 9.0])) == [palette[0], palette[0], palette[-1], palette[-1]]
    assert len(set(palette)) > 200
