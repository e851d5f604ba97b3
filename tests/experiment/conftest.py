"""The tiny experiment, which tests change."""

from pathlib import Path

import pytest

from tests.support import experiments


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return experiments.write(tmp_path / "tiny")
