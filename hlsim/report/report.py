"""The report of a trace, of several, or of a sweep: one HTML page, and its figures as files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from hlsim import analysis
from hlsim import trace as traces
from hlsim.errors import ExperimentError
from hlsim.report import figures, page
from hlsim.report.charts import Chart, Drawn, Missing
from hlsim.report.figures import FIGURES, Asked, comparison, network, sweep
from hlsim.report.page import Section
from hlsim.report.words import number
from hlsim.trace import Trace

if TYPE_CHECKING:
    import xarray as xr


ROWS = 60  # of the table of what joins groups


class Report:
    """A page that is put together: sections, and charts by the path of their files.

    Attributes
    ----------
    charts : dict
        Every chart that was drawn; of several traces "NAME/figure".
    """

    def __init__(self, title: str, kind: str) -> None:
        self.title, self.kind = title, kind
        self.sections: list[Section] = []
        self.charts: dict[str, Chart] = {}

    def html(self) -> str:
        """Return the page."""
        return page.render(self.title, self.kind, self.sections)

    def save(self, folder: str | Path, suffix: str = "png") -> list[Path]:
        """Write all charts into a folder, as "png" or "svg" files, and return their paths."""
        from hlsim.report import draw_matplotlib

        return draw_matplotlib.save(self.charts, folder, suffix)


def of_traces(
    paths: Sequence[Path],
    asked: Asked | None = None,
    tell: Callable[[str], None] | None = None,
) -> Report:
    """Return the report of one trace, or of several beside one another.

    Parameters
    ----------
    asked : Asked, optional
        An oracle, and reference lines.
    tell : callable, optional
        Called with what comes next.
    """
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(traces.open(path))
            for name, path in zip(_names(paths), paths, strict=True)
        }
        several = len(opened) > 1
        title = " · ".join(opened) if several else next(iter(opened))
        made = Report(title, f"hlsim, {len(opened)} runs" if several else "hlsim run")
        if several:
            _compare(made, opened)
        for name, trace in opened.items():
            _add_trace(made, trace, name if several else "", asked, tell)
    return made


def _names(paths: Sequence[Path]) -> list[str]:
    """Return how traces are called: by their files, or by their paths where two files have one name."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    whole = [str(path.with_suffix("")) for path in paths]
    if len(set(whole)) < len(whole):
        raise ExperimentError(f"{next(p for p in paths if paths.count(p) > 1)}: is there twice")
    return whole


# ---- one trace


def _add_trace(
    made: Report, trace: Trace, name: str, asked: Asked | None, tell: Callable[[str], None] | None
) -> None:
    """Add the sections of a trace; one that has others beside it is a single section."""
    found: dict[str, Drawn] = dict(figures.drawn(trace, asked, tell))
    folder = f"{name}/" if name else ""
    made.charts |= {folder + key: chart for key, chart in found.items() if isinstance(chart, Chart)}
    parts = list(_parts(trace, found))
    if not name:
        made.sections += parts
        return
    blocks = [block for part in parts for block in part.blocks]
    made.sections.append(Section(f"run-{len(made.sections)}", name, blocks, is_run=True))


def _parts(trace: Trace, found: Mapping[str, Drawn]) -> Iterator[Section]:
    yield Section("run", "Run", [*_unfinished(trace), page.numbers(comparison.in_numbers(trace))])
    for name, chart in found.items():
        title = FIGURES[name][0]
        extra = [_joints(trace)] if name == "network" else []
        if isinstance(chart, Chart):
            yield Section(name, title, [page.Figure(title, chart), *extra])
        elif extra:
            yield Section(name, title, [page.note(f"Not drawn: {chart.reason}."), *extra])
    reasons = {FIGURES[name][0]: x.reason for name, x in found.items() if isinstance(x, Missing)}
    if reasons:
        yield Section("missing", "Not drawn", [page.missing(reasons)])
    if text := str(trace.attrs["experiment"]):
        yield Section("experiment", "Experiment", [page.listing("experiment.toml, with every default", text)])


def _unfinished(trace: Trace) -> Iterator[page.Text]:
    if trace.status != "complete":
        yield page.note(
            f"This run is not complete ({trace.status}): the page tells of its first "
            f"{analysis.ticks(trace):,} ticks.",
            "warning",
        )


def _joints(trace: Trace) -> page.Text:
    header = ["from", "to", "synapses", "plastic", "delay", "feedback delay", "mean |w|"]
    found = network.joints(trace)
    more = f", the first {ROWS} of {len(found):,}" if len(found) > ROWS else ""
    return page.table(header, network.rows(found[:ROWS]), fold=f"Synapses between groups{more}")


# ---- several traces


def _compare(made: Report, opened: Mapping[str, Trace]) -> None:
    found = dict(comparison.drawn(opened))
    made.charts |= {name: chart for name, chart in found.items() if isinstance(chart, Chart)}
    title = comparison.TITLES["comparison"]
    chart = found["comparison"]
    told = (
        page.note(f"Not drawn: {chart.reason}.") if isinstance(chart, Missing) else page.Figure(title, chart)
    )
    made.sections.append(Section("comparison", title, [told]))
    made.sections.append(Section("numbers", "In numbers", [page.table(*comparison.table(opened))]))
    header, rows = comparison.differences(opened)
    if rows:
        made.sections.append(Section("differences", "What differs", [page.table(header, rows)]))


# ---- a sweep


def of_sweep(found: "xr.Dataset", title: str) -> Report:
    """Return the report of a sweep: the Dataset that ``hlsim.sweep.sweep`` returns."""
    made = Report(title, "hlsim sweep")
    charts = dict(sweep.drawn(found))
    made.charts |= {name: chart for name, chart in charts.items() if isinstance(chart, Chart)}
    failed = int((found.error != "").sum())
    keys = [str(name) for name in found.error.dims if name != "seed"]
    told = [
        ("runs", number(found.error.size)),
        ("failed", number(failed)),
        ("seeds", number(found.sizes["seed"])),
    ]
    told += [(str(found[key].attrs.get("key", key)), ", ".join(map(str, found[key].values))) for key in keys]
    blocks = [
        page.note(f"{failed:,} of {found.error.size:,} runs failed; the last table says why.", "warning")
    ]
    made.sections.append(Section("sweep", "Sweep", [*blocks[: bool(failed)], page.numbers(told)]))
    for name, chart in charts.items():
        heading = sweep.FIGURES[name][0]
        if isinstance(chart, Chart):
            made.sections.append(Section(name, heading, [page.Figure(heading, chart)]))
    several = "; mean ± standard deviation over seeds" * (found.sizes["seed"] > 1)
    made.sections.append(
        Section(
            "combinations",
            "Combinations",
            [page.note(f"A row a combination{several}."), page.table(*sweep.table(found))],
        )
    )
    made.sections.append(Section("runs", "All runs", [page.table(*sweep.runs(found))]))
    reasons = {sweep.FIGURES[k][0]: x.reason for k, x in charts.items() if isinstance(x, Missing)}
    if reasons:
        made.sections.append(Section("missing", "Not drawn", [page.missing(reasons)]))
    return made
