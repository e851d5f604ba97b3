"""What tests of streams share: rows as arrays, and streams of the user that are written to files."""

from pathlib import Path

import numpy as np

from hlsim.stimulus import Stream

FINITE = np.arange(12.0).reshape(6, 2)


def inputs(stream: Stream, split: str) -> np.ndarray:
    return np.array([row.input for row in stream.rows(split)])


def labels(stream: Stream, split: str) -> np.ndarray:
    return np.array([row.label for row in stream.rows(split)])


def write(path: Path, code: str) -> Path:
    path.write_text(code, encoding="utf-8")
    return path


COUNTER = """
def stream(start=0):
    i = start
    while True:
        yield [i, -i], [2 * i]
        i += 1
"""
