"""A sine that goes on for ever, and what is to be made of it."""

from collections.abc import Iterator
from math import pi, sin


def stream(
    period: int = 100, shift: float = -0.25, size: float = 0.8, start: int = 0
) -> Iterator[tuple[float, float]]:
    """Yield a sine and, as the target, the same sine ``shift`` periods ahead; of amplitude 1 and ``size``."""
    tick = start % period
    while True:
        yield sin(2 * pi * tick / period), size * sin(2 * pi * (tick / period + shift))
        tick = (tick + 1) % period
