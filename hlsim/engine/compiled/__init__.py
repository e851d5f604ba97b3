"""The engine for networks that update on arrival throughout, with the loop over ticks compiled."""
