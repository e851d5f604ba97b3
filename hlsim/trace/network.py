"""The network of a run in its trace: written once at the start, read back as the same arrays."""

from typing import Any

import h5py
import numpy as np

from hlsim.errors import TraceError, unknown
from hlsim.models.neurons import ACTIVATIONS, MODELS
from hlsim.topology.files import NodeLink
from hlsim.topology.network import Network
from hlsim.trace.layout import write_traffic
from hlsim.trace.reader import Trace
from hlsim.trace.tables import variable

NODE_FIELDS = (
    "group", "model", "activation", "clock", "period", "phase", "send_threshold", "costate_threshold",
    "send_interval", "refresh", "rank", "back_rank",
)  # fmt: skip
EDGE_FIELDS = ("source", "target", "delay", "feedback_delay", "feedback", "plastic", "beta")


# Those that are there only where they are not 0.
EXTRA_FIELDS = {
    "lag": ("node", "how many ticks ago what costates meet was"),
    "padding": ("edge", "ticks of the delay that balancing has added"),
    "waiting": ("edge", "ticks of the feedback delay that costates wait"),
}


def dimensions(network: Network, replicas: int) -> dict[str, tuple[np.ndarray, str]]:
    """Return the dimensions that groups share, by name: their coordinates, and what these are."""
    label = np.array(network.label, dtype=object)
    found = {
        "node": (label, "label of the neuron"),
        "edge": (np.arange(len(network.source), dtype=np.int32), "index of the edge"),
        "input_node": (label[network.inputs], "label of the neuron that a column of input feeds"),
        "output_node": (label[network.outputs], "label of the neuron that a column of target belongs to"),
    }
    return found | (
        {"replica": (np.arange(replicas, dtype=np.int32), "index of the replica")} if replicas > 1 else {}
    )


def write_network(file: h5py.File, network: Network) -> None:
    """Write /network: what was simulated, in canonical order."""
    group = file.create_group("network")
    variable(group, "node_label", np.array(network.label, dtype=object), ("node",), "label of the neuron")
    for name in NODE_FIELDS:
        variable(group, name, np.asarray(getattr(network, name)), ("node",))
    for name in EDGE_FIELDS:
        variable(group, name, np.asarray(getattr(network, name)), ("edge",))
    for name, (dim, about) in EXTRA_FIELDS.items():
        if (values := np.asarray(getattr(network, name))).any():
            variable(group, name, values, (dim,), about)
    group["source"].attrs["long_name"] = "index into node_label; -1: the edge is a bias"
    group["feedback"].attrs["long_name"] = "0 none, 1 symmetric, 2 random"
    _write_weights(group, network)
    variable(group, "inputs", network.inputs, ("input_node",), "index into node_label")
    variable(group, "outputs", network.outputs, ("output_node",), "index into node_label")
    variable(group, "graph", network.graph, (), "the graph as it was given: node-link JSON of networkx")
    parameters = group.create_group("parameters")
    for name, values in network.parameters.items():
        variable(parameters, name, values, ("node",), "nan: the node's model has no such parameter")
    write_traffic(group, network)


def _write_weights(group: h5py.Group, network: Network) -> None:
    one = network.weight.shape[0] == 1
    dims = ("edge",) if one else ("replica", "edge")
    variable(group, "weight0", network.weight[0] if one else network.weight, dims, "weight at the start")
    if (np.asarray(network.feedback) == 2).any():
        feedback = network.feedback_weight[0] if one else network.feedback_weight
        variable(group, "feedback_weight", feedback, dims, "fixed random feedback weight; nan: none")


def network_of(trace: Trace) -> Network:
    """Return the network that a trace was recorded of, of its first seed."""
    arrays = trace.network
    fields: dict[str, Any] = {name: arrays[name] for name in (*NODE_FIELDS, *EDGE_FIELDS)}
    for name, (dim, _) in EXTRA_FIELDS.items():
        like = arrays["source"] if dim == "edge" else arrays["period"]
        fields[name] = arrays.get(name, np.zeros(len(like), np.int64))
    for name in ("group", "model", "activation"):
        fields[name] = tuple(fields[name].tolist())
    for what, table in (("model", MODELS), ("activation", ACTIVATIONS)):
        for name in sorted(set(fields[what]) - set(table)):
            raise TraceError(
                f"{trace.path}: {unknown(table.what, name, table)}; one of your own is registered first: "
                f"hlsim --models FILE.py, hlsim.models.load"
            )
    # HDF5 has no truth values of numpy's.
    fields |= {name: fields[name].astype(bool) for name in ("clock", "plastic")}
    weight = np.atleast_2d(arrays["weight0"])[:1]
    feedback = np.atleast_2d(arrays.get("feedback_weight", np.full_like(weight, np.nan)))[:1]
    parameters = {
        name.removeprefix("parameters/"): x for name, x in arrays.items() if name.startswith("parameters/")
    }
    return Network(
        label=tuple(arrays["node_label"].tolist()),
        **fields,
        parameters=parameters,
        inputs=arrays["inputs"],
        outputs=arrays["outputs"],
        twin=np.full(weight.shape[1], -1),
        weight=weight,
        feedback_weight=feedback,
        node_link=NodeLink.of_text(str(arrays["graph"])),
        seed=int(trace.attrs["seed"]),
    )
