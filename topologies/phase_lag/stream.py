"""A sine, and for every output a sine of its own phase as the target."""

from collections.abc import Iterator
from math import pi, sin

Row = tuple[list[float], list[float]]


def stream(period: int = 256, phases: int = 16, groups: int = 10, start: int = 0) -> Iterator[Row]:
    """Yield a row a tick: the input, and targets whose phases go round once in each group."""
    tick = start
    while True:
        turn = tick / period
        target = [sin(2.0 * pi * (turn + k / phases)) for k in range(phases)]
        yield [sin(2.0 * pi * turn)], target * groups
        tick += 1
