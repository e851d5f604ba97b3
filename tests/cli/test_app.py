"""The command line as a whole: its version, and what is refused, warned of or a bug."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hlsim
from hlsim import cli
from hlsim.cli.app import app
from hlsim.simulation import traffic
from hlsim.sweep.cluster import DASHBOARD
from tests.support.commands import Command, Outcome, assert_one_line


def test_the_version_is_the_packages(hlsim_: Command) -> None:
    assert hlsim_("--version") == Outcome(0, f"hlsim {hlsim.__version__}\n", "")


COMMANDS = tuple(str(command.callback.__name__) for command in app.registered_commands if command.callback)
EXPLAINED = (
    *((name, "--help") for name in ("", *COMMANDS)),
    ("--version",),
    ("rnu",),
    ("run",),
    *((name, "--no-such-option") for name in COMMANDS),
    ("run", "x", "--dry-run", "--quiet"),
    ("run", "x", "--seed", "1", "--set", "simulation.seed=2"),
    ("stability", "--delays", "x"),
)


HEAVY = {
    *(
        "torch",
        "numpy",
        "numba",
        "networkx",
        "h5py",
        "scipy",
        "simpy",
        "xarray",
        "pandas",
        "jinja2",
        "sklearn",
    ),
    *("bokeh", "matplotlib", "dask", "distributed"),
}


def test_what_is_explained_or_refused_as_written_loads_no_heavy_library() -> None:
    """Torch alone takes seconds: what is asked for is read before any of them is loaded."""
    given = [tuple(filter(None, arguments)) for arguments in EXPLAINED]
    code = f"""
import sys
from hlsim import cli
for arguments in {given}:
    try:
        cli.main(arguments)
    except SystemExit as ended:
        assert ended.code in (0, 2), arguments
print()
print("loaded", {HEAVY} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded set()"


def test_the_dashboards_default_is_told_as_it_is(hlsim_: Command) -> None:
    assert DASHBOARD in hlsim_("sweep", "--help").out


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


def test_a_bug_shows_its_traceback(hlsim_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("of our own making")

    monkeypatch.setattr("hlsim.experiment.forecast.estimate", broken)
    with pytest.raises(RuntimeError, match="of our own making"):
        cli.main(["run", "tiny", "--dry-run"])


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
