"""Alignment and staleness: what is in their marks, against the analysis and the laws of theory."""

from pathlib import Path

import numpy as np
import pytest

from hlsim import analysis, experiment
from hlsim.analysis import laws
from hlsim.errors import ExperimentError
from hlsim.report.charts import Boxes, Line, Reference
from hlsim.report.figures import Asked, credit
from hlsim.trace import Trace
from tests.support import experiments
from tests.support.charts import chart_of, of, reason

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
    assert "weights move, and those that are known are up to 12 steps of learning away" in reason(
        "alignment", run
    )
    asked = chart_of("alignment", run, oracle="backpropagation")
    assert of(Line, asked)
    assert "Not exact: weights moved between their samples" in asked.caption
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
