"""What comes of commands, and what it is to be refused in one line."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Outcome:
    """What came of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def assert_one_line(outcome: Outcome, message: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    assert re.fullmatch(r"hlsim: [^\n]+\n", outcome.err)
    assert message in outcome.err
