r"""Losses on the outputs, with the gradient a costate starts from.

Shapes: y and target ``(replica, output)``; a value is ``(replica,)``, a gradient ``(replica, output)``. Where
states are complex, a gradient is that of the loss continued to complex states, a value is of their real part.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hlsim.errors import ExperimentError
from hlsim.models.catalogue import Catalogue


class Loss:
    """A function L(y, target) of the states of the output neurons."""

    name: str
    # Every output's gradient depends on all outputs, so that all of them must be evaluated together.
    coupled: bool = False
    # Its gradient may be taken at complex states.
    holomorphic: bool = True

    def value(self, y: Tensor, target: Tensor) -> Tensor:
        raise NotImplementedError

    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        raise NotImplementedError


class SquaredError(Loss):
    r""":math:`L = \frac12 \sum_i (y_i - \hat y_i)^2`, gradient :math:`y - \hat y`."""

    name = "squared_error"

    def value(self, y: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (y - target).square().sum(-1)

    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        return y - target


class CrossEntropy(Loss):
    r""":math:`L = -\sum_i \hat y_i \log \mathrm{softmax}(y)_i` over all outputs; targets are probabilities.

    The gradient is :math:`\mathrm{softmax}(y) \sum_i \hat y_i - \hat y`; for targets that sum to one the
    familiar difference.
    """

    name = "cross_entropy"
    coupled = True

    def value(self, y: Tensor, target: Tensor) -> Tensor:
        return -(target * torch.log_softmax(y, -1)).sum(-1)

    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        return _softmax(y) * target.sum(-1, keepdim=True) - target


class Custom(Loss):
    """A user's function of ``(y, target)`` that returns one number a replica; its gradient is autograd's.

    Raises
    ------
    ExperimentError
        When it is called and returns something else.
    """

    name = "python"
    coupled = True
    holomorphic = False

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def value(self, y: Tensor, target: Tensor) -> Tensor:
        return self._called(y, target)

    def gradient(self, y: Tensor, target: Tensor) -> Tensor:
        return torch.func.grad(lambda x: self._called(x, target).sum())(y)

    def _called(self, y: Tensor, target: Tensor) -> Tensor:
        found = self.function(y, target)
        if not isinstance(found, Tensor):
            got = type(found).__name__
        elif found.shape != y.shape[:-1] or not found.is_floating_point():
            got = f"shape {tuple(found.shape)}, dtype {found.dtype}"
        else:
            return found
        rule = "must return a tensor of one number a replica"
        raise ExperimentError(f"loss: {rule}, shape {tuple(y.shape[:-1])}, got {got}")


def _softmax(y: Tensor) -> Tensor:
    if not y.is_complex():
        return torch.softmax(y, -1)
    e = torch.exp(y - y.real.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


LOSSES: Catalogue[Loss] = Catalogue("loss", (SquaredError(), CrossEntropy()))
