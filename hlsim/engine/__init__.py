"""One tick, four times: an obvious engine and three fast ones, one door in (``Controls``), one view out."""

from hlsim.engine.build import engine
from hlsim.engine.controls import Changes, Controls
from hlsim.engine.interface import Engine, Observer
from hlsim.engine.links import Links

__all__ = ["Changes", "Controls", "Engine", "Links", "Observer", "engine"]
