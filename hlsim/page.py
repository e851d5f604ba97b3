"""A page of figures, tables and text in one HTML file that asks the network for nothing."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from bokeh.embed import components
from bokeh.plotting import figure
from bokeh.resources import Resources

from hlsim import interactive
from hlsim.charts import Chart, Key, Panel, Scale
from hlsim.errors import TraceError

GENERATOR = "hlsim report"
HEAD = 1000  # bytes of a page that say what made it
LONG = 40  # letters of a cell that may be broken
GRADIENT = 9  # colours of a scale that are given to the browser, which mixes the others


@dataclass(frozen=True)
class Text:
    """A piece of HTML; what users wrote in it is escaped."""

    code: str


@dataclass(frozen=True)
class Figure:
    """A chart under its name."""

    title: str
    chart: Chart


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, which the navigation leads to, and what stands below it."""

    name: str
    title: str
    blocks: Sequence[Text | Figure]
    is_run: bool = False


def render(title: str, kind: str, sections: Sequence[Section]) -> str:
    """Return the page."""
    drawn = {
        id(block): interactive.draw(block.chart)
        for section in sections
        for block in section.blocks
        if isinstance(block, Figure)
    }
    roots: list[figure] = [root for several in drawn.values() for root in several]
    script, places = components(roots) if roots else ("", ())
    place = iter(places)
    body = "\n".join(
        _section(section, {key: [next(place) for _ in several] for key, several in _of(section, drawn)})
        for section in sections
    )
    links = "".join(f'<a href="#{escaped(part.name)}">{escaped(part.title)}</a>' for part in sections)
    return Template(_packaged("page.html")).substitute(
        title=escaped(title),
        kind=escaped(kind),
        generator=GENERATOR,
        style=_packaged("page.css"),
        library="\n".join(Resources(mode="inline", components=["bokeh"]).js_raw) if roots else "",
        navigation=links,
        body=body,
        figures=script,
    )


def _of(section: Section, drawn: Mapping[int, list[figure]]) -> Iterable[tuple[int, list[figure]]]:
    return ((id(block), drawn[id(block)]) for block in section.blocks if isinstance(block, Figure))


def _packaged(name: str) -> str:
    return resources.files("hlsim").joinpath(name).read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """Write a page.

    Raises
    ------
    TraceError
        It cannot be written, or there is a file that is no page of hlsim's.
    """
    check(path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TraceError(f"{path}: cannot write: {error.strerror}") from error


def check(path: Path) -> None:
    """Refuse to replace a file that is no page of hlsim's, or to write into a folder that is not there.

    Raises
    ------
    TraceError
        It is one, with its path.
    """
    if not path.parent.is_dir():
        raise TraceError(f"{path}: there is no folder {path.parent}")
    try:
        with path.open("rb") as file:
            ours = GENERATOR.encode() in file.read(HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise TraceError(f"{path}: cannot write: {error.strerror}") from error
    if not ours:
        raise TraceError(f"{path}: exists and is no page of hlsim's")


# ---- pieces


def escaped(text: object) -> str:
    """Return text as HTML shows it."""
    return html.escape(str(text))


def numbers(rows: Iterable[tuple[str, str]]) -> Text:
    """Return names and values in a grid."""
    cells = "".join(f"<div><dt>{escaped(k)}</dt><dd>{escaped(v)}</dd></div>" for k, v in rows)
    return Text(f'<dl class="numbers">{cells}</dl>')


def table(header: Sequence[str], rows: Iterable[Sequence[str]], fold: str = "") -> Text:
    """Return a table that scrolls within itself if it is wide; ``fold``: closed, under this title."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, header, row))}</tr>" for row in rows)
    code = f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return Text(f"<details><summary>{escaped(fold)}</summary>{code}</details>" if fold else code)


def _cell(column: str, text: str) -> str:
    kinds = ["long"] * (len(text) > LONG) + ["error"] * (column == "error" and text != "-")
    style = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{style}>{escaped(text)}</td>"


def note(text: str, kind: str = "note") -> Text:
    """Return a paragraph."""
    return Text(f'<p class="{kind}">{escaped(text)}</p>')


def missing(reasons: Mapping[str, str]) -> Text:
    """Return why figures are not there, by their titles."""
    items = "".join(f"<li>{escaped(title)}: {escaped(reason)}.</li>" for title, reason in reasons.items())
    return Text(f'<ul class="missing">{items}</ul>')


def listing(title: str, text: str) -> Text:
    """Return text as it is, closed, under a title."""
    return Text(f"<details><summary>{escaped(title)}</summary><pre>{escaped(text)}</pre></details>")


# ---- sections


def _section(section: Section, places: Mapping[int, list[str]]) -> str:
    blocks = "\n".join(
        block.code if isinstance(block, Text) else _figure(block, places[id(block)], section.title)
        for block in section.blocks
    )
    style = ' class="run"' if section.is_run else ""
    heading = f"<h2{style}>{escaped(section.title)}</h2>"
    return f'<section id="{escaped(section.name)}">\n{heading}\n{blocks}\n</section>'


def _figure(block: Figure, places: Sequence[str], heading: str) -> str:
    chart = block.chart
    title = f"<h3>{escaped(block.title)}</h3>" if block.title != heading else ""
    columns = " two" if chart.columns > 1 and len(places) > 1 else ""
    panels = "".join(map(_panel, chart.panels, places))
    return (
        f'<figure aria-label="{escaped(block.title)}">{title}'
        f"<figcaption>{escaped(chart.caption)}</figcaption>{_legend(chart)}"
        f'<div class="panels{columns}">{panels}</div></figure>'
    )


def _panel(panel: Panel, place: str) -> str:
    title = f"<h4>{escaped(panel.title)}</h4>" if panel.title else ""
    return f"<div>{title}{place}</div>"


def _legend(chart: Chart) -> str:
    fixed = {key.label for key in chart.keys}
    keys = "".join(_key(key, key.label not in fixed) for key in chart.legend)
    scale = "" if chart.scale is None else _scale(chart.scale)
    return f'<div class="legend">{keys}{scale}</div>' if keys or scale else ""


def _key(key: Key, can_hide: bool) -> str:
    sign = f'<i class="{key.dash}" style="color:{key.color}"></i>{escaped(key.label)}'
    if not can_hide:
        return f'<span class="key">{sign}</span>'
    told = f'class="key" aria-pressed="true" data-label="{escaped(key.label)}"'
    return f'<button type="button" {told}>{sign}</button>'


def _scale(scale: Scale) -> str:
    colors = ",".join(scale.palette(GRADIENT))
    return (
        f'<span class="key scale">{scale.low:g}<b style="background:linear-gradient(90deg,{colors})"></b>'
        f"{scale.high:g} {escaped(scale.label)}</span>"
    )
