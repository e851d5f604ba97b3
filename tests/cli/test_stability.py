"""`hlsim stability`: the map, its figures and its JSON."""

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import Command


def test_stability_is_shown_beside_its_closed_form(hlsim_: Command) -> None:
    done = hlsim_("stability", "--delays", "0,1", "--etas", "1", "--png", "map", "--svg", "map")
    assert done.code == 0
    assert {path.name for path in Path("map").iterdir()} == {"stability.png", "stability.svg"}
    assert re.search(r"sequential +1 +0 +(1\.99\d+|2(\.00\d*)?) +2 ", done.out)
    found = json.loads(hlsim_("stability", "--delays", "0", "--etas", "0.5", "--json").out)
    assert found["data_vars"]["predicted"]["data"] == [[[pytest.approx(0.5)]], [[pytest.approx(3.0)]]]
