"""`hlsim analyze`: tables for a reader, JSON for programs, two traces side by side."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hlsim import trace
from tests.support import experiments
from tests.support.commands import Command


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
    assert "not told: analysis: the run had no loss" in done.out


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


def test_json_says_null_for_what_is_not_known(hlsim_: Command) -> None:
    assert hlsim_("run", "tiny", "-q", "--set", "loss.kind=none").code == 0
    found = json.loads(hlsim_("analyze", "tiny.h5", "--json").out, parse_constant=pytest.fail)
    assert set(np.ravel(found["learning_curve"]["data_vars"]["loss"]["data"])) == {None}


def test_an_ensemble_is_shown_with_a_column_a_replica(hlsim_: Command) -> None:
    assert hlsim_("run", "tiny", "-q", "--set", "simulation.ensemble=2").code == 0
    done = hlsim_("analyze", "tiny.h5")
    assert re.search(r"stage +replica 0 +replica 1 +rows", done.out)
    assert hlsim_("report", "tiny.h5", "--png", "figures").code == 0
