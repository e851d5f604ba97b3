"""What a figure is made of, whoever draws it: marks in panels, panels in a chart.

A chart says what is to be seen and nothing of a library: ``interactive`` draws it for a page, ``printed`` as
SVG and PNG. A new figure is a function that returns a ``Chart``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

# Okabe and Ito's colours, told apart by most eyes; yellow, which is pale on white, comes last.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
INK, FAINT, PAPER = "#1b1f24", "#8a929c", "#ffffff"
# Anchors of scales from low to high: amounts from paper to ink, signed values through paper, ticks of delay.
ANCHORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "amount": ("#f7fafc", "#9cc9e3", "#0072B2", "#00304d"),
        "signed": ("#004a75", "#0072B2", "#f7f7f7", "#D55E00", "#7a3600"),
        "delay": ("#9fd0ec", "#56a5d8", "#0072B2", "#4b3f8f", "#2a0f4a"),
    }
)
DOTTED = 40  # points of a line up to which each is marked
Dash = Literal["solid", "dashed", "dotted"]
Told = Mapping[str, Sequence[Any] | np.ndarray]


@dataclass(frozen=True)
class Line:
    """A line through points; ``label`` stands in the legend and in what is told on hovering."""

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    color: str = INK
    dash: Dash = "solid"
    width: float = 1.5
    dots: bool = False


@dataclass(frozen=True)
class Band:
    """A band between two lines; it belongs to the line of the same label."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    label: str = ""
    color: str = INK


@dataclass(frozen=True)
class Whiskers:
    """Vertical bars around points; they belong to the line of the same label."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    label: str = ""
    color: str = INK


@dataclass(frozen=True)
class Boxes:
    """Rectangles, with what is told of each on hovering, by name."""

    left: np.ndarray
    right: np.ndarray
    bottom: np.ndarray
    top: np.ndarray
    color: str | Sequence[str] = INK
    label: str = ""
    told: Told | None = None


@dataclass(frozen=True)
class Paths:
    """Many lines, each with a colour and a width of its own."""

    xs: Sequence[np.ndarray]
    ys: Sequence[np.ndarray]
    color: Sequence[str]
    width: Sequence[float]
    told: Told | None = None


@dataclass(frozen=True)
class Points:
    """Discs of a diameter in pixels."""

    x: np.ndarray
    y: np.ndarray
    color: Sequence[str]
    size: float = 10.0
    told: Told | None = None


@dataclass(frozen=True)
class Texts:
    """Text that is centred on points; a halo keeps lines behind it away."""

    x: np.ndarray
    y: np.ndarray
    text: Sequence[str]
    color: str | Sequence[str] = INK
    points: float = 8.0
    bold: bool = False
    halo: bool = False


@dataclass(frozen=True)
class Heat:
    """An image of numbers (row, column), its first row at the bottom; a scale says what colours mean."""

    values: np.ndarray
    left: float
    right: float
    bottom: float
    top: float
    scale: "Scale"


@dataclass(frozen=True)
class Reference:
    """A straight line over the whole panel: what a law says, at ``value`` of the axis."""

    value: float
    label: str
    axis: Literal["x", "y"] = "y"
    color: str = INK


Mark = Line | Band | Whiskers | Boxes | Paths | Points | Texts | Heat | Reference


@dataclass(frozen=True)
class Scale:
    """Which number has which colour, from ``low`` to ``high`` along the anchors called ``name``."""

    name: str
    low: float
    high: float
    label: str

    def palette(self, count: int = 256) -> list[str]:
        """Return the colours from low to high."""
        return palette(self.name, count)

    def colors(self, values: np.ndarray) -> list[str]:
        """Return the colour of each number."""
        steps = self.palette()
        span = self.high - self.low
        share = (np.asarray(values, float) - self.low) / span if span else np.full(len(values), 0.5)
        return [steps[int(255 * min(max(x, 0.0), 1.0))] for x in share]


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    label: str
    color: str
    dash: Dash = "solid"


@dataclass(frozen=True)
class Panel:
    """Marks over two axes. Ticks of an axis may have names; a bare panel shows no axes."""

    marks: Sequence[Mark]
    x: str = ""
    y: str = ""
    title: str = ""
    x_names: Mapping[float, str] | None = None
    y_names: Mapping[float, str] | None = None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    height: int = 260
    bare: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes
    ----------
    caption : str
        What one sees, in a sentence or two.
    panels : sequence of Panel
    columns : int
        Panels side by side, where there is room.
    linked : bool
        Whether zooming along x zooms all panels.
    keys : sequence of Key
        Entries of the legend that no mark has.
    scale : Scale, optional
        Of colours that stand for numbers.
    """

    caption: str
    panels: Sequence[Panel]
    columns: int = 1
    linked: bool = False
    keys: Sequence[Key] = field(default=())
    scale: Scale | None = None

    @property
    def legend(self) -> list[Key]:
        """Return an entry for every label, in the order of the marks."""
        found: dict[str, Key] = {}
        for mark in (mark for panel in self.panels for mark in panel.marks):
            if isinstance(mark, Line | Boxes | Reference) and mark.label:
                color = mark.color if isinstance(mark.color, str) else mark.color[0]
                dash: Dash = "dashed" if isinstance(mark, Reference) else getattr(mark, "dash", "solid")
                found.setdefault(mark.label, Key(mark.label, color, dash))
        return [*found.values(), *self.keys]


def palette(name: str, count: int = 256) -> list[str]:
    """Return colours along the anchors of a scale."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in ANCHORS[name]], float)
    place = np.linspace(0, len(anchors) - 1, count)
    mixed = [np.interp(place, range(len(anchors)), anchors[:, k]) for k in range(3)]
    return ["#{:02x}{:02x}{:02x}".format(*np.round(color).astype(int)) for color in zip(*mixed, strict=True)]


def color(number: int) -> str:
    """Return a colour for each thing that is told apart; from the ninth on they come again."""
    return COLORS[number % len(COLORS)]


def named(group: str) -> str:
    """Return how a locality group is called."""
    return group or "(no group)"


def short(count: float) -> str:
    """Return a count in at most five characters: 950, 12.3k, 4.56M."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.3g}"


def span(low: float, high: float) -> str:
    """Return a range of whole numbers."""
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


@dataclass(frozen=True)
class Missing:
    """Why there is no such figure, in a sentence."""

    reason: str


Drawn = Chart | Missing
