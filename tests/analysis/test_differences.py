"""Two traces bit for bit: what differs is told, all of it and nothing else, with its place."""

import json
import math
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from hlsim import Simulation, cli, experiment, topology, trace
from hlsim.analysis import differences
from hlsim.analysis.differences import Diff, Tolerance
from hlsim.errors import HlsimError, NumericalWarning
from hlsim.models.rules import HolomorphicEquilibrium
from hlsim.stimulus import Arrays
from hlsim.trace.checking import Layout
from hlsim.trace.checksums import CRC
from tests.support import experiments
from tests.support.traces import record, recorder

EXAMPLES = 40 if os.environ.get("HLSIM_VERIFY") == "1" else 5
EVENTS = ("message", "update")
# Scales that hold no coordinates: what stands in them has no meaning, and nobody writes it.
BARE = ("events/event", "faults/fault", "rows/row", "phases/phase")


def ensemble(file: Path) -> None:
    """Run two replicas with faults on links and messages of both kinds."""
    path = experiments.write(file.parent / "tiny")
    options = (
        "simulation.ensemble=2",
        "faults.loss=0.1",
        "network.parameters.delay=1",
        "simulation.until=40",
    )
    experiment.load(path, options).run(file).close()


def complex_states(file: Path) -> None:
    """Run a rule with phases, too short to settle in, and complex states; some edges are biases."""
    graph = topology.layered([2, 3, 2], seed=1, bias=0.1, activation="tanh", symmetric=True)
    stream = Arrays(np.eye(2), np.eye(2))
    options: dict[str, Any] = {"node_defaults": {"update": "clock"}, "hold": 5}
    sim = Simulation(graph, rule=HolomorphicEquilibrium(), stimulus=stream, dtype="float64", **options)
    with pytest.warns(NumericalWarning, match="did not settle"):
        sim.run(record=file, every={"default": 2, "w": 7}, events=EVENTS).close()


