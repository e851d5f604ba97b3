"""Formulas, frozen and stateless, for numbers and tensors alike: all that the engines share."""

from hlsim.models import losses, messages, neurons, ops, rules
from hlsim.models.registry import load, register

__all__ = ["load", "losses", "messages", "neurons", "ops", "register", "rules"]
