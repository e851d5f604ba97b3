"""`hlsim run` as its user sees it: what is printed, where the trace goes, how it ends."""

import json
import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from hlsim import trace
from tests.support import experiments
from tests.support.commands import Command, Outcome, assert_one_line

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


def test_a_trace_that_is_there_is_replaced_only_where_that_is_said(hlsim_: Command) -> None:
    """Nothing is run, and nothing is lost, where a second run would write over the first one's trace."""
    assert hlsim_("run", "tiny", "-q").code == 0
    first = Path("tiny.h5").read_bytes()
    again = hlsim_("run", "tiny", "-q", "--seed", "3")
    assert_one_line(again, "tiny.h5: cannot write: the trace exists; give another path, or say --overwrite")
    assert Path("tiny.h5").read_bytes() == first
    assert hlsim_("run", "tiny", "-q", "--seed", "3", "--overwrite").code == 0
    with trace.open("tiny.h5") as run:
        assert run.attrs["seed"] == 3


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
    """As by Ctrl-C at the end of the first row, whose last tick is over then."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hlsim.simulation.watch.Watch.row", stopped)
    done = hlsim_("run", "tiny")
    assert done.code == 130
    assert done.err == "hlsim: interrupted; the trace up to there is in tiny.h5\n"
    with trace.open("tiny.h5") as run:
        assert run.status == "interrupted"
        assert run.summary["ticks"] == experiments.HOLD


def test_a_run_interrupted_before_it_began_speaks_of_no_trace(
    hlsim_: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hlsim.experiment.experiment.Simulation", stopped)
    assert hlsim_("run", "tiny") == Outcome(130, "", "hlsim: interrupted\n")


def test_a_run_that_diverges_names_tick_and_node_and_keeps_its_trace(hlsim_: Command) -> None:
    parameters = "network.node_defaults={ update = 'clock', activation = 'identity' }"
    done = hlsim_("run", "tiny", "--set", parameters, "--set", "learning.beta=1e6")
    assert_one_line(done, "must stay finite")
    assert re.search(r"tick \d+: node '\w+\[\d\]'", done.err)
    with trace.open("tiny.h5") as run:
        assert run.status == "interrupted"


# ---- errors


def test_an_undirected_graph_is_refused_by_a_rule_that_needs_directions(hlsim_: Command) -> None:
    data = nx.node_link_data(nx.path_graph(3), edges="edges")
    Path("graph.json").write_text(json.dumps(data))
    assert hlsim_("validate", "graph.json").code == 0
    options = ["--set", "network.topology=../graph.json", "--set", "network.parameters={}"]
    assert_one_line(hlsim_("run", "tiny", *options), "use .to_directed()")
