"""Experiments as files: what is built of them, how they are written as TOML, what is refused in the end."""

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlsim import Simulation, experiment, topology
from hlsim.errors import ExperimentError, HlsimError, StimulusError
from hlsim.experiment import Experiment
from hlsim.experiment.settings import Settings, StageTable
from hlsim.models.losses import LOSSES, Custom
from hlsim.models.rules import Gate, Hamiltonian
from hlsim.stimulus import Arrays, Stage
from tests.support import experiments
from tests.support.experiments import NETWORK, refused, toml
from tests.support.places import ROOT

# ---- what it builds


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


def test_attributes_of_others_are_kept_unless_none_are_wanted(folder: Path) -> None:
    graph = topology.layered([2, 3, 2], delay=1)
    graph.nodes[next(iter(graph))]["pos"] = [0.0, 1.0]
    topology.save(graph, folder / "drawn.json")
    override = ["network={ topology = 'drawn.json' }"]
    assert experiment.load(folder, override).network.n == 7
    with pytest.raises(HlsimError, match=r"^node '.*': unknown attribute 'pos'; known: "):
        experiment.load(folder, [*override, "network.foreign=refuse"]).simulation()


# ---- documentation


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


# ---- files of an experiment


@pytest.mark.parametrize("path", ["../own.json", "/etc/passwd", "inside/../../own.json", "link/own.json"])
def test_an_experiment_reads_files_below_its_folder_alone(path: str, tmp_path: Path) -> None:
    """The command line may name any."""
    folder = experiments.write(tmp_path / "theirs")
    (folder / "inside").mkdir()
    (folder / "link").symlink_to(tmp_path)
    for key, text in (
        ("network.topology", f'[network]\ntopology = "{path}"\n'),
        ("stimulus.path", NETWORK + f'[stimulus]\nsource = "file"\npath = "{path}"\n'),
        ("loss.path", NETWORK + f'[loss]\nkind = "python"\npath = "{path}"\n'),
        ("sweep.grid.loss.path", NETWORK + f'[sweep]\ngrid = {{ "loss.path" = ["x.py", "{path}"] }}\n'),
    ):
        file = toml(folder, text)
        rule = f"experiment.toml: {key} must be a file in the experiment's folder or below it, got {path!r}"
        assert refused(file).startswith(rule)
    file = toml(folder, NETWORK)
    told = experiment.load(file, [f'network.topology="{path}"']).settings
    assert told.network.topology == path
    assert experiment.load(toml(folder, '[network]\ntopology = "inside/../topology.py"\n')).network.n
