"""The figures of one trace, by name: a function and a line in the table each.

A figure is a function of a trace and of what was asked for that returns a ``Chart``. Where the trace does not
tell enough it raises an ``HlsimError`` that says in a sentence why, and the page says so in its place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hlsim.analysis.ideal import ORACLES, THROUGH_TIME
from hlsim.errors import DamageError, ExperimentError, HlsimError, unknown
from hlsim.report.charts import Chart, Drawn, Missing, Reference
from hlsim.report.figures import credit, network, samples
from hlsim.report.figures.learning import learning_curve, phases
from hlsim.report.figures.messages import rates, traffic
from hlsim.trace import Trace


@dataclass(frozen=True)
class Asked:
    """What a reader asked for.

    Attributes
    ----------
    oracle : str, optional
        What omega is compared with, however long it takes; None: backpropagation, where it is quick.
    references : mapping of str to sequence of Reference
        Straight lines to be laid over the first panel of a figure, by its name: what a law says.
    """

    oracle: str | None = None
    references: Mapping[str, Sequence[Reference]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*ORACLES, THROUGH_TIME]
        if self.oracle is not None and self.oracle not in known:
            raise ExperimentError(unknown("oracle", self.oracle, known))
        for name in self.references:
            if name not in FIGURES:
                raise ExperimentError(f"references: {unknown('figure', name, FIGURES)}")


def drawn(
    trace: Trace, asked: Asked | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Drawn]]:
    """Yield every figure of the table by name; ``tell`` is called with the title of what comes next."""
    asked = asked or Asked()
    for name, (title, make) in FIGURES.items():
        if tell is not None:
            tell(title)
        try:
            chart = make(trace, asked)
        except DamageError:
            raise
        except HlsimError as error:
            yield name, Missing(" ".join(str(error).split()))
            continue
        yield name, _with_references(chart, asked.references.get(name, ()))


def _with_references(chart: Chart, references: Sequence[Reference]) -> Chart:
    if not references:
        return chart
    first, *others = chart.panels
    return replace(chart, panels=[replace(first, marks=[*first.marks, *references]), *others])


# Name of the figure and of its files: title, and the function that makes it.
FIGURES: Mapping[str, tuple[str, Callable[[Trace, Asked], Chart]]] = MappingProxyType(
    {
        "network": ("Network", lambda trace, _: network.network(trace)),
        "learning_curve": ("Learning curve", lambda trace, _: learning_curve(trace)),
        "rates": ("Message rates", lambda trace, _: rates(trace)),
        "traffic": ("Traffic between groups", lambda trace, _: traffic(trace)),
        "alignment": ("Alignment with exact gradients", lambda trace, x: credit.alignment(trace, x.oracle)),
        "staleness": ("Staleness", lambda trace, _: credit.staleness(trace)),
        "phases": ("Phases", lambda trace, _: phases(trace)),
        "neurons": ("Neurons over time", lambda trace, _: samples.neurons(trace)),
        "populations": ("All neurons over time", lambda trace, _: samples.populations(trace)),
        "synapses": ("Synapses over time", lambda trace, _: samples.synapses(trace)),
    }
)
