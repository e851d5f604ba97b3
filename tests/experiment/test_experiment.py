"""Experiments as files: what they may say, how values are overridden, what is refused and in which words."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given
from hypothesis import strategies as st

from hlsim import Simulation, experiment, topology
from hlsim.analysis.learned import learned_by
from hlsim.errors import ExperimentError, HlsimError, StimulusError
from hlsim.experiment import Experiment, forecast
from hlsim.experiment.parsing import parse
from hlsim.experiment.settings import (
    ChangeTable,
    LearningTable,
    Settings,
    StageTable,
    learning_table,
    source_table,
)
from hlsim.models.losses import LOSSES, Custom
from hlsim.models.rules import RULES, Gate, Hamiltonian, Schedule
from hlsim.models.rules.phi import Phi, form, of_form
from hlsim.stimulus import SOURCES, Arrays, Stage
from tests.support import experiments
from tests.support.places import ROOT

NETWORK = '[network]\ntopology = "topology.py"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return experiments.write(tmp_path / "tiny")


def toml(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        experiment.load(path, overrides)
    return str(caught.value)


# ---- defaults


def test_only_the_topology_has_no_default(folder: Path) -> None:
    settings = experiment.load(toml(folder, NETWORK)).settings
    assert settings.simulation.model_dump() == {
        "until": None,
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


# ---- what it builds


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


def test_every_value_reaches_the_simulation(folder: Path) -> None:
    """Each is set to something other than its default, so that one left behind would show."""
    sim = experiment.load(
        folder,
        [
            "simulation.dt=0.5",
            "simulation.seed=7",
            "simulation.dtype=float64",
            "simulation.threads=2",
            "simulation.ensemble=3",
            "learning.beta=0.25",
            "learning.eta=0.125",
            "learning.order=sequential",
            "learning.weight_decay=0.0625",
            "loss.kind=cross_entropy",
            "network.parameters.hidden=5",
            "network.edge_defaults={ beta = 0.75 }",
        ],
    ).simulation()
    assert (sim.dt, sim.seed, sim.threads, sim.replicas) == (0.5, 7, 2, 3)
    assert sim.rule == Hamiltonian(beta=0.25, eta=0.125, phi=Gate(2), order="sequential", weight_decay=0.0625)
    assert sim.loss is LOSSES["cross_entropy"]
    assert sim.network.n == 2 + 5 + 2
    assert sim.network.clock.sum() >= 7
    assert set(sim.network.beta) == {0.75}


def test_a_run_records_what_the_experiment_asks_for(folder: Path) -> None:
    wanted = experiment.load(folder, ['record.sampled=["h", "w"]', "simulation.dtype=float64"])
    with wanted.run() as trace:
        assert trace.attrs["dtype"] == "float64"
        assert trace.ticks("sampled/h").tolist() == list(range(0, experiments.TICKS, 2))
        assert trace.ticks("sampled/w").tolist() == list(range(0, experiments.TICKS, 25))
        assert "sampled/z" not in trace
        assert set(trace["events/kind"]) == {0, 1, 2}
        assert trace["rows/tick"].tolist() == list(range(4, experiments.TICKS, experiments.HOLD))


def test_it_is_the_simulation_one_would_write_in_python(folder: Path) -> None:
    with np.load(folder / "stream.npz") as file:
        arrays = dict(file)
    split = arrays.pop("split")
    stream = Arrays(**arrays, splits={name: np.flatnonzero(split == name) for name in ("train", "test")})
    sim = Simulation(
        topology.layered([2, 3, 2], seed=1, delay=2),
        rule=Hamiltonian(beta=0.05, phi=Gate(2)),
        stimulus=stream,
        stages=[Stage(passes=2, shuffle=True), Stage(name="test", split="test", learn=False)],
        hold=5,
        reset=True,
        node_defaults={"update": "clock"},
    )
    sim.run()
    overrides = ["network.parameters.delay=2", "learning.reset=true"]
    with experiment.load(folder, [*overrides, "record.every=1"]).run() as trace:
        np.testing.assert_array_equal(trace["sampled/w"][-1], sim.read("w")[0])


def test_reset_at_rows_changes_the_run(folder: Path) -> None:
    with (
        experiment.load(folder).run() as kept,
        experiment.load(folder, ["learning.reset=true"]).run() as reset,
    ):
        assert not np.array_equal(kept["sampled/h"], reset["sampled/h"])


@pytest.mark.parametrize("kind", ["none", *LOSSES])
def test_every_kind_of_loss_can_be_named(folder: Path, kind: str) -> None:
    assert experiment.load(folder, [f"loss.kind={kind}"]).loss() is LOSSES.get(kind)


def test_a_loss_of_ones_own_is_read_from_a_file(folder: Path) -> None:
    (folder / "losses.py").write_text("def huge(y, target):\n    return 100.0 * (y - target).abs().sum(-1)\n")
    wanted = experiment.load(folder, ["loss={ kind = 'python', path = 'losses.py', function = 'huge' }"])
    loss = wanted.loss()
    assert isinstance(loss, Custom)
    y, target = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)
    assert loss.value(y, target).item() == 300.0
    with wanted.run() as trace:
        assert np.nanmax(trace["rows/loss"]) > 10.0


def test_paths_start_from_the_folder_of_the_experiment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment.load(folder).simulation()
    monkeypatch.chdir(folder.parent)
    experiment.load(Path("tiny/experiment.toml")).simulation()


def test_an_experiment_is_named_after_its_folder_or_its_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "fast.toml").write_text(experiments.TOML)
    monkeypatch.chdir(folder)
    assert experiment.load(Path()).name == "tiny"
    assert experiment.load("fast.toml").name == "fast"


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_the_keys_of_a_source_are_its_parameters(source: str) -> None:
    doc = SOURCES[source].__doc__ or ""
    for key in source_table(source).model_fields.keys() - {"source", "hold"}:
        assert re.search(rf"^    [\w, ]*\b{key}\b[\w, ]* : ", doc, re.MULTILINE), key


# ---- overrides


def test_an_override_wins_over_the_file_and_a_later_one_over_an_earlier(folder: Path) -> None:
    def beta(*overrides: str) -> float:
        return experiment.load(folder, overrides).settings.learning.parameters["beta"]

    assert beta() == 0.05
    assert beta("learning.beta=0.5") == 0.5
    assert beta("learning.beta=0.5", "learning.beta=0.25") == 0.25


def test_a_stage_is_addressed_by_its_name_or_its_index(folder: Path) -> None:
    settings = experiment.load(folder, ["stage.train.passes=7", "stage.1.rows=3"]).settings
    assert [(stage.passes, stage.rows) for stage in settings.stage] == [(7, None), (1, 3)]


def test_an_override_changes_one_key_and_leaves_its_neighbours(folder: Path) -> None:
    settings = experiment.load(folder, ["network.parameters.delay=4"]).settings
    assert settings.network.parameters == {"hidden": 3, "delay": 4}


def test_an_override_makes_tables_that_are_not_there(folder: Path) -> None:
    path = toml(folder, NETWORK)
    settings = experiment.load(path, ["learning.phi.gate=3", "record.every.w=5"]).settings
    assert settings.learning.model_dump()["phi"] == {"gate": 3, "value": 1.0}
    assert settings.record.every == {"w": 5}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("16", 16),
        ("1.5", 1.5),
        ("true", True),
        ("word", "word"),
        ("data/x-1.npz", "data/x-1.npz"),
        ('"16"', "16"),
        ("[1, 2]", [1, 2]),
        ("{ uniform = [1, 4] }", {"uniform": [1, 4]}),
        (" 3 ", 3),
        ("a=b", "a=b"),
    ],
)
def test_values_are_toml_and_bare_words_are_strings(folder: Path, written: str, value: object) -> None:
    settings = experiment.load(folder, [f"network.parameters.x={written}"]).settings
    assert settings.network.parameters["x"] == value
    assert type(settings.network.parameters["x"]) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning.beta", "--set learning.beta: must be table.key=value"),
        ("=3", "--set =3: must be table.key=value"),
        ("a b=3", "--set a b=3: must be table.key=value"),
        ("learning.beta=", "value must be as in TOML, or a bare word, got ''"),
        ("learning.phi={gate", "value must be as in TOML, or a bare word, got '{gate'"),
        ("learning.beta.x=1", "learning.beta must be a table, got 0.05"),
        ("stage.tset.passes=1", "unknown stage 'tset' (did you mean 'test'?); known: test, train"),
        ("stage.2.passes=1", "unknown stage '2'; known: test, train"),
        (
            "learning.bta=1",
            "experiment.toml: [learning] unknown key 'bta' (did you mean 'beta'?); known: beta,",
        ),
        ("learning.beta=x", "[learning] beta must be a number, got 'x' (from --set learning.beta=x)"),
        (
            "stage.test.passes=0",
            "[[stage]] 'test' passes must be >= 1, got 0 (from --set stage.test.passes=0)",
        ),
    ],
)
def test_a_bad_override_is_told_in_one_line(folder: Path, override: str, message: str) -> None:
    error = refused(folder, override)
    assert message in error
    assert "\n" not in error


def test_an_override_smuggles_nothing_in(folder: Path) -> None:
    """The value ends where it ends; what follows would be another key of the TOML it is parsed as."""
    settings = experiment.load(folder, ["network.parameters.x=1\nlearning = 2"]).settings
    assert settings.network.parameters["x"] == 1
    assert settings.learning.parameters["beta"] == 0.05


# ---- TOML


@pytest.mark.parametrize("phi", ["0.5", "{ gate = 4 }", "{ schedule = [[0, 1.0], [9, 0.0]] }"])
def test_an_experiment_written_as_toml_is_read_back_as_it_was(folder: Path, phi: str) -> None:
    wanted = experiment.load(
        folder, [f"learning.phi={phi}", f"stage.test.phi={phi}", "simulation.until=30", "record.every=7"]
    )
    text = wanted.toml()
    again = experiment.load(toml(folder, text))
    assert again.settings == wanted.settings
    assert again.toml() == text


def test_an_experiment_without_stimulus_is_read_back_too(folder: Path) -> None:
    wanted = experiment.load(toml(folder, NETWORK))
    assert experiment.load(toml(folder, wanted.toml())).settings == wanted.settings


def test_the_toml_says_every_key(folder: Path) -> None:
    """Defaults too, those of the source with them: a later version may have others."""
    written = tomllib.loads(experiment.load(folder, ["stimulus={ source = 'digits' }", "stage=[{}]"]).toml())
    for name, field in Settings.model_fields.items():
        if name not in ("stage", "stimulus", "sweep"):  # a run has no sweep
            model: Any = field.annotation
            optional = {key for key, field in model.model_fields.items() if field.default is None}
            assert written[name].keys() >= model.model_fields.keys() - optional
    assert written["stage"][0].keys() == StageTable.model_fields.keys() - {"rows", "phi", "hold"}
    assert written["stimulus"]["test"] == 397


def test_the_trace_holds_the_experiment_as_it_was_run(folder: Path) -> None:
    wanted = experiment.load(folder, ["learning.beta=0.125"])
    with wanted.run() as trace:
        assert trace.attrs["experiment"] == wanted.toml()
        assert tomllib.loads(trace.attrs["experiment"])["learning"]["beta"] == 0.125


# ---- refusals

BAD = [
    ("network", "", "topology is missing"),
    ("network", "topology = ''", "topology must not be empty, got ''"),
    (
        "network",
        "topolgy = 't.py'",
        "unknown key 'topolgy' (did you mean 'topology'?); known: edge_defaults,",
    ),
    ("simulation", "until = 1.5", "until must be a whole number, got 1.5"),
    ("simulation", "until = 0", "until must be >= 1, got 0"),
    ("simulation", "dt = 0", "dt must be > 0, got 0"),
    ("simulation", "seed = true", "seed must be a whole number, got True"),
    ("simulation", "device = 'tpu'", "device must be 'cpu', 'cuda' or 'auto', got 'tpu'"),
    ("simulation", "dtype = 'float16'", "dtype must be 'float32' or 'float64', got 'float16'"),
    ("learning", "bta = 1", "unknown key 'bta' (did you mean 'beta'?); known: beta, eta, order, phi, reset,"),
    (
        "learning",
        "rule = 'backprop'",
        "unknown rule 'backprop'; known: continual_equilibrium, equilibrium, hamiltonian,",
    ),
    ("learning", "order = 'x'", "order must be 'explicit' or 'sequential', got 'x'"),
    ("learning", "beta = -1.0", "beta must be >= 0, got -1.0"),
    ("learning", "eta = inf", "eta must be finite, got inf"),
    ("learning", "beta = '0.1'", "beta must be a number, got '0.1'"),
    ("learning", "reset = 1", "reset must be true or false, got 1"),
    ("learning", "phi = 'on'", "phi must be a number, { gate = ticks, value = x } or { schedule = [["),
    ("learning", "phi = { gate = -1 }", "phi.gate must be >= 0, got -1"),
    (
        "learning",
        "phi = { gate = 1, vlue = 2 }",
        "phi: unknown key 'vlue' (did you mean 'value'?); known: gate",
    ),
    (
        "learning",
        "phi = { schedule = [[5, 1], [4, 1]] }",
        "phi.schedule must have whole ticks >= 0 that rise,",
    ),
    (
        "learning",
        "phi = { schedule = [[5, 1, 2]] }",
        "phi.schedule must hold pairs [tick, value], got [5, 1,",
    ),
    (
        "learning",
        "phi = { schedule = [[5, nan]] }",
        "phi.schedule must hold pairs [tick, value], got [5, nan",
    ),
    ("learning", "phi = { schedule = [] }", "phi.schedule must not be empty, got []"),
    (
        "stimulus",
        "source = 'digit'",
        "unknown source 'digit' (did you mean 'digits'?); known: arrays, digits,",
    ),
    (
        "stimulus",
        "source = 'digits'\npath = 'x'",
        "unknown key 'path'; known: ",
    ),
    ("stimulus", "source = 'file'", "path is missing"),
    ("stimulus", "source = 'iris'\ntest = '30'", "test must be a whole number, got '30'"),
    ("stimulus", "source = 'iris'\nhold = 0", "hold must be >= 1, got 0"),
    ("stimulus", "hold = 2", "needs a source for hold"),
    (
        "[stage]",
        "name = 'test'\npases = 2",
        "'test': unknown key 'pases' (did you mean 'passes'?); known: hold, learn",
    ),
    ("[stage]", "learn = 1", "0 learn must be true or false, got 1"),
    ("[stage]", "[[stage]]", "must have names that differ, got train, train"),
    ("loss", "kind = 'mse'", "unknown kind 'mse'; known: cross_entropy, none, python, squared_error"),
    ("loss", "kind = 'python'", "kind = 'python' needs a path, the file that holds the function"),
    ("loss", "path = 'x.py'", "path and function belong to kind = 'python', got kind = 'squared_error'"),
    (
        "record",
        "every = { v = 1 }",
        "unknown name in every 'v'; known: a, default, gradient, h, loss, omega, product,",
    ),
    ("record", "every = { w = 0 }", "every w must be a whole number of ticks >= 1, got 0"),
    ("record", "every = '10'", "every must be a whole number of ticks >= 1, got '10'"),
    ("record", "sampled = ['q']", "sampled: unknown name 'q'; known: a, gradient, h, loss, omega, product,"),
    ("record", "sampled = ['h', 'h']", "sampled must name each once, got ['h', 'h']"),
    ("record", "sampled = 'h'", "sampled must be a list, got 'h'"),
    ("record", "events = ['spike']", "events: unknown name 'spike'; known: message, update"),
]


@pytest.mark.parametrize(("table", "body", "message"), BAD)
def test_a_bad_table_is_told_in_one_line(folder: Path, table: str, body: str, message: str) -> None:
    before = "" if table == "network" else NETWORK
    error = refused(toml(folder, f"{before}[{table}]\n{body}\n"))
    assert error.startswith(f"experiment.toml: [{table}] {message}")
    assert "\n" not in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network\n", "experiment.toml: line 1, column 9: Expected ']' at the end of a table declaration"),
        (NETWORK + "x = 1\nx = 2\n", "experiment.toml: line 4, column 6: Cannot overwrite a value"),
        ("", "experiment.toml: [network] topology is missing"),
        (
            NETWORK + "[lerning]\n",
            "experiment.toml: unknown table 'lerning' (did you mean 'learning'?); known:",
        ),
        ("learning = 3\n" + NETWORK, "experiment.toml: [learning] must be a table, got 3"),
        (
            NETWORK + "[stage]\nlearn = true\n",
            "experiment.toml: [[stage]] must be a list, got {'learn': True}",
        ),
        ("stage = [1]\n" + NETWORK, "experiment.toml: [[stage]] 0 must be a table, got 1"),
    ],
)
def test_a_bad_file_is_told_in_one_line(folder: Path, text: str, message: str) -> None:
    error = refused(toml(folder, text))
    assert error.startswith(message)
    assert "\n" not in error


def test_further_errors_are_counted(folder: Path) -> None:
    error = refused(toml(folder, NETWORK + "[simulation]\ndt = 0\nseed = -1\nthreads = 0\n"))
    assert error.endswith("(and 2 more)")


def test_a_missing_file_and_one_that_is_no_text_are_refused(folder: Path) -> None:
    assert refused(folder / "none.toml").endswith("none.toml: cannot read: No such file or directory")
    (folder / "binary.toml").write_bytes(b"a = \xff")
    assert "must be UTF-8 text, byte 4 is not" in refused(folder / "binary.toml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no such file"),
        ("def other(y, target):\n    return y\n", "unknown function 'loss'; known: other"),
        ("import math\nmath.nothing\n", "line 2: AttributeError: module 'math' has no attribute 'nothing'"),
        ("def loss(:\n", "line 1: SyntaxError"),
    ],
)
def test_a_loss_that_cannot_be_read_names_file_and_line(
    folder: Path, source: str | None, message: str
) -> None:
    if source is not None:
        (folder / "losses.py").write_text(source)
    wanted = experiment.load(folder, ["loss={ kind = 'python', path = 'losses.py' }"])
    with pytest.raises(ExperimentError, match=re.escape(message)) as caught:
        wanted.loss()
    assert "losses.py" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.topology=none.py", "none.py: no such file"),
        ("network.parameters.hiden=3", "unknown parameter 'hiden' (did you mean 'hidden'?)"),
        ("network.node_defaults={ tua = 1.0 }", "unknown attribute 'tua' (did you mean 'tau'?)"),
        ("stage.train.split=trian", "unknown split 'trian' (did you mean 'train'?)"),
        ("network.topology=other.py", "columns for 3 nodes"),
        ("simulation={ batch = 2, ensemble = 2 }", "batch and ensemble exclude each other"),
        ("learning.eta=1.5", "must be < 2 on a clock"),
        ("simulation.device=cuda", "cuda is not available"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_run(
    folder: Path, override: str, message: str
) -> None:
    if override.endswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (folder / "other.py").write_text(experiments.TOPOLOGY.replace("[2, hidden, 2]", "[3, hidden, 2]"))
    with pytest.raises(HlsimError, match=re.escape(message)) as caught:
        experiment.load(folder, [override]).simulation()
    assert "\n" not in str(caught.value)


# ---- what a run would take


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["simulation.until=31"],
        ["simulation.batch=3"],
        ["simulation.ensemble=2", "stage.train.rows=3"],
        ["stage=[]", "stimulus.hold=1"],
    ],
)
def test_the_estimate_tells_the_ticks_and_rows_of_the_run(folder: Path, overrides: list[str]) -> None:
    wanted = experiment.load(folder, overrides)
    told = forecast.estimate(wanted)
    with wanted.run() as trace:
        assert told.ticks == trace.summary["ticks"]
        begun = trace["stimulus/tick"].size
        assert told.rows == begun * wanted.settings.simulation.batch


def test_the_estimates_are_bounds(folder: Path, tmp_path: Path) -> None:
    wanted = experiment.load(folder, ["record.every=1", "simulation.dtype=float64"])
    told = forecast.estimate(wanted)
    path = tmp_path / "trace.h5"
    with wanted.run(path) as trace:
        sent = trace.summary["state_messages"] + trace.summary["costate_messages"]
        # 6 + 6 synapses forward, an input once a row; 6 backward, none to the inputs
        assert told.messages == experiments.TICKS * (6 + 6) + experiments.TICKS // experiments.HOLD * 6
        assert 0.3 * told.messages < sent <= told.messages
        values = sum(trace[f"sampled/{name}"].nbytes for name in ("h", "z", "a", "w", "omega", "loss"))
        assert values < told.sampled_bytes < 2 * values + 2 * forecast.FILE_BYTES
        assert trace["events/kind"].size * (forecast.EVENT_BYTES + 8) <= told.event_bytes
    assert path.stat().st_size < told.sampled_bytes + told.event_bytes


def test_a_run_without_an_end_is_refused(folder: Path) -> None:
    wanted = experiment.load(toml(folder, NETWORK))
    with pytest.raises(ExperimentError, match=r"\[simulation\] until is needed"):
        forecast.estimate(wanted)
    with pytest.raises(ExperimentError, match="until: is needed"):
        wanted.run()


# ---- documentation


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Key to (type, default), by table, of the tables in docs/experiment.md."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    title = ""
    for line in (ROOT / "docs/experiment.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.strip("# `[]")
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
        fields = {key: field for key, field in fields.items() if key not in ("source", "hold")}
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


def test_the_example_of_the_documentation_is_a_valid_experiment(folder: Path) -> None:
    text = (ROOT / "docs/experiment.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    wanted: Experiment = experiment.load(toml(folder, example[1]))
    assert wanted.settings.stimulus.source == "digits"


def test_a_stream_that_ends_early_is_the_streams_error(folder: Path) -> None:
    (folder / "stream.py").write_text(
        "def stream(n):\n    for _ in range(n):\n        yield [1.0, 0.0], [1.0, 0.0]\n"
    )
    source = "stimulus={ source = 'python', path = 'stream.py', n = 3 }"
    wanted = experiment.load(folder, [source, "stage=[{ rows = 5 }]"])
    with pytest.raises(StimulusError, match="ended after 3"):
        wanted.run()
