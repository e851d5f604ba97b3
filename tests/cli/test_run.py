"""The command line as its user sees it: what is printed, where files go, how it ends."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import networkx as nx
import numpy as np
import pytest
import xarray as xr

import hlsim
from hlsim import cli, sweep, trace
from hlsim.cli import terminal
from hlsim.simulation import traffic
from hlsim.simulation.watch import Progress
from hlsim.sweep import course
from hlsim.topology import layered, save
from tests.support import experiments


@dataclass
class Outcome:
    """What came of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny experiment, in the folder from which commands are given."""
    monkeypatch.chdir(tmp_path)
    return experiments.write(tmp_path / "tiny")


@pytest.fixture
def hlsim_(folder: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line, within this process."""

    def command(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        captured = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return command


@pytest.fixture
def traced(hlsim_: Command) -> Path:
    assert hlsim_("run", "tiny", "--quiet").code == 0
    return Path("tiny.h5")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, there is no line that says what comes next."""
    monkeypatch.setattr(terminal, "PLAIN_SECONDS", math.inf)


def assert_one_line(outcome: Outcome, message: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    assert re.fullmatch(r"hlsim: [^\n]+\n", outcome.err)
    assert message in outcome.err


# ---- run


def test_a_run_ends_with_a_table_and_a_trace(hlsim_: Command) -> None:
    done = hlsim_("run", "tiny")
    assert done.code == 0
    with trace.open("tiny.h5") as run:
        assert run.status == "complete"
        summary = run.summary
    assert summary["ticks"] == experiments.TICKS
    shown = {line.split("  ")[0].strip(): line for line in map(str.strip, done.out.splitlines())}
    assert shown["ticks"].endswith(f" {experiments.TICKS}")
    assert shown["state messages"].endswith(f" {summary['state_messages']:,}")
    assert shown["costate messages"].endswith(f" {summary['costate_messages']:,}")
    assert shown["node updates"].endswith(f" {summary['node_updates']:,}")
    assert shown["accuracy test"].endswith(f" {100 * summary['accuracy']['test']:.2f} %")
    assert shown["trace"].split()[1] == "tiny.h5,"


def test_traces_go_to_the_folder_traces_where_there_is_one(hlsim_: Command) -> None:
    Path("traces").mkdir()
    assert hlsim_("run", "tiny", "--quiet").code == 0
    assert Path("traces/tiny.h5").is_file()
    assert not Path("tiny.h5").exists()


def test_the_trace_goes_where_it_is_told_to(hlsim_: Command) -> None:
    Path("traces").mkdir()
    assert hlsim_("run", "tiny/experiment.toml", "-o", "other.h5", "-q").code == 0
    assert Path("other.h5").is_file()
    assert list(Path("traces").iterdir()) == []


def test_a_quiet_run_says_nothing(hlsim_: Command) -> None:
    assert hlsim_("run", "tiny", "--quiet") == Outcome(0, "", "")


def test_options_and_overrides_reach_the_run(hlsim_: Command) -> None:
    named = ("--engine", "reference", "--device", "cpu", "--seed", "5", "--until", "12")
    done = hlsim_(
        "run", "tiny", *named, "--set", "learning.beta=0.25", "--set", "network.parameters.hidden=4"
    )
    assert done.code == 0
    with trace.open("tiny.h5") as run:
        text = run.attrs["experiment"]
        assert (run.attrs["engine"], run.attrs["seed"], run.summary["ticks"]) == ("reference", 5, 12)
        assert run["network/node_label"].size == 2 + 4 + 2
    assert "beta = 0.25" in text
    assert "seed = 5" in text


def test_of_two_overrides_the_later_one_wins(hlsim_: Command) -> None:
    twice = ("--set", "simulation.until=12", "--set", "simulation.until=7")
    assert hlsim_("run", "tiny", "-q", *twice).code == 0
    with trace.open("tiny.h5") as run:
        assert run.summary["ticks"] == 7


def test_a_seed_changes_the_run_and_repeats_it(hlsim_: Command) -> None:
    states = {}
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert hlsim_("run", "tiny", "-q", "--seed", seed, "-o", f"{name}.h5").code == 0
        with trace.open(f"{name}.h5") as run:
            states[name] = run["sampled/h"]
    np.testing.assert_array_equal(states["a"], states["b"])
    assert not np.array_equal(states["a"], states["c"])


def test_a_dry_run_takes_nothing(hlsim_: Command) -> None:
    done = hlsim_("run", "tiny", "--dry-run", "-o", "wanted.h5")
    assert done.code == 0
    assert re.search(r"synapses +12\b", done.out)
    assert re.search(rf"ticks +{experiments.TICKS}\b", done.out)
    assert re.search(r"memory +\d", done.out)
    assert re.search(r"trace before compression +\d", done.out)
    assert "wanted.h5" in done.out
    assert sorted(path.name for path in Path().iterdir()) == ["tiny"]


def test_an_interrupted_run_keeps_its_trace(hlsim_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C at the first row."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hlsim.simulation.watch.Watch.row", stopped)
    done = hlsim_("run", "tiny")
    assert done.code == 130
    assert done.err == "hlsim: interrupted; the trace up to there is in tiny.h5\n"
    with trace.open("tiny.h5") as run:
        assert run.status == "interrupted"
        assert run.summary["ticks"] == experiments.HOLD - 1


def test_a_run_interrupted_before_it_began_speaks_of_no_trace(
    hlsim_: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hlsim.simulation.simulation.Simulation", stopped)
    assert hlsim_("run", "tiny") == Outcome(130, "", "hlsim: interrupted\n")


def test_a_run_that_diverges_names_tick_and_node_and_keeps_its_trace(hlsim_: Command) -> None:
    parameters = "network.node_defaults={ update = 'clock', activation = 'identity' }"
    done = hlsim_("run", "tiny", "--set", parameters, "--set", "learning.beta=1e6")
    assert_one_line(done, "must stay finite")
    assert re.search(r"tick \d+: node '\w+\[\d\]'", done.err)
    with trace.open("tiny.h5") as run:
        assert run.status == "interrupted"


# ---- the other commands


def test_validate_tells_what_is_valid(hlsim_: Command) -> None:
    done = hlsim_("validate", "tiny")
    assert done == Outcome(0, f"tiny: valid, 7 nodes, 12 synapses, {experiments.TICKS} ticks\n", "")
    changed = hlsim_("validate", "tiny/experiment.toml", "--set", "network.parameters.hidden=4")
    assert "8 nodes, 16 synapses" in changed.out
    assert sorted(path.name for path in Path().iterdir()) == ["tiny"]


@pytest.mark.parametrize("name", ["graph.json", "graph.graphml", "tiny/topology.py"])
def test_graphs_are_validated_and_described(hlsim_: Command, name: str) -> None:
    if not Path(name).exists():
        save(layered([2, 3, 2], seed=1), name)
    assert hlsim_("validate", name).out == f"{name}: valid, 7 nodes, 12 synapses\n"
    shown = hlsim_("info", name)
    assert shown.code == 0
    assert re.search(r"groups +hidden 3, input 2, output 2", shown.out)


def test_info_shows_an_experiment_with_its_defaults(hlsim_: Command) -> None:
    done = hlsim_("info", "tiny", "--set", "learning.eta=0.125")
    assert done.code == 0
    assert re.search(r"synapses +12\b", done.out)
    assert "eta = 0.125" in done.out
    assert 'kind = "squared_error"' in done.out


def test_info_shows_a_trace(hlsim_: Command, traced: Path) -> None:
    done = hlsim_("info", str(traced))
    assert done.code == 0
    assert re.search(r"status +complete", done.out)
    assert re.search(r"sampled/h +50 x 7 +float32", done.out)
    assert "beta = 0.05" in done.out


def test_analyze_shows_tables(hlsim_: Command, traced: Path) -> None:
    done = hlsim_("analyze", str(traced), "--window", "4")
    assert done.code == 0
    with trace.open(traced) as run:
        summary, sent = run.summary, run["network/traffic_state"]
    for title in (
        "Accuracy",
        "Learning curve",
        "Messages and updates per tick",
        "Costate messages from group",
    ):
        assert title in done.out
    assert re.search(rf"state_messages +{summary['state_messages']:,} messages", done.out)
    share = re.escape(f"{100 * summary['accuracy']['test']:.2f} ± ")
    assert re.search(rf"test +{share}\d+\.\d\d % +4\b", done.out)
    assert len(re.findall(r"^ +train +[\d,]+ +4 ", done.out, re.MULTILINE)) == 4
    assert re.search(rf"hidden +0 +0 +{sent.max():,}\b", done.out)


def test_analyze_gives_json_that_is_read_elsewhere(hlsim_: Command, traced: Path) -> None:
    done = hlsim_("analyze", str(traced), "--json")
    found = json.loads(done.out, parse_constant=pytest.fail)
    of_every_trace = {"summary", "accuracy", "learning_curve", "message_rates", "traffic", "locality"}
    assert found.keys() == of_every_trace | {"staleness"}
    assert found["summary"]["data_vars"]["ticks"] == {
        "dims": [],
        "attrs": {"units": "ticks"},
        "data": experiments.TICKS,
    }
    assert found["traffic"]["coords"]["source"]["data"] == ["input", "hidden", "output"]


def test_analyze_tells_what_was_asked_for(hlsim_: Command, traced: Path) -> None:
    """Exact gradients, costs and gradient descent beside the run; what cannot be told is said in a line."""
    chip = Path("chip.toml")
    chip.write_text("source = 'data sheet'\n[energy]\nmessage = 1.0\n", encoding="utf-8")
    asked = ("--oracle", "backpropagation", "--of", "step", "--controls", "--hardware", str(chip))
    done = hlsim_("analyze", str(traced), *asked)
    assert done.code == 0
    for title in ("Locality: what crossed", "Cost on chip: data sheet", "Staleness", "On-line loss beside"):
        assert title in done.out
    assert "Alignment of steps of the weights with backpropagation" in done.out
    found = json.loads(hlsim_("analyze", str(traced), *asked, "--json").out, parse_constant=pytest.fail)
    assert {"cost", "alignment", "controls"} <= found.keys()
    run = trace.open(traced)
    sent = run.summary["state_messages"] + run.summary["costate_messages"]
    assert found["cost"]["data_vars"]["energy"]["data"][0] == sent
    assert hlsim_("run", "tiny", "-q", "-o", "none.h5", "--set", "loss.kind=none").code == 0
    done = hlsim_("analyze", "none.h5", "--controls", "--oracle", "backpropagation")
    assert done.code == 0
    assert "not told: analysis: unknown loss 'none'" in done.out


def test_analyze_compares_two_traces(hlsim_: Command, traced: Path) -> None:
    """What was set otherwise, side by side, and from which tick on samples part."""
    assert hlsim_("run", "tiny", "-q", "-o", "late.h5", "--set", "network.parameters.delay=2").code == 0
    assert hlsim_("run", "tiny", "-q", "-o", "same.h5", "--set", "simulation.engine='reference'").code == 0
    late = json.loads(hlsim_("analyze", str(traced), "--against", "late.h5", "--json").out)["comparison"]
    same = json.loads(hlsim_("analyze", str(traced), "--against", "same.h5", "--json").out)["comparison"]
    assert late["coords"]["setting"]["data"] == ["network.parameters.delay"]
    assert [late["data_vars"][x]["data"] for x in ("first_value", "second_value")] == [["-"], ["2"]]
    assert same["coords"]["setting"]["data"] == ["simulation.engine"]
    h = late["coords"]["quantity"]["data"].index("h")
    # The first input of a row reaches hidden neurons at tick 1, or two ticks later: sampled at tick 2.
    assert late["data_vars"]["from_tick"]["data"][h] == 2
    assert late["data_vars"]["largest"]["data"][h] > 0.01
    number = late["coords"]["number"]["data"].index("state_messages")
    first, second = (late["data_vars"][x]["data"][number] for x in ("first", "second"))
    assert late["data_vars"]["ratio"]["data"][number] == pytest.approx(second / first)
    text = hlsim_("analyze", str(traced), "--against", "late.h5").out
    assert "Set otherwise" in text
    assert "cosine of the changes of all weights" in text


def test_stability_is_shown_beside_its_closed_form(hlsim_: Command) -> None:
    done = hlsim_("stability", "--delays", "0,1", "--etas", "1", "--png", "map", "--svg", "map")
    assert done.code == 0
    assert {path.name for path in Path("map").iterdir()} == {"stability.png", "stability.svg"}
    assert re.search(r"sequential +1 +0 +(1\.99\d+|2(\.00\d*)?) +2 ", done.out)
    found = json.loads(hlsim_("stability", "--delays", "0", "--etas", "0.5", "--json").out)
    assert found["data_vars"]["predicted"]["data"] == [[[pytest.approx(0.5)]], [[pytest.approx(3.0)]]]


def test_json_says_null_for_what_is_not_known(hlsim_: Command) -> None:
    assert hlsim_("run", "tiny", "-q", "--set", "loss.kind=none").code == 0
    found = json.loads(hlsim_("analyze", "tiny.h5", "--json").out, parse_constant=pytest.fail)
    assert set(np.ravel(found["learning_curve"]["data_vars"]["loss"]["data"])) == {None}


FIGURES = [
    "network", "learning_curve", "rates", "traffic", "staleness", "neurons", "populations", "synapses"
]  # fmt: skip


@pytest.mark.usefixtures("patient")
def test_report_writes_a_page_beside_the_trace(hlsim_: Command, traced: Path) -> None:
    Path("elsewhere").mkdir()
    moved = traced.rename("elsewhere/tiny.v2.h5")
    assert hlsim_("report", str(moved)) == Outcome(0, "elsewhere/tiny.v2.html\n", "")
    assert Path("elsewhere/tiny.v2.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("patient")
def test_report_writes_its_figures_as_files_too(hlsim_: Command, traced: Path) -> None:
    done = hlsim_("report", str(traced), "-o", "page.html", "--png", "figures", "--svg", "vectors")
    files = [f"figures/{name}.png" for name in FIGURES] + [f"vectors/{name}.svg" for name in FIGURES]
    assert done == Outcome(0, "".join(f"{name}\n" for name in ("page.html", *files)), "")
    assert sorted(path.stem for path in Path("figures").iterdir()) == sorted(FIGURES)
    assert sorted(path.name for path in Path("vectors").iterdir()) == sorted(f"{x}.svg" for x in FIGURES)


def test_report_compares_traces(hlsim_: Command, traced: Path) -> None:
    assert hlsim_("run", "tiny", "-q", "-o", "other.h5", "--seed", "4").code == 0
    done = hlsim_("report", str(traced), "other.h5", "--png", "figures")
    assert done.code == 0
    assert done.out.splitlines()[:3] == [
        "comparison.html",
        "figures/comparison.png",
        "figures/tiny/network.png",
    ]
    assert Path("figures/other/traffic.png").is_file()


@pytest.mark.usefixtures("patient")
def test_report_of_a_folder_is_that_of_its_sweep(
    hlsim_: Command, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def load(folder: Path) -> xr.Dataset:
        asked.append(folder)
        return sweep.sweep("tiny", {"learning.beta": [0.01, 0.1]}, seeds=2)

    monkeypatch.setattr(course, "load", load, raising=False)
    Path("delays").mkdir()
    traced.rename("delays/beta=1.h5")
    assert hlsim_("report", "delays/") == Outcome(0, f"{Path('delays').resolve()}.html\n", "")
    assert asked == [Path("delays")]
    assert "learning.beta" in Path("delays.html").read_text(encoding="utf-8")


def test_report_asks_an_oracle_that_it_is_told_to(hlsim_: Command, traced: Path) -> None:
    assert hlsim_("report", str(traced), "--oracle", "backpropagation", "--png", "figures").code == 0
    assert Path("figures/alignment.png").is_file()


def test_where_a_report_takes_long_it_says_what_comes_next(
    hlsim_: Command, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_SECONDS", 0.0)
    told = hlsim_("report", str(traced)).err.splitlines()
    assert told[:2] == ["next: Network", "next: Learning curve"]
    assert told[-1] == "next: page"


def test_an_ensemble_is_shown_with_a_column_a_replica(hlsim_: Command) -> None:
    assert hlsim_("run", "tiny", "-q", "--set", "simulation.ensemble=2").code == 0
    done = hlsim_("analyze", "tiny.h5")
    assert re.search(r"stage +replica 0 +replica 1 +rows", done.out)
    assert hlsim_("report", "tiny.h5", "--png", "figures").code == 0


def test_the_version_is_the_packages(hlsim_: Command) -> None:
    assert hlsim_("--version") == Outcome(0, f"hlsim {hlsim.__version__}\n", "")


# ---- errors

BAD_TOML = {
    "no topology": ("", "topology is missing"),
    "syntax": ("[network\n", "line 1, column 9"),
    "table": ("[lerning]\n", "unknown table 'lerning'"),
    "key": ("[network]\ntopology = 'topology.py'\nparametres = 1\n", "unknown key 'parametres'"),
    "type": ("[network]\ntopology = 3\n", "[network] topology must be a string, got 3"),
    "file": ("[network]\ntopology = 'none.py'\n", "none.py: no such file"),
    "kind of file": ("[network]\ntopology = 'stream.npz'\n", "unknown kind of graph file '.npz'"),
}
BAD_VALUES = {
    "network.parameters.hiden=3": "unknown parameter 'hiden' (did you mean 'hidden'?)",
    "network.parameters.hidden=0": "sizes must be two or more whole numbers >= 1",
    "network.parameters.delay=1.5": "delay must be a whole number of ticks >= 0",
    "network.node_defaults.modle=leaky": "unknown attribute 'modle' (did you mean 'model'?)",
    "network.edge_defaults.feedback=some": "unknown feedback 'some'; known: none, random, symmetric",
    "simulation.dt=-1": "[simulation] dt must be > 0, got -1",
    "simulation.engine=fast": "engine must be 'batched' or 'reference', got 'fast'",
    "learning.rule=backprop": "unknown rule 'backprop'; known: continual_equilibrium, equilibrium,",
    "learning.beta=nan": "beta must be finite, got nan",
    "learning.phi={ gte = 3 }": "phi must be a number, { gate = ticks, value = x }",
    "learning.eta=3": "must be < 2 on a clock",
    "stimulus.source=fil": "unknown source 'fil' (did you mean 'file'?)",
    "stimulus.pth=x": "unknown key 'pth' (did you mean 'path'?); known: hold, path, source",
    "stimulus.path=none.npz": "none.npz: cannot read: No such file or directory",
    "stimulus.path=topology.py": "is no NPZ file",
    "stimulus={ source = 'iris' }": "4 input columns for 2 nodes of role 'input'",
    "stage.0.split=tets": "unknown split 'tets' (did you mean 'test'?); known: test, train",
    "stage.trian.passes=2": "unknown stage 'trian' (did you mean 'train'?); known: test, train",
    "stage=[{ shufle = true }]": "unknown key 'shufle' (did you mean 'shuffle'?)",
    "loss.kind=l2": "unknown kind 'l2'; known: cross_entropy, none, python, squared_error",
    "loss={ kind = 'python', path = 'none.py' }": "none.py: no such file",
    "record.every=0": "every must be a whole number of ticks >= 1, got 0",
    "record.events=[1]": "events.0 must be a string, got 1",
}


@pytest.mark.parametrize("name", BAD_TOML)
def test_a_bad_file_is_one_line_and_exit_code_2(hlsim_: Command, folder: Path, name: str) -> None:
    text, message = BAD_TOML[name]
    (folder / "experiment.toml").write_text(text)
    assert_one_line(hlsim_("run", "tiny"), message)


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_bad_value_is_one_line_and_exit_code_2(hlsim_: Command, value: str) -> None:
    assert_one_line(hlsim_("run", "tiny", "--set", value), BAD_VALUES[value])
    assert not Path("tiny.h5").exists()


def test_what_run_refuses_validate_refuses_too(hlsim_: Command) -> None:
    for value, message in BAD_VALUES.items():
        assert_one_line(hlsim_("validate", "tiny", "--set", value), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nowhere"), "nowhere: cannot read: No such file or directory"),
        (("run", "."), "experiment.toml: cannot read: No such file or directory"),
        (("run", "tiny", "-o", "none/x.h5"), "there is no folder none"),
        (("run", "tiny", "-o", "tiny/topology.py"), "exists and is no hlsim trace"),
        (("run", "tiny", "--set", "beta"), "--set beta: must be table.key=value"),
        (("run", "tiny", "--engine", "fast"), "engine must be 'batched' or 'reference', got 'fast'"),
        (("run", "tiny", "--until", "0"), "until must be >= 1, got 0"),
        (
            ("run", "tiny", "--seed", "1", "--set", "simulation.seed=2"),
            "--seed 1 and --set simulation.seed=2 say",
        ),
        (("run", "tiny", "--dry-run", "--quiet"), "give one of them"),
        (("validate", "graph.json"), "graph.json: no such file"),
        (("validate", "tiny/topology.py", "--set", "a.b=1"), "only an experiment has values to set"),
        (("info", "tiny/stream.npz"), "is no hlsim trace"),
        (("info", "tiny/stream.npz", "--set", "a.b=1"), "only an experiment has values to set"),
        (("analyze", "none.h5"), "none.h5: cannot read: No such file or directory"),
        (("analyze", "none.h5", "--oracle", "bptt"), "unknown oracle 'bptt'"),
        (("analyze", "none.h5", "--of", "z"), "unknown quantity 'z'"),
        (("analyze", "none.h5", "--hardware", "lohi"), "unknown hardware 'lohi' (did you mean 'loihi'?)"),
        (("stability", "--delays", "one"), "--delays: must be numbers with commas between them, got 'one'"),
        (("stability", "--etas", "0"), "eta must be from 0.1 to 1 a tick, got 0.0"),
        (("report", "none.h5"), "none.h5: cannot read: No such file or directory"),
        (("report", "tiny/stream.npz"), "is no hlsim trace"),
        (("report", "tiny"), "tiny: there are no traces in this folder"),
        (("report", "tiny/stream.npz", "tiny"), "is no hlsim trace"),
        (("report", "none.h5", "-o", "tiny/topology.py"), "exists and is no page of hlsim's"),
        (("report", "none.h5", "-o", "none/page.html"), "there is no folder none"),
        (
            ("report", "none.h5", "--oracle", "bptt"),
            "unknown oracle 'bptt'; known: backpropagation, ",
        ),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    hlsim_: Command, arguments: tuple[str, ...], message: str
) -> None:
    assert_one_line(hlsim_(*arguments), message)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("run",),
        ("run", "tiny", "--sede", "1"),
        ("run", "tiny", "--seed", "one"),
        ("run", "tiny", "more"),
        ("analyze", "tiny.h5", "--window", "0"),
        ("report",),
    ],
)
def test_a_command_that_is_none_is_exit_code_2(hlsim_: Command, arguments: tuple[str, ...]) -> None:
    """Nothing that was written is ignored."""
    done = hlsim_(*arguments)
    assert done.code == 2
    assert "hlsim" in done.err


@pytest.mark.usefixtures("patient")
def test_figures_need_a_folder_that_can_be_written(hlsim_: Command, traced: Path) -> None:
    assert_one_line(hlsim_("report", str(traced), "--png", "tiny/topology.py"), "cannot write")


def test_a_trace_of_another_format_is_one_line(hlsim_: Command, traced: Path) -> None:
    with h5py.File(traced, "r+") as file:
        file.attrs["format_version"] = 99
    assert_one_line(hlsim_("report", str(traced)), "tiny.h5: format_version must be 1, got 99")
    assert not Path("tiny.html").exists()


def test_an_undirected_graph_is_refused_by_a_rule_that_needs_directions(hlsim_: Command) -> None:
    data = nx.node_link_data(nx.path_graph(3), edges="edges")
    Path("graph.json").write_text(json.dumps(data))
    assert hlsim_("validate", "graph.json").code == 0
    options = ["--set", "network.topology=../graph.json", "--set", "network.parameters={}"]
    assert_one_line(hlsim_("run", "tiny", *options), "use .to_directed()")


def test_a_bug_shows_its_traceback(hlsim_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("of our own making")

    monkeypatch.setattr("hlsim.experiment.forecast.estimate", broken)
    with pytest.raises(RuntimeError, match="of our own making"):
        cli.main(["run", "tiny", "--dry-run"])


# ---- as a process


def test_ctrl_c_stops_a_process_with_130_and_keeps_the_trace(folder: Path) -> None:
    """The signal is sent a second after the trace appeared, which it does when the run begins."""
    long = ["run", "tiny", "--set", "stage.train.passes=100000", "--set", "record.events=[]"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from hlsim.cli import main; main({long})"],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(hlsim.__file__).parents[1])},
        text=True,
    )
    while not Path("tiny.h5").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "hlsim: interrupted; the trace up to there is in tiny.h5\n")
    with trace.open("tiny.h5") as run:
        assert run.status == "interrupted"


# ---- what is shown


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


STANDINGS = [Progress(tick, 4000, tick / 1000, 50 * tick) for tick in (1000, 2000, 3000)]


def test_a_terminal_shows_a_bar_with_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with terminal.progress(stream) as progress:  # type: ignore[arg-type]
        for standing in STANDINGS:
            progress(standing)
    text = re.sub(r"\x1b\[[\d;?]*\w", "", stream.text)
    assert "3,000 of 4,000 ticks" in text
    assert "1,000 ticks/s, 50,000 messages/s" in text


def test_elsewhere_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 9.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr("hlsim.cli.terminal.time.monotonic", lambda: next(clock))
    with terminal.progress(sys.stderr) as progress:
        for standing in STANDINGS:
            progress(standing)
    line = "2,000 of 4,000 ticks, 1,000 ticks/s, 50,000 messages/s, 2.00 s left\n"
    assert capsys.readouterr().err == line


@pytest.mark.filterwarnings("default")
def test_an_event_storm_is_told_in_one_line(hlsim_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "STORM", 0)
    settings = ("learning={ rule = 'equilibrium' }", "loss.kind=squared_error", "stimulus.hold=20")
    arrival = "network.node_defaults={ update = 'arrival', model = 'leaky' }"
    done = hlsim_("run", "tiny", "--quiet", *(f"--set={text}" for text in (*settings, arrival)))
    assert done.code == 0
    told = re.search(
        r"^hlsim: warning: event storm: \d+ sends a neuron in the phase of [^\n]+$", done.err, re.M
    )
    assert told is not None
