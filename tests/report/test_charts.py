"""Scales of charts, from colour to colour."""

import numpy as np

from hlsim.report.charts import Scale


def test_a_scale_goes_from_its_first_colour_to_its_last() -> None:
    scale = Scale("delay", 2.0, 6.0, "ticks")
    palette = scale.palette()
    assert scale.colors(np.array([0.0, 2.0, 6.0, 9.0])) == [palette[0], palette[0], palette[-1], palette[-1]]
    assert len(set(palette)) > 200
