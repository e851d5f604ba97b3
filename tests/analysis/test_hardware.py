"""What hardware costs: profiles with sources, and files of the user."""

import re
from pathlib import Path

import pytest

from hlsim.analysis.hardware import LOIHI, PROFILES, load
from hlsim.errors import ExperimentError


def test_profiles_have_sources_and_known_parts() -> None:
    for name, hardware in PROFILES.items():
        assert load(name) is hardware
        assert hardware.source
        assert all(value > 0.0 for value in (*hardware.energy.values(), *hardware.time.values()))
    assert LOIHI.energy["synapse"] == 23.6e-12


def test_hardware_from_a_file_and_what_it_must_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text("source = 'data sheet'\n[energy]\nmessage = 2e-12\n", encoding="utf-8")
    found = load(str(file))
    assert (found.name, found.source, found.energy) == ("chip", "data sheet", {"message": 2e-12})
    for text, message in {
        "[energy]\nspike = 1.0": "unknown part 'spike'; known: boundary, byte",
        "[time]\nbyte = -1.0": "time.byte: must be finite and >= 0, got -1.0",
        "energy = 3": "energy must be a table, got 3",
        "message_bits = 1.5": "message_bits must be a whole number, got 1.5",
        "message_bits = -1": "hardware chip: message_bits: must be a whole number >= 0, got -1",
        "price = 3": "unknown key 'price'",
        "=": "cannot read this hardware",
    }.items():
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ExperimentError, match=re.escape(message)):
            load(str(file))
    with pytest.raises(ExperimentError, match=r"unknown hardware 'lohi'.*did you mean 'loihi'"):
        load("lohi")
    with pytest.raises(ExperimentError, match="no such file"):
        load(str(tmp_path / "none.toml"))


def test_prices_of_messages_that_carry_less_are_said_to_be_such(tmp_path: Path) -> None:
    """A binary spike carries no number; a file says what its messages carry."""
    said = "prices are those of binary spikes, messages of this run are numbers of 32 bits"
    assert LOIHI.caveat(32).startswith(said)
    file = tmp_path / "chip.toml"
    file.write_text("message_bits = 32", encoding="utf-8")
    assert load(str(file)).caveat(32) == ""
    assert "of messages of 32 bits, messages of this run are numbers of 64 bits" in load(str(file)).caveat(64)
    assert PROFILES["cmos_45nm"].caveat(64) == ""


def test_what_nobody_has_published_is_not_made_up() -> None:
    said = r"hardware 'loihi2': spikes carry up to 32 bits .* not been published"
    with pytest.raises(ExperimentError, match=said):
        load("loihi2")
