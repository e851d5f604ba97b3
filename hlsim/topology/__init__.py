"""Graphs: made, read, checked, and laid out as arrays in canonical order.

The generators return plain networkx graphs, to be edited as such; ``load`` and ``save`` read and write graphs
as files; ``flatten`` makes the ``Network`` that is simulated.
"""

from hlsim.topology.balancing import balance
from hlsim.topology.files import load, save
from hlsim.topology.generators import layered, random, ring
from hlsim.topology.network import Network, flatten

__all__ = ["Network", "balance", "flatten", "layered", "load", "random", "ring", "save"]
