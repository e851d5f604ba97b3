"""docs/topology.md: its tables are those of the code, and its examples work."""

import re
import shlex
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from hlsim import cli, neurons
from hlsim.topology.attributes import Attribute, edge_attributes, node_attributes
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "topology.md").read_text(encoding="utf-8")
CHOICES: dict[str, Iterable[str]] = {
    "model": neurons.MODELS,
    "activation": neurons.ACTIVATIONS,
    "role": ("input", "output"),
    "update": ("arrival", "clock"),
    "feedback": ("symmetric", "random", "none"),
    "connect": ("dense", "one_to_one", "random"),
}


def rows(heading: str) -> dict[str, tuple[str, str]]:
    """Attribute to (value, default) in the table below a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {
        name: (value, default)
        for name, value, default in re.findall(r"\| `(\w+)` \| (.*?) \| (.*?) \| ", part)
    }


@pytest.mark.parametrize(
    ("heading", "attributes"), [("Node attributes", node_attributes), ("Edge attributes", edge_attributes)]
)
def test_every_attribute_is_there_with_its_default(
    heading: str, attributes: Callable[[], dict[str, Attribute]]
) -> None:
    found, known = rows(heading), attributes()
    assert found.keys() == known.keys()
    for name, attribute in known.items():
        default = found[name][1]
        if attribute.default is None:
            assert "`" not in default
        else:
            assert tomllib.loads(f"x = {default.strip('`')}")["x"] == attribute.default


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_named(name: str) -> None:
    value, _ = (rows("Node attributes") | rows("Edge attributes"))[name]
    assert set(re.findall(r'"(\w+)"', value)) == set(CHOICES[name])


def test_the_parameters_of_models_have_their_defaults() -> None:
    assert float(rows("Node attributes")["tau"][1]) == neurons.MODELS["leaky"].parameters["tau"]


def test_the_examples_work_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And print what the comments beside them say."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(text, "topology.md", "exec"), names)
        else:
            for line in text.splitlines():
                with pytest.raises(SystemExit) as ended:
                    cli.main(shlex.split(line)[2:])
                assert not ended.value.code, line
    printed = capsys.readouterr().out
    assert "driven: 0.4621\ndriven too: -0.4621\n" in printed
    assert "174 8200\n" in printed
    assert printed.startswith("3\n")
    assert "edge 'a' -> 'b': delay must be a whole number of ticks >= 0, got 1.5\n" in printed
