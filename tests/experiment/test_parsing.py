"""How values are overridden, and what is wrong with an experiment, in one line."""

from pathlib import Path

import pytest

from hlsim import experiment
from tests.support.experiments import NETWORK, refused, toml

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


# ---- refusals

BAD = [
    ("network", "", "topology is missing"),
    ("network", "topology = ''", "topology must not be empty, got ''"),
    (
        "network",
        "topolgy = 't.py'",
        "unknown key 'topolgy' (did you mean 'topology'?); known: balance, edge_defaults,",
    ),
    ("simulation", "until = 1.5", "until must be a whole number, got 1.5"),
    ("simulation", "until = 0", "until must be >= 1, got 0"),
    ("simulation", "dt = 0", "dt must be > 0, got 0"),
    ("simulation", "seed = true", "seed must be a whole number, got True"),
    ("simulation", "device = 'tpu'", "device must be 'cpu', 'cuda' or 'auto', got 'tpu'"),
    ("simulation", "dtype = 'float16'", "dtype must be 'float32' or 'float64', got 'float16'"),
    (
        "learning",
        "bta = 1",
        "unknown key 'bta' (did you mean 'beta'?); known: beta, eta, lag, order, phi, reset,",
    ),
    (
        "learning",
        "rule = 'backprop'",
        "unknown rule 'backprop'; known: continual_equilibrium, equilibrium, fixed, hamiltonian,",
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
