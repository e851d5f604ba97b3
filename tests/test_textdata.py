"""TOML and JSON of strangers: no deeper and no larger than all that reads it can bear."""

import pytest

from hlsim.textdata import DEEPEST, check_depth, read_json, read_toml


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_lists_and_tables_have_a_depth_that_may_be_reached_and_not_passed(brackets: str) -> None:
    begin, end = ("[", "]") if brackets == "[]" else ('{"a": ', "}")
    for depth, good in ((DEEPEST, True), (DEEPEST + 1, False), (2_000, False), (200_000, False)):
        text = begin * depth + "1" + end * depth
        toml = f"x = {text}".replace('"a":', "a =")
        for read, whole, own in ((read_json, text, 0), (read_toml, toml, 1)):
            if good and not own:
                read(whole)  # the table of the file itself is one as well
                continue
            with pytest.raises(
                ValueError, match=rf"^must not have lists or tables .* more than {DEEPEST} deep$"
            ):
                read(whole)
    check_depth(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a.b = 9223372036854775808",
            "a.b: must be a whole number of at most 64 bits, got 9223372036854775808",
        ),
        (
            "a = [1, [0x" + "f" * 5000 + "]]",
            "a: must be a whole number of at most 64 bits, got a number of more",
        ),
        ("a = " + "1" * 5000, "must hold whole numbers of at most 64 bits, got one of thousands of digits"),
        (
            'a = "b\\u0000"',
            "a: must be text that a trace can hold, without NUL and lone surrogates, got 'b\\\\x00'",
        ),
        ('[a]\n"b\\u0000" = 1', "a key of a: must be text that a trace can hold"),
        ("a = ", "Invalid value"),
    ],
)
def test_what_nothing_here_can_hold_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^" + message.replace("[", r"\[")) as error:
        read_toml(text)
    assert "\n" not in str(error.value)


def test_the_largest_numbers_are_read() -> None:
    assert read_toml("a = [-9223372036854775808, 9223372036854775807, 1e308]")["a"] == [
        -(2**63),
        2**63 - 1,
        1e308,
    ]
