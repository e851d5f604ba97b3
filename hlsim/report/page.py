"""A page of figures, tables and text in one HTML file that asks the network for nothing.

What it looks like is in ``templates``; jinja escapes whatever is put into them.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hlsim.errors import TraceError
from hlsim.report.charts import Chart
from hlsim.trace import files

GENERATOR = "hlsim report"
HEAD = 1000  # bytes of a page that say what made it
LONG = 40  # letters of a cell that may be broken
GRADIENT = 9  # colours of a scale that are given to the browser, which mixes the others
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class Text:
    """A piece of a page: a macro of ``templates/blocks.html``, and what it writes."""

    macro: str
    values: Mapping[str, Any]


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


@dataclass(frozen=True)
class _Bokeh:
    """What bokeh draws: the places of the panels of every chart, a script that fills them, its library."""

    places: Sequence[Sequence[Markup]]
    script: Markup
    library: Markup


def render(title: str, kind: str, sections: Sequence[Section]) -> str:
    """Return the page."""
    charts = [block.chart for part in sections for block in part.blocks if isinstance(block, Figure)]
    bokeh = _drawn(charts)
    places = iter(bokeh.places)
    shown = [
        replace(
            part,
            blocks=[
                _figure(block, next(places), part.title) if isinstance(block, Figure) else block
                for block in part.blocks
            ],
        )
        for part in sections
    ]
    page = TEMPLATES.get_template("page.html")
    return page.render(title=title, kind=kind, generator=GENERATOR, sections=shown, bokeh=bokeh)


def _drawn(charts: Sequence[Chart]) -> _Bokeh:
    if not charts:
        return _Bokeh([], Markup(), Markup())
    from bokeh.document import Document
    from bokeh.embed import components
    from bokeh.resources import Resources

    from hlsim.report import draw_bokeh

    drawn = [draw_bokeh.draw(chart) for chart in charts]
    document = Document()
    with document.models.freeze():  # else bokeh looks through all figures again with each that is added
        for root in itertools.chain(*drawn):
            document.add_root(root)
    script, divs = components(document.roots)
    library = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    # the only code that is not escaped: bokeh wrote it, and escaped in it the names and labels it was given
    places = map(Markup, divs)
    return _Bokeh([[next(places) for _ in roots] for roots in drawn], Markup(script), Markup(library))


def _figure(block: Figure, places: Sequence[Markup], heading: str) -> Text:
    told = {"title": block.title, "chart": block.chart, "places": places, "heading": heading}
    return Text("figure", {**told, "gradient": GRADIENT})


def write(path: Path, text: str) -> None:
    """Write a page, whole or not at all.

    Raises
    ------
    TraceError
        It cannot be written, or there is a file that is no page of hlsim's.
    """
    check(path)
    try:
        files.write(path, text.encode())
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


def numbers(rows: Iterable[tuple[str, str]]) -> Text:
    """Return names and values in a grid."""
    return Text("numbers", {"rows": list(rows)})


def table(header: Sequence[str], rows: Iterable[Sequence[str]], fold: str = "") -> Text:
    """Return a table that scrolls within itself if it is wide; ``fold``: closed, under this title."""
    return Text("table", {"header": header, "rows": list(rows), "fold": fold, "long": LONG})


def note(text: str, kind: str = "note") -> Text:
    """Return a paragraph."""
    return Text("note", {"text": text, "kind": kind})


def missing(reasons: Mapping[str, str]) -> Text:
    """Return why figures are not there, by their titles."""
    return Text("missing", {"reasons": reasons})


def listing(title: str, text: str) -> Text:
    """Return text as it is, closed, under a title."""
    return Text("listing", {"title": title, "text": text})
