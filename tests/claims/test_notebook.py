"""The notebook of the documents: its cells run, and say what its text says."""

import json
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from tests.support.places import ROOT

NOTEBOOK = ROOT / "docs" / "analysis.ipynb"


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return what the cells have defined, run one after another."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    made: dict[str, Any] = {}
    with mpl.rc_context({"backend": "agg"}):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), made)
        plt.close("all")
    return made


def test_every_cell_was_run_in_order_when_it_was_saved() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_its_text_is_true(names: dict[str, Any]) -> None:
    """Six, four and two ticks; late gradient descent lies between gradient descent and the run."""
    count = names["every_tick"]["count"].sel(quantity="staleness", path="oldest")
    assert count.age.values[count.values > 0].tolist() == [2, 4, 6]
    last = names["beside"].loss.isel(row=slice(-100, None)).mean("row")
    assert last.sel(learner="sgd") < last.sel(learner="run")
    np.testing.assert_allclose(names["stable"].measured, names["stable"].predicted, rtol=0.01)
    aligned = names["aligned"].cosine.sel(group="output").isel(tick=slice(7, None, 8))
    assert float(aligned[-100:].mean()) > 0.9
