"""A catalogue of what users may name: ours stand, theirs are added and replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlsim.errors import ExperimentError
from hlsim.models.catalogue import Catalogue


class Entry:
    def __init__(self, name: str) -> None:
        self.name = name


@given(st.lists(st.sampled_from("pqrst")), st.lists(st.sampled_from("uvw")))
def test_a_catalogue_is_a_mapping_where_the_last_of_a_name_counts(ours: list[str], theirs: list[str]) -> None:
    own, added = [Entry(name) for name in dict.fromkeys(ours)], [Entry(name) for name in theirs]
    catalogue: Catalogue[Entry] = Catalogue("thing", own)
    for entry in added:
        catalogue.add(entry)
    assert dict(catalogue) == {entry.name: entry for entry in (*own, *added)}
    assert [catalogue.is_ours(entry) for entry in (*own, *added)] == [True] * len(own) + [False] * len(added)


def test_nobody_takes_a_name_of_ours_but_the_thing_itself() -> None:
    mine = Entry("mine")
    catalogue: Catalogue[Entry] = Catalogue("thing", [mine])
    catalogue.add(mine)
    with pytest.raises(ExperimentError, match="thing 'mine' is hlsim's own"):
        catalogue.add(Entry("mine"))
    assert catalogue["mine"] is mine


@pytest.mark.parametrize("name", ["", "two words", "1st", "a.b", None, 3])
def test_a_name_is_a_word(name: str) -> None:
    catalogue: Catalogue[Entry] = Catalogue("thing", ())
    with pytest.raises(ExperimentError, match="needs a name of letters and digits"):
        catalogue.add(Entry(name))
