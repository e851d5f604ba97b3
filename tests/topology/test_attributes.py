"""The table of attributes: every one is there, is documented and keeps its own rule."""

from typing import Any

import pytest

from hlsim.models import neurons
from hlsim.topology.attributes import edge_attributes, node_attributes


def test_every_parameter_of_every_model_is_a_node_attribute() -> None:
    parameters = {name for model in neurons.MODELS.values() for name in model.parameters}
    assert parameters <= node_attributes().keys()


@pytest.mark.parametrize("table", [node_attributes(), edge_attributes()], ids=["node", "edge"])
def test_every_attribute_is_documented_and_keeps_its_own_rule(table: dict[str, Any]) -> None:
    for name, attribute in table.items():
        assert attribute.meaning
        if attribute.default not in (None, ""):
            assert attribute.parse(attribute.default) == attribute.default, name
