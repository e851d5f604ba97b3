"""What a trace looks like to other programs, and what the page about traces says of it."""

import json
import re
from pathlib import Path

import h5py
import matplotlib.pyplot
import numpy as np
import pytest

import hlsim
from hlsim import trace
from hlsim.stimulus import Digits
from tests.support.places import ROOT
from tests.support.traces import recorder, values

# ---- the file


def test_attributes_tell_where_a_run_comes_from(tmp_path: Path) -> None:
    header = {"experiment": "[simulation]\nseed = 3\n", "seed": 3, "dt": 0.5, "device": "cpu", "reset": True}
    summary = {"loss": np.float32(0.5), "accuracy": {"test": 0.25}, "counts": np.arange(2), "nothing": None}
    with recorder(tmp_path / "t.h5", header=header | {"none": None, "list": [1, 2]}) as rec:
        rec.finish("complete", summary)
    with rec.trace() as read, h5py.File(tmp_path / "t.h5") as plain:
        for attrs in (read.attrs, plain.attrs, read.tree().attrs):
            assert {name: attrs[name] for name in header} == header
            assert (attrs["format"], attrs["format_version"]) == ("hlsim-trace", 2)
            assert attrs["list"] == "[1, 2]"
            assert "none" not in attrs
        assert plain.attrs["status"] == b"complete"
        for attrs in (read.attrs, read.tree().attrs):
            assert attrs["status"] == "complete"
            assert attrs["start"] <= attrs["end"]
            assert json.loads(attrs["summary"]) == read.summary
        assert read.summary == {"loss": 0.5, "accuracy": {"test": 0.25}, "counts": [0, 1], "nothing": None}


def test_hdf5_1_10_can_read_a_trace(tmp_path: Path) -> None:
    """Newer HDF5 writes newer versions of datatypes if it is let; version 3 is the last that 1.10 knows."""
    with recorder(tmp_path / "t.h5", header={"dtype": "complex64"}):
        pass
    with h5py.File(tmp_path / "t.h5") as file:
        versions = set()
        # an encoded datatype: two bytes of encoding, then class and version in four bits each
        file.visititems(
            lambda _, item: (
                versions.add(item.id.get_type().encode()[2] >> 4) if hasattr(item, "dtype") else None
            )
        )
        assert max(versions) <= 3
    assert (tmp_path / "t.h5").read_bytes()[8] == 3  # the superblock


def test_h5web_is_told_what_to_plot() -> None:
    """NXdata as NeXus has it: the signal is there, with one axis a dimension, of its length."""
    with recorder(None, replicas=2) as rec:
        rec.sample(0, values(rec, 0, replicas=2))
    with rec.trace() as read:
        assert read.h5[read.attrs["default"]].attrs["NX_class"] == "NXdata"
        groups = [group for group in read.h5.values() if "signal" in group.attrs]
        assert len(groups) == 8
        for group in groups:
            signal, axes = group[group.attrs["signal"]], group.attrs["axes"]
            assert len(axes) == signal.ndim
            for axis, size in zip(axes, signal.shape, strict=True):
                assert axis == "." or group[axis].shape == (size,)


# ---- the page about traces

PAGE = (ROOT / "docs" / "trace.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sim = hlsim.Simulation(hlsim.topology.layered([64, 4, 10]), stimulus=Digits(), hold=4)
    sim.run(until=40, record="digits.h5").close()
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for text in examples:
        exec(compile(text, "trace.md", "exec"), {})
    with trace.open("mine.h5") as read:
        assert read["sampled/h"].shape == (20, 6)
    matplotlib.pyplot.close("all")


def test_the_page_names_everything_that_is_in_a_trace(tmp_path: Path) -> None:
    with recorder(tmp_path / "t.h5", every={"default": 1, "w": 3}, replicas=2):
        pass
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", prose))))
    with trace.open(tmp_path / "t.h5") as read:
        last = {name.rpartition("/")[2] for name in read.names()} - {"tick_3"}
        assert last | read.attrs.keys() - {"NX_class", "default"} <= told
