"""What README, tutorial and the page on extending tell a reader to do works, word by word and in order."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hlsim import experiment, sweep, trace
from hlsim.cli.app import app
from hlsim.report import figures
from tests.report.figures.test_sweep import dataset
from tests.support import experiments
from tests.support.own import registered
from tests.support.places import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    """Language and text of every block of code."""
    yield from BLOCK.findall(document.read_text(encoding="utf-8"))


def commands(text: str) -> list[list[str]]:
    """Arguments of every `$ hlsim ...` of a console block, without comments."""
    lines = [line[2:].split("  #")[0] for line in text.splitlines() if line.startswith("$ hlsim ")]
    return [shlex.split(line)[1:] for line in lines]


def follow(document: Path) -> None:
    """Do what a document says: write its files, run its commands and its Python."""
    for language, text in blocks(document):
        head = re.match(r"# file: (\S+)\n", text)
        if head:
            Path(head[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(head[1]).write_text(text, encoding="utf-8")
        elif language == "python" and not text.startswith("# in "):
            exec(compile(text, str(document), "exec"), {})
        elif language == "console":
            for words in commands(text):
                result = CliRunner().invoke(app, words, catch_exceptions=False)
                assert result.exit_code == 0, (words, result.output)


def test_the_page_on_extending_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with registered():
        follow(ROOT / "docs" / "extending.md")
    printed = capsys.readouterr().out.splitlines()
    assert any("[2.  nan 0.1]" in line for line in printed)
    assert "[ 30  60  90 120 150 180]" in printed
    assert any(line.startswith("rule 'bounded': synapse_euler reads more than one") for line in printed)
    assert sum(line.startswith(("clock 0.9", "arrival 0.9")) for line in printed) == 2
    assert sum("16.6" in line for line in printed) == 2


def test_the_tutorial_works_from_an_empty_folder_and_shows_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of delays lies far beyond the spread over seeds; the rest beyond half of that effect."""
    monkeypatch.chdir(tmp_path)
    follow(ROOT / "docs" / "tutorial.md")
    left = {path.name for path in tmp_path.iterdir()}
    assert {"signals.html", "delays.html", "delays.csv", "figures"} <= left
    test = sweep.load("delays").accuracy.sel(stage="test").transpose("delay", "seed").to_numpy()
    assert test.shape == (3, 3)
    mean, spread = test.mean(1), test.std(1, ddof=1).max()
    assert mean[:2].min() >= 0.9
    assert mean[2] < 0.45
    assert mean[:2].min() - mean[2] > 5 * spread
    told = {name: summary(name) for name in ("signals", "longer", "late-errors", "delayed")}
    right = [told[name]["accuracy"]["test"] for name in told]
    assert min(right[:3]) >= 0.85
    assert right[3] < 0.45
    sent = [
        told["state_messages"] + told["costate_messages"] for told in map(summary, ("events-6", "events-24"))
    ]
    assert 0 < sent[1] < 2 * sent[0]


def summary(name: str) -> dict[str, Any]:
    with trace.open(f"{name}.h5") as opened:
        return opened.summary


def test_the_page_on_reports_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, its Python, and the figure that it adds, on a small run under the names that it uses."""
    monkeypatch.chdir(tmp_path)
    experiment.load(experiments.write(tmp_path / "tiny")).run("digits.h5").close()
    shutil.copy("digits.h5", "slow.h5")
    Path("delays").mkdir()
    shutil.copy("digits.h5", "delays/delay=0.h5")
    monkeypatch.setattr(sweep, "load", lambda _: dataset())
    page = ROOT / "docs" / "report.md"
    names: dict[str, Any] = {}
    for language, text in blocks(page):
        if language == "console":
            for words in commands(text):
                CliRunner().invoke(app, words, catch_exceptions=False)
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)
    pages = {"digits.html", "comparison.html", "delays.html", "page.html"}
    assert pages <= {path.name for path in tmp_path.iterdir()}
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
    with trace.open("digits.h5") as opened:
        (line,) = names["outputs"](opened).panels[0].marks
        assert line.y.tolist() == opened["sampled/loss"].tolist()


def test_the_table_of_the_page_on_reports_is_that_of_the_figures() -> None:
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(figures.FIGURES)


def test_the_study_works_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands with two values of every key, two seeds and few rows; its figures from what they left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "topologies").symlink_to(ROOT / "topologies")
    (tmp_path / "traces").mkdir()
    small = ["--set=stage.train.rows=6", "--set=stage.test.rows=4", "--set=stage.test.hold=2"]
    page = list(blocks(ROOT / "docs" / "study.md"))
    for language, text in page:
        for words in commands(text) if language == "console" else []:
            # Of what is drawn two values of every key and two seeds, of other sweeps one.
            count = 2 if "study-" in words[-1] else 1
            fewer = [re.sub(rf"^(\w+\.[^,]*(,[^,]*){{{count - 1}}}),.*", r"\1", word) for word in words]
            if "--seeds" in fewer:
                fewer[fewer.index("--seeds") + 1] = str(count)
                fewer += small
            result = CliRunner().invoke(app, fewer, catch_exceptions=False)
            assert result.exit_code == 0, (fewer, result.output)
    assert len(list(tmp_path.glob("traces/study-*/*.h5"))) == 2 * 2 * 2 * 2
    assert (tmp_path / "traces" / "study-digits.html").exists()
    assert len(list(tmp_path.glob("figures-groups/*.png"))) > 0
    for name in ("digits", "groups"):
        assert len((tmp_path / f"traces/study-{name}.csv").read_text().splitlines()) == 1 + 2 * 2 * 2


def test_the_python_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [text for language, text in blocks(ROOT / "README.md") if language == "python"]
    assert texts
    for text in texts:
        exec(compile(text, "README.md", "exec"), {})
    assert (tmp_path / "digits.h5").exists()


def test_every_command_of_the_readme_exists() -> None:
    """The long ones are only asked for their help."""
    words = [
        w for language, text in blocks(ROOT / "README.md") if language == "console" for w in commands(text)
    ]
    assert len(words) >= 5
    for command in {w[0] for w in words}:
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0, command
