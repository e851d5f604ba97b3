"""Neurons, populations and synapses over time: what is in their marks, against the arrays of the trace."""

import numpy as np

from hlsim import Simulation, experiment, topology
from hlsim.report.charts import Band, Boxes, Heat, Line
from hlsim.report.figures import samples
from hlsim.trace import Trace
from tests.support.charts import chart_of, of, simulated
from tests.support.places import TOPOLOGIES

HEP = TOPOLOGIES / "hep_toy"


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
