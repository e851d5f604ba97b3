"""A run of the tiny experiment, to be drawn."""

from collections.abc import Iterator

import pytest

from hlsim import experiment
from hlsim.trace import Trace
from tests.support import experiments


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    folder = experiments.write(tmp_path_factory.mktemp("runs") / "tiny")
    with experiment.load(folder).run() as trace:
        yield trace
