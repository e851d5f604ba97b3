"""The page of a report as a reader's program sees it: what it says, what it loads, how large it is."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from hlsim import Simulation, analysis, experiment, report, topology
from hlsim import trace as traces
from hlsim.errors import ExperimentError, TraceError
from hlsim.report import page, words
from hlsim.report.charts import Chart, Line, Panel
from hlsim.stimulus import Arrays, Stage
from tests.report.figures.test_sweep import dataset
from tests.support import experiments
from tests.support.disks import full_disk

EVIL = "<script>alert(1)</script>"
PIECES = (
    *("<script>", "</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<iframe>"),
    *("</title>", "</style>", "</pre>", "</table>", "<!--", "-->", "' onclick='x", '" onclick="x'),
    *("&lt;", "&", "'", '"', "\\", "]]>", "{{ title }}", "{% if", "${title}", " ", "\n", "é", "a"),
)
NASTY = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)


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
    assert (
        "Alignment with exact gradients: weights move, and those that are known are up to 12 steps"
        in seen.text
    )


@pytest.mark.parametrize(("size", "drawn"), [(1, True), (200, False)])
def test_a_network_without_synapses_has_a_page(tmp_path: Path, size: int, drawn: bool) -> None:
    graph = nx.DiGraph()
    graph.add_node("driven", role="input", size=size)
    graph.add_node("driven too", role="input")
    Simulation(graph, loss=None).run(until=5, record=tmp_path / "driven.h5").close()
    made = report.of_traces([tmp_path / "driven.h5"])
    made.save(tmp_path)
    assert ("network" in made.charts) == drawn
    assert ("Network: no synapse joins the groups." in Read(made.html()).text) != drawn


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


def every_piece(text: str) -> str:
    """A page with text in all places that take one; it has no figures, which take a second to draw."""
    blocks = [
        page.note(text),
        page.numbers([(text, text)]),
        page.table([text, "error"], [[text, text]], fold=f"fold {text}"),
        page.missing({text: text}),
        page.listing(text, text),
    ]
    return page.render(text, text, [page.Section(text, text, blocks)])


@given(NASTY)
def test_what_users_wrote_changes_no_element_and_is_read_as_it_was_written(text: str) -> None:
    read, harmless = Read(every_piece(text)), Read(every_piece("x" * len(text)))
    assert [(tag, *names) for tag, names in read.tags] == [(tag, *names) for tag, names in harmless.tags]
    assert read.rows == [[text, "error"], [text, text]]
    assert f"#{text}" in read.addresses


def elements(read: Read) -> set[str]:
    assert sum(tag == "script" for tag, _ in read.tags) == 3
    names = {name for _, attributes in read.tags for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    return {tag for tag, _ in read.tags}


@settings(max_examples=3, phases=[Phase.generate])
@given(st.lists(NASTY, min_size=6, max_size=6))
def test_no_name_in_a_run_becomes_an_element(
    seen: Read, tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    node, other, group, stage, title, file = names
    graph = nx.DiGraph()
    graph.add_node(f"1{node}", model="input", role="input", group=group)
    graph.add_node(f"2{other}", role="output", group=f"2{group}")
    graph.add_edge(*graph, weight=0.5, delay=1)
    shown = Arrays(input=np.ones((3, 1)), target=np.ones((3, 1)))
    stages = [Stage(f"1{stage}"), Stage(f"2{stage}")]
    path = tmp_path_factory.mktemp("nasty") / f"{file.replace('/', '|')}.h5"
    sim = Simulation(graph, stimulus=shown, stages=stages, experiment=f"title = '{title}'")
    sim.run(record=path, every=1).close()
    read = Read(report.of_traces([path]).html())
    assert elements(read) <= elements(seen)
    assert " ".join(f"title = '{title}'".split()) in read.text


@settings(max_examples=3, phases=[Phase.generate])
@given(st.lists(NASTY, min_size=5, max_size=5))
def test_no_name_in_a_sweep_becomes_an_element(seen: Read, names: list[str]) -> None:
    key, whole, stage, error, title = names
    found = dataset(failed=(1,)).rename(delay=f"1{key}").assign_coords(stage=[f"1{stage}", f"2{stage}"])
    found = found.expand_dims({f"2{key}": [whole], f"3{key}": [whole]})
    found[f"1{key}"].attrs["key"] = whole
    found["error"] = found.error.where(found.error == "", error)
    read = Read(report.of_sweep(found, title).html())
    assert elements(read) <= elements(seen)
    assert [f"2{key}", f"3{key}", f"1{key}", "seed", f"accuracy, 1{stage}"] in [row[:5] for row in read.rows]
    assert " ".join(f"3{key} {whole}".split()) in read.text
    assert error in {cell for row in read.rows for cell in row}


def test_a_template_that_asks_for_what_is_not_there_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        page.render("x", "k", [page.Section("s", "S", [page.Text("note", {"text": "one"})])])


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


# ---- what comes with it

IMPORTED = """
import sys
from pathlib import Path
from hlsim import report
print(*sys.modules)
made = report.of_traces([Path(sys.argv[1])])
made.html(), made.save(sys.argv[2])
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def imported(path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """What is imported when the report is, and when it has drawn a page and files."""
    folder = tmp_path_factory.mktemp("figures")
    command = [sys.executable, "-c", IMPORTED, str(path), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_a_report_that_draws_nothing_loads_nothing_that_draws(imported: list[set[str]]) -> None:
    at_first, at_last = imported
    assert not at_first & {"bokeh", "matplotlib", "dask", "distributed"}
    assert {"bokeh", "matplotlib"} <= at_last


def test_a_report_loads_nothing_of_the_terminal(imported: list[set[str]]) -> None:
    """Whoever draws from Python, or on a server, has no command line."""
    assert not imported[-1] & {
        "rich",
        "typer",
        "hlsim.cli.terminal",
        "hlsim.cli",
    }


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


def test_a_page_that_cannot_be_written_whole_is_not_there_and_in_nobodys_way(tmp_path: Path) -> None:
    text = page.render("one", "run", [])
    for before in (None, text):
        with full_disk(100), pytest.raises(TraceError, match=r"x\.html: cannot write: File too large$"):
            page.write(tmp_path / "x.html", text)
        assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])
        page.write(tmp_path / "x.html", text)


def test_a_page_without_figures_holds_no_library() -> None:
    """It is more than a megabyte."""
    assert len(page.render("x", "hlsim", [page.Section("a", "A", [page.note("one")])])) < 20_000


def test_figures_are_gone_through_as_often_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time of a page grows with the square of their number."""
    from bokeh.document.models import DocumentModelManager

    times: list[int] = []
    recompute = DocumentModelManager.recompute

    def noted(models: DocumentModelManager) -> None:
        times[-1] += 1
        recompute(models)

    monkeypatch.setattr(DocumentModelManager, "recompute", noted)
    for count in (1, 5):
        times.append(0)
        figures = [
            page.Figure(f"f{k}", Chart("c.", [Panel([Line(np.arange(3.0), np.arange(3.0), "a")])]))
            for k in range(count)
        ]
        page.render("x", "k", [page.Section("s", "S", figures)])
    assert times[0] == times[1] > 0


def test_a_legend_entry_is_there_once_a_label() -> None:
    x = np.arange(3.0)
    lines = [Line(x, x, "a"), Line(x, x, "b"), Line(x, x, "a")]
    html = page.render("x", "k", [page.Section("s", "S", [page.Figure("f", Chart("c.", [Panel(lines)]))])])
    keys = [attributes["data-label"] for tag, attributes in Read(html).tags if tag == "button"]
    assert keys == ["a", "b"]
