"""Compiled loops call a function of Python's, and what it raises is raised when they have ended."""

import numba
import pytest

from hlsim.engine.outside import Outside, ask


@numba.njit(nogil=True)
def loop(address: int, ticks: int) -> int:
    for tick in range(ticks):
        ask(address, 7, tick)
    return ticks


def test_a_loop_calls_it_at_every_tick() -> None:
    heard: list[tuple[int, int]] = []
    outside = Outside(lambda what, tick: heard.append((what, tick)), lambda: None)
    assert loop(outside.address, 3) == 3
    assert heard == [(7, 0), (7, 1), (7, 2)]
    outside.check()


def test_what_it_raises_first_is_told_and_raised_once() -> None:
    told: list[str] = []

    def fails(what: int, tick: int) -> None:
        raise ValueError(f"at {tick}")

    outside = Outside(fails, lambda: told.append("failed"))
    loop(outside.address, 2)
    assert told == ["failed", "failed"]
    with pytest.raises(ValueError, match="at 0"):
        outside.check()
    outside.check()
