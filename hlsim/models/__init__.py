"""Formulas, frozen and stateless, for numbers and tensors alike: all that the engines share."""

from hlsim.models import losses, messages, neurons, ops, rules

__all__ = ["losses", "messages", "neurons", "ops", "rules"]
