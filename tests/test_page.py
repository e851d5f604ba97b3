"""The page of a report as a reader's program sees it: what it says, what it loads, how large it is."""

import re
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from hlsim import Simulation, analysis, experiment, page, report, topology, words
from hlsim import trace as traces
from hlsim.charts import Chart, Line, Panel
from hlsim.errors import ExperimentError, TraceError
from tests import experiments
from tests.test_sweep_charts import dataset

EVIL = "<script>alert(1)</script>"


class Read(HTMLParser):
    """Reads text outside of scripts and styles, the cells of tables, and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "input"}:
            self._open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.words.append(data)
            if {"td", "th"} & set(self._open):
                self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    experiment.load(experiments.write(folder / "tiny")).run(folder / "tiny.h5").close()
    return folder / "tiny.h5"


@pytest.fixture(scope="module")
def html(path: Path) -> str:
    return report.of_traces([path]).html()


@pytest.fixture(scope="module")
def seen(html: str) -> Read:
    return Read(html)


def labelled() -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_node(f"in {EVIL}", model="input", role="input", group="<i>in</i>")
    graph.add_node(f"out '\"&{EVIL}", role="output", group=f"</script><b>{'long' * 30}")
    graph.add_edge(*graph, weight=0.5, delay=1)
    return graph


@pytest.fixture
def evil(tmp_path: Path) -> str:
    sim = Simulation(labelled(), experiment=f'title = "{EVIL}"')
    sim.run(until=5, record=tmp_path / "evil&.h5", every=1).close()
    return report.of_traces([tmp_path / "evil&.h5"]).html()


# ---- what it says


def test_the_page_says_what_the_analysis_says(path: Path, seen: Read) -> None:
    with traces.open(path) as trace:
        summary, share = analysis.summary(trace), analysis.accuracy(trace)
        settings = str(trace.attrs["experiment"])
    for name in ("ticks", "state_messages", "costate_messages", "messages_per_tick", "nodes", "synapses"):
        assert words.number(summary[name].item()) in seen.text
    for stage in ("train", "test"):
        part = share.sel(stage=stage, replica=0)
        assert (
            f"accuracy, {stage} {words.percent(part.accuracy.item(), part.standard_error.item())}"
            in seen.text
        )
    assert "status complete" in seen.text
    assert " ".join(settings.split()) in seen.text


def test_groups_and_their_synapses_are_a_table(seen: Read) -> None:
    assert ["from", "to", "synapses", "plastic", "delay", "feedback delay", "mean |w|"] in seen.rows
    rows = {tuple(row[:3]) for row in seen.rows}
    assert {("input", "hidden", "6"), ("hidden", "output", "6")} <= rows


def test_why_a_figure_is_missing_is_said_in_a_sentence(seen: Read) -> None:
    assert "Phases: the rule has no phases." in seen.text
    assert "Alignment with exact gradients: weights move and are known every 25 ticks" in seen.text


def test_every_link_within_the_page_leads_somewhere(seen: Read) -> None:
    names = {attributes.get("id") for _, attributes in seen.tags}
    links = [address for address in seen.addresses if address.startswith("#")]
    assert len(links) >= 8
    assert {link[1:] for link in links} <= names


def test_a_run_that_was_cut_off_is_told_so(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="enough"):
        cut_off(tmp_path)
    text = Read(report.of_traces([tmp_path / "cut.h5"]).html()).text
    assert "This run is not complete (interrupted)" in text


def cut_off(folder: Path) -> None:
    sim = Simulation(topology.layered([2, 3, 1], seed=1), node_defaults={"update": "clock"})

    def stop(env, _):
        yield env.timeout(7)
        raise RuntimeError("enough")

    sim.env.process(stop(sim.env, None))
    sim.run(until=20, record=folder / "cut.h5", every=1)


# ---- what it loads


def test_nothing_is_loaded_from_anywhere(html: str, seen: Read) -> None:
    assert all(address.startswith(("#", "data:")) for address in seen.addresses)
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles


def test_what_users_wrote_is_text(evil: str) -> None:
    read = Read(evil)
    assert EVIL in read.text
    assert "<i>in</i>" in read.text
    assert "<script>alert" not in evil
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"b>", "img"}
    assert sum(tag == "script" for tag, _ in read.tags) == 3


def test_a_large_population_makes_no_large_page(tmp_path: Path) -> None:
    """2,000 neurons, 20,000 synapses, 1,000 samples of each: 24 million numbers."""
    graph = nx.DiGraph()
    graph.add_node("u", model="input", role="input", group="in", size=100)
    graph.add_node("p", group="p", size=1900, tau=2.0)
    graph.add_node("y", group="out", role="output", size=10)
    graph.add_edge("u", "p", connect="random", in_degree=5, weight={"normal": 0.4}, delay={"uniform": [0, 9]})
    graph.add_edge("p", "y", weight={"normal": 0.02}, delay=2)
    sim = Simulation(graph, node_defaults={"update": "clock"})
    sim.run(
        until=1000, record=tmp_path / "large.h5", every={"default": 2, "w": 100}, sampled=["h", "w"]
    ).close()
    made = report.of_traces([tmp_path / "large.h5"])
    assert len(made.html()) < 2_500_000
    assert "1,900" in Read(made.html()).text or "1.9k" in made.html()


# ---- several traces, and sweeps


def test_several_traces_are_compared(path: Path, tmp_path: Path) -> None:
    folder = experiments.write(tmp_path / "tiny")
    other = tmp_path / "other.h5"
    experiment.load(folder, ["learning.beta=0.5", "stage.train.passes=1"]).run(other).close()
    made = report.of_traces([path, other])
    read = Read(made.html())
    assert ["learning.beta", "0.05", "0.5"] in read.rows
    assert ["stage.train.passes", "2", "1"] in read.rows
    assert ["ticks", "100", "60"] in read.rows
    assert {"comparison", "tiny/network", "other/network"} <= made.charts.keys()
    lines = [mark for mark in made.charts["comparison"].panels[0].marks if isinstance(mark, Line)]
    assert {line.label for line in lines} == {"tiny", "other"}
    with traces.open(other) as trace:
        curve = analysis.learning_curve(trace)
    mine = np.concatenate([line.y for line in lines if line.label == "other"])
    np.testing.assert_array_equal(mine, curve.loss[:, 0])


def test_the_same_trace_twice_is_an_error(path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"tiny\.h5: is there twice"):
        report.of_traces([path, path])


def test_traces_of_one_name_are_called_by_their_paths(path: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.h5").write_bytes(path.read_bytes())
    text = Read(report.of_traces([path, tmp_path / "tiny.h5"]).html()).text
    assert str(tmp_path / "tiny") in text


def test_the_page_of_a_sweep_has_its_results_and_its_failures() -> None:
    made = report.of_sweep(dataset(failed=(1,)), "delays")
    html = made.html()
    read = Read(html)
    assert made.charts.keys() == {"results", "cost"}
    assert "2 of 6 runs failed" in read.text
    assert ["1", "0", "-", "-", "-", "-", "-", "<b>node</b> 'h[0]': not finite"] in read.rows
    assert ["0", "80.00 ± 14.14 %"] in [row[:2] for row in read.rows]
    assert "<b>node</b>" not in html


# ---- the file


def test_a_page_replaces_a_page_and_nothing_else(tmp_path: Path) -> None:
    text = page.render("x", "hlsim", [page.Section("a", "A", [page.note("one")])])
    page.write(tmp_path / "x.html", text)
    page.write(tmp_path / "x.html", text.replace("one", "two"))
    assert "two" in (tmp_path / "x.html").read_text(encoding="utf-8")
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(TraceError, match=r"mine\.html: exists and is no page of hlsim's"):
        page.write(tmp_path / "mine.html", text)
    with pytest.raises(TraceError, match="there is no folder"):
        page.write(tmp_path / "none" / "x.html", text)
    with pytest.raises(TraceError, match="cannot write: Is a directory"):
        page.write(tmp_path, text)


def test_a_page_without_figures_holds_no_library() -> None:
    """It is more than a megabyte."""
    assert len(page.render("x", "hlsim", [page.Section("a", "A", [page.note("one")])])) < 20_000


def test_a_legend_entry_is_there_once_a_label() -> None:
    x = np.arange(3.0)
    lines = [Line(x, x, "a"), Line(x, x, "b"), Line(x, x, "a")]
    html = page.render("x", "k", [page.Section("s", "S", [page.Figure("f", Chart("c.", [Panel(lines)]))])])
    keys = [attributes["data-label"] for tag, attributes in Read(html).tags if tag == "button"]
    assert keys == ["a", "b"]
