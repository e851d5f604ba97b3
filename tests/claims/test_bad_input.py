"""Whatever comes in from outside: a clean run, or one line and exit code 2. `make fuzz` is the long form."""

import io
import os
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from hlsim import cli
from tests.support.places import ROOT
from tools import badinput, fuzz

EXAMPLES = {"experiments": 25, "topologies": 25, "streams": 20, "traces": 8, "others": 8}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return fuzz.good_traces(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_bad_input_is_a_clean_run_or_one_line(name: str, good: list[bytes], tmp_path: Path) -> None:
    found: dict[str, int] = {}

    @seed(1)
    @settings(
        max_examples=EXAMPLES[name],
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(badinput.cases(good, tmp_path)[name])
    def check(case: badinput.Case) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        case.write(folder)
        os.chdir(folder)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            code = fuzz.done(cli, list(case.arguments))
        became = fuzz.verdict(code, err.getvalue(), case.arguments[0])
        found[became] = found.get(became, 0) + 1

    try:
        check()
    finally:
        os.chdir(ROOT)
    assert found.keys() <= {"clean", "refused"}
    assert sum(found.values()) >= EXAMPLES[name]


@pytest.mark.parametrize(
    ("code", "err", "command", "became"),
    [
        (0, "", "run", "clean"),
        (0, "hlsim: warning: rows\n", "run", "clean"),
        (1, "", "diff", "clean"),
        (2, "hlsim: e.toml: x must be 1, got 2\n", "run", "refused"),
        (1, "", "run", "exit code 1: "),
        (2, "hlsim: one\ntwo\n", "run", "not one line: "),
        (2, "hlsim: \x1b[2J\n", "run", "not one line: "),
        (1, "Traceback (most recent call last):\nKeyError: 'x'\n", "diff", "traceback: KeyError"),
        (-11, "", "info", "exit code -11: "),
    ],
)
def test_what_is_wrong_with_an_ending_is_told(code: int, err: str, command: str, became: str) -> None:
    assert fuzz.verdict(code, err, command).startswith(became)
