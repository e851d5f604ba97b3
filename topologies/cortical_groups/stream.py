"""Two patterns at once, one before each of two groups; the answer is whether their signs are the same."""

import math
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

Row = dict[str, Any]


def stream(
    split: str = "train", seed: int = 0, pixels: int = 8, noise: float = 1.0, start: int = 0
) -> Iterator[Row]:
    """Yield rows for ever: the left pattern, then the right one; label 1 where their signs agree.

    Each pattern is shown as it is or inverted, by the toss of a coin of its own, so that neither alone tells
    anything about the answer. Noise of standard deviation ``noise`` is added to every pixel. The rows before
    ``start`` are drawn and left out.
    """
    yield from islice(_rows(split, seed, pixels, noise), start, None)


def _rows(split: str, seed: int, pixels: int, noise: float) -> Iterator[Row]:
    draw = random.Random(f"{seed} {split}")
    left, right = ([math.copysign(1.0, math.sin(2 * k + s)) for k in range(pixels)] for s in (0, 1))
    while True:
        signs = draw.choice((-1, 1)), draw.choice((-1, 1))
        shown = [signs[0] * x for x in left] + [signs[1] * x for x in right]
        label = int(signs[0] == signs[1])
        yield {
            "input": [x + draw.gauss(0.0, noise) for x in shown],
            "target": [float(label == 0), float(label == 1)],
            "label": label,
        }
