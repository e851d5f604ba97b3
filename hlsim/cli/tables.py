"""What was found in a trace, as tables on a terminal."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from hlsim.analysis.findings import Findings
from hlsim.cli.app import say
from hlsim.cli.terminal import show, show_matrix, show_table
from hlsim.report.words import age, number, percent


def show_findings(name: str, findings: Findings) -> None:
    """Print what was found, and in a line each what could not be."""
    summary = findings.found["summary"]
    rows = ((str(key), f"{number(value.item())} {_unit(value)}") for key, value in summary.items())
    show(f"{name}: {summary.attrs['status']}", rows)
    for key, tell in SHOWN.items():
        if key in findings.found:
            tell(findings.found[key])
    for why in findings.missing.values():
        say(f"not told: {why}")


def _unit(value: xr.DataArray) -> str:
    unit = value.attrs["units"]
    return "" if unit == "1" else str(unit)


def _show_accuracy(found: xr.Dataset) -> None:
    known = (found.rows > 0) | found.taught.notnull()
    labelled = found.isel(stage=np.flatnonzero(known.any("replica")))
    taught = bool(labelled.taught.notnull().any())
    rows = []
    for name in labelled.stage.values:
        part = labelled.sel(stage=name)
        shares = zip(part.accuracy.values, part.standard_error.values, strict=True)
        ends = [percent(float(part.taught.mean()))] if taught else []
        rows.append([str(name), *(percent(p, error) for p, error in shares), int(part.rows[0]), *ends])
    if rows:
        names = _replica_names(found.sizes["replica"], "accuracy")
        header = ("stage", *names, "rows", *(["while taught"] if taught else []))
        show_table("Accuracy, of what was told before a row's own target counts", header, rows)
        if (labelled.rows == 0).any():
            say("-: outputs hear of a row only when its target counts already, or after its end")


def _show_curve(curve: xr.Dataset) -> None:
    if not curve.sizes["window"]:
        return
    names = ["accuracy", *(["taught"] if curve.taught.notnull().any() else [])]
    loss, *shares = (curve[name].mean("replica").values for name in ("loss", *names))
    columns = (curve.stage.values, curve.tick.values, curve.rows.values, loss, *shares)
    rows = ((str(s), int(t), int(n), x, *map(percent, p)) for s, t, n, x, *p in zip(*columns, strict=True))
    header = ("stage", "tick", "rows", "loss", "accuracy", "while taught")[: 4 + len(names)]
    show_table("Learning curve, mean over replicas", header, rows)


def _show_rates(rate: xr.DataArray) -> None:
    if not rate.size:
        return
    spans = zip(rate.tick.values, rate.width.values, rate.values, strict=True)
    rows = ((f"{first:,} to {first + width - 1:,}", *values) for first, width, values in spans)
    show_table("Messages and updates per tick", ("ticks", *map(str, rate.kind.values)), rows)


def _replica_names(count: int, what: str) -> list[str]:
    return [what] if count == 1 else [f"replica {i}" for i in range(count)]


def _show_traffic(sent: xr.Dataset) -> None:
    for kind, matrix in sent.items():
        if not matrix.isnull().all():
            show_matrix(f"{str(kind).capitalize()} messages from group to group", matrix)


def _show_locality(found: xr.Dataset) -> None:
    columns = ("messages", "bytes", "per_synapse", "per_neuron", "across")
    header = ("kind", "messages", "bytes", "a synapse and tick", "a neuron and tick", "between groups")
    rows = []
    for kind in found.kind.values:
        *numbers, across = (found[name].sel(kind=kind).item() for name in columns)
        rows.append([f"{kind} messages", *numbers, percent(across)])
    show_table("Locality: what crossed the network", header, rows)
    kept = found.kept_by_backpropagation.values
    most = f"up to {number(kept.max(initial=0.0))}" if np.isfinite(kept).all() else "the whole past"
    barriers = found.barriers.to_series()
    waits = ", ".join(f"{number(count)} {name}" for name, count in barriers.items() if count)
    show(
        "Locality: what was not a neuron's own",
        [
            ("barriers", waits or "none"),
            ("weights read at their other end", found.weight_reads.item()),
            ("states kept by a neuron", _kept(found)),
            ("states that backpropagation would keep", most),
        ],
    )


def _kept(found: xr.Dataset) -> str:
    lags = found.kept_for_lags.values
    kept = f", and {number(lags.sum())} numbers of all for lags, up to {number(lags.max())} of one"
    return "1, the present one" + kept * bool(lags.any())


def _show_cost(found: xr.Dataset) -> None:
    columns = (found.part.values, found["count"].values, found.energy.values, found.time.values)
    rows = [[str(part), *values] for part, *values in zip(*columns, strict=True)]
    rows.append(["all", "", found.energy.sum(skipna=False).item(), found.time.sum(skipna=False).item()])
    title = f"Cost on {found.attrs['hardware']}: {found.attrs['source']}"
    show_table(title, ("part", "count", "energy (J)", "time one by one (s)"), rows)
    if found.attrs["caveat"]:
        say(f"caution: {found.attrs['caveat']}")


def _show_staleness(found: xr.Dataset) -> None:
    updated = found.isel(edge=np.flatnonzero(found.updates.values > 0))
    if not updated.sizes["edge"]:
        return
    rows = []
    for quantity in found.quantity.values:
        one = updated.sel(quantity=quantity)
        cells = [
            _range(one[side].sel(path=path))
            for side in ("measured", "predicted")
            for path in ("newest", "oldest")
        ]
        rows.append([NAMES[quantity], *cells])
    header = ("ticks", "newest", "oldest", "newest by its path", "oldest by its path")
    show_table("Staleness of what met at a synapse: mean (least to most of a synapse)", header, rows)
    weights = updated.updates.values
    share = float((updated.matched.values * weights).sum() / weights.sum())
    say(f"updates in which all was of one row of the stimulus: {percent(share)}")


NAMES = {
    "state": "age of the state",
    "target": "age of the target in its error",
    "output": "age of the output in its error",
    "staleness": "output older than state",
}


def _range(values: xr.DataArray) -> str:
    if values.isnull().all():
        return "-"
    least, most = float(values.min()), float(values.max())
    mean = number(float(values.mean()))
    return mean if least == most else f"{mean} ({number(least)} to {number(most)})"


def _show_alignment(found: xr.Dataset) -> None:
    rows = []
    for group in found.group.values:
        one = found.sel(group=group)
        known = np.flatnonzero(one.cosine.notnull().values)
        if known.size:
            ends = [one.cosine.values[known[0]], float(one.cosine.mean()), one.cosine.values[known[-1]]]
            rows.append([str(group), *(f"{x:.3f}" for x in ends), one.norm_ratio.values[known[-1]]])
    what = {"omega": "omega", "change": "changes of omega", "step": "steps of the weights"}[found.attrs["of"]]
    title = f"Alignment of {what} with {found.attrs['oracle'].replace('_', ' ')}"
    show_table(title, ("group", "first cosine", "mean", "last", "last length ratio"), rows)
    _show_age(found)


def _show_age(found: xr.Dataset) -> None:
    if note := age(found.age.values):
        say(note)


def _show_estimates(found: xr.Dataset) -> None:
    rows = []
    for group in found.group.values:
        one = found.sel(group=group).mean()
        rows.append([str(group), one.cosine.item(), one.norm_ratio.item(), one.relative_error.item()])
    title = f"Estimates of gradients beside the implicit ones, mean of {found.sizes['sample']} rows"
    show_table(title, ("group", "cosine", "length ratio", "relative error"), rows)
    _show_age(found)


def _show_steps(found: xr.Dataset) -> None:
    measured = found.measured
    never = measured.isnull().mean("row")
    rows = (
        [str(group), measured.sel(group=group).max().item(), percent(float(never.sel(group=group))),
         found.predicted.sel(group=group).item()]
        for group in found.group.values
    )  # fmt: skip
    title = f"Steps of a hold until {found.attrs['oracle']} is exact"
    show_table(title, ("group", "most", "holds too short", "by the longest paths"), rows)


def _show_lag(found: xr.Dataset) -> None:
    rows = []
    for group in found.group.values:
        best = int(found.best.sel(group=group))
        if best >= 0:
            at_best, at_none = (found.cosine.sel(group=group, lag=lag).item() for lag in (best, 0))
            rows.append([str(group), best, f"{at_best:.3f}", f"{at_none:.3f}"])
    title = f"Lag behind {found.attrs['oracle']}, ticks"
    show_table(title, ("group", "lag", "cosine there", "cosine at lag 0"), rows)
    _show_age(found)


def _show_controls(found: xr.Dataset) -> None:
    rows = []
    for stage in dict.fromkeys(found.stage.values.tolist()):
        loss = found.loss.values[found.stage.values == stage]
        last = loss[-max(1, len(loss) // 10) :]
        for what, part in (("mean", loss), ("last tenth", last)):
            rows.append([f"{stage}, {what}", *np.nanmean(part, axis=0).tolist()])
    latest = number(found.late.values.max(initial=0))
    header = ("loss of a row", "this run", "gradient descent", f"the same, up to {latest} ticks late")
    show_table("On-line loss beside gradient descent on the same stream", header, rows)


def _show_comparison(found: xr.Dataset) -> None:
    if found.sizes["setting"]:
        values = (found.setting.values, found.first_value.values, found.second_value.values)
        texts = ([*map(str, x)] for x in zip(*values, strict=True))
        show_table("Set otherwise", ("key", "first", "second"), texts)
    columns = (found.number.values, found["first"].values, found.second.values, found.ratio.values)
    rows = [[str(name), *values] for name, *values in zip(*columns, strict=True)]
    show_table("Side by side", ("number", "first", "second", "second over first"), rows)
    rows = []
    for quantity in found.quantity.values:
        one = found.sel(quantity=quantity)
        if not one.largest.isnull():
            tick = int(one.from_tick)
            last = number(int(one.same_until)) if one.same_until >= 0 else "-"
            rows.append([str(quantity), one.largest.item(), "never" if tick < 0 else f"{tick:,}", last])
    if rows:
        header = ("quantity", "largest difference", "differs at tick", "the same until sample")
        show_table("Samples at the same ticks", header, rows)
    if not found.weight_cosine.isnull():
        cosine, tick = found.weight_cosine.item(), int(found.weight_tick)
        say(f"cosine of the changes of all weights up to tick {tick:,}: {cosine:.4f}")


# In the order in which they are shown.
SHOWN: Mapping[str, Callable[[Any], None]] = MappingProxyType(
    {
        "accuracy": _show_accuracy,
        "learning_curve": _show_curve,
        "message_rates": _show_rates,
        "traffic": _show_traffic,
        "locality": _show_locality,
        "cost": _show_cost,
        "staleness": _show_staleness,
        "alignment": _show_alignment,
        "estimates": _show_estimates,
        "steps_to_exact": _show_steps,
        "best_lag": _show_lag,
        "controls": _show_controls,
        "comparison": _show_comparison,
    }
)
