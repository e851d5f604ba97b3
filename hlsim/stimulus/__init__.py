"""What a network is shown: where rows come from, and the stages in which they are shown."""

from hlsim.stimulus.datasets import Digits, Iris
from hlsim.stimulus.python import PythonStream
from hlsim.stimulus.stages import SOURCES, Stage
from hlsim.stimulus.streams import Arrays, File, OneHot, Row, Stream

__all__ = ["SOURCES", "Arrays", "Digits", "File", "Iris", "OneHot", "PythonStream", "Row", "Stage", "Stream"]
