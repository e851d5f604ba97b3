"""Which models and activations compiled loops know by number: ours, and those of others.

All networks of our own share what was compiled once; so do all that use models of one file.
"""

from typing import TypeVar

from hlsim.models.catalogue import Catalogue
from hlsim.models.neurons import ACTIVATIONS, MODELS, Activation, Neuron
from hlsim.topology.network import Network

_MODELS = ("input", "instant", "leaky", "readout")
_ACTIVATIONS = ("tanh", "sigmoid", "steep_sigmoid", "relu", "softplus", "identity")
_Thing = TypeVar("_Thing", Activation, Neuron)


def others(network: Network) -> tuple[tuple[Neuron, ...], tuple[Activation, ...]]:
    """Return the models and activations of a network that are not ours."""
    models, sigmas = set(network.model) - set(_MODELS), set(network.activation) - set(_ACTIVATIONS)
    return tuple(MODELS[name] for name in sorted(models)), tuple(ACTIVATIONS[name] for name in sorted(sigmas))


def known(network: Network) -> tuple[tuple[Neuron, ...], tuple[Activation, ...]]:
    """Return all that loops over a network know."""
    models, sigmas = others(network)
    ours = tuple(MODELS[name] for name in _MODELS), tuple(ACTIVATIONS[name] for name in _ACTIVATIONS)
    return (*ours[0], *_of_one_file(models, MODELS)), (*ours[1], *_of_one_file(sigmas, ACTIVATIONS))


def _of_one_file(used: tuple[_Thing, ...], catalogue: Catalogue[_Thing]) -> tuple[_Thing, ...]:
    """Return those that are used, and those beside which they are written as far as they can be compiled."""
    if not used:
        return ()
    from hlsim.engine import formulas

    files = {type(each).__module__ for each in used}
    found: list[_Thing] = [
        each
        for each in catalogue.values()
        if each in used or (type(each).__module__ in files and formulas.fits_any_rule(each))
    ]
    return tuple(sorted(found, key=lambda each: each.name))
