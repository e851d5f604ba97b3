"""Charts for a page: drawn by bokeh, to be zoomed, panned and hovered."""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import (
    ColumnDataSource,
    CustomJSTickFormatter,
    DataRange1d,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from hlsim.report.charts import (
    FAINT,
    PAPER,
    Band,
    Boxes,
    Chart,
    Heat,
    Line,
    Panel,
    Paths,
    Points,
    Reference,
    Texts,
    Told,
    Whiskers,
)

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
TOOLS = "box_zoom,pan,wheel_zoom,reset,save"
DASHES: Mapping[str, str] = MappingProxyType({"solid": "solid", "dashed": "dashed", "dotted": "2 3"})
SLANTED = 0.7  # radians, of names along x that would not fit beside each other
LEFT = 62  # pixels beside an axis, so that panels below one another begin at the same place
LONGEST = 18  # letters of a name along an axis
FITTING = 40  # letters along x in all that fit on a phone
# 12k, 3.4M: room on a phone; small numbers as they are
COUNTS = """
const a = Math.abs(tick)
if (a >= 1e6) return +(tick / 1e6).toPrecision(4) + "M"
if (a >= 1e4) return +(tick / 1e3).toPrecision(4) + "k"
return a == 0 || a >= 1e-3 ? String(+tick.toPrecision(6)) : tick.toExponential(0)
"""


def draw(chart: Chart) -> list[figure]:
    """Draw the panels of a chart; those that are linked share their range of x."""
    found: list[figure] = []
    for panel in chart.panels:
        shared = found[0].x_range if found and chart.linked else None
        found.append(_panel(panel, shared))
    return found


def _panel(panel: Panel, shared: Any) -> figure:
    options: dict[str, Any] = {} if shared is None else {"x_range": shared}
    if shared is None:
        options["x_range"] = _range(panel.x_range)
    drawn = figure(
        height=panel.height,
        sizing_mode="stretch_width",
        min_width=120,
        tools=TOOLS,
        active_drag="box_zoom",
        toolbar_location="above",
        y_range=_range(panel.y_range),
        **options,
    )
    for mark in panel.marks:
        DRAW[type(mark)](drawn, mark)
    _tell_of_lines(drawn, panel)
    _style(drawn)
    _name(drawn, panel)
    return drawn


def _range(ends: tuple[float, float] | None) -> Any:
    return DataRange1d(only_visible=True) if ends is None else Range1d(*ends)


# ---- marks


def _line(drawn: figure, mark: Line) -> None:
    style: dict[str, Any] = {"color": mark.color, "name": mark.label or None}
    source = _source(x=mark.x, y=mark.y)
    drawn.line(
        "x", "y", source=source, line_width=mark.width, line_dash=DASHES[mark.dash], tags=["line"], **style
    )
    if mark.dots:
        drawn.scatter("x", "y", source=source, size=4, **style)


def _band(drawn: figure, mark: Band) -> None:
    source = _source(x=mark.x, low=mark.low, high=mark.high)
    name = mark.label or None
    drawn.varea("x", "low", "high", source=source, fill_color=mark.color, fill_alpha=0.18, name=name)


def _whiskers(drawn: figure, mark: Whiskers) -> None:
    source = _source(x=mark.x, low=mark.low, high=mark.high)
    drawn.segment(
        "x", "low", "x", "high", source=source, color=mark.color, line_width=1.2, name=mark.label or None
    )


def _boxes(drawn: figure, mark: Boxes) -> None:
    data = {"left": mark.left, "right": mark.right, "bottom": mark.bottom, "top": mark.top}
    several = not isinstance(mark.color, str)
    source = _source(**data, **({"color": mark.color} if several else {}), **_columns(mark.told))
    shown = drawn.quad(
        left="left",
        right="right",
        bottom="bottom",
        top="top",
        source=source,
        color="color" if several else mark.color,
        line_color=PAPER,
        line_width=0.5,
        name=mark.label or None,
    )
    _tell(drawn, shown, mark.told)


def _paths(drawn: figure, mark: Paths) -> None:
    source = ColumnDataSource(
        {
            "xs": [np.asarray(x, np.float32) for x in mark.xs],
            "ys": [np.asarray(y, np.float32) for y in mark.ys],
            "color": list(mark.color),
            "width": np.asarray(mark.width, np.float32),
            **_columns(mark.told),
        }
    )
    shown = drawn.multi_line(
        "xs", "ys", source=source, line_color="color", line_width="width", line_alpha=0.75, line_cap="round"
    )
    shown.hover_glyph = shown.glyph.clone(line_alpha=1.0, line_color="#D55E00")
    _tell(drawn, shown, mark.told)


def _points(drawn: figure, mark: Points) -> None:
    source = _source(x=mark.x, y=mark.y, color=mark.color, **_columns(mark.told))
    shown = drawn.scatter(
        "x", "y", source=source, size=mark.size, fill_color="color", line_color=PAPER, line_width=1.2
    )
    _tell(drawn, shown, mark.told)


def _texts(drawn: figure, mark: Texts) -> None:
    colors = [mark.color] * len(mark.text) if isinstance(mark.color, str) else mark.color
    drawn.text(
        "x",
        "y",
        "text",
        source=_source(x=mark.x, y=mark.y, text=mark.text, color=colors),
        text_color="color",
        text_align="center",
        text_baseline="middle",
        text_font=value(FONT),
        text_font_size=f"{mark.points * 4 / 3:.1f}px",
        text_font_style="bold" if mark.bold else "normal",
        background_fill_color=PAPER if mark.halo else None,
        background_fill_alpha=0.85,
        padding=2,
    )


def _heat(drawn: figure, mark: Heat) -> None:
    scale = mark.scale
    mapper = LinearColorMapper(palette=scale.palette(), low=scale.low, high=scale.high, nan_color="#ffffff00")
    place = {"x": mark.left, "y": mark.bottom, "dw": mark.right - mark.left, "dh": mark.top - mark.bottom}
    shown = drawn.image([np.asarray(mark.values, np.float32)], color_mapper=mapper, **place)
    told = [("", "$y_name"), (scale.label, "@image{0.[0000]}")]
    drawn.add_tools(HoverTool(renderers=[shown], tooltips=(told[1:]), visible=False))


def _reference(drawn: figure, mark: Reference) -> None:
    across = "width" if mark.axis == "y" else "height"
    drawn.add_layout(
        Span(
            location=mark.value,
            dimension=(across),
            line_color=mark.color,
            line_dash="dashed",
            line_width=1,
        )
    )


DRAW: Mapping[type, Callable[[figure, Any], None]] = MappingProxyType(
    {
        Line: _line,
        Band: _band,
        Whiskers: _whiskers,
        Boxes: _boxes,
        Paths: _paths,
        Points: _points,
        Texts: _texts,
        Heat: _heat,
        Reference: _reference,
    }
)


def _source(**columns: Any) -> ColumnDataSource:
    return ColumnDataSource({name: _numbers(values) for name, values in columns.items()})


def _numbers(values: Any) -> Any:
    """Return numbers in four bytes where that keeps what can be seen of them; the rest as it is."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(np.int32) if array.dtype.kind in "iu" else list(map(str, values))


def _columns(told: Told | None) -> dict[str, Any]:
    """Return what is told as columns whose names are no words of bokeh's."""
    return {f"told{i}": _numbers(values) for i, values in enumerate((told or {}).values())}


# ---- what is told on hovering


def _tell(drawn: figure, shown: Any, told: Told | None) -> None:
    if not told:
        return
    texts = [
        (name, f"@told{i}" + ("" if np.asarray(values).dtype.kind in "US" else "{0,0.[0000]}"))
        for i, (name, values) in enumerate(told.items())
    ]
    drawn.add_tools(HoverTool(renderers=[shown], tooltips=(texts), visible=False))


def _tell_of_lines(drawn: figure, panel: Panel) -> None:
    lines = [shown for shown in drawn.renderers if "line" in shown.tags]
    if lines:
        told = [
            ("", "$name"),
            (panel.x or "x", "$snap_x{0,0.[000]}"),
            (panel.y or "y", "$snap_y{0,0.[0000]}"),
        ]
        drawn.add_tools(
            HoverTool(
                renderers=lines,
                tooltips=(told if any(line.name for line in lines) else told[1:]),
                visible=False,
            )
        )


# ---- looks


def _style(drawn: figure) -> None:
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.border_fill_color = drawn.background_fill_color = PAPER
    drawn.outline_line_color = None
    drawn.min_border_left, drawn.min_border_right = LEFT, 12
    for axis in drawn.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
        axis.major_label_text_font_size = "11px"
        axis.axis_label_text_color = axis.major_label_text_color = "#3d444d"
        axis.axis_line_color = axis.major_tick_line_color = FAINT
        axis.minor_tick_line_color = None
        axis.major_tick_in = 0
        axis.formatter = CustomJSTickFormatter(code=COUNTS)
    drawn.grid.grid_line_color = "#e6e9ed"


def _name(drawn: figure, panel: Panel) -> None:
    drawn.xaxis.axis_label, drawn.yaxis.axis_label = panel.x or None, panel.y or None
    drawn.xaxis.ticker.desired_num_ticks = 5
    if panel.bare:
        drawn.min_border_left = drawn.min_border_right
        drawn.axis.visible = False
        drawn.grid.visible = False
    for axis, grid, names in (
        (drawn.xaxis[0], drawn.xgrid, panel.x_names),
        (drawn.yaxis[0], drawn.ygrid, panel.y_names),
    ):
        if names is not None:
            axis.ticker = FixedTicker(ticks=list(names))
            code = f"return {_script(names)}[tick] ?? ''"
            axis.formatter = CustomJSTickFormatter(code=code)
            grid.visible = False
    if panel.x_names and sum(len(_cut(name)) for name in panel.x_names.values()) > FITTING:
        drawn.xaxis.major_label_orientation = SLANTED


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _script(names: Mapping[float, str]) -> str:
    """Return names by place as JavaScript has them: 2 is "2" and 2.5 "2.5"."""
    return json.dumps({f"{place:.17g}": _cut(text) for place, text in names.items()})
