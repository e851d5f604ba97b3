"""Which models and activations compiled loops know by number: all of ours, and those of others in use.

So all networks of our own share what was compiled once.
"""

from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Neuron
from hlsim.topology.network import Network

_MODELS = ("input", "instant", "leaky", "readout")
_ACTIVATIONS = ("tanh", "sigmoid", "steep_sigmoid", "relu", "softplus", "identity")


def others(network: Network) -> tuple[tuple[Neuron, ...], tuple[Activation, ...]]:
    """Return the models and activations of a network that are not ours."""
    models, sigmas = set(network.model) - set(_MODELS), set(network.activation) - set(_ACTIVATIONS)
    return tuple(MODELS[name] for name in sorted(models)), tuple(ACTIVATIONS[name] for name in sorted(sigmas))


def known(network: Network) -> tuple[tuple[Neuron, ...], tuple[Activation, ...]]:
    """Return all that loops over a network know."""
    models, sigmas = others(network)
    ours = tuple(MODELS[name] for name in _MODELS), tuple(ACTIVATIONS[name] for name in _ACTIVATIONS)
    return (*ours[0], *models), (*ours[1], *sigmas)
