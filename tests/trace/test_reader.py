"""A trace gives back what was recorded, whoever reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from hlsim import trace
from hlsim.errors import TraceError
from hlsim.topology.network import Network
from hlsim.trace import Recorder
from tests.support.traces import NEURONAL, SAMPLED, SYNAPTIC, network, record, recorder, shape

# ---- round trips


@dataclass
class Run:
    """A random run: what to record, and how."""

    n: int
    m: int
    replicas: int
    shared: bool
    dtype: str
    every: dict[str, int]
    sampled: tuple[str, ...]
    chunk: int
    ticks: int
    seed: int
    wrote: dict[str, list[Any]] = field(default_factory=dict)

    def network(self) -> Network:
        return network(self.n, self.m, 1 if self.shared else self.replicas)

    def rate(self, name: str) -> int:
        return self.every.get(name, self.every["default"])

    def keep(self, name: str, value: Any) -> None:
        self.wrote.setdefault(name, []).append(value)

    def write(self, path: Path) -> None:
        """Record random numbers, and keep what they were."""
        rng = np.random.default_rng(self.seed)
        net, p = self.network(), self.replicas
        with Recorder(
            path,
            header={"dtype": self.dtype},
            network=net,
            replicas=p,
            every=self.every,
            sampled=self.sampled,
            chunk=self.chunk,
        ) as rec:
            for tick in range(self.ticks):
                row = {name: self.draw(rng, name, shape(name, net, p)) for name in rec.due(tick)}
                if row:
                    rec.sample(tick, row)
                for name, value in row.items():
                    self.keep(f"sampled/{name}", value)
                shown, target = (
                    rng.normal(size=(p, 1)),
                    rng.normal(size=(p, 1)) if rng.random() < 0.5 else None,
                )
                rec.stimulus(tick, shown, target)
                self.keep("stimulus/input", shown)
                self.keep("stimulus/target", np.full((p, 1), np.nan) if target is None else target)
                label, split = rng.integers(-1, 9, p), rng.choice(["train", "prüfen"])
                rec.row(tick, split, label, -label, row.get("loss", np.zeros(p)))
                self.keep("rows/label", label)
                self.keep("rows/split", split)

    def draw(self, rng: np.random.Generator, name: str, size: tuple[int, ...]) -> np.ndarray:
        value = rng.normal(size=size)
        if name in NEURONAL and self.dtype.startswith("complex"):
            return value + 1j * rng.normal(size=size)
        return value

    def expected(self, name: str) -> np.ndarray:
        """What was recorded, in the dtype of the file and without an axis for a single replica."""
        array = np.array(self.wrote[name])
        of = name.partition("/")[2]
        if of not in ("split", "label"):
            dtype = np.dtype(self.dtype)
            array = array.astype(dtype if of in NEURONAL else np.empty(0, dtype).real.dtype)
        if of != "split" and (self.replicas == 1 or (of in SYNAPTIC and self.shared)):
            array = array[:, 0]
        return array


RUNS = st.builds(
    Run,
    n=st.integers(2, 5),
    m=st.integers(0, 6),
    replicas=st.sampled_from([1, 3]),
    shared=st.booleans(),
    dtype=st.sampled_from(["float32", "float64", "complex64", "complex128"]),
    every=st.fixed_dictionaries({"default": st.integers(1, 3)}, optional={"w": st.integers(1, 4)}),
    sampled=st.sets(st.sampled_from(SAMPLED)).map(tuple),
    chunk=st.integers(1, 12),
    ticks=st.integers(1, 20),
    seed=st.integers(0, 99),
)


# xarray takes a third of a second to open a trace
FEW = settings(max_examples=settings().max_examples // 2)


@FEW
@given(run=RUNS)
def test_every_reader_gets_what_was_recorded(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.h5"
    run.write(path)
    with h5py.File(path) as plain, trace.open(path) as ours, ours.tree() as tree:
        for name in run.wrote:
            expected = run.expected(name)
            stored = plain[name].asstr()[:] if name == "rows/split" else plain[name][:]
            assert name == "rows/split" or stored.dtype == expected.dtype
            for found in (stored, tree[name].to_numpy(), ours[name]):
                np.testing.assert_array_equal(found, expected)
        check_dimensions(run, tree)


def check_dimensions(run: Run, tree: xr.DataTree) -> None:
    """Check that xarray finds the dimensions and the coordinates."""
    net = run.network()
    many = ("replica",) if run.replicas > 1 else ()
    # the axis "tick" belongs to the first that is sampled; others of its rate share it
    rate = next((run.rate(name) for name in SAMPLED if name in run.sampled), 0)
    for name in run.sampled:
        axis = "tick" if run.rate(name) == rate else f"tick_{run.rate(name)}"
        over = ("node",) if name in NEURONAL else ("edge",) if name in SYNAPTIC else ()
        own = () if name in SYNAPTIC and run.shared else many
        found = tree[f"sampled/{name}"]
        assert found.dims == (axis, *own, *over)
        assert found[axis].to_numpy().tolist() == list(range(0, run.ticks, run.rate(name)))
        if "node" in over:
            assert found.node.to_numpy().tolist() == list(net.label)
        if "edge" in over:
            assert found.edge.to_numpy().tolist() == list(range(net.m))
    assert tree["stimulus/input"].dims == ("tick", *many, "input_node")
    assert tree["stimulus/target"].output_node.to_numpy().tolist() == [net.label[-1]]
    assert tree["rows/label"].dims == ("row", *many)
    assert tree["events/tick"].dims == ("event",)


def test_xarray_opens_a_trace_unaided(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", every=1) as rec:
        record(rec, 0, 5)
    with xr.open_datatree(tmp_path / "t.h5", engine="h5netcdf") as tree:
        assert tree["sampled/h"].sel(node="n[2]", tick=3).item() == 3 + 2 / 1024
        assert tree["rows/split"].to_numpy().tolist() == ["train"] * 5


# ---- reading


def test_a_dataset_that_is_not_there_is_named_with_the_others() -> None:
    with recorder(None) as rec:
        pass
    with rec.trace() as read:
        assert "sampled/h" in read
        assert "sampled/v" not in read
        assert "sampled" not in read
        with pytest.raises(
            TraceError, match=r"trace in memory: unknown dataset 'sampled/hh' .*sampled/h'.*, sampled/z"
        ):
            read["sampled/hh"]
        with pytest.raises(TraceError, match="network/source has no ticks along its first dimension"):
            read.ticks("network/source")
        with pytest.raises(TraceError, match="rows/label has no ticks along its first dimension"):
            read.ticks("rows/label")


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with pytest.raises(TraceError, match=r"t\.h5: cannot read: No such file or directory$"):
        trace.open(path)
    with pytest.raises(TraceError, match=r"cannot read: Is a directory$"):
        trace.open(tmp_path)
    path.write_text("not HDF5")
    with pytest.raises(TraceError, match=r"t\.h5: is no hlsim trace$"):
        trace.open(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "something else"
    with pytest.raises(TraceError, match=r"t\.h5: is no hlsim trace$"):
        trace.open(path)
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "hlsim-trace", "format_version": 1})
    with pytest.raises(TraceError, match=r"t\.h5: format_version must be 2, got 1$"):
        trace.open(path)
