"""What an experiment may say: defaults, the forms of phi, and keys as they are documented."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hlsim import Simulation, experiment, topology
from hlsim.analysis.learned import learned_by
from hlsim.experiment import Experiment
from hlsim.experiment.parsing import parse
from hlsim.experiment.settings import (
    ChangeTable,
    LearningTable,
    Settings,
    StageTable,
    StimulusTable,
    learning_table,
    source_table,
)
from hlsim.models.rules import RULES, Gate, Hamiltonian, Schedule
from hlsim.models.rules.phi import Phi, form, of_form
from hlsim.stimulus import SOURCES, Arrays, Stage
from tests.support.experiments import NETWORK, refused, toml
from tests.support.places import ROOT

# ---- defaults


def test_only_the_topology_has_no_default(folder: Path) -> None:
    settings = experiment.load(toml(folder, NETWORK)).settings
    assert settings.simulation.model_dump() == {
        "until": None,
        "checkpoint_every": None,
        "dt": 1.0,
        "seed": 0,
        "dtype": "float32",
        "device": "cpu",
        "engine": "batched",
        "compiled": "auto",
        "threads": 1,
        "batch": 1,
        "ensemble": 1,
    }
    assert settings.learning.model_dump() == {
        "rule": "hamiltonian",
        "order": "explicit",
        "beta": 0.01,
        "eta": 0.5,
        "phi": 1.0,
        "weight_decay": 0.0,
        "reset": False,
        "lag": None,
    }
    assert settings.stimulus.hold == 1
    assert settings.loss.kind == "squared_error"
    assert settings.record.every == 10
    assert settings.record.events == []


def test_the_defaults_are_those_of_the_library() -> None:
    """What a user does not write must not depend on where it was not written."""
    settings = parse({"network": {"topology": "t.py"}, "stage": [{}]}, "t.toml")
    for name, rule in RULES.items():
        assert rule(**learning_table(name)(rule=name).parameters) == rule()
    for name in ("name", "split", "passes", "shuffle", "learn", "rows", "phi"):
        assert getattr(settings.stage[0], name) == getattr(Stage(), name)
    assert Simulation.__init__.__kwdefaults__ is not None
    for name, value in Simulation.__init__.__kwdefaults__.items():
        if name in type(settings.simulation).model_fields:
            assert getattr(settings.simulation, name) == value


# ---- tables


def test_phi_takes_all_three_forms(folder: Path) -> None:
    def rule(phi: str) -> Any:
        return experiment.load(folder, [f"learning.phi={phi}"]).rule().phi

    assert rule("0.25") == 0.25
    assert rule("{ gate = 3 }") == Gate(3, 1.0)
    assert rule("{ gate = 3, value = 2.0 }") == Gate(3, 2.0)
    assert rule("{ schedule = [[0, 1.0], [10, 0.5]] }") == Schedule(((0, 1.0), (10, 0.5)))


VALUES = st.floats(-1e6, 1e6)
PHIS: st.SearchStrategy[Phi] = st.one_of(
    VALUES,
    st.builds(Gate, st.integers(0, 10**6), VALUES),
    st.dictionaries(st.integers(0, 10**6), VALUES, min_size=1, max_size=4).map(
        lambda points: Schedule(tuple(sorted(points.items())))
    ),
)


@given(phi=PHIS, own=PHIS)
def test_every_phi_is_read_back_from_an_experiment_as_it_was(phi: Phi, own: Phi) -> None:
    """Of the rule and of a stage, written as TOML."""
    tables = {"network": {"topology": "t.py"}, "learning": {"phi": form(phi)}, "stage": [{"phi": form(own)}]}
    text = tomli_w.dumps(tables)
    found = Experiment(parse(tomllib.loads(text), "experiment.toml"), Path())
    again = Experiment(parse(tomllib.loads(found.toml()), "experiment.toml"), Path())
    for each in (found, again):
        assert each.rule() == Hamiltonian(phi=phi)
        assert [stage.phi for stage in each.stages() or ()] == [own]


@given(phi=PHIS, own=PHIS)
def test_every_phi_is_read_back_from_a_trace_as_it_was(phi: Phi, own: Phi) -> None:
    """Of the rule as an analysis has it, and of a stage as it stands in the attribute."""
    graph, stream = topology.layered([1, 1]), Arrays([[1.0]], [[0.5]])
    rule, stages = Hamiltonian(phi=phi), [Stage(phi=own)]
    with Simulation(graph, rule=rule, stimulus=stream, stages=stages).run(sampled=()) as trace:
        assert learned_by(trace).rule == rule
        assert of_form(json.loads(trace.attrs["learning"])["stage"][0]["phi"]) == own


def test_a_stage_may_have_a_phi_of_its_own(folder: Path) -> None:
    stages = experiment.load(folder, ["stage.test.phi={ gate = 1 }", "stage.train.phi=0"]).stages()
    assert stages is not None
    assert [stage.phi for stage in stages] == [0.0, Gate(1)]


# ---- documentation


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_the_keys_of_a_source_are_its_parameters(source: str) -> None:
    doc = SOURCES[source].__doc__ or ""
    for key in source_table(source).model_fields.keys() - {"source", "hold", "target_delay"}:
        assert re.search(rf"^    [\w, ]*\b{key}\b[\w, ]* : ", doc, re.MULTILINE), key


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Key to (type, default), by table, of the tables in docs/experiment.md."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    title = ""
    for line in (ROOT / "docs/experiment.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.strip("# `[]")
            found.setdefault(title, {})
        elif match := re.match(r"\| `(\w+)` \| (.*?) \| (.*?) \| ", line):
            found.setdefault(title, {})[match[1]] = (match[2], match[3])
    return found


def models() -> dict[str, Any]:
    tables = {name: field.annotation for name, field in Settings.model_fields.items() if name != "stage"}
    sources = {name: source_table(name) for name in SOURCES}
    rules = {name: learning_table(name) for name in RULES}
    return {**tables, "stage": StageTable, "faults.change": ChangeTable, **sources, **rules}


@pytest.mark.parametrize("table", models())
def test_every_key_is_documented_with_its_default(table: str) -> None:
    fields = {**models()[table].model_fields}
    if table in SOURCES:
        fields = {key: field for key, field in fields.items() if key not in StimulusTable.model_fields}
    if table in RULES:
        fields = {key: field for key, field in fields.items() if key not in LearningTable.model_fields}
    keys = documented()[table]
    assert keys.keys() == fields.keys()
    for name, field in fields.items():
        default = keys[name][1].strip("`")
        if field.is_required():
            assert default == "must be given"
        elif field.default is None:
            assert default == "left out"
        else:
            expected = list(field.default) if isinstance(field.default, tuple) else field.default
            assert tomllib.loads(f"x = {default}")["x"] == expected


@pytest.mark.parametrize(
    ("table", "body", "message"),
    [
        ("simulation", "until = 9007199254740992", "until must be < 9007199254740992, got 9007199254740992"),
        (
            "learning",
            "phi = { schedule = [[9007199254740992, 1]] }",
            "phi.schedule must have whole ticks >= 0",
        ),
        (
            "record",
            "every = 9007199254740992",
            "every must be a whole number of ticks >= 1, got 90071992547409",
        ),
        ("noise", "every = 9223372036854775807", "every must be < 9007199254740992, got 9223372036854775807"),
    ],
)
def test_a_whole_number_has_an_upper_bound(folder: Path, table: str, body: str, message: str) -> None:
    """Ticks are added to each other in 64 bits."""
    error = refused(toml(folder, f"{NETWORK}[{table}]\n{body}\n"))
    assert error.startswith(f"experiment.toml: [{table}] {message}")


def test_a_lag_is_of_neurons_unless_the_rule_has_one_of_its_own(folder: Path) -> None:
    """That of oscillating_equilibrium counts steps; rules that send no costates know none."""

    def table(rule: str) -> Any:
        text = f'{NETWORK}[learning]\nrule = "{rule}"\nlag = 3\n'
        return experiment.load(toml(folder, text)).settings.learning

    own, given = table("oscillating_equilibrium"), table("hamiltonian")
    assert (own.parameters["lag"], own.node_defaults) == (3, {})
    assert ("lag" in given.parameters, given.node_defaults) == (False, {"lag": 3})
    error = refused(toml(folder, f'{NETWORK}[learning]\nrule = "equilibrium"\nlag = 3\n'))
    assert error.startswith("experiment.toml: [learning] unknown key 'lag'")
