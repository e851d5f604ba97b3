"""What README and tutorial tell a reader to do works, word by word and in order."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlsim.cli import app

ROOT = Path(__file__).resolve().parents[1]
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
        elif language == "python":
            exec(compile(text, str(document), "exec"), {})
        elif language == "console":
            for words in commands(text):
                result = CliRunner().invoke(app, words, catch_exceptions=False)
                assert result.exit_code == 0, (words, result.output)


def test_the_tutorial_works_from_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow(ROOT / "docs" / "tutorial.md")
    assert {"chase.h5", "chase-20.h5", "chase-events.h5"} <= {path.name for path in tmp_path.iterdir()}


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
