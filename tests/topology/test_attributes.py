"""The table of attributes: every one is there, is documented and keeps its own rule."""

from typing import Any

import numpy as np
import pytest

from hlsim.models import neurons
from hlsim.topology.attributes import check_foreign, check_held, edge_attributes, node_attributes


def test_every_parameter_of_every_model_is_a_node_attribute() -> None:
    parameters = {name for model in neurons.MODELS.values() for name in model.parameters}
    assert parameters <= node_attributes().keys()


@pytest.mark.parametrize("table", [node_attributes(), edge_attributes()], ids=["node", "edge"])
def test_every_attribute_is_documented_and_keeps_its_own_rule(table: dict[str, Any]) -> None:
    for name, attribute in table.items():
        assert attribute.meaning
        if attribute.default not in (None, ""):
            assert attribute.parse(attribute.default) == attribute.default, name


def slips(name: str) -> set[str]:
    """What comes of a name when one letter is left out, written twice, changed, or two are swapped."""
    places = range(len(name))
    found = {name[:i] + name[i + 1 :] for i in places} | {name[: i + 1] + name[i:] for i in places}
    found |= {name[:i] + "x" + name[i + 1 :] for i in places}
    return found | {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in places[:-1]}


@pytest.mark.parametrize("table", [node_attributes(), edge_attributes()], ids=["node", "edge"])
def test_a_slip_in_a_name_is_refused_and_names_of_others_are_not(table: dict[str, Any]) -> None:
    for name in table:
        for slip in slips(name) - table.keys():
            with pytest.raises(LookupError, match="did you mean"):
                check_foreign(slip, table)
    for name in OTHERS.split():
        check_foreign(name, table)


# What networkx, Gephi, yEd, Cytoscape, osmnx, NetworKit and people write on nodes and edges.
OTHERS = """
pos x y z label color colour viz length bipartite name title id club kind url height width
description image font fill style graphics lat lon community modularity_class degree shape border
capacity cost distance start end value interaction shared_name osmid highway geometry block
partition level layer depth rank index cluster part node_type region cell_type position
"""


@pytest.mark.parametrize("value", [{(1, 2): 3}, {1: {(): 0}}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be what JSON can hold"):
        check_held(value)
    looped: list[Any] = []
    looped.append(looped)
    with pytest.raises(ValueError, match="must be what JSON can hold"):
        check_held(looped)
    check_held({"x": [1.0, None, np.arange(3), object()]})
