"""Commands are given in a folder that holds the tiny experiment."""

from pathlib import Path

import pytest

from hlsim import cli
from tests.support import experiments
from tests.support.commands import Command, Outcome


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
