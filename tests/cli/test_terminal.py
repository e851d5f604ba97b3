"""What is shown of a run that goes on: a bar on a terminal, elsewhere a line now and then."""

import re
import sys

import pytest

from hlsim.cli import terminal
from hlsim.cli.app import say
from hlsim.simulation.watch import Progress


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


STANDINGS = [Progress(tick, 4000, tick / 1000, 50 * tick) for tick in (1000, 2000, 3000)]


def test_a_terminal_shows_a_bar_with_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with terminal.progress(stream) as progress:  # type: ignore[arg-type]
        for standing in STANDINGS:
            progress(standing)
    text = re.sub(r"\x1b\[[\d;?]*\w", "", stream.text)
    assert "3,000 of 4,000 ticks" in text
    assert "1,000 ticks/s, 50,000 messages/s" in text


def test_elsewhere_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 9.0, 11.0, 11.0, 12.0])
    monkeypatch.setattr("hlsim.cli.terminal.time.monotonic", lambda: next(clock))
    with terminal.progress(sys.stderr) as progress:
        for standing in STANDINGS:
            progress(standing)
    line = "2,000 of 4,000 ticks, 1,000 ticks/s, 50,000 messages/s, 2.00 s left\n"
    assert capsys.readouterr().err == line


COMPILING = Progress(0, 4000, 0.0, 0, compiling=True)


def test_compiling_is_said_and_is_no_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    with terminal.progress(stream) as progress:  # type: ignore[arg-type]
        progress(COMPILING)
    with terminal.progress(sys.stderr) as progress:
        progress(COMPILING)
    text = re.sub(r"\x1b\[[\d;?]*\w", "", stream.text)
    line = capsys.readouterr().err
    assert line == "compiling, once for this rule and number format\n"
    for said in (text, line):
        assert "compiling, once" in said
        assert "ticks/s" not in said


def test_tables_are_as_wide_as_what_they_hold_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is cut, however long it is, and a narrow one is not made wide."""
    terminal.show("what", [("long", "x" * 300), ("short", 3)])
    terminal.show_table("t" * 250, ["name", *(f"column {i}" for i in range(60))], [["row", *range(60)]])
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert {len(line) for line in lines[1:5]} == {len("  short   ") + 300 + len("  ")}
    assert [line.split() for line in lines if line.strip() and "━" not in line] == [
        ["what"],
        ["long", "x" * 300],
        ["short", "3"],
        ["t" * 250],
        ["name", *" ".join(f"column {i}" for i in range(60)).split()],
        ["row", *map(str, range(60))],
    ]


def test_what_a_terminal_would_obey_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show("a\x1b[2J", [("b\x07", "c\u202e"), ("é", "ü\x9b31m")])
    terminal.show_table("t", ["x\x1b]0;y\x07"], [["\x00"]])
    say("z\x1b[2J")
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)
    for text in (
        "a\\x1b[2J",
        "b\\x07",
        "c\\u202e",
        "é",
        "ü\\x9b31m",
        "x\\x1b]0;y\\x07",
        "\\x00",
        "z\\x1b[2J",
    ):
        assert text in out
