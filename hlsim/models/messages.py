"""Kinds of message, by number and by name."""

# Kinds of message, by number.
MESSAGES = ("state", "costate")
# Kinds of message.
STATE, COSTATE = 0, 1