@pytest.fixture(scope="module", params=[ensemble, complex_states], ids=["ensemble", "complex"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("traces") / "one.h5"
    request.param(file)
    return file


def compared(one: Path, two: Path, **options: Any) -> Diff:
    with trace.open(one) as a, trace.open(two) as b:
        return differences.diff(a, b, **options)


def changed(file: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy of a trace in which something is otherwise, and was from the start: no checksum denies it."""
    copy = file.with_name("two.h5")
    shutil.copy(file, copy)
    with h5py.File(copy, "r+") as opened:
        opened.attrs.pop(CRC)
        opened.visititems(lambda _, item: item.attrs.pop(CRC, None) and None)
        change(opened)
    return copy


@pytest.fixture(autouse=True)
def any_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared here has values that no run writes."""
    monkeypatch.setattr(Layout, "check_values", lambda *_: None)


def names(file: Path) -> list[str]:
    with trace.open(file) as opened:
        return [name for name in opened.names() if not name.startswith("log/")]


def size(file: Path, name: str) -> int:
    with h5py.File(file) as opened:
        return int(opened[name].size)


# ---- values


def test_a_copy_is_identical(made: Path) -> None:
    found = compared(made, changed(made, lambda _: None))
    assert found.identical
    assert found.first is None
    assert found.datasets == len(names(made))
    assert found.values == sum(size(made, name) for name in names(made))


def other(value: Any) -> Any:
    """A value that is next to another."""
    if isinstance(value, bytes):
        return value + b"'"
    if isinstance(value, complex | np.complexfloating):
        return type(value)(complex(value.real, other(value.imag)))
    if isinstance(value, float | np.floating):
        return type(value)(0.5) if np.isnan(value) else np.nextafter(value, type(value)(np.inf))
    return value + 1


def expected_place(file: h5py.File, name: str, index: tuple[int, ...]) -> tuple[int | None, list[str]]:
    """The tick and the words that name an entry, looked up in the file by what its dimensions are called."""
    group, _, last = name.rpartition("/")
    ticking = group in ("sampled", "stimulus", "events", "faults", "rows", "phases")
    if not ticking:
        tick = None
    elif group == "sampled":
        axis = last if last.startswith("tick") else file[name].dims[0][0].name.rpartition("/")[2]
        tick = int(file[f"sampled/{axis}"][index[0]])
    else:
        tick = int(file[f"{group}/tick"][index[0]])
    words = [f"tick {tick}"] if ticking else []
    label = [text.decode() for text in file["network/node_label"]]
    own = [name] if file[name].is_scale else [d[0].name.strip("/") for d in file[name].dims]
    for dim, at in zip(own[ticking:], index[ticking:], strict=True):
        if dim == "edge":
            source, target = (int(file[f"network/{end}"][at]) for end in ("source", "target"))
            words.append(f"{repr(label[source]) if source >= 0 else 'bias'} -> {label[target]!r}")
        elif dim in ("node", "input_node", "output_node"):
            words.append(repr(file[dim][at].decode()))
        elif dim == "replica":
            words.append(f"replica {at}")
    return tick, words


@settings(max_examples=2 * EXAMPLES)
@given(st.data())
def check_one_value(made: Path, data: DataObject) -> None:
    name = data.draw(st.sampled_from([n for n in names(made) if n not in BARE and size(made, n)]))
    with h5py.File(made) as file:
        shape, dtype = file[name].shape, file[name].dtype
        index = tuple(data.draw(st.integers(0, length - 1)) for length in shape)
        value = file[name][index]
        tick, words = expected_place(file, name, index)
    new = other(value)

    def put(file: h5py.File) -> None:
        file[name][index] = new

    block = data.draw(st.sampled_from((200, 2**20)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "BLOCK", block)
        found = compared(made, changed(made, put))
    (only,) = found.differences
    assert (only.name, only.differing) == (name, 1)
    assert only.first is not None
    if name == "network/graph":  # text that holds a table and holds one no more
        return
    assert (only.compared, only.first.index) == (math.prod(shape), index)
    assert only.first.tick == tick
    assert all(word in only.first.where for word in words), only.first.where
    text = h5py.check_string_dtype(dtype) is not None
    assert only.first.values == tuple(repr(x.decode() if text else x.item()) for x in (value, new))
    assert found.first == only


def test_one_value_that_is_next_to_another_is_found_at_its_place(made: Path) -> None:
    """In any dataset, at any place, in blocks of any size, and nothing else is told."""
    check_one_value(made)


@settings(max_examples=EXAMPLES)
@given(st.data())
def check_first(made: Path, data: DataObject) -> None:
    among = [n for n in names(made) if n.startswith("sampled/") and size(made, n)]
    changes = data.draw(st.lists(st.tuples(st.sampled_from(among), st.integers(0)), min_size=2, max_size=6))
    touched: dict[str, set[int]] = {}

    def put(file: h5py.File) -> None:
        for name, number in changes:
            touched.setdefault(name, set()).add(number % file[name].size)
        for name, numbers in touched.items():
            for number in numbers:
                index = np.unravel_index(number, file[name].shape)
                file[name][index] = other(file[name][index])

    found = compared(made, changed(made, put))
    assert {d.name: d.differing for d in found.differences} == {k: len(v) for k, v in touched.items()}
    with trace.open(made) as opened:
        ticks = {
            name: min(int(opened.ticks(name)[n // (opened[name].size // len(opened[name]))]) for n in where)
            for name, where in touched.items()
        }
    assert {d.name: d.first and d.first.tick for d in found.differences} == ticks
    assert found.first is not None
    assert found.first.first is not None
    assert found.first.first.tick == min(ticks.values())


def test_what_differs_first_has_the_smallest_tick(made: Path) -> None:
    check_first(made)


def test_the_largest_difference_is_that_of_all_blocks(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(file: h5py.File) -> None:
        rows = file["sampled/w"][:]
        file["sampled/w"][:] = rows + 0.25 * np.arange(rows.size).reshape(rows.shape) / rows.size

    monkeypatch.setattr(differences, "BLOCK", 8)
    copy = changed(made, put)
    (only,) = compared(made, copy).differences
    with h5py.File(made) as one, h5py.File(copy) as two:
        a, b = (file["sampled/w"][:].astype(float) for file in (one, two))
    assert only.absolute == np.abs(a - b).max()
    assert only.relative == pytest.approx((np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))).max(), rel=1e-15)
    assert only.differing == (a != b).sum()


def test_the_size_of_the_blocks_changes_nothing(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(file: h5py.File) -> None:
        file["sampled/h"][-1, ..., 1] += 1
        file["events/sent"][-5:] += 1

    copy = changed(made, put)
    told = []
    for block in (2**20, 100, 8):
        monkeypatch.setattr(differences, "BLOCK", block)
        told.append(repr(compared(made, copy)))
    assert told[0] == told[1] == told[2]
    with h5py.File(made) as file:
        assert f"index=({len(file['sampled/h']) - 1}," in told[0]


def test_a_trace_is_never_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.h5", "two.h5"):
        with recorder(tmp_path / name, sampled=["h"], every=1) as rec:
            for tick in range(10_000):
                rec.sample(tick, {"h": np.full((1, 4), tick)})
    monkeypatch.setattr(differences, "BLOCK", 2**12)
    with trace.open(tmp_path / "one.h5") as a, trace.open(tmp_path / "two.h5") as b:
        whole = a.h5["sampled/h"].nbytes
        tracemalloc.start()
        try:
            assert differences.diff(a, b).identical
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert whole == 10_000 * 4 * 8
    assert most < whole


# ---- when numbers are equal

FLOATS = st.floats(width=64) | st.sampled_from((0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf))


@given(FLOATS, FLOATS)
def test_bit_for_bit_means_the_same_bytes_but_for_nan(a: float, b: float) -> None:
    same = struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    assert bool(Tolerance().differ(np.array([a]), np.array([b]))[0]) != same
    twice = np.array([complex(1, a)]), np.array([complex(1, b)])
    assert bool(Tolerance().differ(*twice)[0]) != same


# numbers with few bits: all that is done with them is exact
DYADIC = st.integers(-64, 64).map(lambda n: n / 16)
SHARE = st.integers(0, 16).map(lambda n: n / 16)


@given(DYADIC, DYADIC, SHARE, SHARE)
@example(0.5, 0.25, 0.0, 0.25)
@example(-1.0, -0.5, 0.5, 0.0)
@example(1.0, 0.25, 0.5, 0.25)
def test_a_tolerance_is_met_on_its_very_edge(a: float, b: float, rtol: float, atol: float) -> None:
    gap, room = abs(Fraction(a) - Fraction(b)), Fraction(atol) + Fraction(rtol) * max(abs(a), abs(b))
    assert bool(Tolerance(rtol, atol).differ(np.array([a]), np.array([b]))[0]) == (
        gap > room and a != b if rtol or atol else struct.pack("d", a) != struct.pack("d", b)
    )


@pytest.mark.parametrize("values", [(math.inf, 1.0), (math.inf, -math.inf), (math.nan, 1.0), (1.0, math.nan)])
def test_no_tolerance_is_wide_enough_for_what_is_not_finite(values: tuple[float, float]) -> None:
    a, b = (np.array([value]) for value in values)
    assert Tolerance(1.0, 1e300).differ(a, b).all()
    assert not Tolerance(1.0, 1e300).differ(a, a).any()


def test_a_tolerance_is_for_floating_numbers_alone(made: Path) -> None:
    """0.0 and -0.0 are equal then; ticks, indices, text and the form of the file are never near."""

    def put(file: h5py.File) -> None:
        file["sampled/h"][0] += np.float32(1e-7)
        file["sampled/tick"][-1] -= 1
        file["network/delay"][0] += 1
        file["network/group"][0] = "elsewhere"
        file["sampled/h"].attrs["long_name"] = "something"

    found = compared(made, changed(made, put), rtol=0.5, atol=0.5)
    expected = {"network/delay", "network/group", "sampled/h@long_name", "sampled/tick"}
    assert {d.name for d in found.differences} == expected


def test_engines_agree_within_a_tolerance_and_not_to_the_last_bit(tmp_path: Path) -> None:
    path = experiments.write(tmp_path / "tiny")
    files = [tmp_path / f"{engine}.h5" for engine in ("batched", "reference")]
    for file in files:
        wanted = experiment.load(path, (f"simulation.engine={file.stem}", "simulation.dtype=float64"))
        wanted.run(file).close()
    # whether a number that stands still is sent again may hang on its last bit
    ignored = ("engine", "experiment.simulation.engine", "events", "network", "summary")
    exactly = compared(*files, ignore=ignored)
    assert 0 < max(d.absolute for d in exactly.differences) < 1e-12
    assert compared(*files, ignore=ignored, rtol=1e-12, atol=1e-12).identical


# ---- form, text and attributes


def test_what_only_one_has_is_told_by_name(made: Path) -> None:
    def put(file: h5py.File) -> None:
        del file["sampled/h"]
        file["network/extra"] = np.arange(3)
        file.attrs["note"] = "mine"
        del file.attrs["seed"]

    found = {d.name: d.structure for d in compared(made, changed(made, put)).differences}
    first, second = ("only in the first",), ("only in the second",)
    assert found == {"sampled/h": first, "network/extra": second, "note": second, "seed": first}


def test_a_dtype_is_a_difference(made: Path) -> None:
    def put(file: h5py.File) -> None:
        values = file["network/weight0"][:].astype("f8")
        del file["network/weight0"]
        file["network/weight0"] = values

    with h5py.File(made) as file:
        was = file["network/weight0"].dtype
    found = {d.name: d for d in compared(made, changed(made, put)).differences if "@" not in d.name}
    assert found["network/weight0"].differing == 0
    assert (f"dtype {was} against float64" in found["network/weight0"].structure) == (was != np.float64)


@pytest.mark.parametrize(
    ("name", "where", "change"),
    [
        ("experiment", "learning.beta", ("beta = 0.05", "beta = 0.06")),
        ("experiment", "stage.test.learn", ("learn = false", "learn = true")),
        ("learning", "learning.eta", ('"eta": 0.5', '"eta": 0.25')),
        ("summary", "accuracy.train", ('"train": ', '"train": 1')),
        ("network/graph", "nodes.0.group", ('"group": "input"', '"group": "in"')),
    ],
)
def test_text_that_holds_a_table_is_compared_by_its_keys(
    name: str, where: str, change: tuple[str, str], tmp_path: Path
) -> None:
    ensemble(tmp_path / "one.h5")

    def put(file: h5py.File) -> None:
        there = file[name][()] if "/" in name else file.attrs[name]
        text = there.decode() if isinstance(there, bytes) else there
        assert change[0] in text
        new = text.replace(*change, 1)
        if "/" in name:
            file[name][()] = new
        else:
            file.attrs[name] = new

    copy = changed(tmp_path / "one.h5", put)
    (only,) = compared(tmp_path / "one.h5", copy).differences
    assert (only.name, only.differing) == (name, 1)
    assert only.first is not None
    assert only.first.where == where
    assert compared(tmp_path / "one.h5", copy, ignore=[f"{name}.{where}"]).identical


@pytest.mark.parametrize("name", ["seed", "status", "dt", "format_version", "hlsim_version", "end", "device"])
def test_attributes_differ_but_for_the_circumstances_of_a_run(made: Path, name: str) -> None:
    def put(file: h5py.File) -> None:
        old = file.attrs[name]
        own = {"status": "interrupted", "seed": old + 1 if name == "seed" else None}
        file.attrs[name] = own.get(name) or ("otherwise" if isinstance(old, str | bytes) else old + 0.5)

    if name == "format_version":
        with pytest.raises(HlsimError, match="format_version must be 2"):
            compared(made, changed(made, put))
        return
    found = compared(made, changed(made, put))
    assert [d.name for d in found.differences] == [name] * (name not in differences.CIRCUMSTANCES)
    assert set(found.not_compared) == set(differences.CIRCUMSTANCES)


@pytest.mark.parametrize("ignored", ["sampled/w", "sampled", "sampled/w@long_name"])
def test_what_is_ignored_is_left_out_with_all_that_is_in_it(made: Path, ignored: str) -> None:
    def put(file: h5py.File) -> None:
        file["sampled/w"][0] += 1
        file["sampled/w"].attrs["long_name"] = "?"

    found = compared(made, changed(made, put), ignore=[ignored])
    told = {"sampled/w", "sampled/w@long_name"}
    assert {d.name for d in found.differences} == (told - {ignored} if "@" in ignored else set())
    assert found.not_compared == (*differences.CIRCUMSTANCES, ignored)


# ---- traces of different length


@pytest.fixture
def lengths(tmp_path: Path) -> tuple[Path, Path]:
    """What was recorded up to tick 20, and the same as it was when it was stopped after tick 11."""
    files = tmp_path / "whole.h5", tmp_path / "stopped.h5"
    for file, ticks in zip(files, (20, 12), strict=True):
        rec = recorder(file, sampled=("h", "w"), every={"h": 1, "w": 3}, events=EVENTS)
        record(rec, 0, ticks)
        rec.finish("complete" if ticks == 20 else "interrupted")
    return files


def test_of_an_interrupted_trace_the_rows_of_both_are_compared(lengths: tuple[Path, Path]) -> None:
    found = compared(*lengths)
    of = {d.name: d for d in found.differences}
    assert of["status"].first is not None
    assert of["status"].first.values == ("'complete'", "'interrupted'")
    assert of["sampled/h"].structure == ("8 rows more in the first; the 12 rows of both are equal",)
    assert of["sampled/h"].first is not None
    assert (of["sampled/h"].first.tick, of["sampled/h"].first.values) == (12, ())
    assert of["sampled/w"].structure == ("3 rows more in the first; the 4 rows of both are equal",)
    assert not any(d.differing for name, d in of.items() if name != "status")
    assert found.first is not None
    assert found.first.first is not None
    assert found.first.first.tick == 12
    turned = {d.name: d.structure for d in compared(*reversed(lengths)).differences}
    assert turned["sampled/h"] == ("8 rows more in the second; the 12 rows of both are equal",)


def test_rows_of_both_that_differ_are_told_beside_those_that_are_missing(lengths: tuple[Path, Path]) -> None:
    with h5py.File(lengths[1], "r+") as file:
        file["sampled/h"][5, 2] += 1
    found = compared(*lengths).first
    assert found is not None
    assert found.structure == ("8 rows more in the first; the 12 rows of both differ",)
    assert (found.name, found.differing, found.compared) == ("sampled/h", 1, 48)
    assert found.first is not None
    assert found.first.where == "tick 5, node 'n[2]'"


def test_rows_at_other_ticks_are_told_with_both(lengths: tuple[Path, Path]) -> None:
    with h5py.File(lengths[1], "r+") as file:
        file["stimulus/tick"][3:] += 4
        file["stimulus/input"][3] = 7
    (input_,) = (d for d in compared(*lengths).differences if d.name == "stimulus/input")
    assert input_.first is not None
    assert (input_.first.tick, input_.first.where) == (3, "tick 3 against 7, input node 'n[0]'")


# ---- the command


def command(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["diff", *map(str, arguments)])
    captured = capfd.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_command_ends_with_0_where_nothing_differs(made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capfd, made, made)
    found = compared(made, made)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"identical: {found.datasets:,} datasets, {found.values:,} values",
        "not compared: start, end, hlsim_version, device, summary.wall_s, log",
    ]


def test_the_command_ends_with_1_and_names_the_first_difference(
    lengths: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(lengths[1], "r+") as file:
        file["sampled/w"][2, 1] = 0.1
    with h5py.File(lengths[0]) as file:
        was = file["sampled/w"][2, 1].item()
        ends = [file["network/node_label"][file[f"network/{x}"][1]].decode() for x in ("source", "target")]
    code, out, _ = command(capfd, *lengths)
    edge = " -> ".join(map(repr, ends))
    assert code == 1
    assert out.splitlines()[0] == f"first difference: sampled/w at tick 6, edge {edge}: {was!r} against 0.1"
    assert f"{lengths[0]} against {lengths[1]}" in out
    assert "sampled/h" in out


def test_the_command_gives_json_that_is_read_elsewhere(
    lengths: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = command(capfd, *lengths, "--json", "--ignore", "status")
    found = json.loads(out, parse_constant=pytest.fail)
    assert code == 1
    assert not found["identical"]
    assert found["first"] in [d["name"] for d in found["differences"]]
    assert "status" not in [d["name"] for d in found["differences"]]
    assert "status" in found["not_compared"]
    code, out, _ = command(capfd, lengths[0], lengths[0], "--json")
    assert code == 0
    assert json.loads(out)["identical"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.h5", "whole.h5"), "none.h5: cannot read: No such file or directory"),
        (("whole.h5", "text.h5"), "text.h5: is no hlsim trace"),
        (("whole.h5", "whole.h5", "--rtol", "-1"), "rtol: must be finite and >= 0, got -1.0"),
        (("whole.h5", "whole.h5", "--atol", "nan"), "atol: must be finite and >= 0, got nan"),
        (
            ("whole.h5", "whole.h5", "--ignore", "sampled/u"),
            "ignore: unknown dataset, group or attribute 'sampled/u'",
        ),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    lengths: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(lengths[0].parent)
    Path("text.h5").write_text("no trace")
    code, out, err = command(capfd, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"hlsim: {message}")
    assert err.count("\n") == 1


def test_a_diff_cannot_be_changed() -> None:
    found = Diff(1, 1, (), ())
    with pytest.raises(AttributeError):
        found.datasets = 2  # type: ignore[misc]
    assert replace(found, datasets=2).identical
