"""Figures as files: drawn at all, the same set in both formats, with their text."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image

from hlsim import analysis, experiment
from hlsim.errors import TraceError
from hlsim.report import draw_matplotlib, figures
from hlsim.report.charts import (
    Boxes,
    Chart,
    Heat,
    Line,
    Panel,
    Paths,
    Points,
    Reference,
    Scale,
    Texts,
    Whiskers,
)
from hlsim.trace import Trace
from tests.support import experiments

X = np.arange(4.0)
EVERYTHING = Chart(
    "All marks.",
    [
        Panel(
            [
                Line(X, X**2, "cost $x$", dash="dotted", dots=True),
                Whiskers(X, X, X + 1, "cost $x$"),
                Boxes(X, X + 0.5, 0 * X, X, "#0072B2", "bars"),
                Paths([X[:2], X[:3]], [X[:2], X[1:]], ["#000000", "#D55E00"], [1.0, 2.0]),
                Points(X, X, ["#009E73"] * 4),
                Texts(X, X, ["$a", "b_", "<c>", "d&"]),
                Reference(2.0, "a law", "x"),
                Heat(np.eye(3), 0.0, 3.0, 0.0, 3.0, Scale("signed", -1.0, 1.0, "h")),
            ],
            x="tick",
            y="y",
            title="a $ title",
            x_names={1.0: "one", 2.0: "two"},
            y_names={0.0: "zero"},
            x_range=(0.0, 4.0),
            y_range=(0.0, 9.0),
        ),
        Panel([Line(X, X)], bare=True),
        Panel([Line(X, X)], x="z"),
    ],
    columns=2,
    scale=Scale("delay", 0.0, 9.0, "delay"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    folder = experiments.write(tmp_path_factory.mktemp("runs") / "tiny")
    with experiment.load(folder).run() as trace:
        yield trace


def charts(trace: Trace) -> dict[str, Chart]:
    return {name: chart for name, chart in figures.drawn(trace) if isinstance(chart, Chart)}


def test_every_figure_is_drawn_in_both_formats(run: Trace, tmp_path: Path) -> None:
    wanted = charts(run)
    png, svg = (draw_matplotlib.save(wanted, tmp_path / suffix, suffix) for suffix in ("png", "svg"))
    assert [path.stem for path in png] == [path.stem for path in svg] == list(wanted)
    for path in png:
        picture = image.imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.02
    for path in svg:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_the_text_of_an_svg_is_text(run: Trace, tmp_path: Path) -> None:
    (path,) = draw_matplotlib.save({"traffic": charts(run)["traffic"]}, tmp_path, "svg")
    told = " ".join(ElementTree.parse(path).getroot().itertext())
    for name in analysis.groups(run):
        assert name in told


def test_a_name_may_have_a_folder_in_front(tmp_path: Path) -> None:
    assert draw_matplotlib.save({"digits/all": EVERYTHING}, tmp_path) == [tmp_path / "digits" / "all.png"]
    assert (tmp_path / "digits" / "all.png").is_file()


def test_every_mark_is_drawn_and_a_dollar_is_a_dollar(tmp_path: Path) -> None:
    (path,) = draw_matplotlib.save({"all": EVERYTHING}, tmp_path, "svg")
    told = " ".join(ElementTree.parse(path).getroot().itertext())
    for text in ("cost $x$", "a $ title", "$a", "<c>", "d&", "one", "zero", "a law", "delay"):
        assert text in told


def test_the_same_chart_makes_the_same_file(tmp_path: Path) -> None:
    first, second = (draw_matplotlib.save({"all": EVERYTHING}, tmp_path / x, "svg")[0] for x in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_lines_are_the_numbers_of_the_chart() -> None:
    axes = draw_matplotlib.draw(EVERYTHING).axes[0]
    np.testing.assert_array_equal(np.asarray(axes.get_lines()[0].get_ydata()), X**2)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="file: cannot write"):
        draw_matplotlib.save({"all": EVERYTHING}, tmp_path / "file")
